//! N7: links stand still one after another for up to some seconds, and go on in another order.

use rand::Rng;

use super::episode::{Episode, World};

/// Clogged links.
pub struct Clog;

impl Episode for Clog {
    type Active = Vec<(String, String)>;

    fn gap_s(&self) -> (f64, f64) {
        (3.0, 12.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.1, 5.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Self::Active> {
        let count = world.random.random_range(1..4);
        let links: Vec<_> = (0..count).map(|_| world.any_link()).collect();
        let text: Vec<_> = links.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        world.cluster.note(format!("clogged: {}", text.join(", ")));
        world
            .cluster
            .change_links(|all| links.iter().for_each(|(a, b)| all.hold(a, b)));
        Some(links)
    }

    fn end(&mut self, world: &mut World<'_>, mut links: Self::Active) {
        while !links.is_empty() {
            let (a, b) = links.remove(world.random.random_range(0..links.len()));
            world.cluster.change_links(|all| all.release(&a, &b));
        }
    }
}
