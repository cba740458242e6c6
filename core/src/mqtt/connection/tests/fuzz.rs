//! Inputs of every kind: no panic, and what must hold whatever a client and a cluster do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::mqtt::codec::encode;
use crate::mqtt::packet::{Auth, Unsubscribe};

const RECEIVE_MAXIMUM: u16 = 4;
const CLIENT_RECEIVE_MAXIMUM: u16 = 3;
const SUBSCRIPTIONS_MAX: usize = 3;

fn settings() -> ConnectionSettings {
    ConnectionSettings {
        receive_maximum: RECEIVE_MAXIMUM,
        inflight_count_max: CLIENT_RECEIVE_MAXIMUM,
        pending_bytes_max: 64,
        subscriptions_max: SUBSCRIPTIONS_MAX,
        filters_per_packet_max: 3,
        ..ConnectionSettings::default()
    }
}

/// One thing that a client, the cluster or time does.
#[derive(Debug, Clone)]
enum Step {
    /// The client sends a PUBLISH; packet identifiers are given as it is sent.
    Publish {
        topic: &'static str,
        qos: QoS,
        retain: bool,
        user_properties: Vec<(&'static str, &'static str)>,
        alias: Option<u16>,
    },
    Subscribe {
        filters: Vec<&'static str>,
        user_property: Option<(&'static str, &'static str)>,
    },
    Unsubscribe(Vec<&'static str>),
    /// The client sends a packet as it is.
    Packet(Packet),
    /// The client acknowledges one of the messages it has got.
    Acknowledge(usize),
    /// The cluster answers one of the open proposals.
    Outcome(usize, ProposeResult),
    /// The cluster answers one of the open subscribe requests.
    Subscribed(usize, SubscribeResult),
    /// A message for the client.
    Deliver(&'static str, QoS),
    Tick(u64),
    /// So many bytes of what the client has sent arrive.
    Arrive(usize),
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![4 => Just(QoS::AtMostOnce), 12 => Just(QoS::AtLeastOnce), 1 => Just(QoS::ExactlyOnce)]
}

fn topic_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![20 => Just("a"), 20 => Just("a/b"), 3 => Just("$SYS/x"), 3 => Just("a\u{1}"), 1 => Just("a/+"), 2 => Just("")]
}

fn filter_text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "a/b", "a/#", "+", "#", "b", "a+", "$share/g/a", "$SYS/#"])
}

fn write_property() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("timestamp", "12.5"),
        ("timestamp", "-1"),
        ("timestamp", "x"),
        ("if-absent", "on"),
        ("if-present", "on"),
        ("if-revision", "3"),
        ("if-revision", "x"),
        ("k", "v"),
    ])
}

fn subscribe_property() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("since", "1"),
        ("since", "x"),
        ("marker", "on"),
        ("consistency", "local"),
        ("k", "v"),
    ])
}

fn outcome() -> impl Strategy<Value = ProposeResult> {
    prop_oneof![
        30 => any::<u64>().prop_map(|revision| ProposeResult::Outcome(applied(revision))),
        5 => Just(ProposeResult::Outcome(Outcome::Superseded { winner: 3 })),
        5 => Just(ProposeResult::Outcome(Outcome::ConditionFailed { current: 3 })),
        5 => any::<u64>().prop_map(|ahead_us| ProposeResult::Outcome(Outcome::TimestampAhead { ahead_us })),
        5 => Just(ProposeResult::Outcome(Outcome::NotFound)),
        1 => Just(ProposeResult::Outcome(Outcome::TooLate)),
        1 => Just(ProposeResult::Unavailable("no leader".to_owned())),
        1 => Just(ProposeResult::Unknown("no answer".to_owned())),
    ]
}

