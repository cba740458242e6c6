//! What the committed log means, said a second time in the plainest way.
//!
//! [`Replay`] reads the log with the decoders of `banyan_core::command` and decides every operation by itself, without
//! `banyan_core::state`: plain ordered maps, no layers, no indexes, no checkpoints. It keeps the whole history, so that a
//! check can ask what any topic held at any revision, what became of any operation, and which changes a subscriber had to
//! see. It also computes the digest of topics, tombstones and origins as the keyspace format documents it, after every entry.
//! Of sessions it knows what changes topics; which messages they are owed is for the invariants to say.
//!
//! | file | concept |
//! |---|---|
//! | `replay` | the log, entry by entry: log time, origins, batches |
//! | `sessions` | which connection of a client is in force, and wills |
//! | `topic` | one topic: conditions, and newest timestamp wins |
//! | `rows` | the digest, row by row |
//! | `past` | questions about the past |
//! | `filter` | which topics a filter matches |
//! | `testing` | logs made by hand |

mod filter;
mod past;
mod replay;
#[cfg(test)]
mod replay_test;
mod rows;
mod sessions;
#[cfg(test)]
pub(crate) mod testing;
mod topic;

use bytes::Bytes;

use crate::history::{Condition, Serial};

pub use banyan_core::command::{BatchId, Sender};
pub use filter::matches;
pub use past::held_within;
pub(crate) use past::seen;
pub use replay::{Replay, ReplayError};
pub(crate) use sessions::Unfinished;
pub use sessions::{SessionStep, SessionWhat};

/// What a replayed operation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Write a topic.
    Put(Write),
    /// Delete a topic.
    Delete(Write),
    /// Delete the topics that match a filter.
    DeleteFilter {
        /// The filter.
        filter: String,
    },
    /// An event of a topic.
    Event {
        /// The topic.
        topic: String,
        /// Stands in the payload.
        serial: Option<Serial>,
    },
}

impl Request {
    /// The serial in the payload.
    #[must_use]
    pub fn serial(&self) -> Option<Serial> {
        match self {
            Self::Put(write) => write.serial,
            Self::Event { serial, .. } => *serial,
            Self::Delete(_) | Self::DeleteFilter { .. } => None,
        }
    }
}

/// A write or delete of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The topic.
    pub topic: String,
    /// Stands in the payload.
    pub serial: Option<Serial>,
    /// Empty for a delete.
    pub payload: Bytes,
    /// The canonical encoding of the metadata.
    pub metadata: Bytes,
    /// The client's timestamp, microseconds since the Unix epoch.
    pub timestamp_us: Option<u64>,
    /// What must be true of the topic.
    pub condition: Condition,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changed something, or is an event.
    Done {
        /// Its revision.
        revision: u64,
    },
    /// The very same was applied before and stands.
    Unchanged {
        /// Its revision.
        revision: u64,
    },
    /// A newer timestamp stands.
    Superseded {
        /// Revision of what stands.
        winner: u64,
    },
    /// The condition is not met, or is met and the timestamp loses.
    ConditionFailed {
        /// Revision of the value; 0: there is none.
        current: u64,
    },
    /// The timestamp is too far ahead.
    TimestampAhead,
    /// There is nothing to delete.
    NothingThere,
    /// The deadline of the batch had passed.
    TooLate,
    /// The connection that it came by was not in force any more.
    Fenced,
    /// The QoS 2 message under this packet identifier was taken before.
    Duplicate,
}

/// One operation of one batch that was taken, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Log index of the entry.
    pub index: u64,
    /// The batch.
    pub batch: BatchId,
    /// The connection that it came by; `None`: by HTTP.
    pub sender: Option<Sender>,
    /// Client identifier or principal of the writer.
    pub publisher: String,
    /// What it asked for.
    pub request: Request,
    /// What became of it.
    pub outcome: Outcome,
    /// Revision of the state before it.
    pub revision_before: u64,
    /// The timestamp by which it was compared; that of the stamp if it brought none and was applied.
    pub timestamp_us: Option<u64>,
}

/// A change of one topic, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Log index of the entry.
    pub index: u64,
    /// Its revision.
    pub revision: u64,
    /// Its place among the changes of that revision.
    pub ordinal: u32,
    /// The topic.
    pub topic: String,
    /// What happened.
    pub what: What,
}

/// What happened to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was written.
    Put {
        /// What stands in the payload.
        serial: Option<Serial>,
        /// Its timestamp.
        timestamp_us: u64,
        /// When it expires.
        expires_at_us: Option<u64>,
    },
    /// A client deleted it.
    Delete {
        /// Its timestamp.
        timestamp_us: u64,
    },
    /// It expired.
    Expired {
        /// The timestamp of the value.
        timestamp_us: u64,
    },
    /// An event.
    Event {
        /// What stands in the payload.
        serial: Option<Serial>,
    },
}

impl Change {
    /// Whether the topic holds something else afterwards.
    #[must_use]
    pub const fn is_state(&self) -> bool {
        !matches!(self.what, What::Event { .. })
    }

    /// The serial that a subscriber sees; `None` for a deletion.
    #[must_use]
    pub const fn serial(&self) -> Option<Serial> {
        match self.what {
            What::Put { serial, .. } | What::Event { serial } => serial,
            What::Delete { .. } | What::Expired { .. } => None,
        }
    }

    /// Whether a message of it may be left out because it expires.
    #[must_use]
    pub const fn expires(&self) -> bool {
        matches!(
            self.what,
            What::Put {
                expires_at_us: Some(_),
                ..
            }
        )
    }
}
