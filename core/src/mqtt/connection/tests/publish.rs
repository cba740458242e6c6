//! PUBLISH of the client, and its acknowledgement.

use super::*;
use crate::command::{Condition, Delete, Event, Put};

use ProtocolVersion::{V3, V5};

fn expected_put(name: &str) -> Put {
    Put {
        topic: topic(name),
        payload: Bytes::from("x"),
        metadata: Metadata::empty(),
        publisher: Bytes::from("client"),
        timestamp_us: None,
        expiry_s: None,
        condition: Condition::None,
        qos: 1,
    }
}

fn with_user_properties(user_properties: &[(&str, &str)], packet_id: u16) -> Publish {
    Publish {
        metadata: metadata(user_properties),
        ..put("a", packet_id)
    }
}

/// [MQTT-3.3.1-5], [MQTT-4.3.2-4]: a retained PUBLISH is a write, acknowledged when it is applied and not before.
#[test]
fn retained_is_a_write() {
    for version in [V5, V3] {
        let mut harness = Harness::connected(version);
        let publish = Publish {
            message_expiry_s: Some(30),
            ..put("a/b", 5)
        };
        let (token, operation) = proposed(&harness.publish(publish));
        assert_eq!(
            operation,
            Operation::Put(Put {
                expiry_s: Some(30),
                ..expected_put("a/b")
            })
        );
        assert!(harness.connection.has_pending_writes());
        assert_eq!(harness.outcome(token, applied(9)), [puback(5)]);
        assert_eq!(harness.outcome(token, applied(9)), []);
        assert!(!harness.connection.has_pending_writes());
    }
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7]: without a payload it is a delete.
#[test]
fn retained_without_a_payload_is_a_delete() {
    let mut harness = Harness::connected(V5);
    let (token, operation) = proposed(&harness.publish(Publish {
        payload: Bytes::new(),
        ..put("a", 1)
    }));
    let delete = Delete {
        topic: topic("a"),
        publisher: Bytes::from("client"),
        timestamp_us: None,
        condition: Condition::None,
        metadata: Metadata::empty(),
        qos: 1,
    };
    assert_eq!(operation, Operation::Delete(delete));
    assert_eq!(harness.outcome(token, Outcome::NotFound), [puback(1)]);
}

/// [MQTT-3.3.1-8]: without RETAIN it is an event, whose user properties mean nothing to us. QoS 0 needs no answer.
#[test]
fn not_retained_is_an_event() {
    let properties = [("timestamp", "1"), ("if-absent", "no")];
    let event = Event {
        topic: topic("a"),
        payload: Bytes::from("x"),
        metadata: metadata(&properties),
        publisher: Bytes::from("client"),
        qos: 1,
        expiry_s: Some(7),
    };
    let publish = Publish {
        retain: false,
        message_expiry_s: Some(7),
        ..with_user_properties(&properties, 3)
    };
    let mut harness = Harness::connected(V5);
    let (token, operation) = proposed(&harness.publish(publish.clone()));
    assert_eq!(operation, Operation::Event(event.clone()));
    assert_eq!(harness.outcome(token, Outcome::Published { revision: 2 }), [puback(3)]);

    let effects = harness.publish(Publish {
        qos: QoS::AtMostOnce,
        packet_id: None,
        ..publish
    });
    assert_eq!(effects, [Effect::PublishEvent(Event { qos: 0, ..event })]);
}

