//! One seed: first safety, under all faults; then the faults end, a quorum lives on, and everything must come to an end.

pub mod clients;
mod thread;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use banyan_core::planted::{self, Bug};
use banyan_node::simulation;
use rand::Rng;

pub(crate) use self::thread::PANIC_MARK;
pub use self::thread::keep_panics;

use self::clients::Clients;
use crate::cluster::log::LogCollector;
use crate::cluster::{Cluster, ClusterCounters, ClusterSettings, members, observe};
use crate::components::random::stream;
use crate::faults::Faults;
use crate::faults::plan::{Class, Plan};
use crate::history::{
    FinalState, Finished, History, NodeObservation, Observation, RunSettings, SnapshotSeen, Time, Violation,
};
use crate::invariants::coverage::{self as seen, Coverage as Seen};
use crate::invariants::{Checker, SETTLED_US};
use crate::model::Replay;
use crate::trace::event::{Event, Timed};
use crate::trace::{self, Line, Trace};

/// Simulated time between two looks at the nodes.
const OBSERVE_US: u64 = 50_000;
/// Every how many looks disks are looked at too.
const DISKS_EVERY: u64 = 10;
/// Simulated time between two looks at what is to go wrong.
const FAULTS_US: u64 = 5_000;
/// How long clients go on after the healing.
const AFTER_HEALING_US: u64 = 5_000_000;
/// How long the core may take from the healing until everything is answered and all its nodes agree.
const LIVENESS_US: u64 = 60_000_000;

/// What to run.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// What goes wrong.
    pub plan: Plan,
    /// How long it goes wrong.
    pub safety_us: Time,
    /// The bug that is planted in all nodes.
    pub bug: Option<Bug>,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was in store.
    pub plan: Plan,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// Everything that mattered.
    pub trace: Vec<Line>,
    /// The same for a picture.
    pub events: Vec<Timed>,
    /// What clients did and saw.
    pub history: History,
    /// Simulated time.
    pub simulated_us: Time,
    /// Processor time that it took, seconds.
    pub cpu_s: f64,
    /// How often each class of faults has struck.
    pub injected: Vec<(Class, u64)>,
    /// What happened to nodes.
    pub counters: ClusterCounters,
    /// Whether what must happen now and then did.
    pub coverage: Seen,
}

/// Shows from another thread that a run moves on: a task that never waits stops simulated time for ever.
#[derive(Debug, Default)]
pub struct Pulse {
    seed: AtomicU64,
    steps: AtomicU64,
    running: AtomicBool,
}

impl Pulse {
    /// The seed that runs, and how many steps all runs have made.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.seed.load(Ordering::Relaxed), self.steps.load(Ordering::Relaxed))
    }

    /// Whether no seed runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.running.load(Ordering::Relaxed)
    }
}

/// Runs one seed, on a thread of its own: libraries keep chance in variables of threads, and what an earlier seed has left
/// there would make another run of this one.
///
/// # Panics
/// If the simulator itself does.
#[must_use]
pub fn run(config: &RunConfig, pulse: &Pulse) -> Outcome {
    std::thread::scope(|scope| scope.spawn(|| run_here(config, pulse)).join())
        .expect("panics of a run are caught where they are")
}

fn run_here(config: &RunConfig, pulse: &Pulse) -> Outcome {
    pulse.seed.store(config.plan.seed, Ordering::Relaxed);
    pulse.running.store(true, Ordering::Relaxed);
    let started_s = thread::cpu_s();
    let trace = Trace::new();
    trace.add(0, "-", format!("seed {}: {}", config.plan.seed, config.plan.describe()));
    trace::follow(Some(trace.clone()));
    thread::align_task_ids();
    simulation::begin(stream(config.plan.seed, "consensus").random(), config.plan.blocking_max);
    thread::stir(&config.plan);
    planted::plant(config.bug);
    thread::first_panic();
    let mut run = Run::new(config, trace.clone(), pulse);
    let result = catch_unwind(AssertUnwindSafe(|| run.whole()));
    let violation = match result {
        Ok(result) => result.err(),
        Err(_) => Some(Violation {
            invariant: "panic",
            at: run.cluster.now(),
            message: thread::first_panic().unwrap_or_else(|| "without a message".to_owned()),
        }),
    };
    for violation in violation.iter().chain(&run.others) {
        trace.add(
            violation.at,
            "-",
            format!("VIOLATED {}: {}", violation.invariant, violation.message),
        );
    }
    run.calm();
    let (digest, bytes) = run.cluster.wire().sent();
    trace.add(
        run.cluster.now(),
        "-",
        format!("end: {bytes} bytes sent, digest {digest:016x}"),
    );
    let outcome = Outcome {
        seed: config.plan.seed,
        plan: config.plan.clone(),
        simulated_us: run.cluster.now(),
        injected: run.faults.injected().into_iter().collect(),
        counters: run.cluster.counters(),
        coverage: coverage(&run, &trace.lines()),
        trace: Vec::new(),
        events: trace.events(),
        history: run.clients.recorder().history(),
        cpu_s: 0.0,
        violation,
    };
    // Nodes are dropped while this thread is still a simulation, unless they may be in no state to be dropped.
    match outcome.violation {
        Some(_) => std::mem::forget(run),
        None => drop(catch_unwind(AssertUnwindSafe(|| drop(run)))),
    }
    planted::plant(None);
    simulation::end();
    trace::follow(None);
    pulse.running.store(false, Ordering::Relaxed);
    Outcome {
        trace: trace.lines(),
        cpu_s: thread::cpu_s() - started_s,
        ..outcome
    }
}

