//! Where a message stands in the order of all messages.

use super::DecodeError;
use super::wire::Reader;

/// Place of a message: the revision of the operation that made it, and its ordinal within that revision.
///
/// Greater is later, over all topics. (0, 0) is before every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct MessagePosition {
    /// Revision of the operation.
    pub revision: u64,
    /// Place among the messages of that revision, from 0.
    pub ordinal: u32,
}

impl MessagePosition {
    /// Before every message.
    pub const ZERO: Self = Self::new(0, 0);

    /// The place at `revision` and `ordinal`.
    #[must_use]
    pub const fn new(revision: u64, ordinal: u32) -> Self {
        Self { revision, ordinal }
    }

    /// Behind every message of `revision`.
    #[must_use]
    pub const fn end_of(revision: u64) -> Self {
        Self::new(revision, u32::MAX)
    }

    /// Appends revision u64 and ordinal u32.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&self.ordinal.to_be_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::new(reader.u64()?, reader.u32()?))
    }
}
