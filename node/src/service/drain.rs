//! Draining: a node is emptied before it is stopped, so that nobody notices.
//!
//! ```text
//! serving ──► draining ──► ready to stop
//!    ▲            │              │
//!    └── undone ──┴──────────────┘         a restart ends it too: nothing of it is kept
//! ```
//!
//! While it drains, a node is not ready, sends who connects elsewhere, has no leadership, and hands its clients over at a pace
//! that the others can take. HTTP requests are served all the while; feeds end, at the end of a change, and go on elsewhere.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banyan_core::mqtt::connection::effect::HandOver;
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::status::{ClusterStatus, MemberRole, MemberStatus, NodeStatus};
use crate::broker::Outbox;
use crate::peer::{Lane, PeerError};

/// Kind of the control request by which a node is asked to drain: a [`DrainOrder`] as JSON, answered by a `DrainAnswer`.
pub const DRAIN_REQUEST: u8 = 0x51;
/// Time for another node's answer: it asks all members first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often clients are handed over.
const PACE: Duration = Duration::from_millis(50);
/// How often is looked who takes clients, and whether the leadership has come back.
const LOOK: Duration = Duration::from_secs(1);
/// Time for the leadership to go.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Lists that are being streamed may go on to their end so long.
const LIST_GRACE: Duration = Duration::from_secs(30);

/// What is asked of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainOrder {
    /// To tell how far it is.
    Tell,
    /// To be emptied.
    Drain(DrainOptions),
    /// To serve again.
    Undo,
}

/// How a node is to be drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainOptions {
    /// Clients handed over a second, 0 for all at once; without, the setting.
    pub rate: Option<u32>,
    /// The node will not come back: clients are told to remember the other one (0x9D).
    pub for_good: bool,
    /// Also if nobody can take the clients, or the quorum will be lost.
    pub force: bool,
    /// Nothing is done, but told what would be.
    pub dry_run: bool,
}

/// Where a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DrainState {
    /// The node serves.
    #[default]
    Serving,
    /// It is being emptied.
    Draining,
    /// Nobody will notice that it stops.
    ReadyToStop,
}

/// How far a drain is, and what stopping the node means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainReport {
    /// The node.
    pub node_id: u64,
    /// Where it is.
    pub state: DrainState,
    /// Connected MQTT clients.
    pub clients: u64,
    /// Feeds and lists being streamed.
    pub streams: u64,
    /// Whether the node leads.
    pub leads: bool,
    /// Clients handed over a second; 0: all at once.
    pub rate: u32,
    /// Where clients are sent.
    pub sends_to: Vec<String>,
    /// Voters that have to agree.
    pub quorum: u64,
    /// Voters that are ready when this node has stopped.
    pub voters_left: u64,
    /// What speaks against it.
    pub objections: Vec<String>,
}

/// Why a node does not drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DrainError {
    /// There is no such member.
    #[error("node {0} is no member of the cluster")]
    NotAMember(u64),
    /// The node does not answer.
    #[error("node {0} does not answer: {1}")]
    Unreachable(u64, String),
    /// It would do harm.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
}

type DrainAnswer = Result<DrainReport, DrainError>;

/// A ready member that clients can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Neighbour {
    mqtt: String,
    mqtts: String,
}

/// Which of a node's addresses a client is told, by how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// By MQTT over TCP.
    Mqtt,
    /// By MQTT over TLS.
    Mqtts,
    /// Otherwise: through whatever is in front of the HTTP listeners.
    WebSocket,
}

#[derive(Debug, Clone)]
struct Draining {
    options: DrainOptions,
    since: Instant,
    neighbours: Arc<[Neighbour]>,
    is_ready: bool,
    /// Tells one drain from the next.
    number: u64,
}

/// Whether this node drains, for all who have to know.
#[derive(Debug)]
pub struct Drain {
    state: watch::Sender<Option<Draining>>,
    streams: Arc<AtomicUsize>,
    /// Whose turn it is to be named first.
    turn: AtomicUsize,
    /// The node stops.
    stopped: CancellationToken,
}

