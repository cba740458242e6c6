//! The origin stream without task or clock: packing, order, resend, outcomes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banyan_core::command::{Batch, BatchBuilder, BatchId, Command, Condition, Operation};
use banyan_core::limits::{BATCH_BYTES_TARGET, BATCH_COMMANDS_MAX};
use banyan_core::planted::{Bug, planted};
use banyan_core::state::{BatchOutcome, Disposition, OriginOpened, Outcome};
use bytes::Bytes;
use tokio::time::Instant;

use super::completion::{Completion, ProposeError};
use super::measure::{BatchCounts, Notable, Waiter, WriteCounts, describe};
use crate::simulation::{self, Site};
use crate::trace::{Told, Watch};

/// Batches that are sealed and not yet applied here. One on its way to the leader, one being committed, one being applied:
/// more only makes batches smaller.
pub const IN_FLIGHT_MAX: usize = 3;

/// Commands of one batch share a deadline, the earliest of theirs: they are this close.
const DEADLINE_SPREAD_MAX: Duration = Duration::from_secs(1);
/// Batches of which none was applied for this long are sent again: a rejection may have been lost, or a resend broken off.
const STALL: Duration = Duration::from_millis(500);

/// A command that waits to be packed.
#[derive(Debug)]
pub struct Queued {
    pub command: Command,
    pub completion: Completion,
    /// Its share of what may wait.
    pub reserved: Reserved,
    /// When it came.
    pub received: Instant,
    /// When its client must have an answer.
    pub deadline: Instant,
}

impl Queued {
    fn give_up(self, reason: &str, counts: &WriteCounts) {
        let waiter = Waiter::new(&self.command.operation, self.completion, self.received);
        waiter.give_up(ProposeError::Unavailable(reason.to_owned()), counts);
    }
}

/// The connection that must not get anything through that it sends after `command`, if that is given up. One that a client
/// is told of in its place, and the end of a connection, leave no gap.
pub fn ordered_sender(command: &Command) -> Option<u64> {
    let in_place = matches!(
        command.operation,
        Operation::Subscribe(_) | Operation::Unsubscribe(_) | Operation::Disconnect(_)
    );
    command.sender.filter(|_| !in_place).map(|sender| sender.fence)
}

