//! Writing a topic.

use bytes::Bytes;

use super::header::{Header, PUT_FLAGS};
use super::wire::{Reader, put_field};
use super::{Condition, DecodeError};
use crate::metadata::Metadata;
use crate::topic::TopicName;

/// Gives a topic a value: a retained PUBLISH with a payload, or HTTP PUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The topic.
    pub topic: TopicName,
    /// The value, at least one byte.
    pub payload: Bytes,
    /// What the publisher says about the payload.
    pub metadata: Metadata,
    /// Client identifier or principal of the writer, UTF-8.
    pub publisher: Bytes,
    /// When the value was true, microseconds since the Unix epoch; without it the cluster stamps the write.
    pub timestamp_us: Option<u64>,
    /// The value is deleted this many seconds after the commit.
    pub expiry_s: Option<u32>,
    /// What must be true of the topic.
    pub condition: Condition,
    /// QoS of the PUBLISH, 0 to 2: the most with which the value is delivered.
    pub qos: u8,
}

impl Put {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(!self.payload.is_empty(), "a put has a payload");
        let Self {
            timestamp_us,
            expiry_s,
            condition,
            qos,
            ..
        } = *self;
        Header {
            timestamp_us,
            expiry_s,
            condition,
            qos,
        }
        .encode(out);
        put_field(out, self.topic.as_bytes());
        put_field(out, &self.publisher);
        put_field(out, self.metadata.as_bytes());
        out.extend_from_slice(&self.payload);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let Header {
            timestamp_us,
            expiry_s,
            condition,
            qos,
        } = Header::decode(reader, PUT_FLAGS)?;
        let topic = reader.topic()?;
        let publisher = reader.publisher()?;
        let metadata = reader.metadata()?;
        let payload = reader.rest();
        if payload.is_empty() {
            return Err(DecodeError::EmptyPayload);
        }
        Ok(Self {
            topic,
            payload,
            metadata,
            publisher,
            timestamp_us,
            expiry_s,
            condition,
            qos,
        })
    }
}
