//! A simulated cluster: whole nodes and one host of clients, driven step by step.
//!
//! | module | concept |
//! |---|---|
//! | [`node`] | one node over all its lives |
//! | [`members`] | who belongs to it, as its nodes have it |
//! | [`links`] | the state of the network between hosts |
//! | [`log`] | the committed log, collected from nodes as they apply |
//! | [`observe`] | what nodes show at one moment |

pub mod links;
pub mod log;
pub mod members;
pub mod node;
pub mod observe;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use banyan_node::settings::join_token::JoinToken;
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use self::links::Links;
use self::members::Memberships;
use self::node::{Knobs, SimNode, Standing};
use crate::components::failpoint::{Edge, Point};
use crate::components::net::Wire;
use crate::components::random::stream;
use crate::history::{MembershipSeen, Time};
use crate::trace::Trace;
use crate::trace::event::Event;

/// One step of the simulation.
pub const TICK: Duration = Duration::from_millis(1);
/// The host that all clients run on.
pub const CLIENTS: &str = "clients";
/// How long a node may take to come to the step at which its power is to go, microseconds.
const FAILPOINT_US: Time = 3_000_000;
/// A leader that is to crash while one set of voters is replacing another does so within this, microseconds.
const IN_BETWEEN_US: Time = 40_000;
/// Most segments in flight of one TCP connection: turmoil's does not slow senders down.
const TCP_CAPACITY: usize = 65_536;

/// How a cluster is built.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// All its chance.
    pub seed: u64,
    /// Nodes that the cluster begins with, with ids from 1.
    pub node_count: u64,
    /// Nodes that may come later, with the ids after those.
    pub spare_count: u64,
    /// Shortest and longest time of a message on a link.
    pub latency: (Duration, Duration),
    /// Settings of all nodes.
    pub knobs: Knobs,
}

/// What the run did to the cluster, and what nodes did by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCounters {
    /// Crashes.
    pub crashes: u64,
    /// Crashes in the middle of a write.
    pub torn: u64,
    /// Crashes at a named step.
    pub failpoints: u64,
    /// Restarts.
    pub restarts: u64,
    /// Nodes that stopped by themselves.
    pub stops: u64,
    /// Nodes that refused to start on a damaged disk.
    pub refusals: u64,
    /// Crashes while one set of voters was replacing another.
    pub joint_crashes: u64,
    /// Leaderships that were handed over because the run asked for it.
    pub transfers: u64,
    /// Elections that the run forced.
    pub elections: u64,
    /// Nodes that came back without their data.
    pub blank_returns: u64,
    /// Requests to change the members that the run made.
    pub member_requests: u64,
    /// Those of them that were accepted.
    pub member_acceptances: u64,
    /// Those that were refused, and had no effect.
    pub member_refusals: u64,
    /// Changes of members that were accepted and came about.
    pub member_goals: u64,
    /// Nodes that stopped because they were removed.
    pub removals: u64,
}

/// Nodes, network and clients.
pub struct Cluster {
    sim: turmoil::Sim<'static>,
    nodes: BTreeMap<u64, Arc<SimNode>>,
    links: Links,
    wire: Arc<Wire>,
    trace: Trace,
    random: StdRng,
    up: BTreeSet<u64>,
    memberships: Memberships,
    /// Crashing, as soon as the next write comes.
    dying: BTreeMap<u64, Time>,
    /// The leader is to crash as soon as one set of voters is replacing another; then for so long already.
    in_between: Option<Option<Time>>,
    now: Time,
    counters: ClusterCounters,
}

