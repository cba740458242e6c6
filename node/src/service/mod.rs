//! The one door for both transports: propose, read, watch.
//!
//! A transport never sees consensus or storage. It proposes operations and is answered by this node's own apply; it reads
//! views that are as fresh as it asked for; it subscribes through the broker.
//!
//! | module | responsibility |
//! |---|---|
//! | [`drain`] | emptying the node before it stops |
//! | [`feature`] | the feature level of the cluster: raised, and asked for |
//! | [`status`], `first_status` | what a node tells about itself and its cluster |
//! | [`members`] | who enters and leaves the cluster |
//! | [`metrics`] | what is measured of it |
//! | [`sessions`] | what sessions wait for |
//! | [`peer_requests`] | what other nodes ask of this one |
//! | this one | the door |

pub mod drain;
pub mod feature;
mod first_status;
pub mod members;
pub mod metrics;
pub mod peer_requests;
pub mod sessions;
pub mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{Command, Event, Operation};
use banyan_core::state::{Receiver, StateView};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

pub use crate::consensus::members::plan::Plan as MemberPlan;
pub use crate::origin::{Completion, ProposeError, Reply};
pub use crate::session::Connecting;
use metrics::{ConnectionGauges, ReadCounts};
use status::Windows;
pub use status::{ClusterStatus, MemberRole, MemberStatus, NodeStatus};

use crate::alarms::{AlarmKind, Alarms};
use crate::broker::Broker;
use crate::components::Components;
use crate::consensus::{Applied, Replica};
use crate::origin::{Origin, message};
use crate::peer::{Lane, Peers};
use crate::session::Registry;
use crate::trace::{Watch, context};

use self::drain::{Drain, DrainState};

/// A node that has not applied what it knows to be committed for longer than this is not ready to serve.
const APPLY_LAG_MAX: Duration = Duration::from_secs(1);

/// How far off log time may be that a node goes by.
const CONNECT_SLACK: Duration = Duration::from_secs(5);

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Not older than any write acknowledged anywhere before.
    Linearizable,
    /// What this node has applied.
    Local,
    /// Not older than this revision.
    AtLeast(u64),
}

/// Why a read could not be served. Nothing happened; another node may serve it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No quorum, or this node lags.
    #[error("{0}")]
    Unavailable(String),
}

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// How long a linearizable read may wait.
    pub read_timeout: Duration,
    /// How long a write waits for its outcome.
    pub write_timeout: Duration,
    /// Clients that a drain hands over a second, unless it says otherwise; 0: all at once.
    pub drain_rate: u32,
    /// What this node tells about itself.
    pub identity: Identity,
    /// Where everything the node keeps is.
    pub data_dir: PathBuf,
    /// Counts the connections of clients.
    pub connections: ConnectionGauges,
}

/// A node's name and addresses.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: u64,
    /// Where MQTT clients of other nodes can be sent; empty: nowhere.
    pub mqtt_address: String,
    /// The same, with TLS.
    pub mqtts_address: String,
    /// Where its HTTP clients connect; the first listener.
    pub http_address: String,
}

/// The door; cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    settings: ServiceSettings,
    components: Components,
    replica: Arc<Replica>,
    origin: Origin,
    registry: Registry,
    broker: Arc<Broker>,
    peers: Peers,
    alarms: Alarms,
    drain: Drain,
    /// Whose turn it was in each shared subscription, for events of QoS 0.
    turns: Mutex<BTreeMap<Bytes, Bytes>>,
    revision: watch::Receiver<u64>,
    heard: watch::Receiver<Option<Instant>>,
    reads: ReadCounts,
    windows: Windows,
    started: Instant,
}

