//! A connection ends.

use super::DecodeError;
use super::wire::Reader;

const PUBLISHES_WILL: u8 = 0b01;
const EXPIRY: u8 = 0b10;

/// The sender's connection has ended: by DISCONNECT or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// Session Expiry Interval of the DISCONNECT (§3.14.2.2.2), seconds; without it the one of CONNECT stays. It cannot
    /// give a session to a connection that began with 0.
    pub expiry_s: Option<u32>,
    /// Whether the will is published: always, except after a DISCONNECT with reason 0x00 [MQTT-3.14.4-3].
    pub publishes_will: bool,
}

impl Disconnect {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let will = if self.publishes_will { PUBLISHES_WILL } else { 0 };
        let expiry = if self.expiry_s.is_some() { EXPIRY } else { 0 };
        out.push(will | expiry);
        if let Some(expiry_s) = self.expiry_s {
            out.extend_from_slice(&expiry_s.to_be_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.flags(PUBLISHES_WILL | EXPIRY)?;
        let expiry_s = if flags & EXPIRY != 0 { Some(reader.u32()?) } else { None };
        reader.finish()?;
        Ok(Self {
            expiry_s,
            publishes_will: flags & PUBLISHES_WILL != 0,
        })
    }
}
