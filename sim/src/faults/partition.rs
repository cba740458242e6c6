//! N5: groups of nodes cannot reach each other.

use rand::Rng;

use super::episode::{Episode, World};
use crate::cluster::CLIENTS;
use crate::cluster::links::{Links, host};

/// Symmetric partitions.
pub struct Partition;

/// The pairs that are apart, and whether what they send waits instead of being lost.
pub struct Apart {
    pairs: Vec<(String, String)>,
    waits: bool,
}

impl Apart {
    pub(super) fn set(&self, links: &mut Links) {
        for (a, b) in &self.pairs {
            if self.waits {
                links.hold(a, b);
            } else {
                links.cut(a, b);
                links.cut(b, a);
            }
        }
    }

    pub(super) fn unset(&self, links: &mut Links) {
        for (a, b) in &self.pairs {
            if self.waits {
                links.release(a, b);
            } else {
                links.mend(a, b);
                links.mend(b, a);
            }
        }
    }
}

impl Episode for Partition {
    type Active = Apart;

    fn gap_s(&self) -> (f64, f64) {
        (5.0, 15.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.5, 15.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Apart> {
        let ids: Vec<u64> = world.cluster.nodes().keys().copied().collect();
        let aside: Vec<u64> = match world.random.random_range(0..3) {
            0 => vec![world.cluster.leader()?],
            1 => vec![world.any_node()],
            _ => ids.iter().copied().filter(|_| world.random.random_bool(0.5)).collect(),
        };
        let rest: Vec<u64> = ids.iter().copied().filter(|id| !aside.contains(id)).collect();
        if aside.is_empty() || rest.is_empty() {
            return None;
        }
        let mut pairs: Vec<_> = aside
            .iter()
            .flat_map(|a| rest.iter().map(|b| (host(*a), host(*b))))
            .collect();
        let with_clients = world.random.random_bool(0.3);
        if with_clients {
            pairs.extend(aside.iter().map(|a| (host(*a), CLIENTS.to_owned())));
        }
        let waits = world.random.random_bool(0.3);
        world.cluster.note(format!(
            "partition: {aside:?} from {rest:?}{}{}",
            if with_clients { " and the clients" } else { "" },
            if waits { ", nothing lost" } else { "" }
        ));
        let apart = Apart { pairs, waits };
        world.cluster.change_links(|links| apart.set(links));
        Some(apart)
    }

    fn end(&mut self, world: &mut World<'_>, apart: Apart) {
        world.cluster.note("partition over");
        world.cluster.change_links(|links| apart.unset(links));
    }
}
