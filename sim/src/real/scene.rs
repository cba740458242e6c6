//! What everything that goes on during a run shares: the cluster, the clock of the run, the phase, and what has happened.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::error::RealError;
use super::faults::Kind;
use crate::history::{Time, Violation};

/// What may happen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults.
    Chaos,
    /// No faults; those that last end.
    Calm,
    /// No faults any more.
    Over,
}

/// One run as it goes.
#[derive(Debug)]
pub(super) struct Scene {
    /// The nodes.
    pub(super) cluster: Arc<Cluster>,
    /// Cancelled when something is wrong and the run need not go on.
    pub(super) stop: CancellationToken,
    started: Instant,
    phase: watch::Sender<Phase>,
    violations: Mutex<Vec<Violation>>,
    failure: Mutex<Option<RealError>>,
    tally: Mutex<Tally>,
    heals: Mutex<Vec<Duration>>,
}

/// Which faults there were, and how they overlapped.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Faults injected, by kind.
    pub(super) injected: BTreeMap<Kind, u64>,
    /// What else is worth counting, such as refusals of damaged logs.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// Microseconds during which so many kinds were at work at once.
    pub(super) overlap_us: BTreeMap<usize, u64>,
    active: BTreeMap<Kind, usize>,
    changed_at: Time,
}

impl Tally {
    fn account(&mut self, now: Time) {
        let kinds = self.active.values().filter(|&&count| count > 0).count();
        *self.overlap_us.entry(kinds).or_default() += now - self.changed_at;
        self.changed_at = now;
    }

    /// The most kinds that were at work at once.
    pub(super) fn overlap_max(&self) -> usize {
        self.overlap_us.keys().next_back().copied().unwrap_or(0)
    }
}

impl Scene {
    /// Begins with [`Phase::Calm`]; the clock starts.
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            stop: CancellationToken::new(),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Calm),
            violations: Mutex::default(),
            failure: Mutex::default(),
            tally: Mutex::default(),
            heals: Mutex::default(),
        }
    }

    /// Time of the run.
    pub(super) fn now(&self) -> Time {
        self.started.elapsed().as_micros() as Time
    }

    /// When the run's clock stood at 0.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Begins a phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits until faults may happen. False: they may not any more.
    pub(super) async fn wait_for_chaos(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let seen = phase.wait_for(|&phase| phase != Phase::Calm).await;
        seen.is_ok_and(|phase| *phase == Phase::Chaos)
    }

    /// Sleeps, but only while there is chaos. Whether it still is.
    pub(super) async fn hold(&self, duration: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            _ = phase.wait_for(|&phase| phase != Phase::Chaos) => false,
        }
    }

    /// Shows what happens.
    pub(super) fn note(&self, text: impl Display) {
        eprintln!("{:>9.3} s  {text}", self.now() as f64 / 1e6);
    }

    /// A fault of this kind begins.
    pub(super) fn begin(&self, kind: Kind, text: impl Display) {
        self.note(format!("{kind}: {text}"));
        let now = self.now();
        let mut tally = self.tally.lock();
        tally.account(now);
        *tally.injected.entry(kind).or_default() += 1;
        *tally.active.entry(kind).or_default() += 1;
    }

    /// It ends.
    pub(super) fn end(&self, kind: Kind) {
        let now = self.now();
        let mut tally = self.tally.lock();
        tally.account(now);
        if let Some(count) = tally.active.get_mut(&kind) {
            *count -= 1;
        }
    }

    /// Whether any fault is at work.
    pub(super) fn is_at_work(&self) -> bool {
        self.tally.lock().active.values().any(|&count| count > 0)
    }

    /// All nodes were ready again so long after the last fault.
    pub(super) fn healed_in(&self, time: Duration) {
        self.heals.lock().push(time);
    }

    /// All those times.
    pub(super) fn heals(&self) -> Vec<Duration> {
        self.heals.lock().clone()
    }

    /// Counts something.
    pub(super) fn count(&self, what: &'static str) {
        *self.tally.lock().outcomes.entry(what).or_default() += 1;
    }

    /// What was counted.
    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// A promise was broken: the run ends.
    pub(super) fn violated(&self, invariant: &'static str, message: impl Into<String>) {
        self.report(Violation {
            invariant,
            at: self.now(),
            message: message.into(),
        });
    }

    /// As [`Self::violated`].
    pub(super) fn report(&self, violation: Violation) {
        self.note(format!("VIOLATION {violation}"));
        self.violations.lock().push(violation);
        self.stop.cancel();
    }

    /// What was found.
    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }

    /// The run itself failed.
    pub(super) fn fail(&self, error: RealError) {
        self.failure.lock().get_or_insert(error);
        self.stop.cancel();
    }

    /// Why the run itself failed, if it did.
    pub(super) fn take_failure(&self) -> Option<RealError> {
        self.failure.lock().take()
    }
}