fn odd_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        20 => Just(Packet::PingReq),
        3 => any::<u16>().prop_map(|id| Packet::PubAck(Ack { packet_id: id.max(1), ..Ack::default() })),
        3 => any::<u16>().prop_map(|id| Packet::PubRel(Ack { packet_id: id.max(1), ..Ack::default() })),
        1 => Just(Packet::PubRec(Ack { packet_id: 1, ..Ack::default() })),
        1 => Just(Packet::Connect(Box::new(connect(ProtocolVersion::V5)))),
        1 => Just(Packet::Disconnect(Disconnect::default())),
        1 => Just(Packet::Auth(Auth::default())),
        1 => Just(Packet::PingResp),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (topic_text(), qos(), any::<bool>(), vec(write_property(), 0..2), prop::option::weighted(0.2, 0_u16..19))
            .prop_map(|(topic, qos, retain, user_properties, alias)| Step::Publish { topic, qos, retain, user_properties, alias }),
        4 => (vec(filter_text(), 1..5), prop::option::weighted(0.3, subscribe_property()))
            .prop_map(|(filters, user_property)| Step::Subscribe { filters, user_property }),
        3 => vec(filter_text(), 1..5).prop_map(Step::Unsubscribe),
        2 => odd_packet().prop_map(Step::Packet),
        6 => any::<usize>().prop_map(Step::Acknowledge),
        12 => (any::<usize>(), outcome()).prop_map(|(index, result)| Step::Outcome(index, result)),
        6 => (any::<usize>(), prop::option::weighted(0.8, any::<u64>())).prop_map(|(index, revision)| {
            let unavailable = SubscribeResult::Unavailable("no quorum".to_owned());
            Step::Subscribed(index, revision.map_or(unavailable, |revision| SubscribeResult::Subscribed { revision }))
        }),
        8 => (topic_text(), qos()).prop_map(|(topic, qos)| Step::Deliver(topic, qos)),
        1 => (0_u64..40_000).prop_map(Step::Tick),
        20 => (1_usize..80).prop_map(Step::Arrive),
    ]
}

/// What has been asked and answered, seen from outside, and what must hold of it.
struct World {
    connection: Connection,
    version: ProtocolVersion,
    packet_bytes_max: usize,
    now_ms: u64,
    /// Sent by the client, on its way.
    wire: VecDeque<u8>,
    /// Arrived, not decoded.
    arrived: BytesMut,
    last_packet_id: u16,
    /// QoS 1 PUBLISHes that the client sent and has no PUBACK for, in order.
    unacknowledged: VecDeque<u16>,
    /// QoS of the open proposals.
    proposals: BTreeMap<Token, u8>,
    /// Proposals answered, and PUBACKs of such as were not refused before they were proposed: never more.
    answered: usize,
    acknowledged: usize,
    subscribe_requests: BTreeMap<Token, SubscribeRequest>,
    /// SUBSCRIBEs and UNSUBSCRIBEs without an answer.
    unanswered: BTreeSet<u16>,
    subscribed: BTreeSet<TopicFilter>,
    /// Messages of QoS 1 that the client has got and not acknowledged.
    inflight: Vec<u16>,
    closed: bool,
}

