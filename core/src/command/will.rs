//! What is published when a client is gone.

use bytes::Bytes;

use super::DecodeError;
use super::wire::{Reader, put_field};
use crate::metadata::Metadata;
use crate::topic::TopicName;

const QOS: u8 = 0b0011;
const RETAIN: u8 = 0b0100;
const EXPIRY: u8 = 0b1000;

/// The will of a connection (§3.1.2.5, §3.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: TopicName,
    /// The payload, maybe empty: with `retain` that deletes the topic.
    pub payload: Bytes,
    /// What the client says about the payload.
    pub metadata: Metadata,
    /// QoS with which it is published, 0 to 2.
    pub qos: u8,
    /// Whether it is written to the topic, and not only delivered.
    pub retain: bool,
    /// How long after the end of the connection it is published, seconds; sooner if the session ends sooner (§3.1.3.2.2).
    pub delay_s: u32,
    /// Message Expiry Interval, seconds from when it is published (§3.1.3.2.4).
    pub expiry_s: Option<u32>,
}

impl Will {
    /// Appends the encoding, whose end is not marked.
    ///
    /// # Panics
    /// If the QoS is above 2.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.qos <= 2, "QoS {} does not exist", self.qos);
        let retain = if self.retain { RETAIN } else { 0 };
        let expiry = if self.expiry_s.is_some() { EXPIRY } else { 0 };
        out.push(self.qos | retain | expiry);
        out.extend_from_slice(&self.delay_s.to_be_bytes());
        if let Some(expiry_s) = self.expiry_s {
            out.extend_from_slice(&expiry_s.to_be_bytes());
        }
        put_field(out, self.topic.as_bytes());
        put_field(out, self.metadata.as_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// Reads all that is left.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.flags(QOS | RETAIN | EXPIRY)?;
        let qos = flags & QOS;
        if qos > 2 {
            return Err(DecodeError::Flags(flags));
        }
        let delay_s = reader.u32()?;
        let expiry_s = if flags & EXPIRY != 0 { Some(reader.u32()?) } else { None };
        Ok(Self {
            topic: reader.topic()?,
            metadata: reader.metadata()?,
            payload: reader.rest(),
            qos,
            retain: flags & RETAIN != 0,
            delay_s,
            expiry_s,
        })
    }
}
