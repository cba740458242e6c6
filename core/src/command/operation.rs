//! What a client asks for.

use super::wire::Reader;
use super::{DecodeError, Delete, DeleteFilter, Event, Put};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_FILTER: u8 = 3;
const EVENT: u8 = 4;

/// One request of one client. Each has an outcome of its own: a batch of several is not atomic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Write a topic.
    Put(Put),
    /// Delete a topic.
    Delete(Delete),
    /// Delete all topics that match a filter.
    DeleteFilter(DeleteFilter),
    /// Deliver a message that is not kept.
    Event(Event),
}

impl Operation {
    /// Appends the encoding.
    ///
    /// # Panics
    /// If a put has no payload, a QoS is above 2, or a publisher is longer than 65,535 bytes: whoever builds an operation
    /// checks these.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(put) => {
                out.push(PUT);
                put.encode(out);
            }
            Self::Delete(delete) => {
                out.push(DELETE);
                delete.encode(out);
            }
            Self::DeleteFilter(delete_filter) => {
                out.push(DELETE_FILTER);
                delete_filter.encode(out);
            }
            Self::Event(event) => {
                out.push(EVENT);
                event.encode(out);
            }
        }
    }

    /// Reads one operation that takes all of `reader`.
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            PUT => Put::decode(&mut reader).map(Self::Put),
            DELETE => Delete::decode(&mut reader).map(Self::Delete),
            DELETE_FILTER => DeleteFilter::decode(&mut reader).map(Self::DeleteFilter),
            EVENT => Event::decode(&mut reader).map(Self::Event),
            other => Err(DecodeError::Kind(other)),
        }
    }
}
