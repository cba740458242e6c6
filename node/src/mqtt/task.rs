//! The task of one connection: socket, timers, and what is waited for.
//!
//! It owns the socket and the state machine. Each turn it moves what may be sent into the write buffer, then waits for
//! whatever comes first: bytes, room in the socket, outcomes, answers, new deliveries, a deadline. Everything that became
//! ready goes out with one write.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::effect::{Effect, SubscribeRequest};
use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::MqttSettings;
use super::ask::{Asked, LOST};
use super::attached::Attached;
use super::buffers;
use crate::net::BoxStream;
use crate::service::{ReadError, Reply, Service};
use crate::simulation;

/// The write buffer takes no further message once it holds this many bytes.
pub(super) const WRITE_BYTES_TARGET: usize = 64 * 1024;
/// The client is read no further while it leaves this many bytes unread itself.
const WRITE_BYTES_MAX: usize = 4 * WRITE_BYTES_TARGET;
/// SUBSCRIBEs whose retained messages have yet to be sent: the client is read no further meanwhile, unless they wait for
/// what it has to say.
const REPLAYS_MAX: usize = 8;
/// As many must not wait for a client that acknowledges nothing.
const REPLAYS_WAITING_MAX: usize = 4096;
/// Marks the numbers of what is asked of the cluster; the tokens of what the client publishes count from 0.
pub(super) const ASKED: u64 = 1 << 63;
/// How long a client may take to read the last bytes before its connection is cut.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client that is sent elsewhere may take to acknowledge what it has, so that it does not get that twice.
const SETTLE: Duration = Duration::from_millis(500);
/// How long writes under way may still be acknowledged when the node stops, or sends the client elsewhere.
const DRAIN: Duration = Duration::from_secs(2);

/// A SUBSCRIBE that waits for this node to have caught up.
pub(super) type Subscribing = BoxFuture<'static, (SubscribeRequest, Result<Instant, ReadError>)>;

/// Serves one connection until it ends.
///
/// # Errors
/// The socket failed. A connection that was closed in order is no error.
pub async fn run(
    stream: BoxStream,
    service: Service,
    settings: MqttSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let (answer_sender, answers) = mpsc::unbounded_channel();
    let connection = Connection::new(Arc::clone(&settings.connection), service.random(), 0);
    let mut task = Task {
        writer,
        connection,
        service,
        settings,
        start: Instant::now(),
        attached: None,
        read: BytesMut::new(),
        write: BytesMut::new(),
        effects: Vec::new(),
        answer_sender,
        asked: BTreeMap::new(),
        asked_count: 0,
        subscribing: FuturesUnordered::new(),
        yielded: false,
        closing: false,
    };
    let result = task.serve(reader, answers, stop).await;
    task.count();
    // Without a farewell of its own, the connection was lost.
    task.leave(LOST);
    result
}

pub(super) struct Task {
    writer: WriteHalf<BoxStream>,
    pub(super) connection: Connection,
    pub(super) service: Service,
    pub(super) settings: MqttSettings,
    start: Instant,
    /// From CONNACK on, until it is known that the connection ends.
    pub(super) attached: Option<Attached>,
    read: BytesMut,
    pub(super) write: BytesMut,
    pub(super) effects: Vec<Effect>,
    /// Outcomes: of what the client has published, by token, and of what is `asked`, by number and [`ASKED`].
    pub(super) answer_sender: mpsc::UnboundedSender<(u64, Reply)>,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) asked_count: u64,
    pub(super) subscribing: FuturesUnordered<Subscribing>,
    /// A replay has more to read, once others have run.
    yielded: bool,
    closing: bool,
}

