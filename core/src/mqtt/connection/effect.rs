//! What a connection asks its driver to do, and what the driver answers.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::subscribe::{NewSubscription, Subscription};
use crate::command::{Command, Disconnect, Event, Will};
use crate::mqtt::packet::{Packet, ProtocolVersion, QoS};
use crate::mqtt::reason::ReasonCode;
use crate::state::Outcome;
use crate::topic::SubscriptionFilter;

/// Names one question to the driver, unique among the open questions of its kind on this connection.
pub type Token = u64;

/// One thing for the driver to do. Effects are carried out in the order they come.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Encode for [`Connection::version`](super::Connection::version) and send, in order with everything that
    /// [`Connection::deliver`](super::Connection::deliver) has encoded before.
    Send(Packet),
    /// CONNECT is acceptable. The driver makes the session this connection's, which ends an older connection of the same
    /// client identifier [MQTT-3.1.4-3], and calls [`Connection::on_registered`](super::Connection::on_registered). Nothing
    /// further is read until then.
    Authenticated(Box<Authenticated>),
    /// Replicate a write, an event, or that PUBREL has come. The driver calls
    /// [`Connection::on_outcome`](super::Connection::on_outcome) exactly once for the token, in any order: acknowledgements
    /// leave in the order of what they answer all the same. Commands are proposed in the order they come.
    Propose {
        /// Comes back with the outcome.
        token: Token,
        /// What to replicate, with its sender. Its bytes are its own: none pins the read buffer.
        command: Command,
    },
    /// Hand a QoS 0 event to the subscribers of every node, best effort. There is no answer.
    PublishEvent(Event),
    /// Subscribe. The driver takes the moment R, registers all filters and takes its view of R, then calls
    /// [`Connection::on_subscribed`](super::Connection::on_subscribed), which sends SUBACK; only behind SUBACK go the
    /// retained messages.
    Subscribe(SubscribeRequest),
    /// Remove these subscriptions. Once no message is added for them, and the cluster has forgotten them if it knows them, the
    /// driver calls [`Connection::on_unsubscribed`](super::Connection::on_unsubscribed), which sends UNSUBACK
    /// [MQTT-3.10.4-2].
    Unsubscribe {
        /// Comes back with the result.
        token: Token,
        /// Filters that are subscribed, at least one, in the order of the packet.
        filters: Vec<SubscriptionFilter>,
    },
    /// The client has acknowledged a message of QoS 1 or 2 that was sent under this packet identifier.
    Acknowledged {
        /// As [`Connection::deliver`](super::Connection::deliver) or [`Connection::reserve`](super::Connection::reserve)
        /// gave it.
        packet_id: u16,
        /// How far it is.
        kind: AckKind,
    },
    /// Flush what was sent, then close the network connection. Always the last effect of a connection. If the session was
    /// made this connection's, the driver ends that in the cluster as the value says. A connection whose socket fails has no
    /// such effect, and ends without a DISCONNECT: no new expiry, and the will is published.
    Close(Disconnect),
}

/// What a client's acknowledgement says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// PUBACK, PUBCOMP, or PUBREC with a failure: the message is done and its packet identifier free. That holds for failures
    /// of shared subscriptions too, which nobody else gets then [MQTT-4.8.2-6].
    Done,
    /// PUBREC in a replicated session: the driver replicates it, then calls
    /// [`Connection::release`](super::Connection::release). In other sessions PUBREL is sent at once and nobody is told.
    Received,
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
    /// Clean Start (5.0) or Clean Session (3.1.1): a session that exists is ended first [MQTT-3.1.2-4].
    pub clean_start: bool,
    /// Session Expiry Interval as granted, seconds: at most the setting. 0: the session ends with its connection. Clean
    /// Session 0 of 3.1.1 asks for as much as there is.
    pub session_expiry_s: u32,
    /// The will, checked. Its bytes are its own.
    pub will: Option<Will>,
    /// Whether the client asked for annotations with the user property `annotate=on`.
    pub annotate: bool,
}

/// Answer to [`Effect::Authenticated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterResult {
    /// The session is this connection's now: CONNACK 0x00.
    Registered(Registered),
    /// No quorum: CONNACK 0x88 with the text as reason string (3.1.1: return code 3).
    Unavailable(String),
    /// CONNACK with this code, 0x80 or greater, and the text as reason string.
    Refused(ReasonCode, String),
    /// As `Refused`: the client is to connect elsewhere (3.1.1: return code 3).
    Elsewhere(HandOver),
}

/// Where a client is sent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// [`ReasonCode::UseAnotherServer`], or [`ReasonCode::ServerMoved`] if for good.
    pub reason: ReasonCode,
    /// For people.
    pub detail: String,
    /// Server Reference; without, the one of the settings.
    pub server_reference: Option<String>,
}

/// The session of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registered {
    /// The fence of the connection: goes into every command of the client.
    pub fence: u64,
    /// The cluster keeps the session's packet identifiers: those of inbound QoS 2 messages are replicated and released, and
    /// messages are sent under reserved identifiers only.
    pub replicated: bool,
    /// What an existing session brings along; `None` if it is new [MQTT-3.2.2-2], [MQTT-3.2.2-3].
    pub resumed: Option<Resumed>,
}

/// What a session brings along from its former connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resumed {
    /// Its subscriptions.
    pub subscriptions: Vec<(SubscriptionFilter, Subscription)>,
    /// Packet identifiers of the client's QoS 2 messages that are received and not released.
    pub inbound: BTreeSet<u16>,
    /// Messages to the client that are not acknowledged, in the order they were sent. The connection sends PUBREL for those
    /// received, directly behind CONNACK; the others the driver sends again, in this order, with
    /// [`Connection::deliver_reserved`](super::Connection::deliver_reserved) [MQTT-4.4.0-1], [MQTT-4.6.0-1].
    pub in_flight: Vec<InFlight>,
}

/// A message that was sent to the client, or was about to be, and is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Its packet identifier, not 0.
    pub packet_id: u16,
    /// 1 or 2.
    pub qos: QoS,
    /// PUBREC has come (QoS 2).
    pub received: bool,
}

/// Answer to [`Effect::Propose`].
#[derive(Debug, Clone, PartialEq)]
pub enum ProposeResult {
    /// Applied on this node with this outcome.
    Outcome(Outcome),
    /// Nothing happened and nothing will: DISCONNECT 0x89, the PUBLISH or PUBREL stays unanswered.
    Unavailable(String),
    /// Nothing happened and nothing will, as there is no room for it: 0x97.
    Full(String),
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

/// Answer to [`Effect::Unsubscribe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnsubscribeResult {
    /// All are removed.
    Unsubscribed,
    /// They may still be there: 0x83 for each, the text in the reason string; 3.1.1 has no codes and is closed.
    Unavailable(String),
}
