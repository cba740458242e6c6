//! D5, D6, D7 and D9: what a node had synced is damaged while it is down.
//!
//! It must refuse to start, and then stays out. Only a minority of nodes is damaged, and of the log only what no crash can have
//! torn or left behind: all segments but the newest. Damage to what was purged, or was never written, hurts nobody: then the
//! node starts, and the run must go on rightly.
//!
//! A node that has lost everything must not come back under its old id: it could vote against what it had promised. Sometimes it
//! stays away, and [`churn`](super::churn) may bring another one in its place; sometimes it is started again all the same, once
//! all others know it. Then they must refuse it.

use std::path::PathBuf;

use rand::Rng;

use super::episode::{Episode, World};

/// Sizes of what a disk writes in one piece, bytes.
const BLOCK_BYTES: [usize; 2] = [512, 4096];

/// How a disk is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// D5: a bit flips.
    Flip,
    /// D6: a file is cut, or gone.
    Cut,
    /// D7: a write of one place went to another.
    Misdirected,
    /// D9: everything is lost.
    Lost,
}

/// A segment, and how much of it was written.
struct Segment {
    path: PathBuf,
    bytes: Vec<u8>,
    used: usize,
}

impl Segment {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

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
        let segments = older_segments(world, id);
        if world.cluster.is_dying(id)
            || (segments.is_empty() && *self != Self::Lost)
            || !world.atlas.damage(world.cluster, id)
        {
            return None;
        }
        world.cluster.crash(id, false, false);
        let told = match self {
            Self::Flip => flip(world, id, &segments),
            Self::Cut => cut(world, id, &segments),
            Self::Misdirected => misdirect(world, id, &segments),
            Self::Lost => {
                if world.random.random_bool(0.6) && is_known(world, id) {
                    world.cluster.nodes()[&id].wipe();
                    world.atlas.wipe(id);
                    world.cluster.count(|counters| counters.blank_returns += 1);
                    format!("n{id} has lost its disk, and comes back with an empty one")
                } else {
                    world.atlas.give_up(id);
                    format!("n{id} has lost its disk, and stays away")
                }
            }
        };
        world.cluster.note(told);
        Some(())
    }

    fn end(&mut self, _world: &mut World<'_>, (): ()) {}
}

/// Whether all others that run know by their state that node `id`, which is started like at the first time, has taken part.
fn is_known(world: &World<'_>, id: u64) -> bool {
    let knows = |other: &u64| {
        let server = world.cluster.nodes()[other].server();
        server.is_some_and(|server| server.replica().view().origin(id).is_some())
    };
    let up = world.cluster.up();
    world.cluster.nodes()[&id].is_first() && !up.is_empty() && up.iter().filter(|other| **other != id).all(knows)
}

fn flip(world: &mut World<'_>, id: u64, segments: &[Segment]) -> String {
    let segment = any(world, segments);
    let offset = world.random.random_range(0..segment.used);
    let mask = 1 << world.random.random_range(0..8);
    world.cluster.nodes()[&id]
        .disk()
        .memory()
        .damage(&segment.path, offset, mask);
    format!(
        "a bit of n{id}'s {} flips at {offset} of {}",
        segment.name(),
        segment.used
    )
}

fn cut(world: &mut World<'_>, id: u64, segments: &[Segment]) -> String {
    let segment = any(world, segments);
    let is_gone = world.random.random_bool(0.5);
    let left = world.random.random_range(0..segment.used);
    let bytes = (!is_gone).then(|| segment.bytes[..left].to_vec());
    let disk = world.cluster.nodes()[&id].disk().clone();
    disk.memory().replace(&segment.path, bytes);
    match is_gone {
        true => format!("n{id}'s {} is gone", segment.name()),
        false => format!("n{id}'s {} is cut at {left} of {}", segment.name(), segment.used),
    }
}

fn misdirect(world: &mut World<'_>, id: u64, segments: &[Segment]) -> String {
    let (from, to) = (any(world, segments), any(world, segments));
    let block = BLOCK_BYTES[world.random.random_range(0..BLOCK_BYTES.len())];
    let mut place = |segment: &Segment| world.random.random_range(0..segment.used.div_ceil(block)) * block;
    let (read_at, write_at) = (place(from), place(to));
    let written = &from.bytes[read_at..from.bytes.len().min(read_at + block)];
    let mut bytes = to.bytes.clone();
    let end = bytes.len().min(write_at + written.len());
    bytes[write_at..end].copy_from_slice(&written[..end - write_at]);
    let disk = world.cluster.nodes()[&id].disk().clone();
    disk.memory().replace(&to.path, Some(bytes));
    let (from, to) = (from.name(), to.name());
    format!("n{id}'s block {from} at {read_at} was written to {to} at {write_at}")
}

fn any<'a>(world: &mut World<'_>, segments: &'a [Segment]) -> &'a Segment {
    &segments[world.random.random_range(0..segments.len())]
}

/// The segments that are not the newest, as far as anything was written to them.
fn older_segments(world: &World<'_>, id: u64) -> Vec<Segment> {
    let node = &world.cluster.nodes()[&id];
    let directory = node.log_directory();
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.parent() == Some(&directory) && !name.starts_with("spare") && !["vote", "mark", "lock"].contains(&&*name)
    };
    let mut segments: Vec<_> = node
        .disk()
        .durable_files()
        .into_iter()
        .filter(|(path, _)| is_segment(path))
        .collect();
    segments.pop();
    let written = segments.into_iter().filter_map(|(path, bytes)| {
        let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
        Some(Segment { path, bytes, used })
    });
    written.collect()
}
