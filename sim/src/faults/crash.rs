//! P1 and P3: power losses. N8: unnoticed by the other ends of connections. D1, D2: what was not synced is lost, in part, and
//! the last write is torn.

use rand::Rng;

use super::episode::{Episode, World};
use super::plan::{Class, Plan};

/// A node loses power.
pub struct Crash {
    node_count: f64,
    torn: bool,
    silent: bool,
}

impl Crash {
    /// As `plan` allows.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            node_count: plan.node_count as f64,
            torn: plan.classes.contains(&Class::Torn),
            silent: plan.classes.contains(&Class::HalfOpen),
        }
    }
}

impl Episode for Crash {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (20.0 / self.node_count, 60.0 / self.node_count)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        let id = match world.random.random_bool(0.4) {
            true => world.cluster.leader().filter(|id| world.cluster.up().contains(id))?,
            false => world.any_up()?,
        };
        let torn = self.torn && world.random.random_bool(0.5);
        let silent = self.silent && world.random.random_bool(0.2);
        world.cluster.crash(id, torn, silent);
        Some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}

/// All nodes lose power, within 200 ms.
pub struct CrashAll {
    torn: bool,
}

impl CrashAll {
    /// As `plan` allows.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            torn: plan.classes.contains(&Class::Torn),
        }
    }
}

impl Episode for CrashAll {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (20.0, 60.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        world.cluster.note("the power goes everywhere");
        let up: Vec<u64> = world.cluster.up().iter().copied().collect();
        for id in up {
            // A torn crash comes with the next write, some milliseconds later.
            let torn = self.torn && world.random.random_bool(0.5);
            world.cluster.crash(id, torn, false);
        }
        Some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}
