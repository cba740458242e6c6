//! What subscribers see of an applied entry.

use bytes::Bytes;

use crate::command::Event;
use crate::keyspace::TopicRecord;
use crate::metadata::Metadata;
use crate::topic::TopicName;

/// One change of one topic, or one event. Changes of one revision differ by ordinal.
///
/// `topic`, and what an event or a delete carries, are slices of the log entry and keep it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Revision of the operation.
    pub revision: u64,
    /// Place among the changes of that revision, from 0.
    pub ordinal: u32,
    /// The topic.
    pub topic: TopicName,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to a topic. A write, which happens most often, is small; the others are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was written.
    Put {
        /// As stored.
        record: TopicRecord,
        /// QoS of the write, 0 to 2.
        qos: u8,
    },
    /// It was deleted.
    Delete(Box<Deletion>),
    /// A message that is not kept.
    Event {
        /// The message.
        event: Box<Event>,
        /// Log time of its commit, microseconds since the Unix epoch: its expiry counts from here.
        received_at_us: u64,
    },
}

/// A topic was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// When the value ceased to be true, microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// Client identifier or principal of who deleted it; empty if it expired.
    pub publisher: Bytes,
    /// What the publisher said with it.
    pub metadata: Metadata,
    /// QoS of the delete, 0 to 2; 2 if no PUBLISH asked for it, so that the subscription alone decides.
    pub qos: u8,
    /// Why it was deleted.
    pub cause: DeleteCause,
}

/// Why a topic was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteCause {
    /// A client asked for it.
    Client,
    /// Its time had come.
    Expired,
}