impl Task {
    async fn serve(
        &mut self,
        mut reader: ReadHalf<BoxStream>,
        mut answers: mpsc::UnboundedReceiver<(u64, Reply)>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let mut answered = Vec::new();
        let mut draining: Option<Instant> = None;
        let mut settling: Option<Instant> = None;
        loop {
            if !self.closing {
                if draining.is_none() && self.is_handed_over() {
                    let until = *settling.get_or_insert_with(|| Instant::now() + SETTLE);
                    if self.is_settled() || Instant::now() >= until {
                        draining = Some(Instant::now() + DRAIN);
                    }
                }
                self.check_close(draining);
                if draining.is_none() {
                    // What was left unread while the client had enough to take.
                    self.take_bytes();
                }
                // Who is to go gets nothing new.
                self.pump(if settling.is_some() { 0 } else { WRITE_BYTES_TARGET })?;
            }
            if self.closing {
                return self.finish(reader).await;
            }
            let wants_read = self.wants_read() && draining.is_none();
            let outbox = self.attached.as_ref().map(|attached| Arc::clone(attached.outbox()));
            let wait_outbox = async {
                match outbox {
                    Some(outbox) => outbox.wait().await,
                    None => std::future::pending().await,
                }
            };
            let deadline = self.deadline(draining.or(settling));
            let wait_deadline = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            self.rest();
            tokio::select! {
                count = buffers::read(&mut reader, &mut self.read), if wants_read => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    self.service.broker().traffic().received(count);
                }
                written = self.writer.write_buf(&mut self.write), if !self.write.is_empty() => {
                    let written = written?;
                    if written == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    self.service.broker().traffic().sent(written);
                    self.count();
                }
                _ = answers.recv_many(&mut answered, 1024) => {
                    let is_late = answered.iter().any(|(number, _)| number & ASKED == 0);
                    if is_late && let Some(late) = simulation::late_answer() {
                        tokio::time::sleep(late).await;
                    }
                    for (number, reply) in answered.drain(..) {
                        match number & ASKED {
                            0 => self.on_outcome(number, reply),
                            _ => {
                                // What is said already leaves before what an answer lets be written.
                                self.carry_out();
                                self.on_answer(number & !ASKED, reply)?;
                            }
                        }
                    }
                    self.take_bytes();
                }
                () = tokio::task::yield_now(), if self.yielded => {}
                Some((request, fresh)) = self.subscribing.next(), if !self.subscribing.is_empty() => {
                    self.subscribe_fresh(request, fresh);
                    self.take_bytes();
                }
                () = wait_outbox => {}
                () = wait_deadline => {
                    if let Some(attached) = &mut self.attached {
                        attached.end_leases(Instant::now());
                    }
                    let now_ms = self.now_ms();
                    self.connection.on_tick(now_ms, &mut self.effects);
                    self.carry_out();
                }
                () = stop.cancelled(), if draining.is_none() => draining = Some(Instant::now() + DRAIN),
            }
        }
    }

    /// Holds no more than what there is to do.
    fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        if self.asked.is_empty() {
            // An empty map keeps a node that had something in it.
            self.asked = BTreeMap::new();
        }
        self.effects = Vec::new();
        buffers::give_back(&mut self.write);
    }

    /// Whether to take more from the client: not while it does not take what it is sent.
    fn wants_read(&self) -> bool {
        // With its window full, only acknowledgements let the replays go on.
        let has_room = self.connection.can_deliver(QoS::AtLeastOnce);
        let replays_max = if has_room { REPLAYS_MAX } else { REPLAYS_WAITING_MAX };
        self.connection.wants_read() && self.write.len() < WRITE_BYTES_MAX && self.replay_count() < replays_max
    }

    /// What the client has asked for and has not got in full.
    fn replay_count(&self) -> usize {
        let replays = self.attached.as_ref().map_or(0, Attached::replay_count);
        replays + self.subscribing.len() + self.asked.len()
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self, draining: Option<Instant>) -> Option<Instant> {
        let timer = self
            .connection
            .deadline_ms()
            .map(|ms| self.start + Duration::from_millis(ms));
        let attached = self.attached.as_ref().and_then(Attached::deadline);
        [timer, draining, attached].into_iter().flatten().min()
    }

    /// Whether the client is to go elsewhere.
    fn is_handed_over(&self) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|attached| attached.outbox().is_handed_over())
    }

    /// Whether the client has acknowledged what it was sent, and nothing is asked of the cluster for it.
    fn is_settled(&self) -> bool {
        self.connection.inflight_count() == 0 && self.asked.is_empty()
    }

    /// Ends the connection if the cluster, the broker or the node asks for it.
    fn check_close(&mut self, draining: Option<Instant>) {
        let asked = self
            .attached
            .as_ref()
            .and_then(|attached| attached.outbox().close_reason());
        let is_waiting = self.connection.has_pending_writes() || !self.asked.is_empty();
        let drained = draining.is_some_and(|until| !is_waiting || Instant::now() >= until);
        let (reason, text) = match asked {
            Some(reason) => (reason, explanation(reason)),
            None if self.replay_count() >= REPLAYS_WAITING_MAX => (
                ReasonCode::QuotaExceeded,
                "too many subscriptions wait for acknowledgements of their retained messages",
            ),
            None if drained && let Some(hand_over) = self.service.drain().hand_over(self.settings.reached) => {
                self.connection.on_hand_over(hand_over, &mut self.effects);
                return self.carry_out();
            }
            None if drained => {
                let reason = match self.settings.connection.server_reference {
                    Some(_) => ReasonCode::UseAnotherServer,
                    None => ReasonCode::ServerShuttingDown,
                };
                (reason, "the node is stopping; connect to another")
            }
            None => return,
        };
        self.connection.on_shutdown(reason, text, &mut self.effects);
        self.carry_out();
    }

    /// Adds what the connection has counted to the node's traffic.
    pub(super) fn count(&mut self) {
        let counters = self.connection.take_counters();
        self.service.broker().traffic().add(&counters);
    }

    /// Lets the connection handle what was read, as far as it wants to.
    fn take_bytes(&mut self) {
        loop {
            let now_ms = self.now_ms();
            let before = self.read.len();
            if self.wants_read() && before > 0 {
                self.connection.on_bytes(&mut self.read, now_ms, &mut self.effects);
            }
            if self.effects.is_empty() {
                return;
            }
            self.carry_out();
            if self.closing || self.read.len() == before {
                return;
            }
        }
    }

    /// Nothing further is done for the client, but to send what is written.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Moves what may be sent now into the write buffer, until that holds `bytes_target`.
    fn pump(&mut self, bytes_target: usize) -> io::Result<()> {
        self.yielded = false;
        let Some(attached) = &mut self.attached else {
            return Ok(());
        };
        buffers::lend(&mut self.write);
        let pumped = attached.pump(&mut self.connection, &self.service, &mut self.write, bytes_target);
        let step = pumped.map_err(|error| io::Error::other(error.to_string()))?;
        self.yielded = step.yields;
        if let Some(progress) = step.propose {
            self.ask_progress(progress);
        }
        Ok(())
    }

    /// Sends what is left and closes, so that the client can read the last packet before the connection ends.
    async fn finish(&mut self, mut reader: ReadHalf<BoxStream>) -> io::Result<()> {
        let farewell = async {
            self.writer.write_all_buf(&mut self.write).await?;
            self.writer.shutdown().await?;
            // Closing with unread bytes would reset the connection and take the farewell with it.
            while buffers::read(&mut reader, &mut self.read).await? > 0 {
                self.read.clear();
            }
            Ok(())
        };
        tokio::time::timeout(LINGER, farewell).await.unwrap_or(Ok(()))
    }
}

/// What the client is told beside the code.
fn explanation(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::QuotaExceeded => "changes could not be kept for the client; subscribe again",
        ReasonCode::UseAnotherServer => "the cluster has lost this node; connect to another",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_output<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Each idle connection holds one.
    #[test]
    fn a_task_is_small() {
        let bytes = size_of_output(run);
        assert!(bytes <= 2_048, "{bytes}");
    }
}
