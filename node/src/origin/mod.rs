//! This node's origin stream: its clients' commands, packed into batches that reach the log in order and exactly once.
//!
//! Several batches are in flight at a time; while they are, what arrives gathers into the next one, so that batches grow
//! with the load and an idle node sends at once. A batch is sealed once and resent as the identical bytes, in order from
//! the first unapplied one, after a change of leader, a reconnect, a rejection, or a gap seen in this node's own apply.
//!
//! A client is answered by this node's own apply. What was never handed to a leader is *unavailable*: nothing happened.
//! What was handed over and is not seen applied in time is *unknown*. Batches carry a deadline in log time, so that what a
//! client has long given up on cannot take effect later.
//!
//! | module | responsibility |
//! |---|---|
//! | `completion` | how a waiting client is answered |
//! | [`measure`] | how long commands take, and what becomes of them |
//! | [`message`] | what nodes send each other on the origin lane |
//! | `stream` | the stream itself, without task or clock: packing, order, resend, outcomes |
//! | this one | the task that drives it |

mod completion;
pub mod measure;
pub mod message;
mod stream;
#[cfg(test)]
mod stream_test;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use banyan_core::command::{Command, Operation};
use banyan_core::planted::{Bug, planted};
use banyan_core::state::{BatchOutcome, OriginOpened, StateView};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

pub use completion::{Completion, ProposeError, Reply};
use measure::WriteCounts;
use stream::{Queued, Reserved, Stream};

use crate::components::Random;
use crate::consensus::intake::Submission;
use crate::consensus::replica::request;
use crate::consensus::types::NodeId;
use crate::consensus::{Leadership, Replica};
use crate::peer::{Lane, Peers};
use crate::trace::Watch;

/// Most bytes of commands that wait to be packed; more are refused at once.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A rejected origin waits this long before it resends, so that a leader in trouble is not flooded.
const RESEND_DELAY: Duration = Duration::from_millis(10);
/// How often deadlines are looked at, and an unanswered request to open the stream is repeated.
const TICK: Duration = Duration::from_millis(100);
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);

/// What happens to an origin from outside its task.
#[derive(Debug)]
enum Notice {
    Batch(BatchOutcome),
    Opened(OriginOpened),
    /// A snapshot was installed; this node's row in it.
    Installed {
        incarnation: u64,
        next_sequence: u64,
    },
    Rejected,
}

/// Takes commands of this node's clients; cheap to clone.
#[derive(Clone)]
pub struct Origin {
    shared: Arc<Shared>,
}

struct Shared {
    node_id: NodeId,
    queue: Mutex<Queue>,
    /// Bytes of commands that wait to be packed, here and in the stream.
    waiting_bytes: Arc<AtomicUsize>,
    arrived: Notify,
    notices: mpsc::UnboundedSender<Notice>,
    write_timeout: Duration,
    open: watch::Sender<bool>,
    counts: Arc<WriteCounts>,
    watch: Watch,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Queued>,
    /// Connections of which a command was given up before a leader had it. What they have sent after it must not overtake
    /// it: nothing more is taken from them than their end.
    cut_off: BTreeSet<u64>,
    closed: bool,
}

impl Queue {
    /// Whether `command` may go behind all that its connection has sent before.
    fn admits(&mut self, command: &Command) -> bool {
        let Some(sender) = command.sender.filter(|_| !self.cut_off.is_empty()) else {
            return true;
        };
        match command.operation {
            Operation::Disconnect(_) => {
                self.cut_off.remove(&sender.fence);
                true
            }
            _ => !self.cut_off.contains(&sender.fence),
        }
    }
}

/// The part of an origin that is set up before its replica is: what the replica's apply reports to.
pub struct Pending {
    origin: Origin,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Origin {
    /// The origin of `node_id`. It takes commands at once and sends them once [`Pending::start`]ed.
    ///
    /// `write_timeout` bounds how long a client waits for its answer; `watch` is told of single commands.
    #[must_use]
    pub fn new(node_id: NodeId, write_timeout: Duration, watch: Watch) -> (Self, Pending) {
        let (sender, notices) = mpsc::unbounded_channel();
        let shared = Shared {
            node_id,
            queue: Mutex::default(),
            waiting_bytes: Arc::default(),
            arrived: Notify::new(),
            notices: sender,
            write_timeout,
            open: watch::Sender::new(false),
            counts: Arc::default(),
            watch,
        };
        let origin = Self {
            shared: Arc::new(shared),
        };
        (origin.clone(), Pending { origin, notices })
    }

    /// Proposes `command`; `completion` is answered within the write timeout. Never blocks.
    pub fn propose(&self, command: impl Into<Command>, completion: Completion) {
        let command = command.into();
        let bytes = message::command_bytes(&command);
        let received = Instant::now();
        let deadline = received + self.shared.write_timeout;
        let mut queue = self.shared.queue.lock();
        let refusal = match Reserved::try_new(bytes, &self.shared.waiting_bytes, QUEUE_BYTES_MAX) {
            _ if queue.closed => "the node is stopping",
            _ if !queue.admits(&command) => "something sent before it was given up",
            None => {
                queue.cut_off.extend(stream::ordered_sender(&command));
                "too many commands wait on this node"
            }
            Some(reserved) => {
                let first = queue.waiting.is_empty();
                queue.waiting.push(Queued {
                    command,
                    completion,
                    reserved,
                    received,
                    deadline,
                });
                drop(queue);
                if first {
                    self.shared.arrived.notify_one();
                }
                return;
            }
        };
        drop(queue);
        self.refuse(
            &command.operation,
            completion,
            ProposeError::Unavailable(refusal.to_owned()),
        );
    }

    /// What is told of single operations.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.shared.watch
    }