impl World {
    fn new(version: ProtocolVersion, annotate: bool, packet_bytes_max: Option<u32>) -> Self {
        let user_properties = if annotate {
            vec![user_property("annotate", "on")]
        } else {
            Vec::new()
        };
        let maximum_packet_size = packet_bytes_max.filter(|_| version == ProtocolVersion::V5);
        let connect = Connect {
            user_properties,
            receive_maximum: Some(CLIENT_RECEIVE_MAXIMUM),
            topic_alias_maximum: Some(1),
            maximum_packet_size,
            ..connect(version)
        };
        let mut world = Self {
            connection: Connection::new(Arc::new(settings()), 7, 0),
            version,
            packet_bytes_max: maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize),
            now_ms: 0,
            wire: VecDeque::new(),
            arrived: BytesMut::new(),
            last_packet_id: 0,
            unacknowledged: VecDeque::new(),
            proposals: BTreeMap::new(),
            answered: 0,
            acknowledged: 0,
            subscribe_requests: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            inflight: Vec::new(),
            closed: false,
        };
        world.client_sends(&Packet::Connect(Box::new(connect)));
        world.arrive(usize::MAX);
        world
    }

    fn client_sends(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        self.wire.extend(bytes);
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id += 1;
        self.last_packet_id
    }

    fn arrive(&mut self, bytes: usize) {
        let bytes = bytes.min(self.wire.len());
        self.arrived.extend(self.wire.drain(..bytes));
        self.read();
    }

    /// As a driver: hands over what has arrived for as long as the connection takes some.
    fn read(&mut self) {
        let mut out = Vec::new();
        self.connection.on_bytes(&mut self.arrived, self.now_ms, &mut out);
        self.carry_out(out);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish {
                topic,
                qos,
                retain,
                user_properties,
                alias,
            } => {
                // A client that keeps to Receive Maximum, or QoS 1 would hardly get anywhere.
                let quota = self.unacknowledged.len() < usize::from(RECEIVE_MAXIMUM);
                let qos = if quota { qos } else { QoS::AtMostOnce };
                let packet_id = (qos != QoS::AtMostOnce).then(|| self.next_packet_id());
                if qos == QoS::AtLeastOnce {
                    self.unacknowledged.extend(packet_id);
                }
                let metadata = metadata(&user_properties);
                let publish = Publish {
                    qos,
                    retain,
                    topic_alias: alias,
                    metadata,
                    packet_id,
                    ..put(topic, 1)
                };
                self.client_sends(&Packet::Publish(Box::new(publish)));
            }
            Step::Subscribe {
                filters,
                user_property: property,
            } => {
                let packet_id = self.next_packet_id();
                self.unanswered.insert(packet_id);
                let user_properties = property
                    .map(|(name, value)| user_property(name, value))
                    .into_iter()
                    .collect();
                let packet = Subscribe {
                    user_properties,
                    ..subscribe(packet_id, &filters)
                };
                self.client_sends(&Packet::Subscribe(Box::new(packet)));
            }
            Step::Unsubscribe(filters) => {
                let packet_id = self.next_packet_id();
                self.unanswered.insert(packet_id);
                let filters = filters.into_iter().map(Bytes::from).collect();
                self.client_sends(&Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    user_properties: Vec::new(),
                    filters,
                }));
            }
            Step::Packet(packet) => self.client_sends(&packet),
            Step::Acknowledge(index) => {
                if let Some(index) = index.checked_rem(self.inflight.len()) {
                    let packet_id = self.inflight.remove(index);
                    self.client_sends(&Packet::PubAck(Ack {
                        packet_id,
                        ..Ack::default()
                    }));
                }
            }
            Step::Outcome(index, result) => {
                if let Some(index) = index.checked_rem(self.proposals.len()) {
                    let token = *self.proposals.keys().nth(index).unwrap();
                    self.outcome(token, result);
                }
            }
            Step::Subscribed(index, result) => {
                if let Some(index) = index.checked_rem(self.subscribe_requests.len()) {
                    let token = *self.subscribe_requests.keys().nth(index).unwrap();
                    self.subscribe_result(token, result);
                }
            }
            Step::Deliver(name, qos) => self.deliver(name, qos),
            Step::Tick(elapsed_ms) => {
                self.now_ms += elapsed_ms;
                let mut out = Vec::new();
                self.connection.on_tick(self.now_ms, &mut out);
                self.carry_out(out);
            }
            Step::Arrive(bytes) => self.arrive(bytes),
        }
        assert!(self.connection.acks.len() <= 2 * usize::from(RECEIVE_MAXIMUM));
        assert!(self.connection.inflight_count() <= usize::from(CLIENT_RECEIVE_MAXIMUM));
        assert!(self.connection.subscriptions().count() <= SUBSCRIPTIONS_MAX);
        assert_eq!(self.connection.is_closed(), self.closed);
        if !self.closed {
            let held: BTreeSet<_> = self
                .connection
                .subscriptions()
                .map(|(filter, _)| filter.clone())
                .collect();
            assert_eq!(held, self.subscribed);
        }
    }

    fn outcome(&mut self, token: Token, result: ProposeResult) {
        let qos = self.proposals.remove(&token);
        self.answered += 1;
        let lost = !matches!(result, ProposeResult::Outcome(outcome) if outcome != Outcome::TooLate);
        let mut out = Vec::new();
        self.connection.on_outcome(token, result, &mut out);
        let acknowledges = out
            .iter()
            .any(|effect| matches!(effect, Effect::Send(Packet::PubAck(_))));
        self.carry_out(out);
        if lost && qos == Some(1) {
            assert!(
                self.closed && !acknowledges,
                "acknowledged although nothing is known to be applied"
            );
        }
        self.read();
    }

    fn subscribe_result(&mut self, token: Token, result: SubscribeResult) {
        let request = self.subscribe_requests.remove(&token).unwrap();
        if matches!(result, SubscribeResult::Subscribed { .. }) && !self.closed {
            self.subscribed
                .extend(request.subscriptions.into_iter().map(|new| new.filter));
        }
        let mut out = Vec::new();
        self.connection.on_subscribed(token, result, &mut out);
        self.carry_out(out);
        self.read();
    }

    /// Everything arrives and is answered: then nothing the client asked for is left without an answer.
    fn settle(&mut self) {
        self.arrive(usize::MAX);
        loop {
            if let Some(&token) = self.proposals.keys().next() {
                self.outcome(token, ProposeResult::Outcome(applied(1)));
            } else if let Some(&token) = self.subscribe_requests.keys().next() {
                self.subscribe_result(token, SubscribeResult::Subscribed { revision: 1 });
            } else {
                break;
            }
        }
        if !self.closed {
            assert!(self.connection.wants_read() && self.arrived.is_empty());
            assert!(self.unacknowledged.is_empty() && self.unanswered.is_empty());
            assert!(self.connection.subscriptions.is_settled() && self.connection.acks.waiting_bytes() == 0);
        }
    }

    fn deliver(&mut self, name: &str, qos: QoS) {
        let Ok(topic) = TopicName::parse(name) else { return };
        let can_deliver = self.connection.can_deliver(qos);
        let message = OutgoingMessage {
            topic: &topic,
            payload: &Bytes::from("some payload"),
            metadata: &Metadata::empty(),
            qos,
            retain: false,
            subscription_ids: &[5],
            message_expiry_s: None,
            annotations: Some(Annotations {
                revision: 1,
                timestamp_us: 2,
            }),
            user_properties: &[],
            templates: None,
        };
        let mut out = BytesMut::new();
        let result = self.connection.deliver(&message, &mut out);
        assert!(out.len() <= self.packet_bytes_max); // [MQTT-3.1.2-24]
        match result {
            DeliverResult::Sent { packet_id } => {
                assert!(can_deliver && !self.closed);
                let Packet::Publish(publish) = self.client_reads(&mut out) else {
                    panic!("no PUBLISH")
                };
                assert_eq!(publish.packet_id, packet_id);
                if let Some(packet_id) = packet_id {
                    assert!(!self.inflight.contains(&packet_id)); // [MQTT-2.2.1-4]
                    self.inflight.push(packet_id);
                }
                assert!(self.inflight.len() <= usize::from(CLIENT_RECEIVE_MAXIMUM)); // [MQTT-3.3.4-9]
            }
            DeliverResult::TooLarge => assert!(can_deliver && out.is_empty()),
            DeliverResult::WindowFull | DeliverResult::NotConnected => assert!(!can_deliver && out.is_empty()),
        }
    }

    /// Everything that is sent can be read by a client.
    fn client_reads(&self, bytes: &mut BytesMut) -> Packet {
        let limits = DecodeLimits {
            packet_bytes_max: u32::MAX,
        };
        let packet = decode_as_client(bytes, self.version, &limits).unwrap().unwrap();
        assert!(bytes.is_empty());
        packet
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.closed, "{effect:?} after Close");
            match effect {
                Effect::Send(packet) => self.sent(&packet),
                Effect::Authenticated(_) => {
                    let mut out = Vec::new();
                    self.connection
                        .on_registered(RegisterResult::Registered, self.now_ms, &mut out);
                    self.carry_out(out);
                    self.read();
                }
                Effect::Propose { token, operation } => {
                    let qos = match operation {
                        Operation::Put(put) => put.qos,
                        Operation::Delete(delete) => delete.qos,
                        Operation::Event(event) => event.qos,
                        other => panic!("no PUBLISH is {other:?}"),
                    };
                    assert!(self.proposals.insert(token, qos).is_none());
                }
                Effect::PublishEvent(event) => assert_eq!(event.qos, 0),
                Effect::Subscribe(request) => assert!(self.subscribe_requests.insert(request.token, request).is_none()),
                Effect::Unsubscribe { filters } => {
                    for filter in filters {
                        assert!(self.subscribed.remove(&filter));
                    }
                }
                Effect::Close => self.closed = true,
            }
        }
    }

    fn sent(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        assert!(bytes.len() <= self.packet_bytes_max); // [MQTT-3.1.2-24]
        self.client_reads(&mut bytes);
        match packet {
            Packet::PubAck(ack) => {
                // [MQTT-4.6.0-2]; what a local refusal answers was never proposed.
                assert_eq!(self.unacknowledged.pop_front(), Some(ack.packet_id));
                let refused_here = matches!(
                    ack.reason,
                    ReasonCode::NotAuthorized | ReasonCode::TopicNameInvalid | ReasonCode::ImplementationSpecificError
                );
                self.acknowledged += usize::from(!refused_here && self.version == ProtocolVersion::V5);
                assert!(self.acknowledged <= self.answered, "acknowledged before its outcome");
            }
            Packet::SubAck(suback) => assert!(self.unanswered.remove(&suback.packet_id)),
            Packet::UnsubAck(unsuback) => assert!(self.unanswered.remove(&unsuback.packet_id)),
            Packet::ConnAck(_) | Packet::PubComp(_) | Packet::PingResp => {}
            Packet::Disconnect(_) => assert_eq!(self.version, ProtocolVersion::V5),
            other => panic!("a server does not send {other:?}"),
        }
    }
}

