//! Deleting a topic.

use bytes::Bytes;

use super::header::{DELETE_FLAGS, Header};
use super::wire::{Reader, put_field};
use super::{Condition, DecodeError};
use crate::metadata::Metadata;
use crate::topic::TopicName;

/// Takes a topic's value away: an empty retained PUBLISH, or HTTP DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The topic.
    pub topic: TopicName,
    /// Client identifier or principal of the writer, UTF-8.
    pub publisher: Bytes,
    /// When the value ceased to be true, microseconds since the Unix epoch; without it the cluster stamps the delete.
    pub timestamp_us: Option<u64>,
    /// What must be true of the topic.
    pub condition: Condition,
    /// What the publisher said; delivered with the deletion, not stored.
    pub metadata: Metadata,
    /// QoS of the PUBLISH, 0 to 2: the most with which the deletion is delivered.
    pub qos: u8,
}

impl Delete {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            timestamp_us,
            condition,
            qos,
            ..
        } = *self;
        Header {
            timestamp_us,
            expiry_s: None,
            condition,
            qos,
        }
        .encode(out);
        put_field(out, self.topic.as_bytes());
        put_field(out, &self.publisher);
        put_field(out, self.metadata.as_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let Header {
            timestamp_us,
            condition,
            qos,
            ..
        } = Header::decode(reader, DELETE_FLAGS)?;
        let topic = reader.topic()?;
        let publisher = reader.publisher()?;
        let metadata = reader.metadata()?;
        reader.finish()?;
        Ok(Self {
            topic,
            publisher,
            timestamp_us,
            condition,
            metadata,
            qos,
        })
    }
}