    /// Answers someone whose `operation` is not taken.
    pub fn refuse(&self, operation: &Operation, completion: Completion, error: ProposeError) {
        self.shared.counts.refuse(operation, completion, error);
    }

    /// What was counted of the commands it has taken.
    #[must_use]
    pub fn counts(&self) -> &WriteCounts {
        &self.shared.counts
    }

    /// The leader rejected a batch.
    pub fn on_rejected(&self) {
        let _ = self.shared.notices.send(Notice::Rejected);
    }

    /// Follows whether the stream is open: this node has its incarnation and can hand over commands.
    #[must_use]
    pub fn is_open(&self) -> watch::Receiver<bool> {
        self.shared.open.subscribe()
    }

    /// Takes no further command. What was taken is still answered.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
    }

    fn take_queue(&self) -> Vec<Queued> {
        std::mem::take(&mut self.shared.queue.lock().waiting)
    }

    /// Takes nothing more from these connections than their end.
    fn cut_off(&self, fences: &BTreeSet<u64>) {
        self.shared.queue.lock().cut_off.extend(fences);
    }
}

impl Origin {
    /// A batch of any origin came out of the log.
    pub fn on_batch(&self, outcome: BatchOutcome) {
        if outcome.id.node_id == self.shared.node_id {
            let _ = self.shared.notices.send(Notice::Batch(outcome));
        }
    }

    /// An origin was opened.
    pub fn on_origin_opened(&self, opened: OriginOpened) {
        if opened.node_id == self.shared.node_id {
            let _ = self.shared.notices.send(Notice::Opened(opened));
        }
    }

    /// The state was replaced by a snapshot.
    pub fn on_installed(&self, view: &StateView) {
        let row = view.origin(self.shared.node_id);
        let (incarnation, next_sequence) = row.map_or((0, 0), |row| (row.incarnation, row.next_sequence));
        let _ = self.shared.notices.send(Notice::Installed {
            incarnation,
            next_sequence,
        });
    }
}

impl Pending {
    /// Starts the stream: opens it with the next incarnation, then sends.
    pub fn start(self, replica: Arc<Replica>, peers: Peers, random: &Arc<dyn Random>) {
        let nonce = random.next_u64();
        let driver = Driver {
            leadership: replica.follow_leadership(),
            stream: Stream::new(
                self.origin.shared.node_id,
                nonce,
                Arc::clone(&self.origin.shared.counts),
                self.origin.shared.watch.clone(),
            ),
            origin: self.origin,
            replica,
            peers,
            opening_since: None,
            random: Arc::clone(random),
        };
        tokio::spawn(driver.run(self.notices));
    }
}

struct Driver {
    origin: Origin,
    replica: Arc<Replica>,
    peers: Peers,
    random: Arc<dyn Random>,
    leadership: watch::Receiver<Leadership>,
    stream: Stream,
    opening_since: Option<Instant>,
}

impl Driver {
    async fn run(mut self, mut notices: mpsc::UnboundedReceiver<Notice>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link: Option<watch::Receiver<u64>> = None;
        let mut received = Vec::new();
        let mut resend_at: Option<Instant> = None;
        self.on_leadership(&mut link);
        loop {
            let origin = self.origin.clone();
            let relinked = async {
                let changed = match link.as_mut() {
                    Some(epoch) => epoch.changed().await,
                    None => std::future::pending().await,
                };
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let resend = async {
                match resend_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = notices.recv_many(&mut received, 1024) => {
                    if count == 0 {
                        return;
                    }
                    for notice in received.drain(..) {
                        if self.on_notice(notice) && resend_at.is_none() {
                            resend_at = Some(Instant::now() + RESEND_DELAY);
                        }
                    }
                }
                () = origin.shared.arrived.notified() => {}
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.on_leadership(&mut link);
                }
                () = relinked => self.resend(),
                () = resend => {
                    resend_at = None;
                    self.resend();
                }
                _ = tick.tick() => {
                    let now = Instant::now();
                    self.expire(now);
                    self.open(now);
                    if self.stream.is_stalled(now) {
                        self.resend();
                    }
                }
            }
            self.stream.enqueue(self.origin.take_queue());
            self.send_new();
            self.origin.shared.counts.set_waiting(self.stream.waiting());
        }
    }

