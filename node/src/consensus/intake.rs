//! The leader's end of the origin streams: batches become log entries.
//!
//! The leader expects the batches of each origin in sequence. A batch that came before is dropped (the origin sees it applied
//! anyway), a batch after a gap is rejected, and everything is rejected where this node does not lead: the origin then
//! resends from its first unapplied batch. What is expected is forgotten with the leadership; a new leader starts from its
//! applied state, and apply skips what its log held already (design: exactly once lies in apply, not here).
//!
//! Everything that waits while an earlier entry is under way is packed into the next one, so entries grow with the load
//! and an idle leader appends at once. The leader stamps log time on each entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{Batch, BatchId, EntryBuilder, Item, MemberChange};
use banyan_core::feature::FeatureLevel;
use banyan_core::limits::ENTRY_BYTES_TARGET;
use banyan_core::planted::{Bug, planted};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft::Raft;
use openraft::impls::ProgressResponder;
use openraft::type_config::alias::CommittedLeaderIdOf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::housekeeping::House;
use super::state_machine::{SharedState, StateMachine};
use super::types::{EntryData, NodeId, TypeConfig};
use crate::components::Clock;
use crate::fatal::FatalError;

/// Entries proposed and not yet applied by the leader, before more submissions are taken. What is proposed while the log
/// syncs is written and sent together with what else is, so that a batch need not wait here for others.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// How often the leader looks for what is due.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(200);
/// How far log time may run ahead of, or behind, the leader's monotonic clock within a term, microseconds.
const LOG_TIME_DRIFT_MAX_US: u64 = 1_000_000;

/// What the leader is asked to put into the log.
#[derive(Debug)]
pub enum Submission {
    /// A batch of the origin `from`, which takes `term` for the term of the leader.
    Batch {
        /// The origin.
        from: NodeId,
        /// The term in which the origin believes this node leads.
        term: u64,
        /// The encoded batch.
        batch: Bytes,
    },
    /// A node that starts asks for its next incarnation.
    OpenOrigin {
        /// The node.
        node_id: NodeId,
        /// Chosen by the node, to tell its request from others.
        nonce: u64,
    },
    /// All members know this feature level.
    RaiseLevel(FeatureLevel),
    /// What the members are to be changes. Dropped where this node does not lead.
    MemberChange {
        /// The change.
        change: MemberChange,
        /// Answered once the change is applied here; dropped if it was not written, as far as is known.
        written: oneshot::Sender<()>,
    },
}

/// Tells an origin that it must resend from its first unapplied batch.
pub type Reject = Arc<dyn Fn(NodeId) + Send + Sync>;

type Leader = CommittedLeaderIdOf<TypeConfig>;
type WriteOutcome = oneshot::Receiver<openraft::raft::ClientWriteResult<TypeConfig>>;

/// Runs the intake of `raft` until the node stops.
pub async fn run(
    shared: Arc<SharedState>,
    raft: Raft<TypeConfig, StateMachine>,
    clock: Arc<dyn Clock>,
    mut submissions: mpsc::UnboundedReceiver<Submission>,
    reject: Reject,
    house: House,
) {
    let mut intake = Intake {
        shared,
        raft,
        clock,
        reject,
        house,
        term: None,
        in_flight: FuturesUnordered::new(),
        keeps_house: false,
    };
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waiting = Vec::new();
    loop {
        let room = intake.in_flight.len() < ENTRIES_IN_FLIGHT_MAX;
        tokio::select! {
            Some(entry) = intake.in_flight.next(), if !intake.in_flight.is_empty() => intake.on_written(entry),
            count = submissions.recv_many(&mut waiting, 1024), if room => {
                if count == 0 {
                    return;
                }
                intake.take(&mut waiting).await;
            }
            _ = housekeeping.tick(), if room => intake.keep_house().await,
        }
    }
}

