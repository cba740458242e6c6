//! A message that is delivered and not kept.

use bytes::Bytes;

use super::header::{EVENT_FLAGS, Header};
use super::wire::{Reader, put_field};
use super::{Condition, DecodeError};
use crate::metadata::Metadata;
use crate::topic::TopicName;

/// A PUBLISH without retain. It takes a revision, so that one position orders events and state, and stores nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The topic.
    pub topic: TopicName,
    /// The payload, maybe empty.
    pub payload: Bytes,
    /// What the publisher says about the payload.
    pub metadata: Metadata,
    /// Client identifier or principal of the publisher, UTF-8.
    pub publisher: Bytes,
    /// QoS of the PUBLISH, 0 to 2: the most with which it is delivered.
    pub qos: u8,
    /// Message Expiry Interval, seconds from the commit.
    pub expiry_s: Option<u32>,
}

impl Event {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let header = Header {
            timestamp_us: None,
            expiry_s: self.expiry_s,
            condition: Condition::None,
            qos: self.qos,
        };
        header.encode(out);
        put_field(out, self.topic.as_bytes());
        put_field(out, &self.publisher);
        put_field(out, self.metadata.as_bytes());
        out.extend_from_slice(&self.payload);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let Header { expiry_s, qos, .. } = Header::decode(reader, EVENT_FLAGS)?;
        let topic = reader.topic()?;
        let publisher = reader.publisher()?;
        let metadata = reader.metadata()?;
        let payload = reader.rest();
        Ok(Self {
            topic,
            payload,
            metadata,
            publisher,
            qos,
            expiry_s,
        })
    }
}
