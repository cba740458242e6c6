//! What a client asks for.

use super::wire::Reader;
use super::{
    CaughtUp, Connect, DecodeError, Delete, DeleteFilter, Disconnect, Event, Kick, Progress, Put, Release, Subscribe,
    Unsubscribe,
};
use crate::feature::FeatureLevel;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_FILTER: u8 = 3;
const EVENT: u8 = 4;
const CONNECT: u8 = 5;
const DISCONNECT: u8 = 6;
const SUBSCRIBE: u8 = 7;
const UNSUBSCRIBE: u8 = 8;
const RELEASE: u8 = 9;
const PROGRESS: u8 = 10;
const CAUGHT_UP: u8 = 11;
const KICK: u8 = 12;

/// One request of one client, or of a node for its clients. Each has an outcome of its own: a batch of several is not
/// atomic.
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
    /// A client connects.
    Connect(Connect),
    /// A connection ends.
    Disconnect(Disconnect),
    /// A session subscribes.
    Subscribe(Subscribe),
    /// A session unsubscribes.
    Unsubscribe(Unsubscribe),
    /// A QoS 2 message that a client sent is released.
    Release(Release),
    /// A session gets on with its messages.
    Progress(Progress),
    /// Nothing waits for these sessions.
    CaughtUp(CaughtUp),
    /// End a session and its connection.
    Kick(Kick),
}

impl Operation {
    /// The level that the cluster must have before this is proposed: every member can read it then.
    #[must_use]
    pub const fn feature_level(&self) -> FeatureLevel {
        match self {
            Self::Put(_)
            | Self::Delete(_)
            | Self::DeleteFilter(_)
            | Self::Event(_)
            | Self::Connect(_)
            | Self::Disconnect(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Release(_)
            | Self::Progress(_)
            | Self::CaughtUp(_)
            | Self::Kick(_) => FeatureLevel::FIRST,
        }
    }

    /// Appends the encoding.
    ///
    /// # Panics
    /// If a put has no payload, a QoS is above 2, or a publisher is longer than 65,535 bytes: whoever builds an operation
    /// checks these.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        match self {
            Self::Put(put) => put.encode(out),
            Self::Delete(delete) => delete.encode(out),
            Self::DeleteFilter(delete_filter) => delete_filter.encode(out),
            Self::Event(event) => event.encode(out),
            Self::Connect(connect) => connect.encode(out),
            Self::Disconnect(disconnect) => disconnect.encode(out),
            Self::Subscribe(subscribe) => subscribe.encode(out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(out),
            Self::Release(release) => release.encode(out),
            Self::Progress(progress) => progress.encode(out),
            Self::CaughtUp(caught_up) => caught_up.encode(out),
            Self::Kick(kick) => kick.encode(out),
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Put(_) => PUT,
            Self::Delete(_) => DELETE,
            Self::DeleteFilter(_) => DELETE_FILTER,
            Self::Event(_) => EVENT,
            Self::Connect(_) => CONNECT,
            Self::Disconnect(_) => DISCONNECT,
            Self::Subscribe(_) => SUBSCRIBE,
            Self::Unsubscribe(_) => UNSUBSCRIBE,
            Self::Release(_) => RELEASE,
            Self::Progress(_) => PROGRESS,
            Self::CaughtUp(_) => CAUGHT_UP,
            Self::Kick(_) => KICK,
        }
    }

    /// Reads one operation of `kind` that takes all of `reader`.
    pub(super) fn decode(kind: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        match kind {
            PUT => Put::decode(&mut reader).map(Self::Put),
            DELETE => Delete::decode(&mut reader).map(Self::Delete),
            DELETE_FILTER => DeleteFilter::decode(&mut reader).map(Self::DeleteFilter),
            EVENT => Event::decode(&mut reader).map(Self::Event),
            CONNECT => Connect::decode(&mut reader).map(Self::Connect),
            DISCONNECT => Disconnect::decode(&mut reader).map(Self::Disconnect),
            SUBSCRIBE => Subscribe::decode(&mut reader).map(Self::Subscribe),
            UNSUBSCRIBE => Unsubscribe::decode(&mut reader).map(Self::Unsubscribe),
            RELEASE => Release::decode(&mut reader).map(Self::Release),
            PROGRESS => Progress::decode(&mut reader).map(Self::Progress),
            CAUGHT_UP => CaughtUp::decode(&mut reader).map(Self::CaughtUp),
            KICK => Kick::decode(&mut reader).map(Self::Kick),
            other => Err(DecodeError::Kind(other)),
        }
    }
}

/// An operation is what it holds.
macro_rules! from_operations {
    ($($operation:ident)*) => {
        $(impl From<$operation> for Operation {
            fn from(operation: $operation) -> Self {
                Self::$operation(operation)
            }
        })*
    };
}

from_operations!(Put Delete DeleteFilter Event Connect Disconnect Subscribe Unsubscribe Release Progress CaughtUp Kick);