struct Intake {
    shared: Arc<SharedState>,
    raft: Raft<TypeConfig, StateMachine>,
    clock: Arc<dyn Clock>,
    reject: Reject,
    house: House,
    term: Option<Term>,
    /// Entries proposed and not yet applied here.
    in_flight: FuturesUnordered<Written>,
    /// Whether an entry of the leader's own is under way.
    keeps_house: bool,
}

/// What a leader knows in one term.
struct Term {
    leader: Leader,
    expected: BTreeMap<NodeId, Expected>,
    time: LogClock,
}

struct Expected {
    incarnation: u64,
    sequence: u64,
    /// The origin has been told of a gap and has not closed it yet.
    rejected: bool,
}

/// Log time within one term: wall time, held near the monotonic clock, never stepping back.
struct LogClock {
    start_us: u64,
    start: Instant,
    last_us: u64,
}

impl LogClock {
    fn new(log_time_us: u64, wall_us: u64) -> Self {
        let start_us = wall_us.max(log_time_us);
        Self {
            start_us,
            start: Instant::now(),
            last_us: start_us,
        }
    }

    fn stamp(&mut self, wall_us: u64) -> u64 {
        let elapsed_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let steady_us = self.start_us.saturating_add(elapsed_us);
        let low = steady_us.saturating_sub(LOG_TIME_DRIFT_MAX_US);
        let high = steady_us.saturating_add(LOG_TIME_DRIFT_MAX_US);
        self.last_us = wall_us.clamp(low, high).max(self.last_us);
        self.last_us
    }
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Take,
    Drop,
    Reject,
}

impl Term {
    /// `applied` tells where the origin stands in this node's state: (incarnation, next sequence).
    fn judge(&mut self, id: BatchId, applied: impl Fn() -> Option<(u64, u64)>) -> Verdict {
        let expected = self.expected.entry(id.node_id).or_insert_with(|| {
            let (incarnation, sequence) = applied().unwrap_or((0, 0));
            Expected {
                incarnation,
                sequence,
                rejected: false,
            }
        });
        if id.incarnation > expected.incarnation {
            // Its opening is in the log, or the origin would not know of it; this node has yet to apply it.
            *expected = Expected {
                incarnation: id.incarnation,
                sequence: FIRST_SEQUENCE,
                rejected: false,
            };
        }
        if id.incarnation < expected.incarnation || id.sequence < expected.sequence {
            return Verdict::Drop;
        }
        if id.sequence > expected.sequence
            && let Some((incarnation, sequence)) = applied()
            && incarnation == expected.incarnation
        {
            // What came through an earlier leader was not applied here when the term began, and is now.
            expected.sequence = expected.sequence.max(sequence);
        }
        if id.sequence < expected.sequence {
            return Verdict::Drop;
        }
        if id.sequence > expected.sequence && planted(Bug::Gap) {
            expected.sequence = id.sequence;
        }
        if id.sequence > expected.sequence {
            let verdict = if expected.rejected {
                Verdict::Drop
            } else {
                Verdict::Reject
            };
            expected.rejected = true;
            return verdict;
        }
        expected.sequence += 1;
        expected.rejected = false;
        Verdict::Take
    }
}

/// Sequence of the first batch of an incarnation.
pub const FIRST_SEQUENCE: u64 = 1;

/// What became of an entry.
struct WrittenEntry {
    applied: bool,
    /// Who waits for it.
    waiting: Waiting,
}

/// Who waits for an entry.
#[derive(Default)]
struct Waiting {
    /// Whose batches are in it; none in one of the leader's own.
    origins: Vec<NodeId>,
    /// Who asked for the changes of members that are in it.
    members: Vec<oneshot::Sender<()>>,
}

async fn written(outcome: WriteOutcome, waiting: Waiting) -> WrittenEntry {
    let applied = matches!(outcome.await, Ok(Ok(_)));
    WrittenEntry { applied, waiting }
}

type Written = std::pin::Pin<Box<dyn Future<Output = WrittenEntry> + Send>>;