/// QoS 0 with RETAIN writes without an answer (§4.3.1); what fails is counted.
#[test]
fn retained_qos_0() {
    let mut harness = Harness::connected(V5);
    let (token, operation) = proposed(&harness.publish(put_qos_0("a")));
    assert_eq!(
        operation,
        Operation::Put(Put {
            qos: 0,
            ..expected_put("a")
        })
    );
    assert_eq!(harness.outcome(token, applied(1)), []);
    for result in [
        ProposeResult::Unavailable("no leader".to_owned()),
        ProposeResult::Unknown("no answer".to_owned()),
        ProposeResult::Outcome(Outcome::TooLate),
        ProposeResult::Outcome(Outcome::ConditionFailed { current: 1 }),
    ] {
        let (token, _) = proposed(&harness.publish(put_qos_0("a")));
        assert_eq!(harness.result(token, result), []);
    }
    assert_eq!(harness.connection.counters().qos0_failed, 4);
    assert!(harness.connection.is_connected());
}

/// [MQTT-4.6.0-2]: acknowledgements leave in the order of the PUBLISHes; a local refusal waits its turn.
#[test]
fn acknowledgements_keep_their_order() {
    let mut harness = Harness::connected(V5);
    let (first, _) = proposed(&harness.publish(put("a", 1)));
    assert_eq!(harness.publish(put("$SYS/x", 2)), []);
    let (third, _) = proposed(&harness.publish(put("a", 3)));
    assert_eq!(harness.outcome(third, applied(2)), []);
    let refused = refusal(
        2,
        ReasonCode::NotAuthorized,
        "topics that begin with $ are written by the server alone",
    );
    assert_eq!(harness.outcome(first, applied(1)), [puback(1), refused, puback(3)]);
}

/// Contract: refused with 0x83 and a reason string; 3.1.1 has no codes, so acknowledged and counted.
#[test]
fn refusals_of_the_state() {
    let cases = [
        (
            Outcome::ConditionFailed { current: 7 },
            "condition-failed: current revision 7",
        ),
        (
            Outcome::TimestampAhead { ahead_us: 9_000_001 },
            "timestamp-ahead: 9.000001 s ahead of the cluster's clock",
        ),
    ];
    for (outcome, detail) in cases {
        let mut harness = Harness::connected(V5);
        let (token, _) = proposed(&harness.publish(put("a", 1)));
        let expected = refusal(1, ReasonCode::ImplementationSpecificError, detail);
        assert_eq!(harness.outcome(token, outcome), [expected]);

        let mut harness = Harness::connected(V3);
        let (token, _) = proposed(&harness.publish(put("a", 1)));
        assert_eq!(harness.outcome(token, outcome), [puback(1)]);
        assert_eq!(harness.connection.counters().publishes_refused, 1);
    }
}

/// Contract: no leader or outcome unknown is DISCONNECT 0x89, and nothing is acknowledged, not even what waits behind.
/// Shows 3.1.1 [MQTT-4.8.0-2].
#[test]
fn unavailable_is_not_acknowledged() {
    for result in [
        ProposeResult::Unavailable("no leader".to_owned()),
        ProposeResult::Unknown("no answer in time".to_owned()),
        ProposeResult::Outcome(Outcome::TooLate),
    ] {
        for version in [V5, V3] {
            let mut harness = Harness::connected(version);
            let (first, _) = proposed(&harness.publish(put("a", 1)));
            let (second, _) = proposed(&harness.publish(put("a", 2)));
            assert_eq!(harness.outcome(second, applied(2)), []);
            let effects = harness.result(first, result.clone());
            match version {
                V5 => assert_disconnects(&effects, ReasonCode::ServerBusy),
                V3 => assert_eq!(effects, [lost()]),
            }
            assert_eq!(harness.outcome(second, applied(2)), []);
        }
    }
}

/// Contract: with `annotate=on` PUBACK carries `revision`, and `superseded` where it applies.
#[test]
fn annotated_acknowledgements() {
    let mut harness = Harness::annotated();
    for (outcome, user_properties) in [
        (applied(12), vec![user_property("revision", "12")]),
        (
            Outcome::Superseded { winner: 9 },
            vec![user_property("revision", "9"), user_property("superseded", "9")],
        ),
        (Outcome::NotFound, vec![]),
    ] {
        let (token, _) = proposed(&harness.publish(put("a", 4)));
        let ack = Ack {
            packet_id: 4,
            user_properties,
            ..Ack::default()
        };
        assert_eq!(harness.outcome(token, outcome), [send(Packet::PubAck(ack))]);
    }
    assert_eq!(harness.connection.counters().publishes_superseded, 1);
}

