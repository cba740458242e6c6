//! SUBSCRIBE, UNSUBSCRIBE, and shared subscriptions.

use banyan_core::mqtt::packet::{Packet, ProtocolVersion, QoS, Unsubscribe};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;

use crate::common::client::{SubscribeOptions, message};
use crate::support::{ClientExt, Node, VERSIONS, event, filters, payload_of};
use crate::{ack, at, next_unacknowledged, receive, send, take};

/// SUBACK: the QoS granted or a failure for each filter, in their order; 3.1.1 knows one failure.
/// Shows 3.1.1 [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.9.3-2].
#[test]
fn a_code_for_each_filter() {
    let node = Node::start();
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        let mut options = filters(&["a", "a/#/b", "b/#", "c+", "d/+"]);
        let qos = [
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
            QoS::ExactlyOnce,
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
        ];
        for (filter, qos) in options.subscribe.filters.iter_mut().zip(qos) {
            filter.qos = qos;
        }
        let failure = match version {
            ProtocolVersion::V5 => ReasonCode::TopicFilterInvalid,
            ProtocolVersion::V3 => ReasonCode::UnspecifiedError, // 0x80
        };
        let granted = [ReasonCode::Success, ReasonCode::GrantedQoS2, ReasonCode::GrantedQoS1];
        let suback = client.subscribe(&options).expect("SUBACK of its packet identifier");
        assert_eq!(suback.reasons, [granted[0], failure, granted[1], failure, granted[2]]);
        send(&mut client, message("b/c/d", "x", QoS::ExactlyOnce, false));
        assert_eq!(take(&mut client).qos, QoS::ExactlyOnce, "the others are subscribed");
    }
}

/// Each of these is refused; the rest of the packet is not.
/// Shows [MQTT-4.7.1-1], [MQTT-4.7.1-2]; 3.1.1 [MQTT-4.7.1-2], [MQTT-4.7.1-3].
#[test]
fn filters_that_break_a_rule() {
    let node = Node::start();
    let wrong = [
        "",
        "a/#/b",
        "#/a",
        "a#",
        "a/#b",
        "+a",
        "a+",
        "a/+b/c",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/g+/a",
        "$share/#/a",
    ];
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        let suback = client.subscribe(&filters(&wrong)).expect("SUBACK");
        assert!(
            suback.reasons.iter().all(|reason| reason.is_failure()),
            "{:?}",
            suback.reasons
        );
        let right = [
            "/",
            "#",
            "+",
            "+/+",
            "/+/#",
            "a//+",
            "$SYS/#",
            "$share/g/#",
            "$share/g//",
        ];
        let suback = client.subscribe(&filters(&right)).expect("SUBACK");
        assert!(
            !suback.reasons.iter().any(|reason| reason.is_failure()),
            "{:?}",
            suback.reasons
        );
    }
}

/// A subscription ends with the filter that is the same character by character, and UNSUBACK comes in any case.
/// Shows [MQTT-3.10.4-1], [MQTT-3.10.4-5]; 3.1.1 [MQTT-2.3.1-7], [MQTT-3.10.4-1], [MQTT-3.10.4-2], [MQTT-3.10.4-4],
/// [MQTT-3.10.4-5], [MQTT-3.10.4-6].
#[test]
fn only_the_same_filter_is_unsubscribed() {
    let node = Node::start();
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        client.subscribed(&filters(&["a/+", "b"]));
        let codes = client.unsubscribe(&["a/b", "a/#", "A/+", "a/+/", "#"]);
        if version == ProtocolVersion::V5 {
            assert_eq!(codes, [ReasonCode::NoSubscriptionExisted; 5]);
        }
        client.put(event("a/b", "still"));
        client.expect("a/b", "still");
        let codes = client.unsubscribe(&["none", "a/+", "b"]);
        if version == ProtocolVersion::V5 {
            assert_eq!(codes[1..], [ReasonCode::Success; 2]);
        }
        client.follow("fence");
        for topic in ["a/b", "b", "fence"] {
            client.put(event(topic, ""));
        }
        client.expect("fence", "");
    }
}

/// What was sent before UNSUBSCRIBE is exchanged to its end.
/// Shows [MQTT-3.10.4-3]; 3.1.1 [MQTT-3.10.4-3].
#[test]
fn what_is_on_its_way_is_finished_after_unsubscribe() {
    let node = Node::start();
    let mut publisher = node.client("publisher");
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        client.subscribed(&at("t", QoS::ExactlyOnce));
        send(&mut publisher, message("t", "x", QoS::ExactlyOnce, false));
        let packet_id = next_unacknowledged(&mut client).packet_id.expect("an identifier");
        let unsubscribe = Unsubscribe {
            packet_id: 9,
            user_properties: Vec::new(),
            filters: vec![Bytes::from_static(b"t")],
        };
        client.send(&Packet::Unsubscribe(unsubscribe)).expect("sent");
        assert!(matches!(receive(&mut client), Packet::UnsubAck(unsuback) if unsuback.packet_id == 9));
        client.send(&Packet::PubRec(ack(packet_id))).expect("sent");
        assert_eq!(receive(&mut client), Packet::PubRel(ack(packet_id)));
        client.send(&Packet::PubComp(ack(packet_id))).expect("sent");
        client.send(&Packet::PingReq).expect("sent");
        assert_eq!(receive(&mut client), Packet::PingResp);
    }
}

/// A shared subscription delivers with the QoS it was granted, to any version.
/// Shows [MQTT-4.8.2-3].
#[test]
fn a_shared_subscription_has_the_qos_granted() {
    let node = Node::start();
    let mut publisher = node.client("publisher");
    for version in VERSIONS {
        let mut member = node.client_of(version, "member");
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            member.subscribed(&at("$share/g/t", qos));
            send(
                &mut publisher,
                message("t", format!("{qos:?}"), QoS::ExactlyOnce, false),
            );
            let publish = take(&mut member);
            assert_eq!((publish.qos, payload_of(&publish)), (qos, format!("{qos:?}")));
        }
        member.unsubscribe(&["$share/g/t"]);
        member.disconnect();
    }
}

/// Subscribing again with another identifier replaces it, shared or not.
#[test]
fn the_last_subscription_identifier_counts() {
    let node = Node::start();
    let mut client = node.client("c");
    for filter in ["t", "$share/g/t"] {
        for id in [7, 268_435_455] {
            client.subscribed(&crate::support::with_id(SubscribeOptions::new(filter), id));
            client.put(event("t", ""));
            assert_eq!(take(&mut client).subscription_ids, [id]);
        }
        client.unsubscribe(&[filter]);
    }
}
