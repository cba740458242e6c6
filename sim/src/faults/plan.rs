//! What a seed has in store: which classes of faults, how many nodes, which settings.

use std::collections::BTreeSet;
use std::time::Duration;

use banyan_core::state::TombstoneBounds;
use rand::Rng;

use crate::cluster::node::Knobs;
use crate::components::random::stream;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// N1.
    Latency,
    /// N2.
    Loss,
    /// N3.
    Repeat,
    /// N4.
    Reorder,
    /// N5.
    Partition,
    /// N6.
    OneWay,
    /// N7.
    Clog,
    /// N8, with [`Class::Crash`].
    HalfOpen,
    /// N9.
    Flip,
    /// N10.
    SlowNode,
    /// P1, with D1.
    Crash,
    /// P3, with D1.
    CrashAll,
    /// P2.
    Failpoint,
    /// P4.
    Pause,
    /// D2, with crashes.
    Torn,
    /// D3.
    SyncError,
    /// D4.
    WriteError,
    /// D5.
    Damage,
    /// D6.
    Cut,
    /// D7.
    Misdirected,
    /// D9.
    Lost,
    /// D8.
    SlowDisk,
    /// C1.
    ClockOffset,
    /// C2.
    ClockJump,
    /// M1.
    Churn,
    /// B1: settings so small that rare paths become common, and rare things at their sites.
    Knobs,
}

impl Class {
    /// All classes, with the share of seeds that have them.
    pub const ALL: [(Self, f64); 26] = [
        (Self::Latency, 1.0),
        (Self::Loss, 0.6),
        (Self::Reorder, 0.6),
        (Self::Partition, 0.6),
        (Self::OneWay, 0.5),
        (Self::Clog, 0.3),
        (Self::HalfOpen, 0.4),
        (Self::Flip, 0.2),
        (Self::SlowNode, 0.4),
        (Self::Crash, 0.8),
        (Self::CrashAll, 0.2),
        (Self::Pause, 0.5),
        (Self::Torn, 0.6),
        (Self::SyncError, 0.2),
        (Self::WriteError, 0.2),
        (Self::Damage, 0.2),
        (Self::SlowDisk, 0.3),
        (Self::ClockOffset, 0.6),
        (Self::ClockJump, 0.3),
        (Self::Knobs, 0.75),
        // Those below were added later: drawn last, they leave what a seed had.
        (Self::Cut, 0.2),
        (Self::Misdirected, 0.05),
        (Self::Lost, 0.1),
        (Self::Failpoint, 0.8),
        (Self::Repeat, 0.5),
        (Self::Churn, 0.5),
    ];

    /// Its name in the table of faults.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "N1 latency",
            Self::Loss => "N2 loss",
            Self::Repeat => "N3 repeat",
            Self::Reorder => "N4 reorder",
            Self::Partition => "N5 partition",
            Self::OneWay => "N6 one-way",
            Self::Clog => "N7 clog",
            Self::HalfOpen => "N8 half-open",
            Self::Flip => "N9 flip",
            Self::SlowNode => "N10 slow node",
            Self::Crash => "P1 crash",
            Self::CrashAll => "P3 crash all",
            Self::Failpoint => "P2 failpoint",
            Self::Pause => "P4 pause",
            Self::Torn => "D2 torn write",
            Self::SyncError => "D3 sync error",
            Self::WriteError => "D4 write error",
            Self::Damage => "D5 bit flip",
            Self::Cut => "D6 cut file",
            Self::Misdirected => "D7 misdirected",
            Self::Lost => "D9 disk lost",
            Self::SlowDisk => "D8 slow disk",
            Self::ClockOffset => "C1 clock offset",
            Self::ClockJump => "C2 clock jump",
            Self::Churn => "M1 churn",
            Self::Knobs => "B1 buggify",
        }
    }
}

/// What a seed has in store. What clients do is drawn apart ([`crate::workload`]).
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Classes that are switched on.
    pub classes: BTreeSet<Class>,
    /// Nodes.
    pub node_count: u64,
    /// Shortest and longest time of a message on a link.
    pub latency: (Duration, Duration),
    /// Settings of the nodes.
    pub knobs: Knobs,
    /// Longest time that blocking work takes.
    pub blocking_max: Duration,
}

const KIB: u64 = 1024;
/// Nodes that may come while the cluster runs.
const SPARES: u64 = 3;

/// So short that a run sees deletes forgotten, and with some seeds before an older write comes.
fn tombstone_bounds(seed: u64, tiny: bool) -> TombstoneBounds {
    let mut random = stream(seed, "tombstones");
    let (age_s, revisions) = match tiny {
        true => (random.random_range(1..=20), random.random_range(1..=200)),
        false => (20, 200),
    };
    TombstoneBounds {
        age_us: age_s * 1_000_000,
        revisions,
    }
}

impl Plan {
    /// Draws the plan of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut random = stream(seed, "plan");
        let mut classes = BTreeSet::new();
        for (class, share) in Class::ALL {
            if random.random_bool(share) {
                classes.insert(class);
            }
        }
        let node_count = if random.random_bool(0.8) { 3 } else { 5 };
        let latency_min_ms = random.random_range(0..=2);
        let latency_max_ms = random.random_range(3..=50);
        let mut knobs = Knobs {
            log_segment_bytes: 64 * KIB,
            log_keep_bytes: 128 * KIB,
            checkpoint_bytes: 64 * KIB as usize,
            change_ring_bytes: 1024 * KIB as usize,
            write_timeout_ms: 5_000,
            heartbeat_ms: 100,
            election_timeout_ms: (300, 600),
            outbound_bytes_max: 1024 * KIB as usize,
            receive_maximum: 1024,
            tombstone_bounds: tombstone_bounds(seed, classes.contains(&Class::Knobs)),
        };
        if classes.contains(&Class::Knobs) {
            let mut pick = |choices: &[u64]| choices[random.random_range(0..choices.len())];
            knobs.log_segment_bytes = pick(&[16, 32, 64, 256]) * KIB;
            knobs.log_keep_bytes = pick(&[0, 8, 64, 512]) * KIB;
            knobs.checkpoint_bytes = (pick(&[2, 8, 64, 256]) * KIB) as usize;
            knobs.change_ring_bytes = (pick(&[4, 64, 1024]) * KIB) as usize;
            knobs.write_timeout_ms = pick(&[500, 2_000, 5_000]);
            knobs.outbound_bytes_max = (pick(&[64, 256, 1024]) * KIB) as usize;
            knobs.receive_maximum = pick(&[1, 4, 64, 1024]) as u16;
            knobs.heartbeat_ms = pick(&[50, 100, 200]);
        }
        Self {
            seed,
            classes,
            node_count,
            latency: (
                Duration::from_millis(latency_min_ms),
                Duration::from_millis(latency_max_ms),
            ),
            knobs,
            blocking_max: Duration::from_millis(random.random_range(0..=20)),
        }
    }

    /// Nodes that may come while it runs.
    #[must_use]
    pub fn spare_count(&self) -> u64 {
        match self.classes.contains(&Class::Churn) {
            true => SPARES,
            false => 0,
        }
    }

    /// One line.
    #[must_use]
    pub fn describe(&self) -> String {
        let classes: Vec<_> = self.classes.iter().map(|class| class.name()).collect();
        format!(
            "{} nodes, {} to {} ms apart; {}",
            self.node_count,
            self.latency.0.as_millis(),
            self.latency.1.as_millis(),
            classes.join(", ")
        )
    }
}
