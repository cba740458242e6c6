//! The faults, and when they happen.
//!
//! Each kind has a task of its own that injects one fault after the other, so kinds overlap freely. All draw from the seed.
//! What a fault does to a process it does while it holds that process, so no two of them get in each other's way; what it
//! does to links is counted. Every fault undoes itself at its end or when a calm begins, whichever comes first.
//!
//! | file | kinds |
//! |---|---|
//! | `process` | `kill`, `kill-all`, `pause` |
//! | `link` | `partition`, `one-way`, `cable`, `slow` |
//! | `disk` | `disk-full` |
//! | `log` | `torn-tail`, `damage` |
//! | `clock` | `clock` |

mod clock;
mod disk;
mod link;
mod log;
mod log_file;
mod process;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::error::RealError;
use super::machine::Machine;
use super::node::Process;
use super::scene::Scene;
use crate::workload::Context;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of one node, every second time of the leader.
    Kill,
    /// SIGKILL of all nodes within 0.2 s.
    KillAll,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// Links cut in both directions: one node alone, or one pair.
    Partition,
    /// Links cut in one direction.
    OneWay,
    /// One node unplugged, from clients too.
    Cable,
    /// Slow links from and to one node.
    Slow,
    /// One node's volume full.
    DiskFull,
    /// One node killed, and its log ends in a torn append.
    TornTail,
    /// One node killed, and a bit in the middle of its log flipped: it must refuse to start until the bit is back.
    Damage,
    /// One node's clock set off.
    Clock,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillAll,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::Cable,
        Self::Slow,
        Self::DiskFull,
        Self::TornTail,
        Self::Damage,
        Self::Clock,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Cable => "cable",
            Self::Slow => "slow",
            Self::DiskFull => "disk-full",
            Self::TornTail => "torn-tail",
            Self::Damage => "damage",
            Self::Clock => "clock",
        }
    }

    /// Average time from the end of a fault of this kind to the next.
    const fn pause_mean_s(self) -> f64 {
        match self {
            Self::Kill => 12.0,
            Self::KillAll => 60.0,
            Self::Pause | Self::Clock => 10.0,
            Self::Partition | Self::OneWay => 8.0,
            Self::Slow => 6.0,
            Self::Cable | Self::TornTail => 20.0,
            Self::DiskFull | Self::Damage => 25.0,
        }
    }

    /// Whether it is about links, which one node alone has none of.
    pub(super) const fn needs_links(self) -> bool {
        matches!(self, Self::Partition | Self::OneWay | Self::Slow)
    }

    /// Why this machine cannot do it.
    pub(super) fn missing(self, machine: &Machine) -> Option<&str> {
        let missing = match self {
            Self::Kill | Self::KillAll | Self::Pause | Self::TornTail | Self::Damage => None,
            Self::Partition | Self::OneWay | Self::Cable => machine.namespaces.as_ref().err(),
            Self::Slow => machine.slowing.as_ref().err(),
            Self::DiskFull => machine.volumes.as_ref().err(),
            Self::Clock => machine.clock.as_ref().err(),
        };
        missing.map(String::as_str)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            format!(
                "there is no fault `{text}`; there are {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

/// What faults share.
struct Nemesis {
    scene: Arc<Scene>,
    /// What one needs to write.
    context: Context,
    /// Writes made so far.
    writes: AtomicU32,
    /// Nodes that may be without a working process at one time: all but one.
    down: Arc<Semaphore>,
    /// Nodes whose files may be other than they left them: a minority, one.
    damaged: Arc<Semaphore>,
}

/// Injects faults of `kinds` whenever there is chaos, until the run is over.
pub(super) fn start(scene: &Arc<Scene>, context: &Context, kinds: &[Kind], seed: u64) -> JoinSet<()> {
    let nemesis = Arc::new(Nemesis {
        context: context.clone(),
        writes: AtomicU32::new(0),
        down: Arc::new(Semaphore::new(scene.cluster.size().saturating_sub(1).max(1))),
        damaged: Arc::new(Semaphore::new(1)),
        scene: Arc::clone(scene),
    });
    let mut tasks = JoinSet::new();
    for &kind in kinds {
        let nemesis = Arc::clone(&nemesis);
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9).wrapping_add(kind as u64));
        tasks.spawn(async move {
            if let Err(error) = nemesis.repeat(kind, rng).await {
                nemesis.scene.fail(error);
            }
        });
    }
    tasks
}

impl Nemesis {
    async fn repeat(&self, kind: Kind, mut rng: StdRng) -> Result<(), RealError> {
        while self.scene.wait_for_chaos().await {
            let pause = kind.pause_mean_s() * rng.random_range(0.3..1.7);
            if !self.scene.hold(Duration::from_secs_f64(pause)).await {
                continue;
            }
            match kind {
                Kind::Kill => self.kill(&mut rng).await?,
                Kind::KillAll => self.kill_all(&mut rng).await?,
                Kind::Pause => self.pause(&mut rng).await,
                Kind::Partition => self.partition(&mut rng).await?,
                Kind::OneWay => self.one_way(&mut rng).await?,
                Kind::Cable => self.cable(&mut rng).await?,
                Kind::Slow => self.slow(&mut rng).await?,
                Kind::DiskFull => self.disk_full(&mut rng).await?,
                Kind::TornTail => self.torn_tail(&mut rng).await?,
                Kind::Damage => self.damage(&mut rng).await?,
                Kind::Clock => self.clock(&mut rng).await?,
            }
        }
        Ok(())
    }

    /// Any node, every second time the leader.
    fn pick(&self, rng: &mut StdRng) -> usize {
        let any = rng.random_range(0..self.scene.cluster.size());
        if rng.random_bool(0.5) {
            self.scene.cluster.leader().unwrap_or(any)
        } else {
            any
        }
    }

    /// The running process of a node, as of [`Self::pick`] if nobody is at that one, and the leave to take it down.
    fn take_down(&self, rng: &mut StdRng) -> Option<(OwnedMutexGuard<Process>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.down).try_acquire_owned().ok()?;
        let (first, size) = (self.pick(rng), self.scene.cluster.size());
        let process = (0..size)
            .map(|offset| (first + offset) % size)
            .filter_map(|index| self.scene.cluster.try_process(index))
            .find(|process| process.is_started())?;
        Some((process, permit))
    }

    /// `node 2`, or `node 2 (leader)`.
    fn title(&self, process: &Process) -> String {
        let id = process.node().id;
        let is_leader = self
            .scene
            .cluster
            .leader()
            .is_some_and(|leader| leader as u64 + 1 == id);
        format!("node {id}{}", if is_leader { " (leader)" } else { "" })
    }
}

/// Between `min_s` and `max_s` seconds.
fn seconds(rng: &mut StdRng, min_s: f64, max_s: f64) -> Duration {
    Duration::from_secs_f64(rng.random_range(min_s..max_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "kil".parse::<Kind>().unwrap_err();
        assert!(error.contains("kill-all"), "{error}");
    }
}