/// [MQTT-3.1.2-29]: with Request Problem Information 0 a PUBACK has neither reason string nor user properties.
#[test]
fn no_problem_information() {
    let user_properties = vec![user_property("annotate", "on")];
    let silent = Connect {
        user_properties,
        request_problem_information: false,
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), silent);
    let (token, _) = proposed(&harness.publish(put("a", 1)));
    assert_eq!(harness.outcome(token, applied(1)), [puback(1)]);
    let (token, _) = proposed(&harness.publish(put("a", 2)));
    let refused = Ack {
        packet_id: 2,
        reason: ReasonCode::ImplementationSpecificError,
        ..Ack::default()
    };
    let expected = [send(Packet::PubAck(refused))];
    assert_eq!(
        harness.outcome(token, Outcome::ConditionFailed { current: 1 }),
        expected
    );
}

/// [MQTT-3.4.2-2], [MQTT-3.4.2-3]: what explains a PUBACK yields to the client's Maximum Packet Size.
#[test]
fn acknowledgements_fit_into_the_packet_size_of_the_client() {
    let small = Connect {
        maximum_packet_size: Some(40),
        ..connect(V5)
    };
    let mut harness = Harness::connected_with(ConnectionSettings::default(), small);
    let (token, _) = proposed(&harness.publish(put("a", 1)));
    let refused = Ack {
        packet_id: 1,
        reason: ReasonCode::ImplementationSpecificError,
        ..Ack::default()
    };
    let expected = [send(Packet::PubAck(refused))];
    assert_eq!(
        harness.outcome(token, Outcome::ConditionFailed { current: u64::MAX }),
        expected
    );
}

#[test]
fn timestamp_and_conditions_are_read() {
    let mut harness = Harness::connected(V5);
    let publish = with_user_properties(&[("timestamp", "1.5"), ("if-revision", "3"), ("k", "v")], 1);
    let (_, operation) = proposed(&harness.publish(publish));
    let expected = Put {
        timestamp_us: Some(1_500_000),
        condition: Condition::Revision(3),
        metadata: metadata(&[("timestamp", "1.5"), ("k", "v")]),
        ..expected_put("a")
    };
    assert_eq!(operation, Operation::Put(expected));
}

#[test]
fn malformed_conditions_are_refused_here() {
    let mut harness = Harness::connected(V5);
    let effects = harness.publish(with_user_properties(&[("if-absent", "on"), ("if-present", "on")], 1));
    let detail = "condition-invalid: if-absent, if-present and if-revision contradict each other; write one of them";
    assert_eq!(effects, [refusal(1, ReasonCode::ImplementationSpecificError, detail)]);
    let qos_0 = Publish {
        qos: QoS::AtMostOnce,
        packet_id: None,
        ..with_user_properties(&[("if-revision", "x")], 1)
    };
    assert_eq!(harness.publish(qos_0), []);
    let counters = harness.connection.counters();
    assert_eq!((counters.publishes_refused, counters.qos0_refused), (1, 1));
}

/// Topics that begin with `$` are read-only: 0x87; QoS 0 is dropped; 3.1.1 is acknowledged and counted.
/// Shows 3.1.1 [MQTT-3.3.5-2].
#[test]
fn reserved_topics() {
    for (version, reason) in [(V5, ReasonCode::NotAuthorized), (V3, ReasonCode::Success)] {
        let mut harness = Harness::connected(version);
        match &harness.publish(put("$SYS/x", 1))[..] {
            [Effect::Send(Packet::PubAck(ack))] => assert_eq!((ack.packet_id, ack.reason), (1, reason)),
            other => panic!("{other:?}"),
        }
        assert_eq!(harness.publish(put_qos_0("$share/x")), []);
        let counters = harness.connection.counters();
        assert_eq!((counters.publishes_refused, counters.qos0_refused), (1, 1));
    }
}

