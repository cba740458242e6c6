//! C1 and C2: wall clocks that are off, drift, jump and stand.

use rand::Rng;

use super::episode::{Episode, World};

/// All clocks are off by up to 5 s and drift by up to 200 ppm.
pub struct Offset;

impl Episode for Offset {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (0.1, 1.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1_000.0, 1_000.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        for node in world.cluster.nodes().values() {
            let offset_us = world.random.random_range(-5_000_000..=5_000_000);
            node.clock().set_offset(offset_us);
            node.clock().set_drift(world.random.random_range(-200..=200));
            world
                .cluster
                .note(format!("the clock of {} is off by {offset_us} us", node.name()));
        }
        Some(())
    }

    fn end(&mut self, world: &mut World<'_>, (): ()) {
        world.cluster.nodes().values().for_each(|node| node.clock().repair());
    }
}

/// A clock jumps, by up to a day, or stands for a while.
pub struct Jump;

impl Episode for Jump {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (2.0, 30.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.5, 10.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        let id = world.any_node();
        let node = std::sync::Arc::clone(&world.cluster.nodes()[&id]);
        if world.random.random_bool(0.3) {
            node.clock().stop(world.cluster.now());
            world.cluster.note(format!("the clock of n{id} stands"));
        } else {
            // From a millisecond to a day, each order of magnitude as likely.
            let size_us = 10_i64.pow(world.random.random_range(3..=10)) * world.random.random_range(1..=8);
            let by_us = if world.random.random_bool(0.5) {
                size_us
            } else {
                -size_us
            };
            node.clock().jump(by_us);
            world.cluster.note(format!("the clock of n{id} jumps by {by_us} us"));
        }
        Some(id)
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        world.cluster.nodes()[&id].clock().resume();
    }
}
