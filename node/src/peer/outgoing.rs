//! Connections to another node, opened when first needed and reopened when they break.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::connection::{self, Liveness, Violation};
use super::frame::{Frame, FrameType, Status};
use super::handshake::{self, HandshakeError, Hello, Purpose, Refusal};
use super::outbox::Outbox;
use super::standing::{Standing, Unproven};
use super::stream::{PeerStream, StreamTable};
use super::{Lane, PeerError};
use crate::components::Random;
use crate::log_limit::LogLimit;
use crate::net::{BoxStream, Net};

/// Longest time to connect and shake hands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait after the first failed attempt; doubled at each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Longest wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Wait after a refusal: it takes an operator to change that.
const BACKOFF_REFUSED: Duration = Duration::from_secs(2);
/// A connection that lived this long was a success.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// What all links of a node share.
pub(crate) struct LinkContext {
    pub(crate) local: u64,
    pub(crate) cluster_id: u64,
    pub(crate) net: Arc<dyn Net>,
    pub(crate) random: Arc<dyn Random>,
    /// Whether another node said that this one was removed from the cluster.
    pub(crate) removed: watch::Sender<bool>,
    pub(crate) standing: OnceLock<Arc<dyn Standing>>,
}

impl LinkContext {
    fn standing(&self) -> &dyn Standing {
        self.standing.get().map_or(&Unproven, |standing| &**standing)
    }
}

/// The connection of one lane to one node, as it comes and goes.
pub(crate) struct Link {
    state: watch::Sender<State>,
    epoch: watch::Sender<u64>,
    address: watch::Receiver<Option<String>>,
}

#[derive(Clone, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Attempts that failed.
    failures: u64,
    error: String,
}

impl Link {
    /// Starts to connect, and goes on until the sender of `address` is gone.
    pub(crate) fn start(
        context: &Arc<LinkContext>,
        to: u64,
        lane: Lane,
        address: watch::Receiver<Option<String>>,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            state: watch::Sender::new(State::default()),
            epoch: watch::Sender::new(0),
            address: address.clone(),
        });
        super::spawn(maintain(Arc::clone(context), Arc::clone(&link), to, lane, address));
        link
    }

    pub(crate) fn has_address(&self) -> bool {
        self.address.borrow().is_some()
    }

    pub(crate) fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// The present connection.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        self.state.borrow().connection.clone()
    }

    /// The present connection, or else the next one, or the error of the attempt under way or next.
    pub(crate) async fn connected(&self) -> Result<Arc<Connection>, PeerError> {
        let mut state = self.state.subscribe();
        let failures = state.borrow().failures;
        let outcome = state
            .wait_for(|state| state.connection.is_some() || state.failures > failures)
            .await;
        let state = outcome.map_err(|_| PeerError::Disconnected)?;
        state
            .connection
            .clone()
            .ok_or_else(|| PeerError::Unreachable(state.error.clone()))
    }

    fn up(&self, connection: Arc<Connection>) {
        self.state.send_modify(|state| state.connection = Some(connection));
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    fn failed(&self, error: String) {
        self.state.send_modify(|state| {
            state.failures += 1;
            state.error = error;
        });
    }
}

/// Keeps `link` connected for as long as the node is known.
async fn maintain(
    context: Arc<LinkContext>,
    link: Arc<Link>,
    to: u64,
    lane: Lane,
    mut address: watch::Receiver<Option<String>>,
) {
    let mut backoff = BACKOFF_MIN;
    let log = LogLimit::fading();
    loop {
        let target = match address.wait_for(Option::is_some).await {
            Ok(known) => known.clone().unwrap_or_default(),
            Err(_) => break,
        };
        let attempt = async {
            let started = Instant::now();
            let wait = match session(&context, &link, to, lane, &target).await {
                Ok(end) => {
                    if started.elapsed() >= SETTLED_AFTER {
                        backoff = BACKOFF_MIN;
                        log.reset();
                    }
                    if let Some(more) = log.pass() {
                        tracing::warn!(peer = to, ?lane, %end, more, "lost the connection to a peer");
                    }
                    backoff
                }
                Err(error) => {
                    if let Some(more) = log.pass() {
                        tracing::warn!(peer = to, ?lane, address = target, %error, more, "cannot connect to a peer");
                    }
                    link.failed(error.to_string());
                    if matches!(error, HandshakeError::Refused(_) | HandshakeError::DataGone(_)) {
                        BACKOFF_REFUSED
                    } else {
                        backoff
                    }
                }
            };
            backoff = (backoff * 2).min(BACKOFF_MAX);
            // Half to one and a half times, so that nodes do not keep step.
            let jitter = 512 + (context.random.next_u64() % 1024) as u32;
            tokio::time::sleep(wait * jitter / 1024).await;
        };
        tokio::select! {
            biased;
            changed = address.changed() => {
                if changed.is_err() {
                    break;
                }
                backoff = BACKOFF_MIN;
            }
            () = attempt => {}
        }
    }
    link.failed("the node is not a peer any more".to_owned());
}

