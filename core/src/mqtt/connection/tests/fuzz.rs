//! Inputs of every kind: no panic, and what must hold whatever a client and a cluster do.

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::World;
use super::*;
use crate::mqtt::codec::encode;
use crate::mqtt::packet::Auth;

pub(super) const RECEIVE_MAXIMUM: u16 = 4;
pub(super) const CLIENT_RECEIVE_MAXIMUM: u16 = 3;
pub(super) const SUBSCRIPTIONS_MAX: usize = 3;
/// A QoS 2 message that a former connection received.
pub(super) const RESTORED_ID: u16 = 300;

pub(super) fn settings() -> ConnectionSettings {
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
pub(super) enum Step {
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
    /// The client sends a QoS 2 PUBLISH again.
    Repeat(usize),
    /// The client releases one of its messages that PUBREC has come for.
    PubRel(usize),
    /// The client acknowledges one of the messages it has got, as far as it has to: with a failure or not.
    Acknowledge(usize, bool),
    /// The cluster answers one of the open proposals.
    Outcome(usize, ProposeResult),
    /// The cluster answers one of the open subscribe requests.
    Subscribed(usize, SubscribeResult),
    /// The cluster answers one of the open unsubscribe requests.
    Unsubscribed(usize, bool),
    /// A message for the client: sent at once, or under a packet identifier that the cluster has yet to know.
    Deliver(&'static str, QoS),
    /// The cluster knows one of those packet identifiers; or the message is not sent after all.
    Commit(usize, bool),
    /// The cluster knows that the client has received one of the messages.
    Release(usize),
    Tick(u64),
    /// So many bytes of what the client has sent arrive.
    Arrive(usize),
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![1 => Just(QoS::AtMostOnce), 2 => Just(QoS::AtLeastOnce), 3 => Just(QoS::ExactlyOnce)]
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
        ("deliver", "latest"),
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
        5 => Just(ProposeResult::Outcome(Outcome::Duplicate)),
        1 => Just(ProposeResult::Outcome(Outcome::Fenced)),
        1 => Just(ProposeResult::Outcome(Outcome::TooLate)),
        1 => Just(ProposeResult::Unavailable("no leader".to_owned())),
        1 => Just(ProposeResult::Unknown("no answer".to_owned())),
    ]
}

/// A packet identifier that neither side gets to.
fn unused_id() -> impl Strategy<Value = u16> {
    1000_u16..
}

fn odd_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        20 => Just(Packet::PingReq),
        3 => unused_id().prop_map(|id| Packet::PubAck(ack(id, ReasonCode::Success))),
        3 => unused_id().prop_map(|id| Packet::PubRec(ack(id, ReasonCode::Success))),
        3 => unused_id().prop_map(|id| Packet::PubRel(ack(id, ReasonCode::Success))),
        3 => unused_id().prop_map(|id| Packet::PubComp(ack(id, ReasonCode::Success))),
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
        2 => any::<usize>().prop_map(Step::Repeat),
        6 => any::<usize>().prop_map(Step::PubRel),
        12 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(index, fails)| Step::Acknowledge(index, fails)),
        12 => (any::<usize>(), outcome()).prop_map(|(index, result)| Step::Outcome(index, result)),
        6 => (any::<usize>(), prop::option::weighted(0.8, any::<u64>())).prop_map(|(index, revision)| {
            let unavailable = SubscribeResult::Unavailable("no quorum".to_owned());
            Step::Subscribed(index, revision.map_or(unavailable, |revision| SubscribeResult::Subscribed { revision }))
        }),
        3 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(index, removed)| Step::Unsubscribed(index, removed)),
        8 => (topic_text(), qos()).prop_map(|(topic, qos)| Step::Deliver(topic, qos)),
        8 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(index, sends)| Step::Commit(index, sends)),
        6 => any::<usize>().prop_map(Step::Release),
        1 => (0_u64..40_000).prop_map(Step::Tick),
        20 => (1_usize..80).prop_map(Step::Arrive),
    ]
}