/// A stream that a drain waits for, until dropped.
#[derive(Debug)]
pub struct Streaming(Arc<AtomicUsize>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(None),
            streams: Arc::default(),
            turn: AtomicUsize::new(0),
            stopped: CancellationToken::new(),
        }
    }
}

impl Drain {
    /// Where it is.
    #[must_use]
    pub fn state(&self) -> DrainState {
        match &*self.state.borrow() {
            None => DrainState::Serving,
            Some(draining) if draining.is_ready => DrainState::ReadyToStop,
            Some(_) => DrainState::Draining,
        }
    }

    /// The node stops: nothing more is done for a drain.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Whether the node drains or is drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.borrow().is_some()
    }

    /// Completes when the node drains.
    pub async fn begins(&self) {
        // The sender lives as long as the service.
        let _ = self.state.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether lists have had their time since the drain began.
    #[must_use]
    pub fn ends_lists(&self) -> bool {
        let state = self.state.borrow();
        state
            .as_ref()
            .is_some_and(|draining| draining.since.elapsed() > LIST_GRACE)
    }

    /// Counts a stream until the answer is dropped.
    #[must_use]
    pub fn streaming(&self) -> Streaming {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Streaming(Arc::clone(&self.streams))
    }

    /// What a client that came by `reached` is told, while the node drains.
    #[must_use]
    pub fn hand_over(&self, reached: Reached) -> Option<HandOver> {
        let state = self.state.borrow();
        let draining = state.as_ref()?;
        let addresses = addresses(&draining.neighbours, reached);
        let server_reference = (!addresses.is_empty()).then(|| {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            let (before, from) = addresses.split_at(first);
            [from, before].concat().join(" ")
        });
        let reason = match draining.options.for_good {
            true => ReasonCode::ServerMoved,
            false => ReasonCode::UseAnotherServer,
        };
        Some(HandOver {
            reason,
            detail: "this node is about to stop; connect to another".to_owned(),
            server_reference,
        })
    }
}

/// The addresses of `neighbours` for clients that came by `reached`.
fn addresses(neighbours: &[Neighbour], reached: Reached) -> Vec<&str> {
    let addresses = neighbours.iter().map(|neighbour| match reached {
        Reached::Mqtt => neighbour.mqtt.as_str(),
        Reached::Mqtts => neighbour.mqtts.as_str(),
        Reached::WebSocket => "",
    });
    addresses.filter(|address| !address.is_empty()).collect()
}

/// What the cluster is without the node `node_id`.
struct Without {
    neighbours: Arc<[Neighbour]>,
    quorum: u64,
    voters_left: u64,
    objections: Vec<String>,
}

impl Without {
    fn new(node_id: u64, status: &ClusterStatus) -> Self {
        let others = || status.members.iter().filter(|member| member.node_id != node_id);
        let is_voter = |role: MemberRole| role != MemberRole::Learner;
        let why_not = |node: &Option<NodeStatus>| match node {
            None => Some("does not answer".to_owned()),
            Some(node) => node.not_ready.as_ref().map(|reason| format!("is not ready ({reason})")),
        };
        let neighbours: Arc<[Neighbour]> = others()
            .filter(|member| why_not(&member.node).is_none())
            .filter_map(|member| member.node.as_ref())
            .filter(|node| !(node.mqtt_address.is_empty() && node.mqtts_address.is_empty()))
            .map(|node| Neighbour {
                mqtt: node.mqtt_address.clone(),
                mqtts: node.mqtts_address.clone(),
            })
            .collect();
        let voters = status.members.iter().filter(|member| is_voter(member.role)).count() as u64;
        let quorum = voters / 2 + 1;
        let own_vote = status
            .members
            .iter()
            .any(|member| member.node_id == node_id && is_voter(member.role));
        let mut voters_left = 0;
        let mut absent = Vec::new();
        for member in others().filter(|member| is_voter(member.role)) {
            match why_not(&member.node) {
                None => voters_left += 1,
                Some(why) => absent.push(format!("node {} {why}", member.node_id)),
            }
        }
        let mut objections = Vec::new();
        if own_vote && voters_left < quorum {
            let because = match absent.is_empty() {
                true => String::new(),
                false => format!(": {}", absent.join(", ")),
            };
            objections.push(format!(
                "without node {node_id}, {voters_left} of {voters} voters are ready, and {quorum} must agree on a write{because}"
            ));
        }
        if neighbours.is_empty() {
            objections.push("no other member is ready to take its clients".to_owned());
        }
        Self {
            neighbours,
            quorum,
            voters_left,
            objections,
        }
    }
}

