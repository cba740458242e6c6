//! D5: a bit flips in what a node had synced to its log, while it is down. It must refuse to start, and stays out.
//!
//! Only a minority of nodes is damaged, and only bytes that no crash can have torn: those of all segments but the newest. A
//! bit in what was purged, or was never written, hurts nobody: then the node starts, and the run must go on rightly.

use std::path::PathBuf;

use rand::Rng;

use super::episode::{Episode, World};

/// Flipped bits on disks.
pub struct Damage;

impl Episode for Damage {
    type Active = ();

    fn gap_s(&self) -> (f64, f64) {
        (10.0, 40.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<()> {
        let id = world.any_up()?;
        let node = std::sync::Arc::clone(&world.cluster.nodes()[&id]);
        let (path, used) = older_segment(&node.disk().durable_files(), &node.log_directory(), world)?;
        if world.cluster.is_dying(id) || !world.atlas.damage(id) {
            return None;
        }
        world.cluster.crash(id, false, false);
        let offset = world.random.random_range(0..used);
        node.disk()
            .memory()
            .damage(&path, offset, 1 << world.random.random_range(0..8));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        world
            .cluster
            .note(format!("a bit of n{id}'s {name} flips at {offset} of {used}"));
        Some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}

/// A segment that is not the newest, and how much of it was written.
fn older_segment(
    files: &std::collections::BTreeMap<PathBuf, Vec<u8>>,
    directory: &std::path::Path,
    world: &mut World<'_>,
) -> Option<(PathBuf, usize)> {
    let mut segments: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.parent() == Some(directory))
        .filter(|(path, _)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with("spare") && !["vote", "mark", "lock"].contains(&&*name)
        })
        .collect();
    segments.pop()?;
    if segments.is_empty() {
        return None;
    }
    let (path, bytes) = segments[world.random.random_range(0..segments.len())];
    let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    Some((path.clone(), used))
}