/// What the run has seen: clients and log tell most of it, the cluster the rest.
fn coverage(run: &Run<'_>, trace: &[Line]) -> Seen {
    let mut coverage = run.seen.clone();
    let count = |text: &str| trace.iter().filter(|line| line.text.contains(text)).count() as u64;
    coverage.add(seen::SNAPSHOT_INSTALLS, count("installed a snapshot"));
    coverage.add(seen::ORIGIN_RESENDS, count("sent the batches in flight again"));
    coverage.add(seen::TORN_TAILS, count("cut the torn last append"));
    coverage.add(seen::RARE, run.rare.rare);
    coverage.add(seen::REPEATS, run.rare.repeats);
    coverage.add(seen::FAILPOINTS, run.cluster.counters().failpoints);
    let counters = run.cluster.counters();
    coverage.add(seen::REFUSED_CORRUPTIONS, counters.refusals);
    coverage.add(seen::JOINT_CRASHES, counters.joint_crashes);
    coverage.add(seen::TRANSFERS, counters.transfers);
    coverage.add(seen::ELECTIONS, counters.elections);
    coverage.add(seen::BLANK_RETURNS, counters.blank_returns);
    coverage.add(seen::MEMBER_REQUESTS, counters.member_requests);
    coverage.add(seen::MEMBER_ACCEPTANCES, counters.member_acceptances);
    coverage.add(seen::MEMBER_REFUSALS, counters.member_refusals);
    coverage.add(seen::MEMBER_GOALS, counters.member_goals);
    coverage.add(seen::REMOVALS, counters.removals);
    // The first snapshot of a node that came later is what it begins with.
    let later = (run.config.plan.node_count + 1..).take(run.config.plan.spare_count() as usize);
    let began = later.filter(|id| {
        let place = format!("n{id}");
        trace
            .iter()
            .any(|line| line.place == place && line.text.contains("installed a snapshot"))
    });
    coverage.add(seen::SNAPSHOT_BEGINNINGS, began.count() as u64);
    coverage
}

struct Run<'a> {
    config: &'a RunConfig,
    pulse: &'a Pulse,
    cluster: Cluster,
    faults: Faults,
    clients: Clients,
    log: LogCollector,
    checker: Checker,
    others: Vec<Violation>,
    seen: Seen,
    settings: RunSettings,
    rare: simulation::Counts,
    looks: u64,
    leading: BTreeMap<u64, u64>,
    snapshots: Vec<(u64, u32, u64)>,
}

impl<'a> Run<'a> {
    fn new(config: &'a RunConfig, trace: Trace, pulse: &'a Pulse) -> Self {
        let plan = &config.plan;
        let settings = ClusterSettings {
            seed: plan.seed,
            node_count: plan.node_count,
            spare_count: plan.spare_count(),
            latency: plan.latency,
            knobs: plan.knobs,
        };
        let mut cluster = Cluster::new(&settings, trace);
        let clients = Clients::start(&mut cluster, plan);
        let settings = RunSettings {
            voters: (1..=plan.node_count).collect(),
            tombstone_bounds: plan.knobs.tombstone_bounds,
            election_timeout_us: plan.knobs.election_timeout_ms.1 * 1_000,
            client_timeout_us: clients.timeout().as_micros() as u64,
            black_box: true,
            ..RunSettings::default()
        };
        Self {
            config,
            pulse,
            cluster,
            faults: Faults::new(plan),
            clients,
            log: LogCollector::default(),
            checker: Checker::new(),
            others: Vec::new(),
            seen: Seen::default(),
            settings,
            rare: simulation::Counts::default(),
            looks: 0,
            leading: BTreeMap::new(),
            snapshots: Vec::new(),
        }
    }

