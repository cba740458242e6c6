//! The connection as its driver sees it: packets and answers in, effects out.

mod connect;
mod deliver;
mod fuzz;
mod lifecycle;
mod packet_size;
mod publish;
mod qos_2_in;
mod qos_2_out;
mod session;
mod subscribe;
mod unsubscribe;
mod will;
mod world;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::command::{Command, Operation, Sender};
use crate::metadata::{Metadata, MetadataBuilder};
use crate::mqtt::codec::decode_as_client;
use crate::mqtt::packet::{Ack, ConnAck, Connect, Publish, QoS, RetainHandling, Subscribe, SubscribeFilter};
use crate::state::Outcome;
use crate::topic::{SubscriptionFilter, TopicName};

/// Of every connection here.
const FENCE: u64 = 77;

/// A connection with the clock of its driver.
struct Harness {
    connection: Connection,
    now_ms: u64,
}

impl Harness {
    /// Nothing received yet.
    fn accepted(settings: ConnectionSettings) -> Self {
        Self {
            connection: Connection::new(Arc::new(settings), 0xABCD, 0),
            now_ms: 0,
        }
    }

    /// CONNECT accepted and registered, with a session of its own.
    fn connected_with(settings: ConnectionSettings, connect: Connect) -> Self {
        let mut harness = Self::accepted(settings);
        harness.packet(Packet::Connect(Box::new(connect)));
        harness.register(registered());
        assert!(harness.connection.is_connected());
        harness
    }

    /// CONNECT accepted and registered, with a new session that outlives it.
    fn replicated(version: ProtocolVersion) -> Self {
        let mut harness = Self::accepted(ConnectionSettings::default());
        harness.packet(Packet::Connect(Box::new(persistent(version))));
        harness.register(replicated(None));
        harness
    }

    /// The same with a session that exists, and what CONNACK is followed by.
    fn resumed(version: ProtocolVersion, resumed: Resumed) -> (Self, Vec<Effect>) {
        let mut harness = Self::accepted(ConnectionSettings::default());
        harness.packet(Packet::Connect(Box::new(persistent(version))));
        let mut effects = harness.register(replicated(Some(resumed)));
        assert!(matches!(
            effects.remove(0),
            Effect::Send(Packet::ConnAck(connack)) if connack.session_present
        ));
        (harness, effects)
    }

    fn connected(version: ProtocolVersion) -> Self {
        Self::connected_with(ConnectionSettings::default(), connect(version))
    }

    fn annotated() -> Self {
        let user_properties = vec![(Bytes::from("annotate"), Bytes::from("on"))];
        Self::connected_with(
            ConnectionSettings::default(),
            Connect {
                user_properties,
                ..connect(ProtocolVersion::V5)
            },
        )
    }

    fn packet(&mut self, packet: Packet) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.on_packet(packet, self.now_ms, &mut out);
        out
    }

    fn publish(&mut self, publish: Publish) -> Vec<Effect> {
        self.packet(Packet::Publish(Box::new(publish)))
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Vec<Effect> {
        self.packet(Packet::Subscribe(Box::new(subscribe)))
    }

    fn register(&mut self, result: RegisterResult) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.on_registered(result, self.now_ms, &mut out);
        out
    }

    fn outcome(&mut self, token: Token, outcome: Outcome) -> Vec<Effect> {
        self.result(token, ProposeResult::Outcome(outcome))
    }

    fn result(&mut self, token: Token, result: ProposeResult) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.on_outcome(token, result, &mut out);
        out
    }

    fn subscribed(&mut self, token: Token, result: SubscribeResult) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.on_subscribed(token, result, &mut out);
        out
    }

    fn unsubscribed(&mut self, token: Token, result: UnsubscribeResult) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.on_unsubscribed(token, result, &mut out);
        out
    }

    fn release(&mut self, packet_id: u16) -> Vec<Effect> {
        let mut out = Vec::new();
        self.connection.release(packet_id, &mut out);
        out
    }

    fn tick(&mut self, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        let mut out = Vec::new();
        self.connection.on_tick(now_ms, &mut out);
        out
    }

    /// Encodes a message as the driver does and decodes it as the client does.
    fn deliver(&mut self, message: &OutgoingMessage<'_>) -> (DeliverResult, Option<Publish>) {
        let mut bytes = BytesMut::new();
        let result = self.connection.deliver(message, &mut bytes);
        (result, self.read_publish(bytes))
    }

    /// The same under a reserved packet identifier.
    fn deliver_reserved(&mut self, packet_id: u16, message: &OutgoingMessage<'_>) -> (DeliverResult, Option<Publish>) {
        let mut bytes = BytesMut::new();
        let result = self.connection.deliver_reserved(packet_id, message, &mut bytes);
        (result, self.read_publish(bytes))
    }

    fn read_publish(&self, mut bytes: BytesMut) -> Option<Publish> {
        let limits = DecodeLimits {
            packet_bytes_max: u32::MAX,
        };
        let publish = match decode_as_client(&mut bytes, self.connection.version(), &limits).unwrap() {
            Some(Packet::Publish(publish)) => Some(*publish),
            None => None,
            other => panic!("{other:?} instead of PUBLISH"),
        };
        assert!(bytes.is_empty());
        publish
    }
}

