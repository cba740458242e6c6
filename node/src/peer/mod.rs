//! How nodes talk to each other: requests, one-way messages and streams, over TCP.
//!
//! A node opens up to four connections to each other node, one a [`Lane`], so that nothing large delays anything urgent, and
//! reopens them as long as the node is known. A connection carries what its opener asks and sends; what the other side wants
//! to say on its own account goes over a connection of its own. Everything on a connection stays in order; nothing survives
//! it: who sends one-way messages follows [`Peers::link_epoch`] and sends again what may be lost.
//!
//! | module | responsibility |
//! |---|---|
//! | `frame` | length-delimited, checked frames |
//! | `handshake` | who opens a connection, for what, and whether it is welcome |
//! | `outbox` | what waits to be written, bounded |
//! | `connection` | reading and writing frames, noticing a dead peer |
//! | `stream` | [`PeerStream`]: messages in order in both directions |
//! | [`Standing`] | whether a node may speak for its id |
//! | `outgoing` | connections to another node, reopened when they break |
//! | `incoming` | [`serve`]: connections from other nodes |
//! | `join` | [`ask_to_join`]: one question of a node that is no member yet |
//!
//! Every request has a deadline, every frame a checksum, every queue a bound in bytes. A frame that is damaged, too large or
//! out of place closes its connection, and no handler has seen any of it.

mod connection;
mod frame;
mod handshake;
mod incoming;
mod join;
mod outbox;
mod outgoing;
#[cfg(test)]
mod peer_test;
mod standing;
mod stream;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banyan_core::planted::{Bug, planted};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::frame::FrameError;
pub use self::handshake::Refusal;
pub use self::incoming::serve;
pub use self::join::{JoinError, ask_to_join};
pub use self::standing::Standing;
pub(crate) use self::stream::STREAM_QUEUE_BYTES_MAX;
pub use self::stream::{PeerStream, StreamReceiver, StreamSender};

use self::outgoing::{Connection, Link, LinkContext};
use self::standing::Unproven;
use crate::components::Random;
use crate::net::Net;
use crate::simulation::{self, Site};

/// What a connection is for. Lanes of one pair of nodes are separate connections and do not delay each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Small and urgent: votes, heartbeats, read index, status.
    Control = 0,
    /// The log, from the leader.
    Append = 1,
    /// Batches of an origin to the leader, their rejections, and events that bypass the log.
    Origin = 2,
    /// Snapshots.
    Snapshot = 3,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 4] = [Self::Control, Self::Append, Self::Origin, Self::Snapshot];

    fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// Why a request or a stream to another node came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There is no connection to the node: an attempt failed, or takes too long. Nothing was sent.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// Too much waits to be sent, or the node has too much in hand. Nothing was done; later it may be.
    #[error("too busy")]
    Busy,
    /// The body does not fit into a frame.
    #[error("a body of {0} bytes does not fit into a frame")]
    TooLarge(usize),
    /// The deadline passed. The node may have done what was asked, or still do it.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke. The node may have done what was asked.
    #[error("the connection broke")]
    Disconnected,
    /// The node's handler failed, for this reason.
    #[error("the node answered: {0}")]
    Failed(String),
}

/// What a node does with what other nodes send. Shared by all connections.
pub trait PeerHandler: Send + Sync + 'static {
    /// Who may open a connection.
    fn standing(&self) -> &dyn Standing {
        &Unproven
    }

    /// Answers a request. The answer of `Err` reaches the asker as [`PeerError::Failed`].
    ///
    /// Requests of one connection run concurrently, up to a bound, on the task of the connection: what takes long must spawn.
    /// The future is dropped at the deadline of the request and with its connection.
    fn on_request(&self, from: u64, lane: Lane, kind: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;

    /// Takes a one-way message. Called in the order of sending for each connection; must not block.
    fn on_message(&self, from: u64, lane: Lane, kind: u8, body: Bytes);

    /// Takes a stream that another node opened. Must not block. Dropping the stream closes it.
    fn on_stream(&self, from: u64, lane: Lane, kind: u8, stream: PeerStream);

    /// Answers a node that asks to be let into the cluster ([`ask_to_join`]).
    fn on_join(&self, from: u64, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let _ = (from, body);
        Box::pin(std::future::ready(Err("nobody can enter here".to_owned())))
    }

    /// Whether `node` was removed from the cluster: its connections are refused.
    fn is_removed(&self, node: u64) -> bool {
        let _ = node;
        false
    }
}

/// After this a request is given up where [`Site::EarlyTimeout`] happens.
const EARLY_TIMEOUT: Duration = Duration::from_millis(2);

/// The other nodes, as reached from this one. Clones share the connections, which are closed with the last clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    context: Arc<LinkContext>,
    nodes: Mutex<BTreeMap<u64, Node>>,
}

/// One other node.
struct Node {
    address: watch::Sender<Option<String>>,
    /// Opened at first use.
    links: [Option<Arc<Link>>; Lane::ALL.len()],
}

impl Default for Node {
    fn default() -> Self {
        Self {
            address: watch::Sender::new(None),
            links: Default::default(),
        }
    }
}

