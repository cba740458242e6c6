//! N10 and D8: a node, or its disk, is slow for a while.

use std::time::Duration;

use rand::Rng;

use super::episode::{Episode, World};
use super::plan::Plan;
use crate::cluster::CLIENTS;
use crate::cluster::links::host;

/// A node whose links and disk are slow: a follower that lags, perhaps beyond the log that is kept for it.
pub struct SlowNode {
    base: Duration,
}

impl SlowNode {
    /// On links that take at most as long as `plan` says otherwise.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { base: plan.latency.1 }
    }

    fn set(world: &World<'_>, id: u64, max: Duration) {
        let others = world
            .cluster
            .nodes()
            .keys()
            .filter(|other| **other != id)
            .map(|other| host(*other));
        for other in others.chain([CLIENTS.to_owned()]) {
            world.cluster.set_latency(&host(id), &other, max);
        }
    }
}

impl Episode for SlowNode {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (4.0, 20.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (5.0, 20.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        let id = world.any_node();
        let max_ms = world.random.random_range(100..800);
        Self::set(world, id, Duration::from_millis(max_ms));
        let disk_us = world.random.random_range(20_000..300_000);
        world.cluster.nodes()[&id]
            .disk()
            .set_latency(Some((disk_us / 2, disk_us)));
        world.cluster.note(format!("n{id} is slow"));
        Some(id)
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        Self::set(world, id, self.base);
        world.cluster.nodes()[&id].disk().set_latency(None);
    }
}

/// A disk that takes long, or stalls.
pub struct SlowDisk;

impl Episode for SlowDisk {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (3.0, 15.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1.0, 10.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        let id = world.any_node();
        let latency_us = match world.random.random_bool(0.3) {
            true => (1_000_000, world.random.random_range(2_000_000..10_000_000)),
            false => (1_000, world.random.random_range(50_000..1_000_000)),
        };
        world.cluster.nodes()[&id].disk().set_latency(Some(latency_us));
        world
            .cluster
            .note(format!("the disk of n{id} takes up to {} ms", latency_us.1 / 1_000));
        Some(id)
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        world.cluster.nodes()[&id].disk().set_latency(None);
    }
}
