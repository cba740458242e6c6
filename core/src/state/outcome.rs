//! What became of an operation, and of the batch that brought it.

use crate::command::BatchId;

/// What became of one operation. The same on every node.
///
/// Only `Applied`, `Deleted`, `DeletedMany` of at least one topic and `Published` consume a revision and are seen by
/// subscribers; all others changed no topic. The end of a session may publish its will besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The topic holds the value now.
    Applied {
        /// Revision of the write.
        revision: u64,
        /// The topic held no value before.
        created: bool,
    },
    /// The deletion stands. The topic held a value, or the delete had a timestamp of its own and is remembered for older
    /// writes that may still arrive.
    Deleted {
        /// Revision of the delete.
        revision: u64,
    },
    /// The very same write or delete, timestamp included, was applied before and is still the latest.
    Unchanged {
        /// Its revision.
        revision: u64,
    },
    /// A write or delete with a greater timestamp was applied before. A success for the client: order of arrival does not
    /// matter.
    Superseded {
        /// Revision of the one that stands.
        winner: u64,
    },
    /// The condition is not met, or is met and the timestamp loses.
    ConditionFailed {
        /// Revision of the value; 0 if there is none.
        current: u64,
    },
    /// The timestamp is too far ahead of log time.
    TimestampAhead {
        /// By how much, microseconds.
        ahead_us: u64,
    },
    /// Nothing to delete.
    NotFound,
    /// What a delete by filter did.
    DeletedMany {
        /// Revision of the delete; the present one if nothing matched.
        revision: u64,
        /// How many topics it deleted.
        count: u32,
        /// More topics match than the limit allowed to delete.
        more: bool,
    },
    /// The event has its place in the order.
    Published {
        /// Revision of the event.
        revision: u64,
    },
    /// The client is connected.
    Connected {
        /// What the commands of the connection carry from now on.
        fence: u64,
        /// Whether it has resumed a session (Session Present, §3.2.2.1.1).
        session_present: bool,
    },
    /// The subscriptions are there.
    Subscribed {
        /// Revision of the state: later messages are for them.
        revision: u64,
    },
    /// What was asked of the session is done.
    SessionChanged,
    /// A packet identifier of the client is free.
    Released {
        /// Whether it was in use.
        known: bool,
    },
    /// The QoS 2 message was received before: nothing is published again.
    Duplicate,
    /// The connection that sends this is not in force any more: nothing was done.
    Fenced,
    /// The deadline of the batch had passed, or something that the same connection has sent before came too late: nothing was
    /// applied, whoever asked has given up.
    TooLate,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// Which batch.
    pub id: BatchId,
    /// What became of it.
    pub disposition: Disposition,
}

/// Whether a batch was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It was the next of its origin: the outcomes of its operations, in their order.
    Taken(Vec<Outcome>),
    /// It was taken before. Nothing happened.
    Duplicate,
    /// Batches before it are missing. Nothing happened; the origin resends from `expected`.
    Gap {
        /// Sequence of the batch that is taken next.
        expected: u64,
    },
    /// It comes from another life of its node than the one in force. Nothing happened, and nothing ever will.
    Fenced {
        /// The incarnation in force; 0 if the node never opened one.
        incarnation: u64,
    },
}

/// An origin's life was opened, or asked for again with the same nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginOpened {
    /// The node.
    pub node_id: u64,
    /// What it drew for this life.
    pub nonce: u64,
    /// The life in force.
    pub incarnation: u64,
    /// The batch that is taken next; 1 in a new life.
    pub next_sequence: u64,
}
