//! Deleting all topics that match a filter.

use bytes::Bytes;

use super::DecodeError;
use super::wire::{Reader, put_field};
use crate::topic::TopicFilter;

/// Deletes matching topics, in key order and at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteFilter {
    /// Which topics.
    pub filter: TopicFilter,
    /// At most this many; capped at [`crate::limits::DELETE_FILTER_TOPICS_MAX`].
    pub limit: u32,
    /// Client identifier or principal of the writer, UTF-8.
    pub publisher: Bytes,
}

impl DeleteFilter {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.limit.to_be_bytes());
        put_field(out, self.filter.as_str().as_bytes());
        put_field(out, &self.publisher);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let limit = reader.u32()?;
        let filter = reader.filter()?;
        let publisher = reader.publisher()?;
        reader.finish()?;
        Ok(Self {
            filter,
            limit,
            publisher,
        })
    }
}
