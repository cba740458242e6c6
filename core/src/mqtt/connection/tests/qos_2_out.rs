//! QoS 2 to the client, and packet identifiers that the cluster knows before the client does.

use super::*;

use ProtocolVersion::{V3, V5};
use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use ReasonCode::{PacketIdentifierNotFound, Success};

fn pubrel(packet_id: u16) -> Effect {
    send(Packet::PubRel(ack(packet_id, Success)))
}

fn acknowledged(packet_id: u16, kind: AckKind) -> Effect {
    Effect::Acknowledged { packet_id, kind }
}

fn done(packet_id: u16) -> Effect {
    acknowledged(packet_id, AckKind::Done)
}

impl Harness {
    fn pubrec(&mut self, packet_id: u16) -> Vec<Effect> {
        self.packet(Packet::PubRec(ack(packet_id, Success)))
    }

    fn pubcomp(&mut self, packet_id: u16) -> Vec<Effect> {
        self.packet(Packet::PubComp(ack(packet_id, Success)))
    }
}

/// What a message borrows from.
struct Message {
    topic: TopicName,
    payload: Bytes,
    metadata: Metadata,
}

impl Message {
    fn new() -> Self {
        Self {
            topic: topic("a"),
            payload: Bytes::from("payload"),
            metadata: Metadata::empty(),
        }
    }

    fn outgoing(&self, qos: QoS) -> OutgoingMessage<'_> {
        OutgoingMessage {
            topic: &self.topic,
            payload: &self.payload,
            metadata: &self.metadata,
            qos,
            retain: false,
            subscription_ids: &[],
            message_expiry_s: None,
            annotations: None,
            user_properties: &[],
            templates: None,
        }
    }
}

fn sent(packet_id: u16) -> DeliverResult {
    DeliverResult::Sent {
        packet_id: Some(packet_id),
    }
}

/// [MQTT-4.3.3-1], [MQTT-4.3.3-2], [MQTT-4.3.3-4]: an unused identifier, DUP 0, PUBREL for PUBREC.
/// Shows [MQTT-2.2.1-5].
#[test]
fn the_whole_exchange() {
    for version in [V5, V3] {
        let mut harness = Harness::connected(version);
        let (result, publish) = harness.deliver(&Message::new().outgoing(ExactlyOnce));
        let publish = publish.unwrap();
        assert_eq!(result, sent(1));
        assert_eq!(
            (publish.qos, publish.packet_id, publish.dup),
            (ExactlyOnce, Some(1), false)
        );
        assert_eq!(harness.pubrec(1), [pubrel(1)]);
        assert_eq!(harness.connection.inflight_count(), 1); // [MQTT-4.3.3-5]
        assert_eq!(harness.pubcomp(1), [done(1)]);
        assert_eq!(harness.connection.inflight_count(), 0);
    }
}

/// PUBREC is committed before PUBREL: no failover makes the client see the PUBLISH again [MQTT-4.3.3-6].
#[test]
fn a_replicated_session_commits_pubrec() {
    let mut harness = Harness::replicated(V5);
    let packet_id = harness.connection.reserve(ExactlyOnce).unwrap();
    let (result, publish) = harness.deliver_reserved(packet_id, &Message::new().outgoing(ExactlyOnce));
    assert_eq!((result, publish.unwrap().dup), (sent(packet_id), false));
    assert_eq!(harness.pubrec(packet_id), [acknowledged(packet_id, AckKind::Received)]);
    assert_eq!(harness.pubrec(packet_id), []); // PUBREL is to come.
    assert_eq!(harness.release(packet_id), [pubrel(packet_id)]);
    assert_eq!(harness.release(packet_id), []);
    assert_eq!(harness.pubrec(packet_id), [pubrel(packet_id)]);
    assert_eq!(harness.pubcomp(packet_id), [done(packet_id)]);
}

/// [MQTT-4.4.0-2], [MQTT-4.8.2-6]: PUBREC with a failure is the end; nothing is sent again, and there is no PUBREL.
#[test]
fn a_refused_delivery_is_done() {
    for mut harness in [Harness::connected(V5), Harness::replicated(V5)] {
        harness.deliver(&Message::new().outgoing(ExactlyOnce));
        let refused = Packet::PubRec(ack(1, ReasonCode::QuotaExceeded));
        assert_eq!(harness.packet(refused), [done(1)]);
        assert_eq!(harness.connection.inflight_count(), 0);
        assert_eq!(harness.connection.counters().deliveries_refused, 1);
    }
}

/// [MQTT-3.3.4-9]: the place in the window is taken from the reservation to PUBCOMP.
#[test]
fn the_window() {
    let narrow = Connect {
        receive_maximum: Some(2),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), narrow);
    assert_eq!(harness.connection.reserve(AtMostOnce), None);
    assert_eq!(harness.connection.reserve(AtLeastOnce), Some(1));
    let message = Message::new();
    assert_eq!(harness.deliver(&message.outgoing(ExactlyOnce)).0, sent(2));
    assert!(!harness.connection.can_deliver(AtLeastOnce));
    assert_eq!(harness.connection.reserve(AtLeastOnce), None);
    assert_eq!(harness.pubrec(2), [pubrel(2)]);
    assert_eq!(harness.connection.reserve(AtLeastOnce), None);
    assert_eq!(harness.pubcomp(2), [done(2)]);
    assert_eq!(harness.connection.reserve(AtLeastOnce), Some(3));
    harness.connection.cancel(1);
    assert_eq!(
        harness.deliver_reserved(1, &message.outgoing(AtLeastOnce)).0,
        DeliverResult::NotReserved
    );
    assert_eq!(harness.connection.reserve(ExactlyOnce), Some(4));
}

