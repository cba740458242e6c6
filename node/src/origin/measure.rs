//! How long commands take, and what becomes of them. Counted once for a whole batch where it is answered as one.

use std::sync::atomic::{AtomicU64, Ordering};

use banyan_core::command::Operation;
use banyan_core::state::Outcome;
use tokio::time::Instant;

use super::completion::{Completion, ProposeError, Reply};
use crate::metrics::{Histogram, Recorded, Tally};
use crate::trace::{Reasons, SpanContext, Watch};

/// For whom a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// An MQTT client that publishes.
    Mqtt,
    /// An HTTP client that writes.
    Http,
    /// A session: to connect, to subscribe, to get on with its messages.
    Session,
}

impl Asker {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mqtt, Self::Http, Self::Session];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::Session => "session",
        }
    }

    /// Who waits at `completion` for `operation`.
    fn of(operation: &Operation, completion: &Completion) -> Self {
        match operation {
            Operation::Put(_) | Operation::Delete(_) | Operation::DeleteFilter(_) | Operation::Event(_) => {
                match completion.is_channel() {
                    true => Self::Mqtt,
                    false => Self::Http,
                }
            }
            _ => Self::Session,
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It is in force.
    Applied,
    /// A newer timestamp had been there before, or the very same.
    Superseded,
    /// It was refused: a condition, a timestamp, nothing to delete.
    Refused,
    /// It was refused, as too few disks have room.
    Full,
    /// Nothing happened, as no leader took it in time.
    Unavailable,
    /// Its client was told that the outcome is not known.
    Unknown,
}

impl Became {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Applied,
        Self::Superseded,
        Self::Refused,
        Self::Full,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    fn of(reply: &Reply) -> Self {
        match reply {
            Ok(Outcome::Superseded { .. } | Outcome::Unchanged { .. }) => Self::Superseded,
            Ok(
                Outcome::ConditionFailed { .. }
                | Outcome::TimestampAhead { .. }
                | Outcome::NotFound
                | Outcome::Fenced
                | Outcome::TooLate,
            ) => Self::Refused,
            Ok(_) => Self::Applied,
            Err(ProposeError::Full(_)) => Self::Full,
            Err(ProposeError::Unavailable(_)) => Self::Unavailable,
            Err(ProposeError::Unknown(_)) => Self::Unknown,
        }
    }
}

/// What an origin has counted since it began.
#[derive(Debug, Default)]
pub struct WriteCounts {
    times: [Histogram; Asker::ALL.len()],
    became: [[AtomicU64; Became::ALL.len()]; Asker::ALL.len()],
    batches: AtomicU64,
    waiting: AtomicU64,
}

impl WriteCounts {
    /// From receipt to answer, of what was answered with an outcome.
    #[must_use]
    pub fn times(&self, asker: Asker) -> &Histogram {
        &self.times[asker as usize]
    }

    /// How many commands of `asker` became this.
    #[must_use]
    pub fn count(&self, asker: Asker, became: Became) -> u64 {
        self.became[asker as usize][became as usize].load(Ordering::Relaxed)
    }

    /// From receipt to answer, of what clients write.
    #[must_use]
    pub fn client_times(&self) -> Recorded {
        self.times(Asker::Mqtt).read().and(&self.times(Asker::Http).read())
    }

    /// Commands of clients that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let of = |asker| Became::ALL.into_iter().map(move |became| self.count(asker, became));
        of(Asker::Mqtt).chain(of(Asker::Http)).sum()
    }

    /// Batches of this node that were applied.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Commands that wait for their answer, a moment ago.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn set_waiting(&self, count: usize) {
        self.waiting.store(count as u64, Ordering::Relaxed);
    }

    /// Answers someone whose command was not taken.
    pub(super) fn refuse(&self, operation: &Operation, completion: Completion, error: ProposeError) {
        let asker = Asker::of(operation, &completion);
        let reply = Err(error);
        self.add_one(asker, Became::of(&reply));
        completion.complete(reply);
    }

    fn add_one(&self, asker: Asker, became: Became) {
        self.became[asker as usize][became as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What is to be told of a command of a batch.
pub(super) struct Notable {
    /// Its place in the batch.
    pub(super) at: usize,
    pub(super) asker: Asker,
    pub(super) became: Became,
    pub(super) received: Instant,
    pub(super) span: Option<SpanContext>,
    pub(super) reasons: Reasons,
}

/// Someone who waits for the answer to a command.
#[derive(Debug)]
pub struct Waiter {
    completion: Completion,
    asker: Asker,
    /// When the command came.
    pub received: Instant,
}

impl Waiter {
    pub(super) fn new(operation: &Operation, completion: Completion, received: Instant) -> Self {
        Self {
            asker: Asker::of(operation, &completion),
            completion,
            received,
        }
    }

    /// Answers one that gets no outcome.
    pub(super) fn give_up(self, error: ProposeError, counts: &WriteCounts) {
        let reply = Err(error);
        counts.add_one(self.asker, Became::of(&reply));
        self.completion.complete(reply);
    }
}

/// The answers to one batch.
pub(super) struct BatchCounts {
    now: Instant,
    times: [Tally; Asker::ALL.len()],
    became: [[u32; Became::ALL.len()]; Asker::ALL.len()],
    answered: usize,
    /// What is to be told of single commands.
    pub(super) notable: Vec<Notable>,
}

impl BatchCounts {
    /// Of a batch whose outcomes came `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            times: Default::default(),
            became: Default::default(),
            answered: 0,
            notable: Vec::new(),
        }
    }

    /// Answers `waiter`.
    pub(super) fn answer(&mut self, waiter: Waiter, reply: Reply, watch: &Watch) {
        let asker = waiter.asker as usize;
        let (took, became) = (self.now.saturating_duration_since(waiter.received), Became::of(&reply));
        self.times[asker].record(took);
        self.became[asker][became as usize] += 1;
        let span = waiter.completion.span();
        if let Some(reasons) = watch.is_told(took, span) {
            self.notable.push(Notable {
                at: self.answered,
                asker: waiter.asker,
                became,
                received: waiter.received,
                span,
                reasons,
            });
        }
        self.answered += 1;
        waiter.completion.complete(reply);
    }

    /// Adds them to all others.
    pub(super) fn add_to(&self, counts: &WriteCounts) {
        counts.batches.fetch_add(1, Ordering::Relaxed);
        for (asker, tally) in self.times.iter().enumerate() {
            if self.became[asker].iter().any(|count| *count > 0) {
                counts.times[asker].add(tally);
            }
            for (total, count) in counts.became[asker].iter().zip(self.became[asker]) {
                if count > 0 {
                    total.fetch_add(u64::from(count), Ordering::Relaxed);
                }
            }
        }
    }
}

/// What an operation does, and to what.
pub(super) fn describe(operation: &Operation) -> (&'static str, String) {
    let client = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
    match operation {
        Operation::Put(put) => ("put", put.topic.to_string()),
        Operation::Delete(delete) => ("delete", delete.topic.to_string()),
        Operation::DeleteFilter(delete) => ("delete filter", delete.filter.to_string()),
        Operation::Event(event) => ("event", event.topic.to_string()),
        Operation::Connect(connect) => ("connect", client(&connect.client_id)),
        Operation::Disconnect(_) => ("disconnect", String::new()),
        Operation::Subscribe(subscribe) => ("subscribe", format!("{} filters", subscribe.subscriptions.len())),
        Operation::Unsubscribe(_) => ("unsubscribe", String::new()),
        Operation::Release(_) => ("release", String::new()),
        Operation::Progress(_) => ("progress", String::new()),
        Operation::CaughtUp(_) => ("caught up", String::new()),
        Operation::Kick(kick) => ("kick", client(&kick.client_id)),
    }
}
