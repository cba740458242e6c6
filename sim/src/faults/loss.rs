//! N2: what is under way on a link is lost.
//!
//! turmoil's TCP sends nothing again, so a connection that misses a segment stands still in that direction for good: what a
//! stateful firewall does to connections it has forgotten.

use super::episode::{Episode, World};

/// Lost segments.
pub struct Loss;

impl Episode for Loss {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (0.5, 6.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        let (a, b) = world.any_link();
        world
            .cluster
            .note(format!("what {a} and {b} have sent each other is lost"));
        world.cluster.change_links(|links| {
            links.cut(&a, &b);
            links.cut(&b, &a);
        });
        world.cluster.change_links(|links| {
            links.mend(&a, &b);
            links.mend(&b, &a);
        });
        Some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}