    fn whole(&mut self) -> Result<(), Violation> {
        while self.cluster.now() < self.config.safety_us {
            self.step()?;
            if self.cluster.now().is_multiple_of(FAULTS_US) {
                self.faults.tick(&mut self.cluster);
            }
        }
        self.settings.core = self.faults.heal(&mut self.cluster);
        self.calm();
        self.settings.healed_at = Some(self.cluster.now());
        let healed_at = self.cluster.now();
        let core = self.settings.core.iter().map(|id| &self.cluster.nodes()[id]);
        let disks_healed_at = core.map(|node| node.disk().busy_until_us()).max();
        self.settings.disks_healed_at = disks_healed_at.max(Some(healed_at));
        while self.cluster.now() < healed_at + AFTER_HEALING_US {
            self.step_healed()?;
        }
        self.clients.finish(&self.settings.core);
        while !self.clients.are_done() {
            match self.why_not_agreed() {
                ("I-63", message) => self.check_time(healed_at, "I-63", message)?,
                _ => self.check_time(healed_at, "I-61", "clients wait for answers that do not come")?,
            }
            self.step_healed()?;
        }
        while self.cluster.now() < healed_at + SETTLED_US {
            self.step_healed()?;
        }
        while !self.core_agrees() {
            let (invariant, message) = self.why_not_agreed();
            self.check_time(healed_at, invariant, message)?;
            self.step_healed()?;
        }
        while let Some(message) = self.unreached() {
            self.check_time(healed_at, "goals", &message)?;
            self.step_healed()?;
        }
        // What came last of the members is known to all too.
        while !self.core_agrees() {
            let (invariant, message) = self.why_not_agreed();
            self.check_time(healed_at, invariant, message)?;
            self.step_healed()?;
        }
        if let Some(failed) = self.clients.failure() {
            return Err(self.violation("I-61", failed));
        }
        self.finish()
    }

    /// No rare things any more; what there were count.
    fn calm(&mut self) {
        let counts = simulation::calm();
        self.rare.rare += counts.rare;
        self.rare.repeats += counts.repeats;
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.cluster.step();
        self.pulse.steps.fetch_add(1, Ordering::Relaxed);
        self.log.collect(&self.cluster);
        if let Some(id) = self.faults.atlas().refused_without_cause().first() {
            let message = format!("node {id} refuses to start although nothing but power was taken from its disk");
            return Err(self.violation("I-45", message));
        }
        if self.cluster.now().is_multiple_of(OBSERVE_US) {
            self.observe()?;
        }
        Ok(())
    }

    fn step_healed(&mut self) -> Result<(), Violation> {
        self.step()?;
        if self.cluster.now().is_multiple_of(FAULTS_US) {
            self.faults.keep_up(&mut self.cluster);
        }
        Ok(())
    }

    fn observe(&mut self) -> Result<(), Violation> {
        let mut nodes = observe::nodes(&self.cluster);
        let wiped = self.faults.atlas().wiped();
        let back = nodes
            .iter()
            .find(|node| wiped.contains(&node.node) && node.last_log.index > 0);
        if let Some(back) = back {
            let message = format!(
                "node {} has lost its data, and takes part again: its log ends at {}",
                back.node, back.last_log
            );
            return Err(self.violation("I-45", message));
        }
        nodes.retain(|node| !wiped.contains(&node.node));
        let disks = match self.looks.is_multiple_of(DISKS_EVERY) {
            true => observe::disks(&self.cluster),
            false => Vec::new(),
        };
        self.mark_leaders(&nodes);
        let snapshots = self.new_snapshots();
        self.looks += 1;
        if self.looks.is_multiple_of(20) {
            let (digest, bytes) = self.cluster.wire().sent();
            let places: Vec<_> = nodes
                .iter()
                .map(|node| {
                    let applied = node.applied.map_or(0, |applied| applied.index);
                    format!(
                        "n{} {} of {} in term {}",
                        node.node, applied, node.last_log.index, node.term
                    )
                })
                .collect();
            self.cluster
                .note(format!("{}; {bytes} bytes, {digest:016x}", places.join(", ")));
        }
        let observation = Observation {
            // What clients see at this very moment is of the step to come.
            at: self.cluster.now() - 1,
            nodes: &nodes,
            disks: &disks,
            snapshots: &snapshots,
            memberships: self.cluster.memberships().all(),
        };
        self.checker.observe(&observation)
    }

