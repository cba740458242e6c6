//! Control packets as values, for MQTT 5.0 and 3.1.1 alike (§3). A 3.1.1 packet simply has no properties.
//!
//! Everything that borrows from the wire is a slice of the read buffer ([`Bytes`], no copy). Slices pin that buffer, so
//! what is kept beyond the packet's handling must be copied to its exact size.

use bytes::Bytes;

use super::reason::ReasonCode;
use crate::metadata::Metadata;

/// The protocol that a connection speaks, fixed by its CONNECT (§3.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1, protocol level 4.
    V3,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// Quality of service (§4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

/// A control packet, either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// §3.1
    Connect(Box<Connect>),
    /// §3.2
    ConnAck(Box<ConnAck>),
    /// §3.3
    Publish(Box<Publish>),
    /// §3.4
    PubAck(Ack),
    /// §3.5
    PubRec(Ack),
    /// §3.6
    PubRel(Ack),
    /// §3.7
    PubComp(Ack),
    /// §3.8
    Subscribe(Box<Subscribe>),
    /// §3.9
    SubAck(SubAck),
    /// §3.10
    Unsubscribe(Unsubscribe),
    /// §3.11
    UnsubAck(UnsubAck),
    /// §3.12
    PingReq,
    /// §3.13
    PingResp,
    /// §3.14
    Disconnect(Disconnect),
    /// §3.15
    Auth(Auth),
}

/// User properties in the order of the packet: name and value, valid UTF-8 each (§2.2.2.2).
pub type UserProperties = Vec<(Bytes, Bytes)>;

/// CONNECT (§3.1). Text fields are valid UTF-8 without U+0000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Protocol version asked for; "MQIsdp" level 3 is not decoded yet.
    pub version: ProtocolVersion,
    /// Clean Start (5.0) or Clean Session (3.1.1).
    pub clean_start: bool,
    /// Keep Alive, seconds; 0 is off.
    pub keep_alive_s: u16,
    /// Client identifier, maybe empty.
    pub client_id: Bytes,
    /// Session Expiry Interval, seconds; absent is 0.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum of the client; absent is 65,535.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size the client takes, bytes.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum of the client; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information; absent is true.
    pub request_problem_information: bool,
    /// User properties.
    pub user_properties: UserProperties,
    /// Authentication Method.
    pub authentication_method: Option<Bytes>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
    /// The will, if the client leaves one.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<Bytes>,
    /// Password: bytes, not text.
    pub password: Option<Bytes>,
}

/// The will of a CONNECT (§3.1.2.5, §3.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic name as sent: valid UTF-8, not yet a checked topic name.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval, seconds.
    pub delay_s: u32,
    /// Message Expiry Interval, seconds.
    pub message_expiry_s: Option<u32>,
    /// Payload format, content type, response topic, correlation data and user properties.
    pub metadata: Metadata,
}

/// CONNACK (§3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// Reason code; towards 3.1.1 it is written as the return code of §3.2.2.3 that fits best.
    pub reason: ReasonCode,
    /// Session Expiry Interval, seconds, if it differs from the one asked for.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS, if below 2.
    pub maximum_qos: Option<u8>,
    /// Retain Available; absent is true.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size the server takes.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<Bytes>,
    /// Topic Alias Maximum of the server.
    pub topic_alias_maximum: Option<u16>,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Wildcard Subscription Available; absent is true.
    pub wildcard_subscription_available: Option<bool>,
    /// Subscription Identifiers Available; absent is true.
    pub subscription_identifiers_available: Option<bool>,
    /// Shared Subscription Available; absent is true.
    pub shared_subscription_available: Option<bool>,
    /// Server Keep Alive, seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_information: Option<String>,
    /// Server Reference.
    pub server_reference: Option<String>,
}

/// PUBLISH (§3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic name as sent: valid UTF-8, not yet a checked topic name; empty when an alias stands for it.
    pub topic: Bytes,
    /// Packet identifier: `Some` and not 0 exactly when QoS > 0.
    pub packet_id: Option<u16>,
    /// Message Expiry Interval, seconds.
    pub message_expiry_s: Option<u32>,
    /// Topic Alias, not 0.
    pub topic_alias: Option<u16>,
    /// Subscription identifiers (server to client only).
    pub subscription_ids: Vec<u32>,
    /// Payload format, content type, response topic, correlation data and user properties.
    pub metadata: Metadata,
    /// Payload.
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP (§3.4–3.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ack {
    /// Packet identifier, not 0.
    pub packet_id: u16,
    /// Reason code; not written towards 3.1.1.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
}

/// SUBSCRIBE (§3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet identifier, not 0.
    pub packet_id: u16,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties,
    /// The filters, at least one.
    pub filters: Vec<SubscribeFilter>,
}

/// One filter of a SUBSCRIBE with its options (§3.8.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Filter as sent: valid UTF-8, not yet a checked topic filter.
    pub filter: Bytes,
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent at SUBSCRIBE (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// At every SUBSCRIBE. What a 3.1.1 client gets.
    #[default]
    Send = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// SUBACK (§3.9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubAck {
    /// Packet identifier.
    pub packet_id: u16,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
    /// One code a filter; towards 3.1.1 every failure is written as 0x80.
    pub reasons: Vec<ReasonCode>,
}

/// UNSUBSCRIBE (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet identifier, not 0.
    pub packet_id: u16,
    /// User properties.
    pub user_properties: UserProperties,
    /// The filters as sent, at least one.
    pub filters: Vec<Bytes>,
}

/// UNSUBACK (§3.11). 3.1.1 carries no codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnsubAck {
    /// Packet identifier.
    pub packet_id: u16,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
    /// One code a filter.
    pub reasons: Vec<ReasonCode>,
}

/// DISCONNECT (§3.14). A server never sends one to a 3.1.1 client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Reason code.
    pub reason: ReasonCode,
    /// Session Expiry Interval, seconds (client only).
    pub session_expiry_s: Option<u32>,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Server Reference.
    pub server_reference: Option<String>,
}

/// AUTH (§3.15).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Reason code.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub authentication_method: Option<Bytes>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
    /// Reason String.
    pub reason_string: Option<String>,
    /// User properties.
    pub user_properties: UserProperties,
}
