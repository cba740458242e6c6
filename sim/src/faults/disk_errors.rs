//! D3 and D4: syncs and writes of one node fail. A node must end at the first, and start again on what is there.

use rand::Rng;

use super::episode::{Episode, World};

/// Syncs that fail.
pub struct SyncErrors;

/// Writes that fail, as on a full disk.
pub struct WriteErrors;

/// How often all disks are nearly full, when one has no room.
const ALL_LOW: f64 = 0.3;

fn begin(world: &mut World<'_>, syncs: bool) -> u64 {
    let id = world.any_node();
    let probability = world.random.random_range(0.001..0.02);
    let (sync_error, write_error) = if syncs { (probability, 0.0) } else { (0.0, probability) };
    world.cluster.nodes()[&id].disk().set_errors(sync_error, write_error);
    let what = if syncs { "syncs" } else { "writes" };
    world.cluster.note(format!("{what} of n{id} may fail"));
    id
}

impl Episode for SyncErrors {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (5.0, 25.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1.0, 8.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        Some(begin(world, true))
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        world.cluster.nodes()[&id].disk().set_errors(0.0, 0.0);
    }
}

impl Episode for WriteErrors {
    type Active = u64;

    fn gap_s(&self) -> (f64, f64) {
        (5.0, 25.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1.0, 8.0)
    }

    /// The node is told that its disk is nearly full; now and then the others are too, so that writes are refused.
    fn begin(&mut self, world: &mut World<'_>) -> Option<u64> {
        let id = begin(world, false);
        let all = world.random.random_bool(ALL_LOW);
        if all {
            world.cluster.note("all disks are nearly full".to_owned());
        }
        for (node_id, node) in world.cluster.nodes() {
            node.disk().set_low(all || *node_id == id);
        }
        Some(id)
    }

    fn struck(&self, id: &u64) -> Vec<u64> {
        vec![*id]
    }

    fn end(&mut self, world: &mut World<'_>, id: u64) {
        world.cluster.nodes()[&id].disk().set_errors(0.0, 0.0);
        for node in world.cluster.nodes().values() {
            node.disk().set_low(false);
        }
    }
}
