//! QoS 2 from the client: PUBLISH, PUBREC, PUBREL, PUBCOMP.

use super::*;

use ProtocolVersion::{V3, V5};
use ReasonCode::{PacketIdentifierNotFound, Success};

fn pubrec(packet_id: u16) -> Effect {
    send(Packet::PubRec(ack(packet_id, Success)))
}

fn pubcomp(packet_id: u16, reason: ReasonCode) -> Effect {
    send(Packet::PubComp(ack(packet_id, reason)))
}

impl Harness {
    fn pubrel(&mut self, packet_id: u16) -> Vec<Effect> {
        self.packet(Packet::PubRel(ack(packet_id, Success)))
    }

    /// Receives a message up to PUBREC.
    fn receive(&mut self, packet_id: u16) {
        let (token, _) = commanded(&self.publish(put_qos_2("a", packet_id)));
        assert_eq!(self.outcome(token, applied(1)), [pubrec(packet_id)]);
    }
}

/// [MQTT-4.3.3-8], [MQTT-4.3.3-11]: PUBREC once the message is applied, PUBCOMP for PUBREL. A session that ends with its
/// connection keeps the identifier to itself.
/// Shows [MQTT-2.2.1-5].
#[test]
fn the_whole_exchange() {
    for version in [V5, V3] {
        let mut harness = Harness::connected(version);
        let (token, operation) = proposed(&harness.publish(put_qos_2("a", 7)));
        assert!(matches!(operation, Operation::Put(put) if put.qos == 2));
        assert_eq!(harness.outcome(token, applied(1)), [pubrec(7)]);
        assert_eq!(harness.pubrel(7), [pubcomp(7, Success)]);
    }
}

/// The identifier of a session that outlives its connection travels with the message, and is released in the cluster before
/// PUBCOMP.
#[test]
fn a_replicated_session_commits_both_steps() {
    for version in [V5, V3] {
        let mut harness = Harness::replicated(version);
        let event = Publish {
            retain: false,
            ..put_qos_2("a", 7)
        };
        let (token, command) = commanded(&harness.publish(event));
        let sender = Sender {
            fence: FENCE,
            packet_id: Some(7),
        };
        assert_eq!(command.sender, Some(sender));
        assert!(matches!(command.operation, Operation::Event(event) if event.qos == 2));
        assert_eq!(harness.outcome(token, Outcome::Published { revision: 1 }), [pubrec(7)]);

        let (token, operation) = proposed(&harness.pubrel(7));
        assert!(matches!(operation, Operation::Release(release) if release.packet_id == 7));
        assert_eq!(harness.pubrel(7), []); // PUBCOMP is to come.
        assert_eq!(
            harness.outcome(token, Outcome::Released { known: true }),
            [pubcomp(7, Success)]
        );
        assert_eq!(harness.connection.counters().unknown_acks, 0);
    }
}

/// [MQTT-4.3.3-10]: a second PUBLISH of an identifier is no second message, but is answered.
#[test]
fn a_repeated_publish_is_no_second_message() {
    for mut harness in [Harness::connected(V5), Harness::replicated(V3)] {
        let repeated = Publish {
            dup: true,
            ..put_qos_2("a", 7)
        };
        let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
        assert_eq!(harness.publish(repeated.clone()), []); // PUBREC is to come.
        assert_eq!(harness.outcome(token, applied(1)), [pubrec(7)]);
        assert_eq!(harness.publish(repeated), [pubrec(7)]);
        assert_eq!(harness.connection.counters().publishes_repeated, 2);
    }
}

/// And it waits for its turn as any other [MQTT-4.6.0-3].
#[test]
fn pubrecs_keep_the_order_of_their_publishes() {
    let mut harness = Harness::replicated(V5);
    harness.receive(7);
    let (first, _) = commanded(&harness.publish(put_qos_2("a", 1)));
    let (second, _) = commanded(&harness.publish(put("a", 2)));
    assert_eq!(harness.publish(put_qos_2("a", 7)), []);
    let (release, _) = proposed(&harness.pubrel(7));
    assert_eq!(harness.outcome(release, Outcome::Released { known: true }), []);
    assert_eq!(harness.outcome(second, applied(2)), []);
    let expected = [pubrec(1), puback(2), pubrec(7), pubcomp(7, Success)];
    assert_eq!(harness.outcome(first, applied(1)), expected);
}