/// A new session that ends with its connection.
fn registered() -> RegisterResult {
    RegisterResult::Registered(Registered {
        fence: FENCE,
        ..Registered::default()
    })
}

/// A session that outlives its connections.
fn replicated(resumed: Option<Resumed>) -> RegisterResult {
    RegisterResult::Registered(Registered {
        fence: FENCE,
        replicated: true,
        resumed,
    })
}

/// A CONNECT of a session that outlives its connections.
fn persistent(version: ProtocolVersion) -> Connect {
    Connect {
        clean_start: false,
        session_expiry_s: (version == ProtocolVersion::V5).then_some(3600),
        ..connect(version)
    }
}

/// A CONNECT without anything special.
fn connect(version: ProtocolVersion) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: Bytes::from("client"),
        session_expiry_s: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: None,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
        will: None,
        user_name: None,
        password: None,
    }
}

/// A QoS 1 retained PUBLISH of `x` with this packet identifier.
fn put(topic: &'static str, packet_id: u16) -> Publish {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: Bytes::from(topic),
        packet_id: Some(packet_id),
        message_expiry_s: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        metadata: Metadata::empty(),
        payload: Bytes::from("x"),
    }
}

/// The same with QoS 2.
fn put_qos_2(topic: &'static str, packet_id: u16) -> Publish {
    Publish {
        qos: QoS::ExactlyOnce,
        ..put(topic, packet_id)
    }
}

/// The same with QoS 0.
fn put_qos_0(topic: &'static str) -> Publish {
    Publish {
        qos: QoS::AtMostOnce,
        packet_id: None,
        ..put(topic, 1)
    }
}

fn metadata(user_properties: &[(&str, &str)]) -> Metadata {
    let mut builder = MetadataBuilder::new();
    for (name, value) in user_properties {
        builder.user_property(name, value);
    }
    builder.build().unwrap()
}

fn subscribe(packet_id: u16, filters: &[&'static str]) -> Subscribe {
    let filters = filters.iter().map(|filter| subscribe_filter(filter)).collect();
    Subscribe {
        packet_id,
        subscription_id: None,
        user_properties: Vec::new(),
        filters,
    }
}

fn subscribe_filter(filter: &'static str) -> SubscribeFilter {
    SubscribeFilter {
        filter: Bytes::from(filter),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn filter(text: &str) -> SubscriptionFilter {
    SubscriptionFilter::parse(text).unwrap()
}

fn send(packet: Packet) -> Effect {
    Effect::Send(packet)
}

/// A plain PUBACK.
fn puback(packet_id: u16) -> Effect {
    send(Packet::PubAck(Ack {
        packet_id,
        ..Ack::default()
    }))
}

/// A PUBACK with a code and text.
fn refusal(packet_id: u16, reason: ReasonCode, detail: &str) -> Effect {
    send(Packet::PubAck(Ack {
        packet_id,
        reason,
        reason_string: Some(detail.to_owned()),
        ..Ack::default()
    }))
}

/// Content of an acknowledgement: nothing but identifier and code.
fn ack(packet_id: u16, reason: ReasonCode) -> Ack {
    Ack {
        packet_id,
        reason,
        ..Ack::default()
    }
}

/// The end of a connection without a DISCONNECT of the client.
fn lost() -> Effect {
    Effect::Close(command::Disconnect {
        expiry_s: None,
        publishes_will: true,
    })
}

/// The end of a connection by DISCONNECT 0x00.
fn left() -> Effect {
    Effect::Close(command::Disconnect {
        expiry_s: None,
        publishes_will: false,
    })
}

/// Asserts DISCONNECT with this code, then close, and nothing else.
#[track_caller]
fn assert_disconnects(effects: &[Effect], reason: ReasonCode) {
    match effects {
        [Effect::Send(Packet::Disconnect(disconnect)), end] if disconnect.reason == reason && *end == lost() => {}
        other => panic!("expected DISCONNECT {reason} and close, got {other:?}"),
    }
}

/// The token and command of the one effect there is.
#[track_caller]
fn commanded(effects: &[Effect]) -> (Token, Command) {
    match effects {
        [Effect::Propose { token, command }] => (*token, command.clone()),
        other => panic!("expected one proposal, got {other:?}"),
    }
}

/// The token and operation of the one effect there is. Its sender is known by the fence alone.
#[track_caller]
fn proposed(effects: &[Effect]) -> (Token, Operation) {
    let (token, command) = commanded(effects);
    let sender = Sender {
        fence: FENCE,
        packet_id: None,
    };
    assert_eq!(command.sender, Some(sender));
    (token, command.operation)
}

/// The request of the one effect there is.
#[track_caller]
fn requested(effects: &[Effect]) -> SubscribeRequest {
    match effects {
        [Effect::Subscribe(request)] => request.clone(),
        other => panic!("expected one subscribe request, got {other:?}"),
    }
}

fn applied(revision: u64) -> Outcome {
    Outcome::Applied {
        revision,
        created: false,
    }
}

fn user_property(name: &'static str, value: &'static str) -> (Bytes, Bytes) {
    (Bytes::from(name), Bytes::from(value))
}
