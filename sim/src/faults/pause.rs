//! P4: a node stands still, and does not know that it did.
//!
//! turmoil runs every host in every step. What comes nearest: nothing reaches the node or leaves it, nothing is lost, and its
//! wall clock stands. Its timers run, which a stopped process' do not; real processes are stopped by `banyan-sim real`.

use super::episode::{Episode, World};
use crate::cluster::CLIENTS;
use crate::cluster::links::host;

/// Pauses.
pub struct Pause;

impl Episode for Pause {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (3.0, 15.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.1, 12.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        let id = world.any_up()?;
        world.cluster.note(format!("n{id} stands still"));
        let now = world.cluster.now();
        world.cluster.nodes()[&id].clock().stop(now);
        let others = others(world, id);
        world
            .cluster
            .change_links(|links| others.iter().for_each(|other| links.hold(&host(id), other)));
        Some(id)
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        world.cluster.note(format!("n{id} goes on"));
        world.cluster.nodes()[&id].clock().resume();
        let others = others(world, id);
        world
            .cluster
            .change_links(|links| others.iter().for_each(|other| links.release(&host(id), other)));
    }
}

fn others(world: &World<'_>, id: u64) -> Vec<String> {
    let nodes = world.cluster.nodes().keys().filter(|other| **other != id);
    nodes.map(|other| host(*other)).chain([CLIENTS.to_owned()]).collect()
}
