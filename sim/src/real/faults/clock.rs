//! Clocks that are wrong.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Kind, Nemesis, seconds};
use crate::real::error::RealError;

impl Nemesis {
    /// Sets one node's clock off: mostly by seconds, at times by an hour. It jumps back at the end.
    pub(super) async fn clock(&self, rng: &mut StdRng) -> Result<(), RealError> {
        let node = self.pick(rng);
        let Some(clock) = &self.scene.cluster.nodes()[node].clock else {
            return Ok(());
        };
        let size = if rng.random_bool(0.1) { 3600.0 } else { 5.0 };
        let offset = rng.random_range(-size..size);
        self.scene
            .begin(Kind::Clock, format!("node {} off by {offset:+.3} s", node + 1));
        clock.set(offset)?;
        self.scene.hold(seconds(rng, 2.0, 20.0)).await;
        clock.set(0.0)?;
        self.scene.end(Kind::Clock);
        Ok(())
    }
}