/// What the sessions here bring along.
pub(super) fn resumed() -> Resumed {
    let in_flight = |packet_id, qos, received| InFlight {
        packet_id,
        qos,
        received,
    };
    Resumed {
        subscriptions: Vec::new(),
        inbound: [RESTORED_ID].into(),
        in_flight: vec![
            in_flight(501, QoS::ExactlyOnce, false),
            in_flight(500, QoS::ExactlyOnce, true),
            in_flight(502, QoS::AtLeastOnce, false),
        ],
    }
}

/// Feeds `bytes` in pieces of these sizes, to a connection whose every question is answered at once.
fn feed(bytes: &[u8], pieces: &[usize], is_replicated: bool) {
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
                    Effect::Authenticated(_) => {
                        let resumed = is_replicated.then(resumed);
                        let result = RegisterResult::Registered(Registered {
                            fence: FENCE,
                            replicated: is_replicated,
                            resumed,
                        });
                        connection.on_registered(result, 0, &mut next);
                    }
                    Effect::Propose { token, .. } => {
                        connection.on_outcome(token, ProposeResult::Outcome(applied(1)), &mut next);
                    }
                    Effect::Subscribe(request) => {
                        let result = SubscribeResult::Subscribed { revision: 1 };
                        connection.on_subscribed(request.token, result, &mut next);
                    }
                    Effect::Send(packet) => encode(&packet, connection.version(), &mut BytesMut::new()),
                    Effect::Unsubscribe { token, .. } => {
                        connection.on_unsubscribed(token, UnsubscribeResult::Unsubscribed, &mut next);
                    }
                    Effect::Acknowledged {
                        packet_id,
                        kind: AckKind::Received,
                    } => {
                        connection.release(packet_id, &mut next);
                    }
                    Effect::PublishEvent(_) | Effect::Acknowledged { .. } => {}
                    Effect::Close(_) => closed = true,
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
    let mut world = World::new(version, false, None, false);
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect(version))), version, &mut bytes);
    world.wire.extend(bytes);
    for step in steps {
        let is_sent = matches!(
            step,
            Step::Publish { .. } | Step::Subscribe { .. } | Step::Unsubscribe(_) | Step::Packet(_) | Step::Repeat(_)
        );
        if is_sent {
            world.step(step);
        }
    }
    world.wire.into()
}

proptest! {
    /// Arbitrary bytes, split arbitrarily, never panic the connection.
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..400), pieces in vec(1_usize..50, 0..20)) {
        feed(&bytes, &pieces, false);
    }

    /// The same behind a valid CONNECT.
    #[test]
    fn arbitrary_bytes_of_a_connected_client(
        version in version(),
        bytes in vec(any::<u8>(), 0..400),
        pieces in vec(1_usize..50, 0..20),
        is_replicated: bool,
    ) {
        let mut all = session(version, Vec::new());
        all.extend(bytes);
        feed(&all, &pieces, is_replicated);
    }

    /// Valid sessions with some bytes changed: errors that lie deeper.
    #[test]
    fn damaged_sessions(
        version in version(),
        steps in vec(step(), 1..30),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        pieces in vec(1_usize..50, 0..20),
        is_replicated: bool,
    ) {
        let mut bytes = session(version, steps);
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        feed(&bytes, &pieces, is_replicated);
    }

    /// Whatever client, cluster and time do in whatever order: acknowledgements in order and not before their outcome, no QoS
    /// 2 message proposed twice, none sent again behind its PUBREC, the window never exceeded, every packet legal and small
    /// enough, every list bounded, nothing after Close, and in the end nothing left unanswered on either side.
    #[test]
    fn any_order_of_events(
        version in version(),
        annotate: bool,
        packet_bytes_max in prop::option::weighted(0.2, 1_u32..80),
        is_replicated: bool,
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new(version, annotate, packet_bytes_max, is_replicated);
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