/// Topic names that are legal but not taken: 0x90, the connection stays.
#[test]
fn topics_that_are_refused() {
    let long: &'static str = Box::leak("x".repeat(1025).into_boxed_str());
    let deep: &'static str = Box::leak("/".repeat(32).into_boxed_str());
    for name in [long, deep, "a\u{1}", "\u{FFFF}"] {
        let mut harness = Harness::connected(V5);
        match &harness.publish(put(name, 1))[..] {
            [Effect::Send(Packet::PubAck(ack))] => assert_eq!(ack.reason, ReasonCode::TopicNameInvalid),
            other => panic!("{other:?}"),
        }
    }
}

/// [MQTT-3.3.2-2]: a wildcard in a topic name ends the connection.
/// Shows [MQTT-4.7.0-1]; 3.1.1 [MQTT-3.3.2-2], [MQTT-4.7.1-1].
#[test]
fn wildcards_in_topics() {
    for name in ["+", "a/#", "a+b"] {
        assert_disconnects(
            &Harness::connected(V5).publish(put(name, 1)),
            ReasonCode::TopicNameInvalid,
        );
        assert_eq!(Harness::connected(V3).publish(put(name, 1)), [lost()]);
    }
}

/// [MQTT-3.3.4-7]: one more than Receive Maximum is 0x93; refusals that wait their turn count, QoS 0 does not.
#[test]
fn receive_maximum() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings.clone(), connect(V5));
    let (first, _) = proposed(&harness.publish(put("a", 1)));
    harness.publish(put("$x", 2));
    harness.publish(put_qos_0("a"));
    assert!(harness.connection.wants_read());
    assert_disconnects(&harness.publish(put("a", 3)), ReasonCode::ReceiveMaximumExceeded);

    let mut harness = Harness::connected_with(settings, connect(V5));
    let (token, _) = proposed(&harness.publish(put("a", 1)));
    assert_eq!(token, first);
    proposed(&harness.publish(put("a", 2)));
    harness.outcome(token, applied(1));
    proposed(&harness.publish(put("a", 3)));
}

/// 3.1.1 knows no Receive Maximum: it is read no further instead.
#[test]
fn back_pressure_of_3_1_1() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V3));
    let (first, _) = proposed(&harness.publish(put("a", 1)));
    assert!(harness.connection.wants_read());
    proposed(&harness.publish(put("a", 2)));
    assert!(!harness.connection.wants_read());
    harness.outcome(first, applied(1));
    assert!(harness.connection.wants_read());
}

/// What waits for the cluster is bounded in number and bytes, QoS 0 included.
#[test]
fn back_pressure_of_qos_0_and_of_bytes() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    for _ in 0..4 {
        assert!(harness.connection.wants_read());
        proposed(&harness.publish(put_qos_0("a")));
    }
    assert!(!harness.connection.wants_read());

    let settings = ConnectionSettings {
        pending_bytes_max: 10,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let (token, _) = proposed(&harness.publish(Publish {
        payload: Bytes::from("123456789"),
        ..put("a", 1)
    }));
    assert!(!harness.connection.wants_read());
    harness.outcome(token, applied(1));
    assert!(harness.connection.wants_read());
}