/// The QoS is the one that was reserved, whatever the message says; and nothing is sent twice under one identifier.
#[test]
fn a_reservation_is_for_one_message() {
    let mut harness = Harness::replicated(V5);
    let packet_id = harness.connection.reserve(AtLeastOnce).unwrap();
    let message = Message::new();
    let (_, publish) = harness.deliver_reserved(packet_id, &message.outgoing(ExactlyOnce));
    assert_eq!(publish.unwrap().qos, AtLeastOnce);
    let again = harness.deliver_reserved(packet_id, &message.outgoing(AtLeastOnce));
    assert_eq!(again, (DeliverResult::NotReserved, None));
}

/// [MQTT-3.1.2-25]: too large is as good as sent, and leaves its identifier.
#[test]
fn too_large_for_the_client() {
    let mut harness = Harness::replicated(V5);
    harness.connection.client.packet_bytes_max = 10;
    let packet_id = harness.connection.reserve(ExactlyOnce).unwrap();
    let result = harness.deliver_reserved(packet_id, &Message::new().outgoing(ExactlyOnce));
    assert_eq!(result, (DeliverResult::TooLarge, None));
    assert_eq!(harness.connection.inflight_count(), 0);
}

/// [MQTT-4.3.3-4]: a PUBREC of nothing in flight is answered, and counted as any unknown acknowledgement.
#[test]
fn unknown_acknowledgements() {
    for (version, reason) in [(V5, PacketIdentifierNotFound), (V3, Success)] {
        let mut harness = Harness::connected(version);
        let answer = send(Packet::PubRel(ack(9, reason)));
        for _ in 0..50 {
            assert_eq!(harness.pubrec(9), std::slice::from_ref(&answer));
            assert_eq!(harness.pubcomp(9), []);
        }
        let effects = harness.pubcomp(9);
        assert_eq!(*effects.last().unwrap(), lost());
        assert_eq!(harness.connection.counters().unknown_acks, 101);
    }
}

/// §4.3: an acknowledgement of another QoS, or before its turn, is a protocol error.
#[test]
fn steps_out_of_turn() {
    type Step = fn(Ack) -> Packet;
    let steps: [(QoS, Step); 3] = [
        (AtLeastOnce, Packet::PubRec),
        (ExactlyOnce, Packet::PubAck),
        (ExactlyOnce, Packet::PubComp),
    ];
    for (qos, step) in steps {
        let mut harness = Harness::connected(V5);
        harness.deliver(&Message::new().outgoing(qos));
        assert_disconnects(&harness.packet(step(ack(1, Success))), ReasonCode::ProtocolError);
    }
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1], [MQTT-4.6.0-4]: with DUP and the same identifiers; PUBRELs at once, in the
/// order of their PUBRECs.
/// Shows [MQTT-4.3.3-5]; 3.1.1 [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-4.6.0-4].
#[test]
fn resuming() {
    for version in [V5, ProtocolVersion::V3] {
        let in_flight = |packet_id, qos, received| InFlight {
            packet_id,
            qos,
            received,
        };
        let resumed = Resumed {
            in_flight: vec![
                in_flight(9, ExactlyOnce, true),
                in_flight(5, AtLeastOnce, false),
                in_flight(7, ExactlyOnce, true),
                in_flight(6, ExactlyOnce, false),
            ],
            ..Resumed::default()
        };
        let (mut harness, effects) = Harness::resumed(version, resumed);
        assert_eq!(effects, [pubrel(9), pubrel(7)]);
        let message = Message::new();
        for (packet_id, qos) in [(5, AtLeastOnce), (6, ExactlyOnce)] {
            let (result, publish) = harness.deliver_reserved(packet_id, &message.outgoing(AtLeastOnce));
            let publish = publish.unwrap();
            assert_eq!((result, publish.qos, publish.dup), (sent(packet_id), qos, true));
        }
        assert_eq!(
            harness.deliver_reserved(9, &message.outgoing(ExactlyOnce)),
            (DeliverResult::NotReserved, None)
        );
        // New messages do not use what is in flight.
        assert_eq!(harness.connection.reserve(AtLeastOnce), Some(8));
        assert_eq!(harness.connection.reserve(AtLeastOnce), Some(10));
        assert_eq!(harness.pubcomp(9), [done(9)]);
        assert_eq!(harness.pubrec(6), [acknowledged(6, AckKind::Received)]);
    }
}

/// A client may acknowledge what it got before, and then it is not sent again [MQTT-4.3.3-6].
#[test]
fn acknowledged_before_it_is_sent_again() {
    let resumed = Resumed {
        in_flight: vec![InFlight {
            packet_id: 5,
            qos: AtLeastOnce,
            received: false,
        }],
        ..Resumed::default()
    };
    let (mut harness, _) = Harness::resumed(V3, resumed);
    assert_eq!(harness.packet(Packet::PubAck(ack(5, Success))), [done(5)]);
    let result = harness.deliver_reserved(5, &Message::new().outgoing(AtLeastOnce));
    assert_eq!(result, (DeliverResult::NotReserved, None));
}

/// Nothing before CONNACK, nothing after the end.
#[test]
fn only_while_connected() {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    assert_eq!(harness.connection.reserve(ExactlyOnce), None);
    let mut harness = Harness::replicated(V5);
    let packet_id = harness.connection.reserve(ExactlyOnce).unwrap();
    harness.packet(Packet::Disconnect(Disconnect::default()));
    let result = harness.deliver_reserved(packet_id, &Message::new().outgoing(ExactlyOnce));
    assert_eq!(result, (DeliverResult::NotConnected, None));
    assert_eq!(harness.connection.reserve(ExactlyOnce), None);
    assert_eq!(harness.release(packet_id), []);
}