/// [MQTT-4.3.3-12]: behind PUBCOMP the identifier is that of a new message.
#[test]
fn an_identifier_is_free_behind_pubcomp() {
    let mut harness = Harness::connected(V5);
    for _ in 0..2 {
        harness.receive(7);
        assert_eq!(harness.pubrel(7), [pubcomp(7, Success)]);
    }
}

/// [MQTT-4.3.3-9]: behind PUBREC with a failure as well, and there is no PUBREL.
#[test]
fn an_identifier_is_free_behind_a_refusal() {
    let mut harness = Harness::replicated(V5);
    let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
    let refused = Ack {
        reason_string: Some("condition-failed: current revision 3".to_owned()),
        ..ack(7, ReasonCode::ImplementationSpecificError)
    };
    assert_eq!(
        harness.outcome(token, Outcome::ConditionFailed { current: 3 }),
        [send(Packet::PubRec(refused))]
    );
    match &harness.publish(put_qos_2("$SYS/x", 7))[..] {
        [Effect::Send(Packet::PubRec(ack))] => assert_eq!(ack.reason, ReasonCode::NotAuthorized),
        other => panic!("{other:?}"),
    }
    commanded(&harness.publish(put_qos_2("a", 7)));
    assert_eq!(harness.connection.counters().publishes_refused, 2);
}

/// It is not free before that PUBREC leaves: what is sent again meanwhile is the same message, and counts still.
#[test]
fn a_refusal_that_waits_its_turn() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V5));
    let (first, _) = commanded(&harness.publish(put("a", 1)));
    let (second, _) = commanded(&harness.publish(put_qos_2("a", 2)));
    assert_eq!(harness.outcome(second, Outcome::ConditionFailed { current: 3 }), []);
    assert_eq!(harness.publish(put_qos_2("a", 2)), []);
    assert_eq!(harness.connection.inbound.count(), 1);
    assert_eq!(harness.outcome(first, applied(1)).len(), 2);
    commanded(&harness.publish(put_qos_2("a", 2)));
}

/// A 3.1.1 client does not hear of a refusal and goes on to PUBREL, of which the cluster knows nothing.
#[test]
fn refusals_of_3_1_1() {
    let mut harness = Harness::replicated(V3);
    assert_eq!(harness.publish(put_qos_2("$SYS/x", 6)), [pubrec(6)]);
    let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
    let failed = Outcome::ConditionFailed { current: 3 };
    assert_eq!(harness.outcome(token, failed), [pubrec(7)]);
    for packet_id in [6, 7] {
        assert_eq!(harness.pubrel(packet_id), [pubcomp(packet_id, Success)]);
    }
    assert_eq!(harness.connection.counters().publishes_refused, 2);
}

/// What another node received under the identifier is received (resend after a failover).
#[test]
fn a_duplicate_in_the_cluster_is_received() {
    let mut harness = Harness::replicated(V5);
    let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
    assert_eq!(harness.outcome(token, Outcome::Duplicate), [pubrec(7)]);
}

/// [MQTT-4.3.3-11]: PUBREL is answered with PUBCOMP even if nothing is known of it, but not for ever.
#[test]
fn pubrel_of_a_former_session() {
    for (version, reason) in [(V5, PacketIdentifierNotFound), (V3, Success)] {
        let mut harness = Harness::connected(version);
        for _ in 0..100 {
            assert_eq!(harness.pubrel(9), [pubcomp(9, reason)]);
        }
        let effects = harness.pubrel(9);
        assert_eq!(effects[0], pubcomp(9, reason));
        assert_eq!(*effects.last().unwrap(), lost());
        assert_eq!(harness.connection.counters().unknown_acks, 101);
    }
}

/// [MQTT-4.3.3-4], [MQTT-4.3.3-6]: PUBREL before PUBREC, and PUBLISH behind PUBREL, are errors of the client.
#[test]
fn steps_out_of_turn() {
    let mut harness = Harness::connected(V5);
    commanded(&harness.publish(put_qos_2("a", 7)));
    assert_disconnects(&harness.pubrel(7), ReasonCode::ProtocolError);

    let mut harness = Harness::replicated(V5);
    harness.receive(7);
    proposed(&harness.pubrel(7));
    assert_disconnects(&harness.publish(put_qos_2("a", 7)), ReasonCode::ProtocolError);
}

