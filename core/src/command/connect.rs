//! A client connects.

use bytes::Bytes;

use super::wire::{Reader, put_field};
use super::{DecodeError, Will};

const CLEAN_START: u8 = 0b01;
const WILL: u8 = 0b10;

/// CONNECT, anywhere: the connection is the one of its client identifier from now on (§3.1.4), and resumes its session or
/// begins a new one. The node is the origin of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Client identifier, 1 to [`crate::limits::CLIENT_ID_BYTES_MAX`] bytes of UTF-8 without U+0000.
    pub client_id: Bytes,
    /// Whether a session that is there is ended (§3.1.2.4).
    pub clean_start: bool,
    /// How long the session outlives its connections, seconds (§3.1.2.11.2). 0: it ends with this one; [`u32::MAX`]: for
    /// ever.
    pub expiry_s: u32,
    /// Published if the connection ends other than by a normal DISCONNECT (§3.1.2.5).
    pub will: Option<Will>,
}

impl Connect {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let clean_start = if self.clean_start { CLEAN_START } else { 0 };
        let will = if self.will.is_some() { WILL } else { 0 };
        out.push(clean_start | will);
        out.extend_from_slice(&self.expiry_s.to_be_bytes());
        put_field(out, &self.client_id);
        if let Some(will) = &self.will {
            will.encode(out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.flags(CLEAN_START | WILL)?;
        let expiry_s = reader.u32()?;
        let client_id = reader.client_id()?;
        let will = if flags & WILL != 0 {
            Some(Will::decode(reader)?)
        } else {
            None
        };
        reader.finish()?;
        Ok(Self {
            client_id,
            clean_start: flags & CLEAN_START != 0,
            expiry_s,
            will,
        })
    }
}