impl Service {
    /// Whether this node drains.
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// Asks the member `node_id` to do `order`.
    ///
    /// # Errors
    /// See [`DrainError`]. Nothing has changed then, except that an unreachable node may have been reached.
    pub async fn order_drain(&self, node_id: u64, order: DrainOrder) -> Result<DrainReport, DrainError> {
        if node_id == self.node_id() {
            return self.obey_drain(order).await;
        }
        let members = self.0.replica.members();
        if !members.iter().any(|member| member.node_id == node_id) {
            return Err(DrainError::NotAMember(node_id));
        }
        let unreachable = |why: String| DrainError::Unreachable(node_id, why);
        let body = serde_json::to_vec(&order).map_err(|error| unreachable(error.to_string()))?;
        let peers = &self.0.peers;
        let asked = peers.request(node_id, Lane::Control, DRAIN_REQUEST, body.into(), ANSWER_TIMEOUT);
        let answer = asked.await.map_err(|error| match error {
            PeerError::Failed(why) => unreachable(format!("{why} (a version without drain is just stopped)")),
            other => unreachable(other.to_string()),
        })?;
        serde_json::from_slice::<DrainAnswer>(&answer).map_err(|error| unreachable(error.to_string()))?
    }

    /// Answers [`DRAIN_REQUEST`].
    ///
    /// # Errors
    /// The request cannot be read.
    pub async fn answer_drain(&self, body: Bytes) -> Result<Bytes, String> {
        let order = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let answer: DrainAnswer = self.obey_drain(order).await;
        let encoded = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
        Ok(Bytes::from(encoded))
    }

    async fn obey_drain(&self, order: DrainOrder) -> Result<DrainReport, DrainError> {
        let without = Without::new(self.node_id(), &self.status().await);
        match order {
            DrainOrder::Tell => {}
            DrainOrder::Undo => {
                if self.0.drain.state.send_replace(None).is_some() {
                    tracing::info!("the drain is undone: this node serves again");
                }
            }
            DrainOrder::Drain(options) if options.dry_run => {}
            DrainOrder::Drain(options) => {
                if !options.force && !self.0.drain.is_draining() && !without.objections.is_empty() {
                    return Err(DrainError::Refused(without.objections));
                }
                self.begin_drain(options, &without);
            }
        }
        Ok(self.report(&without, order))
    }

    fn report(&self, without: &Without, order: DrainOrder) -> DrainReport {
        let underway = self.0.drain.state.borrow().as_ref().map(|draining| draining.options);
        let options = match order {
            DrainOrder::Drain(options) => Some(options),
            _ => underway,
        };
        let sends_to = |reached| addresses(&without.neighbours, reached).into_iter().map(str::to_owned);
        DrainReport {
            node_id: self.node_id(),
            state: self.0.drain.state(),
            clients: self.0.broker.client_count() as u64,
            streams: self.0.drain.streams.load(Ordering::Relaxed) as u64,
            leads: self.leads(),
            rate: self.drain_rate(&options.unwrap_or_default()),
            sends_to: sends_to(Reached::Mqtt).chain(sends_to(Reached::Mqtts)).collect(),
            quorum: without.quorum,
            voters_left: without.voters_left,
            objections: without.objections.clone(),
        }
    }

    fn drain_rate(&self, options: &DrainOptions) -> u32 {
        options.rate.unwrap_or(self.0.settings.drain_rate)
    }

    fn leads(&self) -> bool {
        self.0.replica.leadership().leader == Some(self.node_id())
    }