/// Feeds `bytes` in pieces of these sizes, to a connection whose every question is answered at once.
fn feed(bytes: &[u8], pieces: &[usize]) {
    let mut connection = Connection::new(Arc::new(settings()), 7, 0);
    let mut buf = BytesMut::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(64));
    let mut closed = false;
    while !rest.is_empty() {
        let (piece, following) = rest.split_at(pieces.next().unwrap_or(1).clamp(1, rest.len()));
        rest = following;
        buf.extend_from_slice(piece);
        let mut out = Vec::new();
        connection.on_bytes(&mut buf, 0, &mut out);
        while !out.is_empty() {
            let mut next = Vec::new();
            for effect in out {
                assert!(!closed, "{effect:?} after Close");
                match effect {
                    Effect::Authenticated(_) => connection.on_registered(RegisterResult::Registered, 0, &mut next),
                    Effect::Propose { token, .. } => {
                        connection.on_outcome(token, ProposeResult::Outcome(applied(1)), &mut next);
                    }
                    Effect::Subscribe(request) => {
                        let result = SubscribeResult::Subscribed { revision: 1 };
                        connection.on_subscribed(request.token, result, &mut next);
                    }
                    Effect::Send(packet) => encode(&packet, connection.version(), &mut BytesMut::new()),
                    Effect::PublishEvent(_) | Effect::Unsubscribe { .. } => {}
                    Effect::Close => closed = true,
                }
            }
            connection.on_bytes(&mut buf, 0, &mut next);
            out = next;
        }
        assert!(connection.subscriptions().count() <= SUBSCRIPTIONS_MAX);
    }
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![Just(ProtocolVersion::V5), Just(ProtocolVersion::V3)]
}