/// Bytes counted as waiting for as long as this lives.
#[derive(Debug)]
pub struct Reserved {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Reserved {
    /// Counts `bytes` in `total`, unless it would pass `bytes_max`.
    pub fn try_new(bytes: usize, total: &Arc<AtomicUsize>, bytes_max: usize) -> Option<Self> {
        let grow = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok()?;
        Some(Self {
            bytes,
            total: Arc::clone(total),
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct InFlight {
    sequence: u64,
    batch: Bytes,
    sealed: Instant,
    /// Whether a leader may have it.
    handed: bool,
    /// Those who wait, one a command; empty once they were told that the outcome is unknown.
    waiters: Vec<Waiter>,
    deadline: Instant,
}

impl InFlight {
    fn give_up(&mut self, reason: &str, counts: &WriteCounts) {
        for waiter in self.waiters.drain(..) {
            let error = match self.handed {
                true => ProposeError::Unknown(reason.to_owned()),
                false => ProposeError::Unavailable(reason.to_owned()),
            };
            waiter.give_up(error, counts);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The opening is not applied yet.
    Closed,
    Open {
        incarnation: u64,
    },
    /// A later incarnation of this node exists.
    Fenced,
}

/// The stream of one incarnation of this node.
///
/// Invariant: the sequences in flight are consecutive, and end before `next_sequence`; every batch handed over has all earlier
/// ones handed over.
pub struct Stream {
    node_id: u64,
    nonce: u64,
    standing: Standing,
    next_sequence: u64,
    queue: VecDeque<Queued>,
    in_flight: VecDeque<InFlight>,
    /// When a batch was last applied, or all were last sent.
    moved_at: Option<Instant>,
    counts: Arc<WriteCounts>,
    watch: Watch,
}

impl Stream {
    /// A stream that will be opened with `nonce`.
    pub fn new(node_id: u64, nonce: u64, counts: Arc<WriteCounts>, watch: Watch) -> Self {
        Self {
            node_id,
            nonce,
            standing: Standing::Closed,
            next_sequence: 0,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            moved_at: None,
            counts,
            watch,
        }
    }

    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    pub fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Open { .. })
    }

    pub fn is_fenced(&self) -> bool {
        self.standing == Standing::Fenced
    }

    /// Adds commands behind those that wait.
    pub fn enqueue(&mut self, commands: Vec<Queued>) {
        self.queue.extend(commands);
    }

    /// Seals the next batch, if one may be sent at `now`, which is `log_now_us` in log time as far as this node can tell.
    ///
    /// Its deadline in log time is when the first of its clients is answered whatever happens: it cannot take effect after.
    pub fn next_batch(&mut self, now: Instant, log_now_us: u64) -> Option<Bytes> {
        let Standing::Open { incarnation } = self.standing else {
            return None;
        };
        if self.is_held_up() || self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let deadline = self.queue.front()?.deadline;
        let mut builder = BatchBuilder::new();
        let mut waiters = Vec::with_capacity(self.queue.len().min(BATCH_COMMANDS_MAX));
        let commands_max = match simulation::happens(Site::SmallBatch) {
            true => 1,
            false => BATCH_COMMANDS_MAX,
        };
        while builder.len() < commands_max && builder.bytes() < BATCH_BYTES_TARGET {
            let Some(queued) = self
                .queue
                .pop_front_if(|queued| queued.deadline <= deadline + DEADLINE_SPREAD_MAX)
            else {
                break;
            };
            let Queued {
                command,
                completion,
                reserved,
                received,
                ..
            } = queued;
            builder.push(&command);
            waiters.push(Waiter::new(&command.operation, completion, received));
            drop(reserved);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let left_us = u64::try_from(deadline.saturating_duration_since(now).as_micros()).unwrap_or(u64::MAX);
        let id = BatchId {
            node_id: self.node_id,
            incarnation,
            sequence,
        };
        let batch = builder.finish(id, log_now_us.saturating_add(left_us));
        if self.in_flight.is_empty() {
            self.moved_at = Some(now);
        }
        self.in_flight.push_back(InFlight {
            sequence,
            batch: batch.clone(),
            sealed: now,
            handed: false,
            waiters,
            deadline,
        });
        Some(batch)
    }

    /// Notes that a leader may have the newest batch.
    pub fn mark_newest_handed(&mut self) {
        if let Some(newest) = self.in_flight.back_mut() {
            newest.handed = true;
        }
    }

    /// Answers the clients of the newest batch as if it were applied after `revision`, if all they want is to write:
    /// [`Bug::P01`].
    pub fn acknowledge_newest(&mut self, revision: u64) {
        let is_plain = |operation: &Operation| match operation {
            Operation::Put(put) => put.timestamp_us.is_none() && put.condition == Condition::None,
            _ => false,
        };
        if let Some(newest) = self.in_flight.back_mut()
            && let Ok(batch) = Batch::parse(newest.batch.clone())
            && batch
                .commands()
                .all(|command| command.is_ok_and(|command| is_plain(&command.operation)))
        {
            let mut counts = BatchCounts::new(Instant::now());
            for (waiter, revision) in newest.waiters.drain(..).zip(revision + 1..) {
                let created = false;
                counts.answer(waiter, Ok(Outcome::Applied { revision, created }), &self.watch);
            }
        }
    }

    /// Notes that a leader may have the `count` oldest batches.
    pub fn mark_oldest_handed(&mut self, count: usize) {
        self.in_flight
            .iter_mut()
            .take(count)
            .for_each(|in_flight| in_flight.handed = true);
    }

    /// The batches to resend, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = Bytes> {
        self.in_flight.iter().map(|in_flight| in_flight.batch.clone())
    }

    /// Whether a batch waits to be handed over. It is the newest, and the only one.
    pub fn is_held_up(&self) -> bool {
        self.in_flight.back().is_some_and(|last| !last.handed)
    }

    /// Whether batches in flight should be sent (again) at `now` without any other reason.
    pub fn is_stalled(&self, now: Instant) -> bool {
        let stalled = self
            .moved_at
            .is_some_and(|at| now.saturating_duration_since(at) > STALL);
        self.is_held_up() || (stalled && !self.in_flight.is_empty())
    }

    /// Commands that wait for their answer.
    pub fn waiting(&self) -> usize {
        let in_flight: usize = self.in_flight.iter().map(|in_flight| in_flight.waiters.len()).sum();
        self.queue.len() + in_flight
    }

    /// Notes that all batches in flight were sent at `now`.
    pub fn mark_sent(&mut self, now: Instant) {
        self.moved_at = Some(now);
    }

    /// A batch of this node came out of the log. Returns whether the stream must be resent.
    pub fn on_outcome(&mut self, outcome: BatchOutcome) -> bool {
        let Standing::Open { incarnation } = self.standing else {
            return false;
        };
        if outcome.id.incarnation != incarnation {
            return false;
        }
        match outcome.disposition {
            Disposition::Duplicate => false,
            Disposition::Gap { expected } => self.in_flight.front().is_some_and(|oldest| oldest.sequence >= expected),
            Disposition::Fenced { .. } => {
                self.fence();
                false
            }
            Disposition::Taken(outcomes) => {
                if planted(Bug::Gap) {
                    self.on_installed(incarnation, outcome.id.sequence);
                }
                let Some(oldest) = self.in_flight.pop_front() else {
                    return false;
                };
                let now = Instant::now();
                self.moved_at = Some(now);
                assert_eq!(
                    oldest.sequence, outcome.id.sequence,
                    "the stream was applied out of order"
                );
                let mut counts = BatchCounts::new(now);
                for (waiter, outcome) in oldest.waiters.into_iter().zip(outcomes) {
                    let reply = match outcome {
                        Outcome::TooLate => Err(ProposeError::Unavailable(
                            "it came to the log after its deadline".to_owned(),
                        )),
                        outcome => Ok(outcome),
                    };
                    counts.answer(waiter, reply, &self.watch);
                }
                counts.add_to(&self.counts);
                self.tell(&counts.notable, &oldest.batch, oldest.sealed, now);
                false
            }
        }
    }

    /// Tells of single commands of a batch that was `sealed` and is `applied`: they are read back out of it, since few are told of.
    fn tell(&self, notable: &[Notable], batch: &Bytes, sealed: Instant, applied: Instant) {
        if notable.is_empty() {
            return;
        }
        let Ok(batch) = Batch::parse(batch.clone()) else {
            return;
        };
        let mut commands = batch.commands().enumerate();
        for Notable {
            at,
            asker,
            became,
            received,
            span,
            reasons,
        } in notable
        {
            let Some((_, Ok(command))) = commands.find(|(place, _)| place == at) else {
                return;
            };
            let (verb, subject) = describe(&command.operation);
            let told = Told {
                kind: &format!("{} {verb}", asker.name()),
                subject: &subject,
                outcome: became.name(),
                begun: *received,
                ended: applied,
                parts: &[
                    ("queue", sealed.saturating_duration_since(*received)),
                    ("replicate", applied.saturating_duration_since(sealed)),
                ],
            };
            self.watch.tell(&told, *reasons, *span);
        }
    }

    /// An opening of this node came out of the log. Returns whether it is the one this stream waits for.
    pub fn on_opened(&mut self, opened: &OriginOpened) -> bool {
        match self.standing {
            Standing::Closed if opened.nonce == self.nonce => {
                self.standing = Standing::Open {
                    incarnation: opened.incarnation,
                };
                self.next_sequence = opened.next_sequence;
                true
            }
            Standing::Open { incarnation } if opened.incarnation > incarnation => {
                self.fence();
                false
            }
            _ => false,
        }
    }

    /// The state was replaced by one in which this node's row is (`incarnation`, `next_sequence`). What it skipped is unknown.
    pub fn on_installed(&mut self, incarnation: u64, next_sequence: u64) {
        let Standing::Open { incarnation: mine } = self.standing else {
            return;
        };
        if incarnation > mine {
            self.fence();
            return;
        }
        while self
            .in_flight
            .front()
            .is_some_and(|oldest| incarnation == mine && oldest.sequence < next_sequence)
        {
            if let Some(mut skipped) = self.in_flight.pop_front() {
                skipped.give_up("a snapshot was installed meanwhile", &self.counts);
            }
        }
    }

    fn fence(&mut self) {
        self.standing = Standing::Fenced;
        for in_flight in &mut self.in_flight {
            in_flight.give_up("the node was opened again elsewhere", &self.counts);
        }
        self.in_flight.clear();
    }

    /// Starts over after a fence, to be opened with `nonce`.
    pub fn reopen(&mut self, nonce: u64) {
        assert!(self.in_flight.is_empty(), "a fenced stream has nothing in flight");
        self.nonce = nonce;
        self.standing = Standing::Closed;
    }

    /// Answers everyone whose deadline has passed. Batches that a leader may have stay in flight: their sequence must be
    /// applied. One that no leader can have is taken back, so that it cannot take effect later.
    ///
    /// Returns the connections of which something was given up that no leader has: what they have sent after it must not
    /// take effect either.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> BTreeSet<u64> {
        let mut cut_off = BTreeSet::new();
        while let Some(queued) = self.queue.pop_front_if(|queued| queued.deadline <= now) {
            cut_off.extend(ordered_sender(&queued.command));
            queued.give_up("no leader took it in time", &self.counts);
        }
        if let Some(mut unhanded) = self.in_flight.pop_back_if(|last| !last.handed && last.deadline <= now) {
            let batch = Batch::parse(unhanded.batch.clone()).expect("this node has sealed it");
            cut_off.extend(
                batch
                    .commands()
                    .flatten()
                    .filter_map(|command| ordered_sender(&command)),
            );
            unhanded.give_up("no leader took it in time", &self.counts);
            self.next_sequence = unhanded.sequence;
        }
        for in_flight in self.in_flight.iter_mut().filter(|in_flight| in_flight.deadline <= now) {
            in_flight.give_up("it was not seen applied in time", &self.counts);
        }
        cut_off
    }

    /// Answers everything that waits of these connections, but that they have ended.
    pub fn give_up_all_of(&mut self, fences: &BTreeSet<u64>) {
        let (given_up, queue) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|queued| ordered_sender(&queued.command).is_some_and(|fence| fences.contains(&fence)));
        self.queue = queue;
        for queued in Vec::from(given_up) {
            queued.give_up("something sent before it was given up", &self.counts);
        }
    }
}
