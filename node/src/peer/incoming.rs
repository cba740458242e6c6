//! Connections from other nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, End, Liveness, Violation};
use super::frame::{Frame, FrameType, Status};
use super::handshake::{self, HandshakeError, Purpose};
use super::outbox::Outbox;
use super::stream::StreamTable;
use super::{Lane, PeerError, PeerHandler, join};
use crate::log_limit::LogLimit;
use crate::net::{BoxStream, Listener};
use crate::simulation;

/// Longest time for the first frame of a connection.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Most connections at once, unwelcome ones included.
const CONNECTIONS_MAX: usize = 256;
/// Most requests of one connection in hand.
const REQUESTS_MAX: usize = 256;
/// Most nodes that ask to be let in at a time.
const JOINS_MAX: usize = 8;
/// Wait after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts the connections of other nodes for node `local` of cluster `cluster_id` and hands what they carry to `handler`.
///
/// Returns after `shutdown`, when all connections are closed and no handler is called any more.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    local: u64,
    cluster_id: u64,
    handler: Arc<dyn PeerHandler>,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Incoming {
        local,
        cluster_id,
        handler,
        shutdown: shutdown.clone(),
        current: Mutex::default(),
        connections: AtomicUsize::new(0),
        joins: Semaphore::new(JOINS_MAX),
        log: LogLimit::default(),
    });
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let count = ConnectionCount::new(&shared);
                super::spawn(tasks.track_future(async move {
                    let shared = Arc::clone(&count.0);
                    tokio::select! {
                        biased;
                        () = shared.shutdown.cancelled() => {}
                        outcome = shared.answer(stream) => shared.log(&address, &outcome),
                    }
                }));
            }
            Err(error) => {
                if let Some(more) = shared.log.pass() {
                    tracing::warn!(%error, more, "cannot accept peer connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

struct Incoming {
    local: u64,
    cluster_id: u64,
    handler: Arc<dyn PeerHandler>,
    shutdown: CancellationToken,
    /// The connection of each lane of each node. A newer one replaces it: the node has given the older one up.
    current: Mutex<BTreeMap<(u64, Lane), CancellationToken>>,
    connections: AtomicUsize,
    joins: Semaphore,
    log: LogLimit,
}

struct ConnectionCount(Arc<Incoming>);

impl ConnectionCount {
    fn new(shared: &Arc<Incoming>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Incoming {
    async fn answer(&self, mut stream: BoxStream) -> Result<Option<End>, HandshakeError> {
        let mut buffer = BytesMut::new();
        let full = self.connections.load(Ordering::Relaxed) > CONNECTIONS_MAX;
        let is_removed = |node| self.handler.is_removed(node);
        let answered = handshake::answer(
            &mut stream,
            &mut buffer,
            self.local,
            self.cluster_id,
            full,
            is_removed,
            self.handler.standing(),
        );
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, answered).await {
            Ok(hello) => hello?,
            Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        let lane = match hello.purpose {
            Purpose::Lane(lane) => lane,
            Purpose::Identify => return Ok(None),
            Purpose::Join => {
                let Ok(_permit) = self.joins.try_acquire() else {
                    return Ok(None);
                };
                return join::answer(&mut stream, &mut buffer, hello.from, &*self.handler)
                    .await
                    .map(|()| None);
            }
        };
        let replaced = CancellationToken::new();
        {
            let mut current = self.current.lock();
            if let Some(older) = current.insert((hello.from, lane), replaced.clone()) {
                older.cancel();
            }
        }
        let end = tokio::select! {
            biased;
            () = replaced.cancelled() => None,
            end = self.converse(hello.from, lane, stream, buffer) => Some(end),
        };
        let mut current = self.current.lock();
        if !replaced.is_cancelled() {
            current.remove(&(hello.from, lane));
        }
        Ok(end)
    }

    async fn converse(&self, from: u64, lane: Lane, stream: BoxStream, buffer: BytesMut) -> End {
        let conversation = Conversation {
            from,
            lane,
            handler: &self.handler,
            outbox: Arc::default(),
            streams: Arc::default(),
            requests: Mutex::default(),
        };
        let take = |frame| conversation.on_frame(frame);
        tokio::select! {
            // Frames first: a request that comes in is polled in the same turn.
            biased;
            end = connection::drive(stream, buffer, &conversation.outbox, Liveness::ANSWERER, take) => end,
            violation = conversation.answer_requests() => violation.into(),
        }
    }

    fn log(&self, address: &std::net::SocketAddr, outcome: &Result<Option<End>, HandshakeError>) {
        let fault: &dyn std::fmt::Display = match outcome {
            Ok(Some(end)) if end.is_fault() => end,
            Err(error) => error,
            Ok(_) => return,
        };
        if let Some(more) = self.log.pass() {
            tracing::warn!(%address, error = %fault, more, "closed a peer connection");
        }
    }
}

/// One open connection, as the node that was connected to sees it.
struct Conversation<'a> {
    from: u64,
    lane: Lane,
    handler: &'a Arc<dyn PeerHandler>,
    outbox: Arc<Outbox>,
    streams: Arc<StreamTable>,
    /// Only ever locked by the task of the connection.
    requests: Mutex<FuturesUnordered<BoxFuture<'static, Option<Frame>>>>,
}

impl Conversation<'_> {
    fn on_frame(&self, frame: Frame) -> Result<(), Violation> {
        match frame.frame_type {
            FrameType::Request => self.on_request(frame),
            FrameType::Message => {
                if let Some(after) = simulation::repeated_after() {
                    self.repeat(
                        after,
                        frame.kind,
                        frame.body.clone(),
                        |handler, from, lane, kind, body| {
                            handler.on_message(from, lane, kind, body);
                            Box::pin(std::future::ready(()))
                        },
                    );
                }
                self.handler.on_message(self.from, self.lane, frame.kind, frame.body);
                Ok(())
            }
            FrameType::StreamOpen => {
                let stream = self.streams.open(frame.id, &self.outbox)?;
                self.handler.on_stream(self.from, self.lane, frame.kind, stream);
                Ok(())
            }
            FrameType::StreamData | FrameType::StreamClose => self.streams.on_frame(frame),
            _ => Err(Violation::OutOfPlace),
        }
    }

    fn on_request(&self, frame: Frame) -> Result<(), Violation> {
        let requests = self.requests.lock();
        if requests.len() >= REQUESTS_MAX {
            return self.respond(Frame::of(
                FrameType::Response,
                Status::Busy as u8,
                frame.id,
                Bytes::new(),
            ));
        }
        if let Some(after) = simulation::repeated_after() {
            self.repeat(
                after,
                frame.kind,
                frame.body.clone(),
                |handler, from, lane, kind, body| {
                    let answer = handler.on_request(from, lane, kind, body);
                    Box::pin(async { drop(answer.await) })
                },
            );
        }
        let answer = self.handler.on_request(self.from, self.lane, frame.kind, frame.body);
        requests.push(Box::pin(respond_in_time(
            answer,
            frame.id,
            Duration::from_millis(frame.timeout_ms.into()),
        )));
        Ok(())
    }

    /// In a simulation: what has come comes once more `after` some time, be the connection gone. Its answer goes nowhere.
    fn repeat(
        &self,
        after: Duration,
        kind: u8,
        body: Bytes,
        take: fn(&dyn PeerHandler, u64, Lane, u8, Bytes) -> BoxFuture<'static, ()>,
    ) {
        let (handler, from, lane) = (Arc::clone(self.handler), self.from, self.lane);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            take(&*handler, from, lane, kind, body).await;
        });
    }

    fn respond(&self, response: Frame) -> Result<(), Violation> {
        let id = response.id;
        match self.outbox.push(response) {
            Ok(()) | Err(PeerError::Disconnected) => Ok(()),
            Err(PeerError::TooLarge(_)) => {
                let reason = Bytes::from_static(b"the answer is too large");
                self.respond(Frame::of(FrameType::Response, Status::Failed as u8, id, reason))
            }
            Err(_) => Err(Violation::NotReading),
        }
    }

    /// Runs the requests in hand and sends their responses, as long as the asker reads them.
    fn answer_requests(&self) -> impl Future<Output = Violation> + '_ {
        std::future::poll_fn(|context: &mut Context<'_>| {
            loop {
                let next = self.requests.lock().poll_next_unpin(context);
                match next {
                    Poll::Ready(Some(Some(response))) => {
                        if let Err(violation) = self.respond(response) {
                            return Poll::Ready(violation);
                        }
                    }
                    Poll::Ready(Some(None)) => {}
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.outbox.close();
        self.streams.disconnect();
    }
}

/// The response to a request, or `None` if its deadline passed first: nobody waits for it any more.
async fn respond_in_time(
    answer: BoxFuture<'static, Result<Bytes, String>>,
    id: u64,
    timeout: Duration,
) -> Option<Frame> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(body)) => Some(Frame::of(FrameType::Response, Status::Ok as u8, id, body)),
        Ok(Err(reason)) => Some(Frame::of(
            FrameType::Response,
            Status::Failed as u8,
            id,
            Bytes::from(reason),
        )),
        Err(_) => None,
    }
}
