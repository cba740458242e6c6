//! N4: a link is held for some milliseconds, so that what it carries arrives after what was sent later on others.

use super::episode::{Episode, World};

/// Short holds.
pub struct Reorder;

impl Episode for Reorder {
    type Active = (String, String);

    fn gap_s(&self) -> (f64, f64) {
        (0.05, 1.5)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.005, 0.15)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Self::Active> {
        let (a, b) = world.any_link();
        world.cluster.change_links(|links| links.hold(&a, &b));
        Some((a, b))
    }

    fn end(&mut self, world: &mut World<'_>, (a, b): Self::Active) {
        world.cluster.change_links(|links| links.release(&a, &b));
    }
}
