//! A session is ended from outside.

use bytes::Bytes;

use super::DecodeError;
use super::wire::{Reader, put_field};

/// Ends a session with its connection, as an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kick {
    /// Client identifier of the session.
    pub client_id: Bytes,
}

impl Kick {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_field(out, &self.client_id);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let client_id = reader.client_id()?;
        reader.finish()?;
        Ok(Self { client_id })
    }
}
