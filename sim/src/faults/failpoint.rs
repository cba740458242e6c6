//! P2: the power goes at a named step of a node's storage, just before it or just after.
//!
//! The steps are those of the disk and of the store that a node is given: nothing is built into the node for it. What follows
//! such a step (an answer, a callback) comes within the same millisecond, and other crashes fall there.

use rand::Rng;

use super::episode::{Episode, World};
use crate::components::failpoint::{Edge, Point};

/// Power losses at named steps.
pub struct Failpoint;

impl Episode for Failpoint {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (10.0, 60.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        let id = match world.random.random_bool(0.4) {
            true => world.cluster.leader().filter(|id| world.cluster.up().contains(id))?,
            false => world.any_up()?,
        };
        let point = Point::ALL[world.random.random_range(0..Point::ALL.len())];
        let edge = match world.random.random_bool(0.5) {
            true => Edge::Before,
            false => Edge::After,
        };
        world.cluster.crash_at(id, point, edge).then_some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}