impl Service {
    /// The service of a running replica.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "one of each part of a node that requests come to"
    )]
    pub fn new(
        settings: ServiceSettings,
        components: Components,
        replica: Arc<Replica>,
        origin: Origin,
        registry: Registry,
        broker: Arc<Broker>,
        peers: Peers,
        alarms: Alarms,
    ) -> Self {
        let (revision_sender, revision) = watch::channel(replica.view().revision);
        tokio::spawn(follow_revision(replica.follow_applied(), revision_sender));
        let (heard_sender, heard) = watch::channel(None);
        tokio::spawn(follow_readiness(Arc::clone(&replica), heard_sender));
        Self(Arc::new(Inner {
            settings,
            components,
            replica,
            origin,
            registry,
            broker,
            peers,
            alarms,
            drain: Drain::default(),
            turns: Mutex::default(),
            revision,
            heard,
            reads: ReadCounts::default(),
            windows: Windows::default(),
            started: Instant::now(),
        }))
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.0.replica.node_id()
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.0.settings.identity.cluster_id
    }

    /// Wall-clock time, microseconds since the epoch.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.0.components.clock.now_us()
    }

    /// What is told of single operations.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        self.0.origin.watch()
    }

    /// Log time now, as far as this node can tell: it goes on while nothing is written. Microseconds since the epoch.
    #[must_use]
    pub fn log_time_us(&self) -> u64 {
        self.0.replica.log_time_us()
    }

    /// Random bits, not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.components.random.next_u64()
    }

    /// Proposes `command`; `completion` is answered within the write timeout, by this node's own apply. Never blocks.
    ///
    /// What adds to the state is refused while there is no room for it; what takes from it, or ends, is not.
    pub fn propose(&self, command: impl Into<Command>, completion: Completion) {
        let command = command.into();
        let adds = matches!(command.operation, Operation::Put(_) | Operation::Event(_));
        match self.0.alarms.refusal().filter(|_| adds) {
            Some(reason) => self
                .0
                .origin
                .refuse(&command.operation, completion, ProposeError::Full(reason)),
            None => self.0.origin.propose(command, completion),
        }
    }

    /// Proposes `command` and waits for its outcome.
    ///
    /// # Errors
    /// Nothing happened, or it is not known whether.
    pub async fn write(&self, command: impl Into<Command>) -> Reply {
        let (completion, reply) = Completion::oneshot();
        self.propose(command, completion.beneath(context::current()));
        // A dropped completion answers, so the channel cannot be closed without one.
        reply
            .await
            .unwrap_or_else(|_| Err(ProposeError::Unknown("the node is stopping".to_owned())))
    }

    /// Hands an event of QoS 0 to the subscribers of every node, best effort.
    pub fn publish_event(&self, event: Event) {
        let members = self.0.replica.members();
        if members.len() > 1 {
            let encoded = message::encode_event(&event);
            for member in members.iter().filter(|member| member.node_id != self.node_id()) {
                // Best effort: a node that is not connected misses it.
                let _ = self
                    .0
                    .peers
                    .send(member.node_id, Lane::Origin, message::EVENT, encoded.clone());
            }
        }
        if self.0.replica.has_groups() {
            self.share_event(&event);
        }
        self.0.broker.dispatch_event(event, self.log_time_us());
    }

    /// Hands an event of QoS 0 to one member of each shared subscription that it is for, best effort.
    fn share_event(&self, event: &Event) {
        let view = self.local_view();
        let receivers = view.shared_receivers(&event.topic, &mut self.0.turns.lock());
        for receiver in receivers {
            let Receiver {
                node_id,
                fence,
                subscription_id,
                ..
            } = receiver;
            if node_id == self.node_id() {
                let log_time_us = self.log_time_us();
                let broker = &self.0.broker;
                broker.deliver_event(fence, subscription_id, event.clone(), log_time_us);
            } else {
                let body = message::encode_shared_event(fence, subscription_id, &message::encode_event(event));
                let _ = self.0.peers.send(node_id, Lane::Origin, message::SHARED_EVENT, body);
            }
        }
    }

    /// A view that is as fresh as `consistency` asks for.
    ///
    /// # Errors
    /// It could not be had in time.
    pub async fn read(&self, consistency: Consistency) -> Result<StateView, ReadError> {
        let begun = Instant::now();
        let view = self.read_from(begun, consistency).await;
        let ended = Instant::now();
        self.0.reads.record(consistency, ended - begun, view.is_ok());
        if let Some(parent) = context::current() {
            let outcome = if view.is_ok() { "fresh" } else { "unavailable" };
            self.watch()
                .tell_part("wait until fresh", outcome, (begun, ended), parent);
        }
        view
    }

    async fn read_from(&self, begun: Instant, consistency: Consistency) -> Result<StateView, ReadError> {
        let deadline = begun + self.0.settings.read_timeout;
        match consistency {
            Consistency::Local => {}
            Consistency::Linearizable => {
                let caught_up = self.0.replica.catch_up(deadline).await;
                caught_up.map_err(|error| ReadError::Unavailable(error.to_string()))?;
            }
            Consistency::AtLeast(revision) => {
                let mut applied = self.0.revision.clone();
                let reached = applied.wait_for(|applied| *applied >= revision);
                match tokio::time::timeout_at(deadline, reached).await {
                    Ok(Ok(_)) => {}
                    _ => {
                        let reason = format!("this node has not reached revision {revision} in time");
                        return Err(ReadError::Unavailable(reason));
                    }
                }
            }
        }
        Ok(self.0.replica.view())
    }

    /// Asks the node that keeps the view of a list for its next page. What is asked and answered is between the HTTP sides.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn forward_page(&self, node_id: u64, request: Bytes) -> Result<Bytes, ReadError> {
        let timeout = self.0.settings.read_timeout;
        let asked = self
            .0
            .peers
            .request(node_id, Lane::Control, peer_requests::PAGE_REQUEST, request, timeout);
        asked.await.map_err(|error| ReadError::Unavailable(error.to_string()))
    }

    /// A view of what this node has applied.
    #[must_use]
    pub fn local_view(&self) -> StateView {
        self.0.replica.view()
    }

    /// Follows the revision this node has applied.
    #[must_use]
    pub fn applied_revision(&self) -> watch::Receiver<u64> {
        self.0.revision.clone()
    }

    /// The connections of this node, as the cluster knows them.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// A `Connect` of `client_id` is about to be proposed.
    #[must_use]
    pub fn connecting(&self, client_id: Bytes) -> Connecting {
        let timeout = self.0.settings.write_timeout + CONNECT_SLACK;
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        let applied_before_us = self.log_time_us().saturating_add(timeout_us);
        self.0.registry.connecting(client_id, applied_before_us)
    }

    /// What is wrong with this node and the others.
    #[must_use]
    pub fn alarms(&self) -> &Alarms {
        &self.0.alarms
    }

    /// Clients and subscriptions of this node.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.0.broker
    }

    /// How old this node's state may be: how long since it was last in contact with the cluster and had applied what was
    /// then committed; `None` if it never was since it started.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.0.heard.borrow().map(|at| at.elapsed())
    }

    /// Whether this node can serve writes and linearizable reads, as far as it knows.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn is_ready(&self) -> Result<(), String> {
        match self.0.drain.state() {
            DrainState::Serving => {}
            DrainState::Draining => {
                return Err(format!("draining: {} clients left", self.0.broker.client_count()));
            }
            DrainState::ReadyToStop => return Err("drained: ready to stop".to_owned()),
        }
        if self.0.replica.member_goals().is_leaving(self.node_id()) {
            return Err("this node is leaving the cluster".to_owned());
        }
        if !*self.0.origin.is_open().borrow() {
            return Err("this node has not entered the cluster yet".to_owned());
        }
        if self.0.replica.leadership().leader.is_none() {
            return Err("there is no quorum: no leader is known".to_owned());
        }
        if self.0.alarms.is_raised(AlarmKind::NoQuorum) {
            return Err("this node has no contact with a leader that has a quorum".to_owned());
        }
        if self.staleness().is_none_or(|age| age > APPLY_LAG_MAX) {
            return Err("this node lags behind the cluster".to_owned());
        }
        Ok(())
    }
}

async fn follow_revision(mut applied: watch::Receiver<Applied>, revision: watch::Sender<u64>) {
    loop {
        let now = applied.borrow_and_update().revision;
        revision.send_if_modified(|former| std::mem::replace(former, now) != now);
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// Notes when this node was last in contact with the cluster and had applied everything that was then committed.
async fn follow_readiness(replica: Arc<Replica>, heard: watch::Sender<Option<Instant>>) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut target: Option<(u64, Instant)> = None;
    loop {
        tick.tick().await;
        if heard.is_closed() {
            return;
        }
        if !replica.has_contact().await {
            target = None;
            continue;
        }
        let progress = replica.progress();
        let (index, since) = *target.get_or_insert((progress.committed_index, Instant::now()));
        if replica.applied().index >= index {
            heard.send_replace(Some(since));
            target = None;
        }
    }
}