    /// Answers everyone whose deadline has passed.
    fn expire(&mut self, now: Instant) {
        // First, so that what waits there goes where its predecessors did.
        self.stream.enqueue(self.origin.take_queue());
        let cut_off = self.stream.expire(now);
        if !cut_off.is_empty() {
            self.origin.cut_off(&cut_off);
            self.stream.enqueue(self.origin.take_queue());
            self.stream.give_up_all_of(&cut_off);
        }
    }

    /// Takes a notice; returns whether the stream must be resent.
    fn on_notice(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::Batch(outcome) => self.stream.on_outcome(outcome),
            Notice::Opened(opened) => {
                if self.stream.on_opened(&opened) {
                    tracing::info!(incarnation = opened.incarnation, "origin opened");
                    self.origin.shared.open.send_replace(true);
                }
                false
            }
            Notice::Installed {
                incarnation,
                next_sequence,
            } => {
                self.stream.on_installed(incarnation, next_sequence);
                true
            }
            Notice::Rejected => true,
        }
    }

    fn on_leadership(&mut self, link: &mut Option<watch::Receiver<u64>>) {
        let leader = self.leadership.borrow_and_update().leader;
        *link = leader
            .filter(|leader| *leader != self.replica.node_id())
            .map(|leader| self.peers.link_epoch(leader, Lane::Origin));
        if let Some(link) = link.as_mut() {
            link.mark_unchanged();
        }
        self.opening_since = None;
        self.open(Instant::now());
        self.resend();
    }

    /// Asks the leader to open the stream, while it is not and no request is under way.
    fn open(&mut self, now: Instant) {
        if self.stream.is_open() {
            return;
        }
        if self.stream.is_fenced() {
            // Another process spoke for this node: what it did not finish is unknown, and this one starts over.
            self.origin.shared.open.send_replace(false);
            self.stream.reopen(self.random.next_u64());
        }
        if self.opening_since.is_some_and(|since| now < since + OPEN_TIMEOUT) {
            return;
        }
        let Some(leader) = self.leadership.borrow().leader else {
            return;
        };
        // Who has an origin is known to have had data: the next tick asks again.
        if !self.replica.has_data() {
            return;
        }
        self.opening_since = Some(now);
        let (node_id, nonce) = (self.replica.node_id(), self.stream.nonce());
        if leader == node_id {
            self.replica.submit(Submission::OpenOrigin { node_id, nonce });
            return;
        }
        let peers = self.peers.clone();
        tokio::spawn(async move {
            let body = Bytes::copy_from_slice(&nonce.to_be_bytes());
            // Without an answer the tick asks again.
            let _ = peers
                .request(leader, Lane::Control, request::OPEN_ORIGIN, body, OPEN_TIMEOUT)
                .await;
        });
    }

    fn send_new(&mut self) {
        let Leadership {
            term,
            leader: Some(leader),
        } = *self.leadership.borrow()
        else {
            return;
        };
        let (now, log_now_us) = (Instant::now(), self.replica.log_time_us());
        while let Some(batch) = self.stream.next_batch(now, log_now_us) {
            if !self.hand_over(leader, term, batch) {
                break;
            }
            self.stream.mark_newest_handed();
            if planted(Bug::P01) && leader == self.replica.node_id() {
                self.stream.acknowledge_newest(self.replica.view().revision);
            }
        }
    }

    fn resend(&mut self) {
        let Leadership {
            term,
            leader: Some(leader),
        } = *self.leadership.borrow()
        else {
            return;
        };
        let mut sent = 0;
        for batch in self.stream.in_flight() {
            if !self.hand_over(leader, term, batch) {
                break;
            }
            sent += 1;
        }
        if sent > 0 {
            tracing::debug!(leader, sent, "sent the batches in flight again");
        }
        self.stream.mark_oldest_handed(sent);
        self.stream.mark_sent(Instant::now());
    }

    fn hand_over(&self, leader: NodeId, term: u64, batch: Bytes) -> bool {
        let from = self.replica.node_id();
        if leader == from {
            self.replica.submit(Submission::Batch { from, term, batch });
            return true;
        }
        let mut body = BytesMut::with_capacity(8 + batch.len());
        body.put_u64(term);
        body.put_slice(&batch);
        self.peers.send(leader, Lane::Origin, message::BATCH, body.freeze())
    }
}