impl Intake {
    /// Renews what is known of the term; `None` if this node does not lead.
    fn lead(&mut self) -> Option<&mut Term> {
        let leader = self.raft.as_leader().ok()?.to_committed_leader_id();
        if self.term.as_ref().is_none_or(|term| term.leader != leader) {
            let log_time_us = self.shared.applied.borrow().log_time_us;
            let time = LogClock::new(log_time_us, self.clock.now_us());
            self.term = Some(Term {
                leader,
                expected: BTreeMap::new(),
                time,
            });
        }
        self.term.as_mut()
    }

    async fn take(&mut self, waiting: &mut Vec<Submission>) {
        let shared = Arc::clone(&self.shared);
        let reject = Arc::clone(&self.reject);
        let mut entry = EntryBuilder::new();
        let mut asking = Waiting::default();
        for submission in waiting.drain(..) {
            let Some(term) = self.lead() else {
                if let Submission::Batch { from, .. } = submission {
                    reject(from);
                }
                continue;
            };
            match submission {
                Submission::Batch {
                    from,
                    term: term_number,
                    batch,
                } => {
                    if term_number != term.leader.term {
                        reject(from);
                        continue;
                    }
                    let parsed = Batch::parse(batch.clone()).and_then(|batch| Ok((batch.id(), batch.validate()?)));
                    let id = match parsed {
                        Ok((_, level)) if level > *shared.feature_level.borrow() => {
                            // The origin has applied what raises the level, and this node is about to.
                            reject(from);
                            continue;
                        }
                        Ok((id, _)) if id.node_id == from => id,
                        Ok(_) => continue,
                        Err(error) => {
                            tracing::error!(from, %error, "a peer sent a batch that cannot be read");
                            continue;
                        }
                    };
                    let applied = || match shared.state.lock().origin(from) {
                        Ok(row) => row.map(|row| (row.incarnation, row.next_sequence)),
                        Err(error) => {
                            shared.fatal.stop(FatalError::Storage(error.to_string()));
                            None
                        }
                    };
                    match term.judge(id, applied) {
                        Verdict::Take => {
                            entry.push_batch(batch);
                            asking.origins.push(from);
                        }
                        Verdict::Drop => {}
                        Verdict::Reject => reject(from),
                    }
                }
                Submission::RaiseLevel(level) => entry.push_item(&Item::RaiseLevel(level)),
                Submission::OpenOrigin { node_id, nonce } => {
                    entry.push_item(&Item::OpenOrigin { node_id, nonce });
                }
                Submission::MemberChange { change, written } => {
                    entry.push_item(&Item::MemberChange(change));
                    asking.members.push(written);
                }
            }
            if entry.bytes() >= ENTRY_BYTES_TARGET {
                let full = std::mem::replace(&mut entry, EntryBuilder::new());
                self.propose(full, std::mem::take(&mut asking)).await;
            }
        }
        if !entry.is_empty() {
            self.propose(entry, asking).await;
        }
    }

    /// An entry is done with. One that was refused (the leadership is lost, or not confirmed by a quorum) took its batches
    /// with it: what is expected starts over, and their origins resend.
    fn on_written(&mut self, entry: WrittenEntry) {
        if entry.waiting.origins.is_empty() {
            self.keeps_house = false;
        }
        if entry.applied {
            for written in entry.waiting.members {
                // Who asked may have given up.
                let _ = written.send(());
            }
            return;
        }
        if let Some(term) = &mut self.term {
            term.expected.clear();
        }
        let origins: BTreeSet<_> = entry.waiting.origins.into_iter().collect();
        origins.into_iter().for_each(|origin| (self.reject)(origin));
    }

