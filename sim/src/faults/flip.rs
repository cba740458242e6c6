//! N9: bits flip between nodes. Every frame has a checksum: a damaged one closes its connection and nobody sees it.

use rand::Rng;

use super::episode::{Episode, World};

/// Flipped bits.
pub struct Flip;

impl Episode for Flip {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (3.0, 15.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.5, 5.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        world.cluster.wire().set_flip(world.random.random_range(0.0001..0.01));
        Some(world.cluster.wire().flips())
    }

    fn end(&mut self, world: &mut World<'_>, before: u64) {
        world.cluster.wire().set_flip(0.0);
        let flips = world.cluster.wire().flips() - before;
        world.cluster.note(format!("{flips} bits have flipped between nodes"));
    }
}