    /// Begins a drain, or changes how the one under way goes on.
    fn begin_drain(&self, options: DrainOptions, without: &Without) {
        let mut begun = None;
        self.0.drain.state.send_modify(|state| match state {
            Some(draining) => {
                let rate = options.rate.or(draining.options.rate);
                draining.options = DrainOptions { rate, ..options };
            }
            None => {
                let number = self.random();
                begun = Some(number);
                *state = Some(Draining {
                    options,
                    since: Instant::now(),
                    neighbours: Arc::clone(&without.neighbours),
                    is_ready: false,
                    number,
                });
            }
        });
        let Some(number) = begun else { return };
        tracing::info!(
            clients = self.0.broker.client_count(),
            rate = self.drain_rate(&options),
            "draining: clients are handed to other nodes"
        );
        let (service, stopped) = (self.clone(), self.0.drain.stopped.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(service.run_drain(number)).await });
    }

    /// Empties the node, and keeps it empty, until the drain `number` is undone.
    async fn run_drain(self, number: u64) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked_at: Option<Instant> = None;
        let mut has_heirs = true;
        let mut handing = HandingOver::default();
        loop {
            pace.tick().await;
            let options = match &*self.0.drain.state.borrow() {
                Some(draining) if draining.number == number => draining.options,
                _ => return,
            };
            if looked_at.is_none_or(|at| at.elapsed() >= LOOK) {
                has_heirs = self.look_around(number).await;
                looked_at = Some(Instant::now());
            }
            handing.hand_over(self.drain_rate(&options), || self.0.broker.connections());
            let is_empty = self.0.broker.client_count() == 0
                && self.0.drain.streams.load(Ordering::Relaxed) == 0
                && self.0.registry.is_settled()
                && !(self.leads() && has_heirs);
            self.0.drain.state.send_if_modified(|state| match state {
                Some(draining) if draining.number == number && draining.is_ready != is_empty => {
                    draining.is_ready = is_empty;
                    match is_empty {
                        true => tracing::info!("drained: ready to stop"),
                        false => tracing::info!("drained no longer: somebody is here again"),
                    }
                    true
                }
                _ => false,
            });
        }
    }

    /// Sees who can take clients, and gives the leadership away. Whether there is anybody to take it.
    async fn look_around(&self, number: u64) -> bool {
        let status = self.status().await;
        let neighbours = Without::new(self.node_id(), &status).neighbours;
        // Where nobody is ready now, those who were are still the best guess.
        if !neighbours.is_empty() {
            self.0.drain.state.send_if_modified(|state| match state {
                Some(draining) if draining.number == number => {
                    draining.neighbours = neighbours;
                    true
                }
                _ => false,
            });
        }
        let is_heir = |member: &&MemberStatus| {
            let is_ready = member.node.as_ref().is_some_and(|node| node.not_ready.is_none());
            member.node_id != self.node_id() && member.role != MemberRole::Learner && is_ready
        };
        let heirs: BTreeSet<u64> = status
            .members
            .iter()
            .filter(is_heir)
            .map(|member| member.node_id)
            .collect();
        let has_heirs = !heirs.is_empty();
        if has_heirs && self.leads() {
            let transfer = self.0.replica.transfer_leadership_to(heirs);
            if tokio::time::timeout(HAND_OVER_TIMEOUT, transfer).await.is_err() {
                tracing::warn!("the leadership was not taken in time; it is offered again");
            }
        }
        has_heirs
    }
}

/// Connections on their way out, at a pace.
#[derive(Default)]
struct HandingOver {
    waiting: VecDeque<Arc<Outbox>>,
    /// When the clients so far would have been handed over at the rate.
    due: Option<Instant>,
}

impl HandingOver {
    /// Asks as many connections to go as `rate` a second allows by now.
    fn hand_over(&mut self, rate: u32, connections: impl FnOnce() -> Vec<Arc<Outbox>>) {
        if self.waiting.is_empty() {
            let connections = connections().into_iter();
            self.waiting = connections.filter(|outbox| !outbox.is_handed_over()).collect();
        }
        let now = Instant::now();
        let Some(interval) = Duration::from_secs(1).checked_div(rate) else {
            self.waiting.drain(..).for_each(|outbox| outbox.hand_over());
            return;
        };
        // What was not used is not made up for later.
        let mut due = self.due.unwrap_or(now).max(now.checked_sub(PACE).unwrap_or(now));
        while due <= now
            && let Some(outbox) = self.waiting.pop_front()
        {
            outbox.hand_over();
            due += interval;
        }
        self.due = Some(due);
    }
}
