//! Sessions for which nothing waits.

use super::DecodeError;
use super::wire::{Reader, put_count, put_position};
use crate::keyspace::MessagePosition;
use crate::limits::CAUGHT_UP_FENCES_MAX;

/// Moves the cursors of a node's idle sessions, many at once, so that they hold nothing back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaughtUp {
    /// No message up to here waits for any of them.
    pub cursor: MessagePosition,
    /// Their connections, at most [`CAUGHT_UP_FENCES_MAX`]; those not in force any more are passed over.
    pub fences: Vec<u64>,
}

impl CaughtUp {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.fences.len() <= CAUGHT_UP_FENCES_MAX, "too many connections");
        put_position(out, self.cursor);
        put_count(out, self.fences.len());
        for fence in &self.fences {
            out.extend_from_slice(&fence.to_be_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cursor = reader.position()?;
        let fences = reader.list(Reader::u64)?;
        reader.finish()?;
        if fences.len() > CAUGHT_UP_FENCES_MAX {
            return Err(DecodeError::TooManyFences(fences.len()));
        }
        Ok(Self { cursor, fences })
    }
}