impl Peers {
    /// The peers of node `local`, none known yet. Connects through `net`; `random` spreads attempts to reconnect.
    #[must_use]
    pub fn new(local: u64, cluster_id: u64, net: Arc<dyn Net>, random: Arc<dyn Random>) -> Self {
        let context = Arc::new(LinkContext {
            local,
            cluster_id,
            net,
            random,
            removed: watch::Sender::new(false),
            standing: OnceLock::new(),
        });
        Self(Arc::new(Inner {
            context,
            nodes: Mutex::default(),
        }))
    }

    /// The node whose peers these are.
    #[must_use]
    pub fn local(&self) -> u64 {
        self.0.context.local
    }

    /// Follows whether another node has said that this one was removed from the cluster. There is no way back.
    #[must_use]
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.0.context.removed.subscribe()
    }

    /// From now on, connections are opened by what `standing` says. To be called once, before the first is opened.
    pub fn set_standing(&self, standing: Arc<dyn Standing>) {
        let _ = self.0.context.standing.set(standing);
    }

    /// Says where `node` listens (`host:port`). A change closes what is open to the former address.
    pub fn set_address(&self, node: u64, address: String) {
        let mut nodes = self.0.nodes.lock();
        nodes.entry(node).or_default().address.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&address);
            *known = Some(address);
            changed
        });
    }

    /// Where `node` listens, if that is known.
    #[must_use]
    pub fn address(&self, node: u64) -> Option<String> {
        self.0
            .nodes
            .lock()
            .get(&node)
            .and_then(|node| node.address.borrow().clone())
    }

    /// Forgets `node` and closes its connections.
    pub fn remove(&self, node: u64) {
        self.0.nodes.lock().remove(&node);
    }

    /// Asks `to` and waits for its answer, at most `timeout`; connects first if need be. Many requests may be in flight.
    ///
    /// Cancellation: the answer is dropped; the node may still do what was asked.
    ///
    /// # Errors
    /// Any of [`PeerError`].
    pub async fn request(
        &self,
        to: u64,
        lane: Lane,
        kind: u8,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        let timeout = match simulation::happens(Site::EarlyTimeout) {
            true => timeout.min(EARLY_TIMEOUT),
            false => timeout,
        };
        let deadline = Instant::now() + timeout;
        let connection = self.connected(to, lane, deadline).await?;
        let answer = connection.request(kind, body, deadline);
        if planted(Bug::P28) {
            return match answer.await {
                Ok(answer) => Ok(answer),
                Err(_) => std::future::pending().await,
            };
        }
        tokio::time::timeout_at(deadline, answer)
            .await
            .unwrap_or(Err(PeerError::Timeout))
    }

    /// Sends a one-way message. Messages of one lane arrive in order, each once, while the connection lives; what was not
    /// delivered when it broke is lost.
    ///
    /// Returns false if the message was not queued: not connected (the link connects now), or too much is queued already.
    #[must_use]
    pub fn send(&self, to: u64, lane: Lane, kind: u8, body: Bytes) -> bool {
        let Ok(link) = self.link(to, lane) else {
            return false;
        };
        link.connection()
            .is_some_and(|connection| connection.send(kind, body).is_ok())
    }

    /// Opens a stream to `to`; connects first if need be, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`PeerError::Unreachable`], [`PeerError::Busy`], or [`PeerError::Disconnected`].
    pub async fn open_stream(&self, to: u64, lane: Lane, kind: u8, timeout: Duration) -> Result<PeerStream, PeerError> {
        self.connected(to, lane, Instant::now() + timeout)
            .await?
            .open_stream(kind)
    }

    /// Counts the connections of a lane to `to`: 0 = none yet, one more at each (re)connect. Connects if need be.
    #[must_use]
    pub fn link_epoch(&self, to: u64, lane: Lane) -> watch::Receiver<u64> {
        self.link_even_without_address(to, lane).epoch()
    }

    /// Whether a connection of the lane to `to` is open now. Connects if need be.
    #[must_use]
    pub fn is_connected(&self, to: u64, lane: Lane) -> bool {
        self.link_even_without_address(to, lane).connection().is_some()
    }

    /// Asks which node of this cluster listens at `address`, at most `timeout`.
    ///
    /// # Errors
    /// [`PeerError::Unreachable`] also where a node of another cluster or version listens; [`PeerError::Timeout`].
    pub async fn identify(&self, address: &str, timeout: Duration) -> Result<u64, PeerError> {
        let asked = outgoing::identify(&self.0.context, address);
        tokio::time::timeout(timeout, asked)
            .await
            .unwrap_or(Err(PeerError::Timeout))
    }

    async fn connected(&self, to: u64, lane: Lane, deadline: Instant) -> Result<Arc<Connection>, PeerError> {
        let link = self.link(to, lane)?;
        match tokio::time::timeout_at(deadline, link.connected()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PeerError::Unreachable("not connected in time".to_owned())),
        }
    }

    fn link(&self, to: u64, lane: Lane) -> Result<Arc<Link>, PeerError> {
        let link = self.link_even_without_address(to, lane);
        if link.has_address() {
            Ok(link)
        } else {
            Err(PeerError::Unreachable(format!("the address of node {to} is not known")))
        }
    }

    fn link_even_without_address(&self, to: u64, lane: Lane) -> Arc<Link> {
        let mut nodes = self.0.nodes.lock();
        let node = nodes.entry(to).or_default();
        let link = &mut node.links[lane as usize];
        Arc::clone(link.get_or_insert_with(|| Link::start(&self.0.context, to, lane, node.address.subscribe())))
    }
}

/// Starts a task of this module. The one place to start it under the simulator's control.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