/// Silence during back-pressure is not the client's: keep alive starts anew when reading does.
#[test]
fn back_pressure_stops_keep_alive() {
    let settings = ConnectionSettings {
        pending_bytes_max: 1,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let (token, _) = proposed(&harness.publish(put("a", 1)));
    assert_eq!(harness.tick(90_000), []);
    harness.outcome(token, applied(1));
    assert_eq!(harness.tick(170_000), []);
    assert_disconnects(&harness.tick(260_000), ReasonCode::KeepAliveTimeout);
}

/// §3.3.2.3.4, [MQTT-3.3.2-12]: an alias stands for the last topic it came with.
#[test]
fn topic_aliases() {
    let mut harness = Harness::connected(V5);
    for (name, expected) in [("a", "a"), ("", "a"), ("b", "b"), ("", "b")] {
        let (token, operation) = proposed(&harness.publish(Publish {
            topic_alias: Some(16),
            ..put(name, 1)
        }));
        assert_eq!(operation, Operation::Put(expected_put(expected)));
        harness.outcome(token, applied(1));
    }
}

/// [MQTT-3.3.2-9]: above Topic Alias Maximum is 0x94; an alias that stands for nothing is 0x82 (§3.3.4).
/// Shows [MQTT-3.2.2-17].
#[test]
fn topic_aliases_that_are_wrong() {
    let alias = |name, alias| Publish {
        topic_alias: Some(alias),
        ..put(name, 1)
    };
    assert_disconnects(
        &Harness::connected(V5).publish(alias("a", 17)),
        ReasonCode::TopicAliasInvalid,
    );
    assert_disconnects(
        &Harness::connected(V5).publish(alias("a", 0)),
        ReasonCode::TopicAliasInvalid,
    );
    assert_disconnects(&Harness::connected(V5).publish(alias("", 1)), ReasonCode::ProtocolError);
    let settings = ConnectionSettings {
        topic_alias_maximum: 0,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    assert_disconnects(&harness.publish(alias("a", 1)), ReasonCode::TopicAliasInvalid); // [MQTT-3.2.2-18]
}

/// The alias of a topic that was refused stands for that refusal.
#[test]
fn topic_alias_of_a_refused_topic() {
    let mut harness = Harness::connected(V5);
    for (name, packet_id) in [("a\u{1}", 1), ("", 2)] {
        match &harness.publish(Publish {
            topic_alias: Some(1),
            ..put(name, packet_id)
        })[..]
        {
            [Effect::Send(Packet::PubAck(ack))] => {
                assert_eq!((ack.packet_id, ack.reason), (packet_id, ReasonCode::TopicNameInvalid));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// [MQTT-3.3.4-6]
#[test]
fn subscription_identifier_from_a_client() {
    let publish = Publish {
        subscription_ids: vec![1],
        ..put("a", 1)
    };
    assert_disconnects(&Harness::connected(V5).publish(publish), ReasonCode::ProtocolError);
}

/// §3.3.2.3.2: a payload that is not the UTF-8 it claims to be is 0x99.
#[test]
fn payload_format() {
    let metadata = MetadataBuilder::new().payload_format(1).build().unwrap();
    let mut harness = Harness::connected(V5);
    let lie = Publish {
        metadata: metadata.clone(),
        payload: Bytes::from_static(b"\xFF"),
        ..put("a", 1)
    };
    let detail = "payload format indicator 1, but the payload is not UTF-8";
    assert_eq!(
        harness.publish(lie),
        [refusal(1, ReasonCode::PayloadFormatInvalid, detail)]
    );
    proposed(&harness.publish(Publish {
        metadata,
        ..put("a", 2)
    }));
}

/// What is proposed does not pin the read buffer.
#[test]
fn operations_own_their_bytes() {
    let mut harness = Harness::connected(V5);
    let packet = Bytes::from(b"topic payload".to_vec());
    let publish = Publish {
        topic: packet.slice(..5),
        payload: packet.slice(6..),
        ..put("", 1)
    };
    let (_, operation) = proposed(&harness.publish(publish));
    assert!(packet.is_unique());
    let Operation::Put(put) = operation else {
        panic!("{operation:?}")
    };
    assert_eq!((put.topic.as_str(), &put.payload[..]), ("topic", &b"payload"[..]));
}