/// Connects once and serves the connection until it ends. Cancelling closes it.
async fn session(
    context: &LinkContext,
    link: &Link,
    to: u64,
    lane: Lane,
    address: &str,
) -> Result<connection::End, HandshakeError> {
    let hello = Hello {
        cluster_id: context.cluster_id,
        from: context.local,
        to,
        purpose: Purpose::Lane(lane),
    };
    let (stream, buffer, _) = connect(context, address, &hello).await?;
    let connection = Arc::new(Connection::default());
    let _guard = UpGuard {
        link,
        connection: &connection,
    };
    link.up(Arc::clone(&connection));
    tracing::debug!(peer = to, ?lane, address, "connected to a peer");
    let take = |frame| connection.on_frame(frame);
    Ok(connection::drive(stream, buffer, &connection.outbox, Liveness::OPENER, take).await)
}

async fn connect(
    context: &LinkContext,
    address: &str,
    hello: &Hello,
) -> Result<(BoxStream, BytesMut, u64), HandshakeError> {
    let connect = async {
        let mut stream = context.net.connect(address).await?;
        let mut buffer = BytesMut::new();
        let node = handshake::open(&mut stream, &mut buffer, hello, context.standing()).await?;
        Ok((stream, buffer, node))
    };
    let connected = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    };
    if matches!(connected, Err(HandshakeError::Refused(Refusal::Removed))) {
        context.removed.send_replace(true);
    }
    connected
}

/// Asks who listens at `address`.
pub(crate) async fn identify(context: &LinkContext, address: &str) -> Result<u64, PeerError> {
    let hello = Hello {
        cluster_id: context.cluster_id,
        from: context.local,
        to: 0,
        purpose: Purpose::Identify,
    };
    let (_, _, node) = connect(context, address, &hello)
        .await
        .map_err(|error| PeerError::Unreachable(error.to_string()))?;
    Ok(node)
}

/// Takes the connection out of its link when it ends, however it ends, and fails what waits on it.
struct UpGuard<'a> {
    link: &'a Link,
    connection: &'a Connection,
}

impl Drop for UpGuard<'_> {
    fn drop(&mut self) {
        self.link.state.send_modify(|state| state.connection = None);
        self.connection.close();
    }
}

/// One open connection, as its opener uses it.
#[derive(Default)]
pub(crate) struct Connection {
    outbox: Arc<Outbox>,
    streams: Arc<StreamTable>,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Result<Bytes, PeerError>>>>,
    last_id: AtomicU64,
}

impl Connection {
    /// Sends a request and waits for the response. The caller enforces `deadline`, which the other side learns.
    pub(crate) async fn request(&self, kind: u8, body: Bytes, deadline: Instant) -> Result<Bytes, PeerError> {
        let remaining_ms = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let timeout_ms = u32::try_from(remaining_ms).unwrap_or(u32::MAX);
        let id = self.next_id();
        let (sender, response) = oneshot::channel();
        self.pending.lock().insert(id, sender);
        // Also when cancelled.
        let _pending = PendingGuard { connection: self, id };
        self.outbox.push(Frame {
            frame_type: FrameType::Request,
            kind,
            id,
            timeout_ms,
            body,
        })?;
        response.await.unwrap_or(Err(PeerError::Disconnected))
    }

    pub(crate) fn send(&self, kind: u8, body: Bytes) -> Result<(), PeerError> {
        self.outbox.push(Frame::of(FrameType::Message, kind, 0, body))
    }

    pub(crate) fn open_stream(&self, kind: u8) -> Result<PeerStream, PeerError> {
        let id = self.next_id();
        let stream = self.streams.open(id, &self.outbox).map_err(|_| PeerError::Busy)?;
        self.outbox
            .push(Frame::of(FrameType::StreamOpen, kind, id, Bytes::new()))?;
        Ok(stream)
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn on_frame(&self, frame: Frame) -> Result<(), Violation> {
        match frame.frame_type {
            FrameType::Response => {
                let text = || String::from_utf8_lossy(&frame.body).into_owned();
                let answer = match Status::from_u8(frame.kind).ok_or(Violation::Malformed)? {
                    Status::Ok => Ok(frame.body),
                    Status::Failed => Err(PeerError::Failed(text())),
                    Status::Busy => Err(PeerError::Busy),
                };
                // A request that is not waited for any more is no fault.
                if let Some(waiter) = self.pending.lock().remove(&frame.id) {
                    let _ = waiter.send(answer);
                }
                Ok(())
            }
            FrameType::StreamData | FrameType::StreamClose => self.streams.on_frame(frame),
            _ => Err(Violation::OutOfPlace),
        }
    }

    /// Fails everything that waits and refuses everything that comes.
    fn close(&self) {
        self.outbox.close();
        self.streams.disconnect();
        // What is pushed from now on fails by itself; dropping the senders ends the waiting.
        self.pending.lock().clear();
    }
}

struct PendingGuard<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.connection.pending.lock().remove(&self.id);
    }
}
