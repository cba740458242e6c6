//! N1: a link becomes slow for a while.

use std::time::Duration;

use rand::Rng;

use super::episode::{Episode, World};
use super::plan::Plan;

/// Slow links.
pub struct Latency {
    base: Duration,
}

impl Latency {
    /// On links that take at most as long as `plan` says otherwise.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { base: plan.latency.1 }
    }
}

impl Episode for Latency {
    type Active = (String, String);

    fn gap_s(&self) -> (f64, f64) {
        (0.5, 5.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.1, 4.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Self::Active> {
        let (a, b) = world.any_link();
        let max_ms = world.random.random_range(20..500);
        world.cluster.set_latency(&a, &b, Duration::from_millis(max_ms));
        world.cluster.note(format!("{a} and {b} are up to {max_ms} ms apart"));
        Some((a, b))
    }

    fn end(&mut self, world: &mut World<'_>, (a, b): Self::Active) {
        world.cluster.set_latency(&a, &b, self.base);
    }
}
