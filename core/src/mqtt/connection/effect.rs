//! What a connection asks its driver to do, and what the driver answers.

use bytes::Bytes;

use super::subscribe::NewSubscription;
use crate::command::{Event, Operation};
use crate::mqtt::packet::{Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;
use crate::state::Outcome;

/// Names one question to the driver, unique among the open questions of its kind on this connection.
pub type Token = u64;

/// One thing for the driver to do. Effects are carried out in the order they come.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Encode for [`Connection::version`](super::Connection::version) and send, in order with everything that
    /// [`Connection::deliver`](super::Connection::deliver) has encoded before.
    Send(Packet),
    /// CONNECT is acceptable. The driver registers the client identifier, which ends an older connection of the same
    /// [MQTT-3.1.4-3], and calls [`Connection::on_registered`](super::Connection::on_registered). Nothing further is read
    /// until then.
    Authenticated(Authenticated),
    /// Replicate a write or event. The driver calls [`Connection::on_outcome`](super::Connection::on_outcome) exactly once
    /// for the token, in any order: acknowledgements leave in the order of the PUBLISHes all the same.
    Propose {
        /// Comes back with the outcome.
        token: Token,
        /// What to replicate. Its bytes are its own: none pins the read buffer.
        operation: Operation,
    },
    /// Hand a QoS 0 event to the subscribers of every node, best effort. There is no answer.
    PublishEvent(Event),
    /// Subscribe. The driver takes the moment R, registers all filters and takes its view of R, then calls
    /// [`Connection::on_subscribed`](super::Connection::on_subscribed), which sends SUBACK; only behind SUBACK go the
    /// retained messages.
    Subscribe(SubscribeRequest),
    /// Remove these subscriptions at once: UNSUBACK follows as the next effect [MQTT-3.10.4-2].
    Unsubscribe {
        /// Filters that were subscribed, in the order of the packet.
        filters: Vec<crate::topic::TopicFilter>,
    },
    /// Flush what was sent, then close the network connection. Always the last effect of a connection.
    Close,
}

/// A CONNECT that only the cluster can still refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// The client identifier: UTF-8, 1 to [`CLIENT_ID_BYTES_MAX`](crate::limits::CLIENT_ID_BYTES_MAX) bytes.
    pub client_id: Bytes,
    /// Whether the identifier was assigned, since the client sent none [MQTT-3.1.3-6].
    pub assigned: bool,
    /// Protocol version of the connection.
    pub version: ProtocolVersion,
    /// Clean Start (5.0) or Clean Session (3.1.1). Sessions do not outlive a connection yet, so both begin a new one.
    pub clean_start: bool,
    /// Whether the client asked for annotations with the user property `annotate=on`.
    pub annotate: bool,
}

/// Answer to [`Effect::Authenticated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterResult {
    /// The client identifier is this connection's now: CONNACK 0x00.
    Registered,
    /// No quorum: CONNACK 0x88 with the text as reason string (3.1.1: return code 3).
    Unavailable(String),
    /// CONNACK with this code, 0x80 or greater, and the text as reason string.
    Refused(ReasonCode, String),
}

/// Answer to [`Effect::Propose`].
#[derive(Debug, Clone, PartialEq)]
pub enum ProposeResult {
    /// Applied on this node with this outcome.
    Outcome(Outcome),
    /// Nothing happened and nothing will: DISCONNECT 0x89, the PUBLISH stays unacknowledged.
    Unavailable(String),
    /// It may have happened or may happen still: as `Unavailable` towards the client, who resends if it cares.
    Unknown(String),
}

/// Payload of [`Effect::Subscribe`]: all filters of one SUBSCRIBE that are acceptable, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscribeRequest {
    /// Comes back with the result.
    pub token: Token,
    /// In the order of the packet; a filter may occur twice, as if in two packets [MQTT-3.8.4-5].
    pub subscriptions: Vec<NewSubscription>,
    /// `consistency=local`: R is this node's applied revision, without asking the cluster.
    pub consistency_local: bool,
    /// `since=R0`: send only each topic's latest change after R0, deletions included.
    pub since: Option<u64>,
    /// `marker=on`: send an empty PUBLISH to `$SYS/marker` with user property `revision=R` behind the last retained message.
    pub marker: bool,
}

/// Answer to [`Effect::Subscribe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribeResult {
    /// All are registered, and their retained messages will be those of this revision.
    Subscribed {
        /// R, also if nothing retained is to be sent.
        revision: u64,
    },
    /// None is registered, since R could not be had: 0x83 for each, the text in the reason string.
    Unavailable(String),
}