/// A CONNECT and some packets behind it, as bytes.
fn session(version: ProtocolVersion, steps: Vec<Step>) -> Vec<u8> {
    let mut world = World::new(version, false, None);
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect(version))), version, &mut bytes);
    world.wire.extend(bytes);
    for step in steps {
        if let Step::Publish { .. } | Step::Subscribe { .. } | Step::Unsubscribe(_) | Step::Packet(_) = step {
            world.step(step);
        }
    }
    world.wire.into()
}

proptest! {
    /// Arbitrary bytes, split arbitrarily, never panic the connection.
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..400), pieces in vec(1_usize..50, 0..20)) {
        feed(&bytes, &pieces);
    }

    /// The same behind a valid CONNECT.
    #[test]
    fn arbitrary_bytes_of_a_connected_client(
        version in version(),
        bytes in vec(any::<u8>(), 0..400),
        pieces in vec(1_usize..50, 0..20),
    ) {
        let mut all = session(version, Vec::new());
        all.extend(bytes);
        feed(&all, &pieces);
    }

    /// Valid sessions with some bytes changed: errors that lie deeper.
    #[test]
    fn damaged_sessions(
        version in version(),
        steps in vec(step(), 1..30),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        pieces in vec(1_usize..50, 0..20),
    ) {
        let mut bytes = session(version, steps);
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        feed(&bytes, &pieces);
    }

    /// Whatever client, cluster and time do in whatever order: acknowledgements in order and not before their outcome, the
    /// window never exceeded, every packet legal and small enough, every list bounded, nothing after Close,
    /// and in the end nothing left unanswered.
    #[test]
    fn any_order_of_events(
        version in version(),
        annotate: bool,
        packet_bytes_max in prop::option::weighted(0.3, 1_u32..80),
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new(version, annotate, packet_bytes_max);
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