    async fn propose(&mut self, entry: EntryBuilder, waiting: Waiting) {
        let wall_us = self.clock.now_us();
        let Some(term) = self.term.as_mut() else {
            return;
        };
        let data = EntryData(entry.finish(term.time.stamp(wall_us)));
        let (responder, outcome) = ProgressResponder::complete_only();
        let proposed = self
            .raft
            .write(data)
            .with_leader(term.leader)
            .responder(responder)
            .await;
        if let Err(error) = proposed {
            if !matches!(error, openraft::errors::Fatal::Stopped) {
                self.shared.fatal.stop(FatalError::Consensus(error.to_string()));
            }
            return;
        }
        self.in_flight.push(Box::pin(written(outcome, waiting)));
    }

    async fn keep_house(&mut self) {
        if self.keeps_house {
            return;
        }
        let wall_us = self.clock.now_us();
        let Some(term) = self.lead() else {
            return;
        };
        let (now_us, led_since) = (term.time.stamp(wall_us), term.time.start);
        match self.house.due(now_us, led_since) {
            Ok(entry) if entry.is_empty() => {}
            Ok(entry) => {
                self.keeps_house = true;
                self.propose(entry, Waiting::default()).await;
            }
            Err(error) => self.shared.fatal.stop(FatalError::Storage(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;

    fn id(incarnation: u64, sequence: u64) -> BatchId {
        BatchId {
            node_id: 7,
            incarnation,
            sequence,
        }
    }

    fn term() -> Term {
        Term {
            leader: Leader::new(1, 1),
            expected: BTreeMap::new(),
            time: LogClock::new(0, 0),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_taken_in_sequence_and_a_gap_is_rejected_once() {
        let mut term = term();
        let applied = || Some((1, 5));
        assert_eq!(term.judge(id(1, 4), applied), Verdict::Drop, "applied before");
        assert_eq!(term.judge(id(1, 5), applied), Verdict::Take);
        assert_eq!(term.judge(id(1, 5), applied), Verdict::Drop, "in the log already");
        assert_eq!(term.judge(id(1, 7), applied), Verdict::Reject);
        assert_eq!(term.judge(id(1, 8), applied), Verdict::Drop, "the resend is under way");
        assert_eq!(term.judge(id(1, 6), applied), Verdict::Take);
        assert_eq!(term.judge(id(1, 7), applied), Verdict::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_leader_applies_meanwhile_closes_a_gap() {
        let mut term = term();
        assert_eq!(
            term.judge(id(1, 9), || Some((1, 5))),
            Verdict::Reject,
            "5 to 8 came through an earlier leader"
        );
        assert_eq!(term.judge(id(1, 9), || Some((1, 7))), Verdict::Drop);
        assert_eq!(term.judge(id(1, 9), || Some((1, 9))), Verdict::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_incarnation_starts_over_and_ends_the_former() {
        let mut term = term();
        let applied = || Some((1, 5));
        assert_eq!(term.judge(id(1, 5), applied), Verdict::Take);
        assert_eq!(term.judge(id(2, FIRST_SEQUENCE), applied), Verdict::Take);
        assert_eq!(term.judge(id(1, 6), applied), Verdict::Drop);
    }

    #[tokio::test(start_paused = true)]
    async fn log_time_follows_the_wall_clock_but_neither_jumps_nor_steps_back() {
        const SECOND_US: u64 = 1_000_000;
        let mut time = LogClock::new(0, 100 * SECOND_US);
        assert_eq!(time.stamp(100 * SECOND_US), 100 * SECOND_US);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(time.stamp(110 * SECOND_US + 5), 110 * SECOND_US + 5);
        assert_eq!(
            time.stamp(86_400 * SECOND_US),
            111 * SECOND_US,
            "at most a second ahead"
        );
        assert_eq!(time.stamp(50 * SECOND_US), 111 * SECOND_US, "never back");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(time.stamp(50 * SECOND_US), 119 * SECOND_US, "at most a second behind");
    }

    #[tokio::test(start_paused = true)]
    async fn log_time_starts_at_the_later_of_the_log_and_the_wall_clock() {
        assert_eq!(LogClock::new(500, 100).stamp(100), 500);
        assert_eq!(LogClock::new(100, 500).stamp(500), 500);
    }
}
