//! Wills: what of them is taken, and when they are published.

use super::*;
use crate::mqtt::packet::Will;

use ProtocolVersion::{V3, V5};

fn will(topic: &'static str) -> Will {
    Will {
        topic: Bytes::from(topic),
        payload: Bytes::from("gone"),
        qos: QoS::ExactlyOnce,
        retain: true,
        delay_s: 30,
        message_expiry_s: Some(60),
        metadata: metadata(&[("b", "2"), ("a", "1"), ("if-absent", "on")]),
    }
}

/// The effects of a CONNECT with this will.
fn leave(version: ProtocolVersion, will: Will) -> Vec<Effect> {
    let mut harness = Harness::accepted(ConnectionSettings::default());
    harness.packet(Packet::Connect(Box::new(Connect {
        will: Some(will),
        ..connect(version)
    })))
}

/// [MQTT-3.1.2-7], [MQTT-3.1.2-9], [MQTT-3.1.3-10]: everything about a will reaches the cluster, user properties in their order.
#[test]
fn all_properties_reach_the_driver() {
    for version in [V5, V3] {
        let effects = leave(version, will("a/b"));
        let [Effect::Authenticated(authenticated)] = &effects[..] else {
            panic!("{effects:?}")
        };
        let expected = command::Will {
            topic: topic("a/b"),
            payload: Bytes::from("gone"),
            metadata: metadata(&[("b", "2"), ("a", "1"), ("if-absent", "on")]),
            qos: 2,
            retain: true,
            delay_s: 30,
            expiry_s: Some(60),
        };
        assert_eq!(authenticated.will, Some(expected));
    }
}

/// An empty payload is a will as well: retained, it deletes.
#[test]
fn a_will_without_payload() {
    let empty = Will {
        payload: Bytes::new(),
        ..will("a")
    };
    assert!(matches!(leave(V5, empty)[..], [Effect::Authenticated(_)]));
}

/// [MQTT-3.1.3-11], [MQTT-3.1.4-2]: what could not be published is refused with CONNECT.
#[test]
fn wills_that_are_refused() {
    let mut format = MetadataBuilder::new();
    format.payload_format(1);
    let no_utf8 = Will {
        metadata: format.build().unwrap(),
        payload: Bytes::from_static(&[0xFF]),
        ..will("a")
    };
    for (will, reason) in [
        (will("a/+"), ReasonCode::TopicNameInvalid),
        (will("#"), ReasonCode::TopicNameInvalid),
        (will(""), ReasonCode::TopicNameInvalid),
        (will("a\u{1}"), ReasonCode::TopicNameInvalid),
        (will("$SYS/x"), ReasonCode::NotAuthorized),
        (no_utf8, ReasonCode::PayloadFormatInvalid),
    ] {
        let effects = leave(V5, will.clone());
        let [Effect::Send(Packet::ConnAck(connack)), Effect::Close(_)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(connack.reason, reason);
        assert!(connack.reason_string.as_deref().unwrap().contains("will"));
        assert!(matches!(
            leave(V3, will)[..],
            [Effect::Send(Packet::ConnAck(_)), Effect::Close(_)]
        ));
    }
}

/// [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]: DISCONNECT 0x00 alone discards the will.
/// Shows 3.1.1 [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3].
#[test]
fn a_will_is_published_unless_the_client_leaves_in_order() {
    for (reason, publishes_will) in [
        (ReasonCode::Success, false),
        (ReasonCode::DisconnectWithWill, true),
        (ReasonCode::UnspecifiedError, true),
    ] {
        let disconnect = Packet::Disconnect(Disconnect {
            reason,
            ..Disconnect::default()
        });
        let end = command::Disconnect {
            expiry_s: None,
            publishes_will,
        };
        assert_eq!(Harness::connected(V5).packet(disconnect), [Effect::Close(end)]);
    }
    let left_3_1_1 = Harness::connected(V3).packet(Packet::Disconnect(Disconnect::default()));
    assert_eq!(left_3_1_1, [left()]);
    // A protocol error, and silence.
    assert_disconnects(
        &Harness::connected(V5).packet(Packet::Connect(Box::new(connect(V5)))),
        ReasonCode::ProtocolError,
    );
    assert_eq!(Harness::connected(V3).tick(90_000), [lost()]);
}
