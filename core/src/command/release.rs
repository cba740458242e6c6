//! A QoS 2 message that a client sent is released.

use super::DecodeError;
use super::wire::Reader;

/// PUBREL: the packet identifier of the sender's PUBLISH may be used for another message (§4.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The identifier, not 0.
    pub packet_id: u16,
}

impl Release {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.packet_id != 0, "packet identifiers begin at 1 [MQTT-2.2.1-3]");
        out.extend_from_slice(&self.packet_id.to_be_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        reader.finish()?;
        Ok(Self { packet_id })
    }
}