/// Nothing known to be applied: no PUBREC, no PUBCOMP. Fenced: 0x8E [MQTT-3.1.4-3].
#[test]
fn what_is_not_known_to_be_applied_is_not_answered() {
    let unavailable = || ProposeResult::Unavailable("no leader".to_owned());
    for (result, reason) in [
        (unavailable(), ReasonCode::ServerBusy),
        (ProposeResult::Outcome(Outcome::TooLate), ReasonCode::ServerBusy),
        (ProposeResult::Outcome(Outcome::Fenced), ReasonCode::SessionTakenOver),
    ] {
        let mut harness = Harness::replicated(V5);
        let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
        assert_disconnects(&harness.result(token, result.clone()), reason);

        let mut harness = Harness::replicated(V5);
        harness.receive(7);
        let (token, _) = proposed(&harness.pubrel(7));
        assert_disconnects(&harness.result(token, result), reason);
    }
    // QoS 0 hears of nothing, but that its connection is another's.
    let mut harness = Harness::connected(V5);
    let (token, _) = proposed(&harness.publish(put_qos_0("a")));
    assert_disconnects(&harness.outcome(token, Outcome::Fenced), ReasonCode::SessionTakenOver);
}

/// [MQTT-3.3.4-7], [MQTT-4.9.0-1]: QoS 2 counts against Receive Maximum from PUBLISH to PUBCOMP; a repeated PUBLISH is none.
#[test]
fn receive_maximum() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings.clone(), connect(V5));
    harness.receive(1);
    harness.receive(2);
    assert_eq!(harness.publish(put_qos_2("a", 2)), [pubrec(2)]);
    harness.pubrel(1);
    commanded(&harness.publish(put("a", 3)));
    assert_disconnects(&harness.publish(put_qos_2("a", 4)), ReasonCode::ReceiveMaximumExceeded);

    // PUBREC with a failure ends a message (§4.9).
    let mut harness = Harness::connected_with(settings, connect(V5));
    harness.receive(1);
    for _ in 0..3 {
        assert_eq!(harness.publish(put_qos_2("$SYS/x", 2)).len(), 1);
    }
    commanded(&harness.publish(put_qos_2("a", 2)));
}

/// A 3.1.1 client, which knows no Receive Maximum, is read no further only while the cluster has to answer: what waits for its
/// own PUBREL must not keep that from being read.
#[test]
fn back_pressure_of_3_1_1() {
    let settings = ConnectionSettings {
        receive_maximum: 2,
        ..Default::default()
    };
    let mut harness = Harness::connected_with(settings, connect(V3));
    for packet_id in 1..10 {
        harness.receive(packet_id);
        assert!(harness.connection.wants_read());
    }
    commanded(&harness.publish(put_qos_2("a", 10)));
    let (token, _) = commanded(&harness.publish(put_qos_2("a", 11)));
    assert!(!harness.connection.wants_read());
    assert_eq!(harness.outcome(token, applied(1)), []);
    assert!(!harness.connection.wants_read());
    assert_eq!(harness.outcome(token - 1, applied(1)), [pubrec(10), pubrec(11)]);
    assert!(harness.connection.wants_read());
    assert_eq!(harness.pubrel(1), [pubcomp(1, Success)]);
}

/// Contract: with `annotate=on` PUBREC carries `revision`.
#[test]
fn annotated_pubrec() {
    let mut harness = Harness::annotated();
    let (token, _) = commanded(&harness.publish(put_qos_2("a", 7)));
    let annotated = Ack {
        user_properties: vec![user_property("revision", "5")],
        ..ack(7, Success)
    };
    assert_eq!(harness.outcome(token, applied(5)), [send(Packet::PubRec(annotated))]);
}

/// [MQTT-4.4.0-1]: PUBLISH and PUBREL go on where a former connection stopped; the quota is that of this one (§4.9).
#[test]
fn a_resumed_session_knows_what_it_received() {
    let resumed = Resumed {
        inbound: [3, 7].into(),
        ..Resumed::default()
    };
    let (mut harness, effects) = Harness::resumed(V5, resumed);
    assert_eq!(effects, []);
    let repeated = Publish {
        dup: true,
        ..put_qos_2("a", 7)
    };
    assert_eq!(harness.publish(repeated), [pubrec(7)]);
    for packet_id in [7, 3] {
        let (token, _) = proposed(&harness.pubrel(packet_id));
        let released = harness.outcome(token, Outcome::Released { known: true });
        assert_eq!(released, [pubcomp(packet_id, Success)]);
    }
    harness.receive(7);
}
