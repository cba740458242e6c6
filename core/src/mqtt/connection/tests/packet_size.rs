//! What explains an answer yields to the client's Maximum Packet Size.

use super::*;
use crate::mqtt::packet::Unsubscribe;

use ProtocolVersion::V5;

/// A connection with `annotate=on` to a client that takes packets of `bytes_max` bytes.
fn small(bytes_max: u32) -> Harness {
    let connect = Connect {
        user_properties: vec![user_property("annotate", "on")],
        maximum_packet_size: Some(bytes_max),
        ..connect(V5)
    };
    Harness::connected_with(ConnectionSettings::default(), connect)
}

/// The one packet that is sent.
#[track_caller]
fn sent(effects: &[Effect]) -> Packet {
    match effects {
        [Effect::Send(packet)] => packet.clone(),
        other => panic!("expected one packet, got {other:?}"),
    }
}

/// Reason string and user properties of PUBREC, SUBACK and UNSUBACK: there where they fit, left out where they do not.
/// Shows [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-1].
#[test]
fn explanations_yield() {
    for (bytes_max, fits) in [(10_000, true), (19, false)] {
        let mut harness = small(bytes_max);
        let (token, _) = proposed(&harness.publish(put_qos_2("t", 1)));
        let Packet::PubRec(pubrec) = sent(&harness.outcome(token, applied(4))) else {
            panic!()
        };
        assert_eq!((pubrec.packet_id, !pubrec.user_properties.is_empty()), (1, fits));
        let (token, _) = proposed(&harness.publish(put_qos_2("t", 2)));
        let Packet::PubRec(pubrec) = sent(&harness.outcome(token, Outcome::ConditionFailed { current: 1 })) else {
            panic!()
        };
        assert_eq!(pubrec.reason, ReasonCode::ImplementationSpecificError);
        assert_eq!((pubrec.packet_id, pubrec.reason_string.is_some()), (2, fits));

        let request = requested(&harness.subscribe(subscribe(3, &["t"])));
        let subscribed = SubscribeResult::Subscribed { revision: 5 };
        let Packet::SubAck(suback) = sent(&harness.subscribed(request.token, subscribed)) else {
            panic!()
        };
        assert_eq!((suback.packet_id, !suback.user_properties.is_empty()), (3, fits));

        let unsubscribe = Unsubscribe {
            packet_id: 4,
            user_properties: Vec::new(),
            filters: vec![Bytes::from("t")],
        };
        let Effect::Unsubscribe { token, .. } = harness.packet(Packet::Unsubscribe(unsubscribe))[0] else {
            panic!()
        };
        let unavailable = UnsubscribeResult::Unavailable("there is no leader with a quorum".to_owned());
        let Packet::UnsubAck(unsuback) = sent(&harness.unsubscribed(token, unavailable)) else {
            panic!()
        };
        assert_eq!(unsuback.reasons, [ReasonCode::ImplementationSpecificError]);
        assert_eq!((unsuback.packet_id, unsuback.reason_string.is_some()), (4, fits));
    }
}
