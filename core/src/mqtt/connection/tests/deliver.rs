//! Messages to the client.

use super::*;

use ProtocolVersion::{V3, V5};

/// What a message borrows from.
struct Message {
    topic: TopicName,
    payload: Bytes,
    metadata: Metadata,
}

impl Message {
    fn new(name: &str, user_properties: &[(&str, &str)]) -> Self {
        Self {
            topic: topic(name),
            payload: Bytes::from("payload"),
            metadata: metadata(user_properties),
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

const ANNOTATIONS: Option<Annotations> = Some(Annotations {
    revision: 31,
    timestamp_us: 1_490_347_944_893_743,
});

fn acknowledge(harness: &mut Harness, packet_id: u16) -> Vec<Effect> {
    harness.packet(Packet::PubAck(ack(packet_id, ReasonCode::Success)))
}

fn done(packet_id: u16) -> Effect {
    let kind = AckKind::Done;
    Effect::Acknowledged { packet_id, kind }
}

/// [MQTT-4.3.1-1], [MQTT-3.3.2-4], [MQTT-3.3.2-17], [MQTT-3.3.2-6]: the message as published, with what is left of its expiry.
/// Shows [MQTT-3.3.1-2].
#[test]
fn all_fields() {
    let message = Message::new("a/b", &[("timestamp", "1"), ("k", "v"), ("k", "w")]);
    let outgoing = OutgoingMessage {
        retain: true,
        subscription_ids: &[3, 268_435_455],
        message_expiry_s: Some(60),
        annotations: ANNOTATIONS,
        ..message.outgoing(QoS::AtMostOnce)
    };
    let expected = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic: Bytes::from("a/b"),
        packet_id: None,
        message_expiry_s: Some(60),
        topic_alias: None,
        subscription_ids: vec![3, 268_435_455],
        metadata: message.metadata.clone(),
        payload: Bytes::from("payload"),
    };
    let (result, publish) = Harness::connected(V5).deliver(&outgoing);
    assert_eq!(
        (result, publish.as_ref()),
        (DeliverResult::Sent { packet_id: None }, Some(&expected))
    );
    let (_, publish) = Harness::connected(V3).deliver(&outgoing);
    let plain = Publish {
        message_expiry_s: None,
        subscription_ids: vec![],
        metadata: Metadata::empty(),
        ..expected
    };
    assert_eq!(publish, Some(plain));
}

/// Contract: with `annotate=on` delivered state carries `revision` and `timestamp`, which replaces the publisher's.
#[test]
fn annotations() {
    let message = Message::new("a", &[("timestamp", "1"), ("k", "v")]);
    let mut harness = Harness::annotated();
    let state = OutgoingMessage {
        annotations: ANNOTATIONS,
        ..message.outgoing(QoS::AtMostOnce)
    };
    let (_, publish) = harness.deliver(&state);
    let annotated = metadata(&[("k", "v"), ("revision", "31"), ("timestamp", "1490347944.893743")]);
    assert_eq!(publish.unwrap().metadata, annotated);
    let (_, publish) = harness.deliver(&message.outgoing(QoS::AtMostOnce));
    assert_eq!(publish.unwrap().metadata, message.metadata);
    let (_, publish) = harness.deliver(&OutgoingMessage {
        user_properties: &[("reset", "on")],
        ..state
    });
    assert_eq!(publish.unwrap().metadata.user_property("reset"), Some("on"));
}

/// [MQTT-3.3.4-9], [MQTT-4.9.0-2]: the client's Receive Maximum bounds QoS 1 and 2, not QoS 0.
/// Shows [MQTT-4.9.0-1].
#[test]
fn the_window() {
    let narrow = Connect {
        receive_maximum: Some(2),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), narrow);
    let message = Message::new("a", &[]);
    for packet_id in [1, 2] {
        let (result, publish) = harness.deliver(&message.outgoing(QoS::AtLeastOnce));
        assert_eq!(
            result,
            DeliverResult::Sent {
                packet_id: Some(packet_id)
            }
        );
        assert_eq!(publish.unwrap().packet_id, Some(packet_id));
    }
    assert!(!harness.connection.can_deliver(QoS::AtLeastOnce));
    assert_eq!(
        harness.deliver(&message.outgoing(QoS::AtLeastOnce)),
        (DeliverResult::WindowFull, None)
    );
    assert!(harness.connection.can_deliver(QoS::AtMostOnce));
    assert_eq!(
        harness.deliver(&message.outgoing(QoS::AtMostOnce)).0,
        DeliverResult::Sent { packet_id: None }
    );

    assert_eq!(acknowledge(&mut harness, 1), [done(1)]);
    assert!(harness.connection.can_deliver(QoS::AtLeastOnce));
    let (result, _) = harness.deliver(&message.outgoing(QoS::ExactlyOnce));
    assert_eq!(result, DeliverResult::Sent { packet_id: Some(3) });
    assert_eq!(harness.connection.inflight_count(), 2);
}

/// Our own bound holds for clients that set none.
#[test]
fn our_own_window() {
    let settings = ConnectionSettings {
        inflight_count_max: 1,
        ..Default::default()
    };
    for version in [V5, V3] {
        let mut harness = Harness::connected_with(settings.clone(), connect(version));
        let message = Message::new("a", &[]);
        harness.deliver(&message.outgoing(QoS::AtLeastOnce));
        assert!(!harness.connection.can_deliver(QoS::AtLeastOnce));
    }
}

/// [MQTT-4.4.0-2]: a PUBACK with a failure is an acknowledgement.
#[test]
fn a_refused_delivery_is_done() {
    let mut harness = Harness::connected(V5);
    harness.deliver(&Message::new("a", &[]).outgoing(QoS::AtLeastOnce));
    let effects = harness.packet(Packet::PubAck(ack(1, ReasonCode::UnspecifiedError)));
    assert_eq!(effects, [done(1)]);
    assert_eq!(harness.connection.inflight_count(), 0);
    assert_eq!(harness.connection.counters().deliveries_refused, 1);
}

/// A PUBACK of nothing in flight is ignored and counted, a hundred times.
#[test]
fn unknown_acknowledgements() {
    let mut harness = Harness::connected(V5);
    for _ in 0..100 {
        assert_eq!(acknowledge(&mut harness, 9), []);
    }
    assert_disconnects(&acknowledge(&mut harness, 9), ReasonCode::ProtocolError);
    assert_eq!(harness.connection.take_counters().unknown_acks, 101);
    assert_eq!(harness.connection.counters().unknown_acks, 0);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: too large for the client is discarded as if it had been sent.
#[test]
fn messages_too_large_for_the_client() {
    let message = Message::new("a", &[]);
    // Fixed header 2, topic 3, packet identifier 2, property length 1, payload 7.
    for (bytes_max, fits) in [(15, true), (14, false)] {
        let mut harness = Harness::connected(V5);
        harness.connection.client.packet_bytes_max = bytes_max;
        let (result, publish) = harness.deliver(&message.outgoing(QoS::AtLeastOnce));
        assert_eq!(publish.is_some(), fits);
        if !fits {
            assert_eq!(result, DeliverResult::TooLarge);
            assert_eq!(harness.connection.inflight_count(), 0);
            assert_eq!(harness.connection.counters().deliveries_too_large, 1);
        }
    }
}

/// [MQTT-3.3.2-11], [MQTT-3.3.2-12]: a topic that repeats gets an alias, up to the client's maximum.
#[test]
fn topic_aliases() {
    let aliasing = Connect {
        topic_alias_maximum: Some(1),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), aliasing);
    let mut named = |name: &str| {
        let message = Message::new(name, &[]);
        let (_, publish) = harness.deliver(&message.outgoing(QoS::AtMostOnce));
        let publish = publish.unwrap();
        (String::from_utf8(publish.topic.to_vec()).unwrap(), publish.topic_alias)
    };
    assert_eq!(named("a"), ("a".to_owned(), None));
    assert_eq!(named("a"), ("a".to_owned(), Some(1)));
    assert_eq!(named("a"), (String::new(), Some(1)));
    named("b");
    assert_eq!(named("b"), ("b".to_owned(), None));
}

/// One encoding serves all subscribers that differ in nothing but identifiers.
#[test]
fn shared_templates_say_the_same() {
    let message = Message::new("a", &[("timestamp", "1")]);
    let templates = MessageTemplates::new();
    for retain in [false, true] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for subscription_ids in [&[][..], &[7]] {
                let alone = OutgoingMessage {
                    retain,
                    subscription_ids,
                    message_expiry_s: Some(9),
                    annotations: ANNOTATIONS,
                    ..message.outgoing(qos)
                };
                let shared = OutgoingMessage {
                    templates: Some(&templates),
                    ..alone
                };
                for connected in [Harness::annotated, || Harness::connected(V5), || Harness::connected(V3)] {
                    assert_eq!(connected().deliver(&shared), connected().deliver(&alone));
                }
            }
        }
    }
}

/// Shows [MQTT-3.2.0-1]; 3.1.1 [MQTT-3.2.0-1].
#[test]
fn nothing_before_connack_or_after_close() {
    let message = Message::new("a", &[]);
    let mut harness = Harness::accepted(ConnectionSettings::default());
    assert!(!harness.connection.can_deliver(QoS::AtMostOnce));
    assert_eq!(
        harness.deliver(&message.outgoing(QoS::AtMostOnce)).0,
        DeliverResult::NotConnected
    );
    let mut harness = Harness::connected(V5);
    harness.packet(Packet::Disconnect(Disconnect::default()));
    assert_eq!(
        harness.deliver(&message.outgoing(QoS::AtMostOnce)).0,
        DeliverResult::NotConnected
    );
}