    fn mark_leaders(&mut self, nodes: &[NodeObservation]) {
        let leading = nodes.iter().filter(|node| node.leads());
        let leading: BTreeMap<_, _> = leading.map(|node| (node.node, node.term)).collect();
        for node in self.leading.keys().filter(|node| !leading.contains_key(node)) {
            self.cluster.mark(Event::Leaves { node: *node });
        }
        for (node, term) in &leading {
            if self.leading.get(node) != Some(term) {
                self.cluster.mark(Event::Leads {
                    node: *node,
                    term: *term,
                });
            }
        }
        self.leading = leading;
    }

    /// Checkpoints that were not there at the last look.
    fn new_snapshots(&mut self) -> Vec<SnapshotSeen> {
        let mut new = Vec::new();
        if self.looks.is_multiple_of(DISKS_EVERY) {
            for node in self.cluster.nodes().values() {
                // A crash may have changed what is there.
                let life = node.life();
                if let Some(snapshot) = observe::snapshot(node)
                    && !self.snapshots.contains(&(snapshot.node, life, snapshot.id.index))
                {
                    self.snapshots.retain(|(node, ..)| *node != snapshot.node);
                    self.snapshots.push((snapshot.node, life, snapshot.id.index));
                    new.push(snapshot);
                }
            }
        }
        new
    }

    fn core_agrees(&self) -> bool {
        let core = self.settings.core.iter().map(|id| &self.cluster.nodes()[id]);
        let mut states = core.map(|node| {
            node.server().map(|server| {
                let view = server.replica().view();
                (view.applied, view.digest.as_u128(), server.replica().log_ids().last)
            })
        });
        let Some(Some(first)) = states.next() else { return false };
        self.cluster.leader().is_some()
            && first.0.map(|applied| applied.index) == first.2.map(|last| last.index)
            && states.all(|state| state == Some(first))
    }

    /// What of the members is not as it is to be, although all that it takes are there.
    fn unreached(&self) -> Option<String> {
        members::unreached(&self.cluster, &self.settings.core)
    }

    /// A node that others have left behind what they still have is a matter of its own.
    fn why_not_agreed(&self) -> (&'static str, &'static str) {
        let core = self.settings.core.iter().map(|id| &self.cluster.nodes()[id]);
        let ids: Vec<_> = core
            .filter_map(|node| Some(node.server()?.replica().log_ids()))
            .collect();
        let purged = ids.iter().filter_map(|ids| ids.purged).map(|id| id.index).max();
        if ids.iter().any(|ids| ids.applied.map(|id| id.index) < purged) {
            (
                "I-63",
                "a node does not catch up, for which the others have purged the log",
            )
        } else {
            ("I-62", "the nodes that live on do not come to the same state")
        }
    }

    fn check_time(&self, healed_at: Time, invariant: &'static str, message: &str) -> Result<(), Violation> {
        if self.cluster.now() < healed_at + LIVENESS_US {
            return Ok(());
        }
        Err(self.violation(invariant, format!("60 s after the healing {message}")))
    }

    fn finish(&mut self) -> Result<(), Violation> {
        let core = self.settings.core.iter().map(|id| &self.cluster.nodes()[id]);
        let nodes: Vec<FinalState> = core.filter_map(|node| observe::final_state(node)).collect();
        for node in &nodes {
            let applied = node.applied.map_or(0, |applied| applied.index);
            self.cluster
                .note(format!("n{} ends at {applied}, digest {:032x}", node.node, node.digest));
        }
        let history = self.clients.recorder().history();
        let finished = Finished::new(
            self.cluster.now(),
            &history,
            self.log.committed(),
            &nodes,
            &self.settings,
        );
        let replay = Replay::bounded(self.log.committed(), self.settings.tombstone_bounds).ok();
        self.seen = Seen::of(&Finished {
            replay: replay.as_ref(),
            ..finished
        });
        self.checker.finish(&finished).map_err(|mut violations| {
            self.others = violations.split_off(1);
            violations.remove(0)
        })
    }

    fn violation(&self, invariant: &'static str, message: impl Into<String>) -> Violation {
        Violation {
            invariant,
            at: self.cluster.now(),
            message: message.into(),
        }
    }
}
