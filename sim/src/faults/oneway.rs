//! N6: what is sent in one direction is lost; or one pair of nodes is apart that a third still reaches.

use rand::Rng;

use super::episode::{Episode, World};
use crate::cluster::links::host;

/// Asymmetric and partial partitions.
pub struct OneWay;

impl Episode for OneWay {
    type Active = Vec<(String, String)>;

    fn gap_s(&self) -> (f64, f64) {
        (5.0, 15.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.5, 15.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Self::Active> {
        let ids: Vec<u64> = world.cluster.nodes().keys().copied().collect();
        let one = match world.random.random_bool(0.5) {
            true => world.cluster.leader()?,
            false => world.any_node(),
        };
        let others: Vec<u64> = ids.into_iter().filter(|id| *id != one).collect();
        let other = *others.get(world.random.random_range(0..others.len().max(1)))?;
        let cut = match world.random.random_range(0..4) {
            // It hears nobody.
            0 => others.iter().map(|other| (host(*other), host(one))).collect(),
            // Nobody hears it.
            1 => others.iter().map(|other| (host(one), host(*other))).collect(),
            2 => vec![(host(one), host(other))],
            _ => vec![(host(one), host(other)), (host(other), host(one))],
        };
        let text: Vec<_> = cut.iter().map(|(from, to)| format!("{from} to {to}")).collect();
        world.cluster.note(format!("lost: {}", text.join(", ")));
        world
            .cluster
            .change_links(|links| cut.iter().for_each(|(from, to)| links.cut(from, to)));
        Some(cut)
    }

    fn end(&mut self, world: &mut World<'_>, cut: Self::Active) {
        world.cluster.note("one-way partition over");
        world
            .cluster
            .change_links(|links| cut.iter().for_each(|(from, to)| links.mend(from, to)));
    }
}
