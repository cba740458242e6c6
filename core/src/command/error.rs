//! Why bytes are not a command.

use crate::limits::{BATCH_COMMANDS_MAX, CAUGHT_UP_FENCES_MAX};
use crate::metadata::MetadataError;
use crate::topic::{TopicFilterError, TopicNameError};

/// Bytes that are no entry, batch or operation. A leader refuses them before they reach the log; found in a committed entry
/// they mean damage or a version that this node does not know, and it stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("command ends within a field")]
    Truncated,
    /// Something follows the last field.
    #[error("command has bytes after its end")]
    TrailingBytes,
    /// A format version that this build does not know.
    #[error("command format version {0} is unknown; run the same version on all nodes")]
    Version(u8),
    /// A kind of item or operation that this build does not know.
    #[error("command kind {0} is unknown; run the same version on all nodes")]
    Kind(u8),
    /// Flags that contradict the kind, or QoS 3.
    #[error("command flags {0:#010b} are not defined")]
    Flags(u8),
    /// A batch with more than [`BATCH_COMMANDS_MAX`] operations.
    #[error("batch of {0} operations; at most {BATCH_COMMANDS_MAX}")]
    TooManyOperations(u32),
    /// A put without payload; an empty retained PUBLISH is a delete.
    #[error("put with an empty payload; use a delete")]
    EmptyPayload,
    /// The publisher is not UTF-8.
    #[error("publisher is not UTF-8")]
    Publisher,
    /// A client identifier that is empty, too long, not UTF-8, or holds U+0000.
    #[error("client identifier is empty, too long or no legal text")]
    ClientId,
    /// Feature level 0.
    #[error("feature level 0 is none")]
    FeatureLevel,
    /// Packet identifier 0 [MQTT-2.2.1-3].
    #[error("packet identifier is 0")]
    PacketId,
    /// A sender that the operation does not allow, or none where it needs one.
    #[error("operation with a sender that it does not allow, or without one that it needs")]
    Sender,
    /// More than [`CAUGHT_UP_FENCES_MAX`] connections at once.
    #[error("{0} connections that caught up; at most {CAUGHT_UP_FENCES_MAX}")]
    TooManyFences(usize),
    /// A change of members that cannot be meant.
    #[error("change of members: {0}")]
    Member(&'static str),
    /// The topic name is not legal.
    #[error("topic name: {0}")]
    Topic(#[from] TopicNameError),
    /// The topic filter is not legal.
    #[error("topic filter: {0}")]
    Filter(#[from] TopicFilterError),
    /// The metadata are not canonical.
    #[error("metadata: {0}")]
    Metadata(#[from] MetadataError),
}