impl Cluster {
    /// A cluster of nodes that start with the first step.
    #[must_use]
    pub fn new(settings: &ClusterSettings, trace: Trace) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(stream(settings.seed, "turmoil").random())
            .epoch(std::time::UNIX_EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(1_000_000_000))
            .min_message_latency(settings.latency.0)
            .max_message_latency(settings.latency.1)
            .tcp_capacity(TCP_CAPACITY)
            .build();
        let wire = Wire::new(stream(settings.seed, "wire"));
        let first: Vec<u64> = (1..=settings.node_count).collect();
        let ids: Vec<u64> = (1..=settings.node_count + settings.spare_count).collect();
        let mut nodes = BTreeMap::new();
        for id in &ids {
            let node = Arc::new(SimNode::new(*id, &first, settings, Arc::clone(&wire)));
            nodes.insert(*id, Arc::clone(&node));
            sim.host(links::host(*id), move || Arc::clone(&node).live());
        }
        // Spare nodes have not been started yet.
        for id in &ids[first.len()..] {
            sim.crash(links::host(*id));
            let how = "not started yet".to_owned();
            trace.mark(0, Event::Down { node: *id, how });
        }
        Self {
            sim,
            up: first.iter().copied().collect(),
            memberships: Memberships::new(&first),
            links: Links::new(&ids),
            nodes,
            wire,
            trace,
            random: stream(settings.seed, "crash"),
            dying: BTreeMap::new(),
            in_between: None,
            now: 0,
            counters: ClusterCounters::default(),
        }
    }

    /// Runs `clients` on the host of the clients.
    pub fn start_clients<F>(&mut self, clients: F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.sim.client(CLIENTS, async move {
            clients.await;
            Ok(())
        });
    }

    /// One [`TICK`] passes.
    ///
    /// # Panics
    /// If a node does: a broken invariant of its own.
    pub fn step(&mut self) {
        self.sim.step().expect("hosts end with the simulation");
        self.now = self.sim.elapsed().as_micros() as u64;
        self.bury();
        for id in &self.up {
            self.memberships.look(&self.nodes[id]);
        }
        self.crash_if_in_between();
    }

    /// Whether the power of the leader is to go once one set of voters is replacing another: a moment later, so that others may
    /// have heard of it.
    pub fn crash_in_between(&mut self, whether: bool) {
        self.in_between = whether.then_some(None);
    }

    fn crash_if_in_between(&mut self) {
        let Some(at) = self.in_between else { return };
        if !self.memberships.possible().any(MembershipSeen::is_joint) {
            return;
        }
        let at = at.unwrap_or_else(|| self.now + self.random.random_range(0..IN_BETWEEN_US));
        self.in_between = Some(Some(at));
        if self.now >= at
            && let Some(leader) = self.leader().filter(|leader| self.up.contains(leader))
        {
            self.in_between = None;
            self.crash(leader, false, false);
        }
    }

    /// Who belongs to the cluster.
    #[must_use]
    pub fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    /// Counts something that the run did.
    pub fn count(&mut self, count: impl FnOnce(&mut ClusterCounters)) {
        count(&mut self.counters);
    }

    /// The id of the cluster, once any node has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<u64> {
        let named = self.nodes.values().find_map(|node| node.cluster_id_file())?;
        std::str::from_utf8(&named).ok()?.trim().parse().ok()
    }

    /// Starts the spare node `id` for the first time, as if it had just been let into the cluster: it knows which one that is,
    /// and no more.
    pub fn start_spare(&mut self, id: u64) {
        if let Some(cluster_id) = self.cluster_id() {
            self.nodes[&id].name_cluster(cluster_id.to_string().into_bytes());
            self.restart(id);
        }
    }

    /// Starts the spare node `id` for the first time: it asks `members` to be let in with `token`.
    pub fn start_joiner(&mut self, id: u64, members: &[u64], token: JoinToken) {
        let addresses = members.iter().map(|id| node::peer_address(*id));
        self.nodes[&id].join(addresses.collect(), token);
        self.restart(id);
    }

    /// Time passed, microseconds.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// All nodes by id, running or not.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<u64, Arc<SimNode>> {
        &self.nodes
    }

    /// The nodes that run.
    #[must_use]
    pub fn up(&self) -> &BTreeSet<u64> {
        &self.up
    }

    /// The nodes whose power is about to go.
    #[must_use]
    pub fn is_dying(&self, id: u64) -> bool {
        self.dying.contains_key(&id)
    }

    /// The cables.
    #[must_use]
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> ClusterCounters {
        self.counters
    }

    /// The node that most others that run take for their leader, of the newest term.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        let running = self.up.iter().filter_map(|id| self.nodes[id].server());
        let leaderships = running.map(|server| server.replica().leadership());
        leaderships
            .filter_map(|leadership| leadership.leader.map(|leader| (leadership.term, leader)))
            .max()
            .map(|(_, leader)| leader)
    }

    /// Adds an event of the run itself.
    pub fn note(&self, text: impl Into<String>) {
        self.trace.add(self.now, "-", text);
    }

    /// What the run has said so far.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Adds an event for the picture of the run.
    pub fn mark(&self, event: Event) {
        self.trace.mark(self.now, event);
    }

    /// The power of node `id` goes: at once, or in the middle of one of its next writes. What it had not synced is lost in
    /// part. `silent`: the other ends of its connections hear nothing of it.
    pub fn crash(&mut self, id: u64, torn: bool, silent: bool) {
        if !self.up.contains(&id) || self.dying.contains_key(&id) {
            return;
        }
        if torn {
            let changes = self.random.random_range(0..6);
            self.nodes[&id].disk().lose_power_after(changes);
            // A node that writes nothing is cut off all the same.
            self.dying.insert(id, self.now + 300_000);
            return;
        }
        self.kill(id, "crash", silent);
    }

    /// The power of node `id` goes when it comes to `point`, on that side of it; before long in any case. False if it is down,
    /// or about to be.
    pub fn crash_at(&mut self, id: u64, point: Point, edge: Edge) -> bool {
        if !self.up.contains(&id) || self.dying.contains_key(&id) {
            return false;
        }
        self.nodes[&id].disk().lose_power_at(point, edge);
        self.dying.insert(id, self.now + FAILPOINT_US);
        true
    }

    /// Starts node `id` again.
    pub fn restart(&mut self, id: u64) {
        if self.up.insert(id) {
            self.counters.restarts += 1;
            self.trace.add(self.now, self.nodes[&id].name(), "restart");
            self.mark(Event::Up { node: id });
            self.sim.bounce(self.nodes[&id].name());
        }
    }

    fn kill(&mut self, id: u64, how: &str, silent: bool) {
        let node = Arc::clone(&self.nodes[&id]);
        let others: Vec<String> = self.others(id);
        if silent {
            others
                .iter()
                .for_each(|other| self.sim.partition(node.name(), other.as_str()));
        }
        self.trace.add(
            self.now,
            node.name(),
            if silent {
                format!("{how}, silently")
            } else {
                how.to_owned()
            },
        );
        let how = node.exit().map_or_else(|| how.to_owned(), |exit| exit.reason);
        self.mark(Event::Down { node: id, how });
        self.counters.crashes += 1;
        self.counters.joint_crashes += u64::from(self.memberships.possible().any(MembershipSeen::is_joint));
        let random = &mut self.random;
        // All, nothing, or each piece by chance.
        let bias = [0.0, 0.5, 1.0][random.random_range(0..3)];
        node.disk().crash(&mut |choices| match random.random_bool(bias) {
            true => random.random_range(0..choices),
            false => 0,
        });
        self.sim.crash(node.name());
        node.buried();
        self.up.remove(&id);
        self.dying.remove(&id);
        if silent {
            self.links.restore(&self.sim, node.name(), &others);
        }
    }

    fn others(&self, id: u64) -> Vec<String> {
        let nodes = self.nodes.values().filter(|node| node.id() != id);
        nodes
            .map(|node| node.name().to_owned())
            .chain([CLIENTS.to_owned()])
            .collect()
    }

    /// Takes away nodes that have ended.
    fn bury(&mut self) {
        let up: Vec<u64> = self.up.iter().copied().collect();
        for id in up {
            let node = Arc::clone(&self.nodes[&id]);
            if let Some(since) = self.dying.get(&id) {
                if node.disk().is_lost() || self.now >= *since {
                    match node.disk().reached() {
                        Some((point, edge)) => {
                            self.counters.failpoints += 1;
                            self.kill(id, &format!("crash {edge} {point}"), false);
                        }
                        None => {
                            self.counters.torn += u64::from(node.disk().is_lost());
                            self.kill(id, "crash in the middle of a write", false);
                        }
                    }
                }
            } else if let Some(exit) = node.exit() {
                self.counters.stops += 1;
                self.counters.refusals += u64::from(exit.is_refusal);
                self.counters.removals += u64::from(exit.standing == Standing::Removed && node.removals() == 1);
                self.trace.add(self.now, node.name(), format!("ended: {}", exit.reason));
                self.kill(id, "its process is gone", false);
            }
        }
    }

    /// Changes the state of links by `change` and applies it.
    pub fn change_links(&mut self, change: impl FnOnce(&mut Links)) {
        change(&mut self.links);
        for changed in self.links.apply(&self.sim) {
            self.mark(changed);
        }
    }

    /// Sets the longest time of a message between two hosts.
    pub fn set_latency(&self, a: &str, b: &str, max: Duration) {
        self.sim.set_link_max_message_latency(a, b, max);
    }
}
