//! Messages to the client: QoS, RETAIN, windows, expiry, and what is sent again.

use std::thread;
use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, ProtocolVersion, Publish, QoS};

use crate::common::client::{ConnectOptions, message};
use crate::support::{ClientExt, Node, VERSIONS, event, filters, payload_of, puback, state, subscribe_packet};
use crate::{ack, at, kept, next_unacknowledged, receive, send, take};

const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The lesser QoS of the message and of the subscription counts, live and retained; of several subscriptions the greatest.
/// Shows [MQTT-3.8.4-8]; 3.1.1 [MQTT-3.3.1-5], [MQTT-3.3.5-1], [MQTT-3.8.4-6].
#[test]
fn the_lesser_qos_of_message_and_subscription() {
    let node = Node::start();
    for version in VERSIONS {
        let mut publisher = node.client_of(version, "publisher");
        let mut client = node.client_of(version, "c");
        for published in EACH_QOS {
            send(&mut publisher, message("kept", "x", published, true));
            publisher.put(event("fence", "")); // QoS 0 has no answer to wait for
            for granted in EACH_QOS {
                let lesser = published.min(granted);
                client.subscribed(&at("kept", granted));
                assert_eq!(take(&mut client).qos, lesser, "retained: {published:?}, {granted:?}");
                client.unsubscribe(&["kept"]);
                client.subscribed(&at("live", granted));
                send(&mut publisher, message("live", "x", published, false));
                assert_eq!(take(&mut client).qos, lesser, "live: {published:?}, {granted:?}");
                client.unsubscribe(&["live"]);
            }
        }
        let mut overlapping = filters(&["o/#", "o/+", "o/t"]);
        for (filter, qos) in overlapping.subscribe.filters.iter_mut().zip(EACH_QOS) {
            filter.qos = qos;
        }
        client.subscribed(&overlapping);
        send(&mut publisher, message("o/t", "once", QoS::ExactlyOnce, false));
        send(&mut publisher, message("o/t", "twice", QoS::AtLeastOnce, false));
        let got = [take(&mut client), take(&mut client)].map(|publish| (publish.qos, payload_of(&publish)));
        let expected = [(QoS::ExactlyOnce, "once"), (QoS::AtLeastOnce, "twice")];
        assert_eq!(got, expected.map(|(qos, payload)| (qos, payload.to_owned())));
    }
}

/// RETAIN is 1 for what was kept before the subscription, 0 for what comes later; what is not retained changes nothing.
/// Shows 3.1.1 [MQTT-3.3.1-7], [MQTT-3.3.1-8], [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-3.3.1-12],
/// [MQTT-3.8.4-3].
#[test]
fn retain_of_older_clients() {
    let node = Node::start();
    let mut publisher = node.client_of(ProtocolVersion::V3, "publisher");
    let mut client = node.client_of(ProtocolVersion::V3, "c");
    client.follow("t");
    let retain = |publish: Publish, payload: &str| {
        assert_eq!(payload_of(&publish), payload);
        publish.retain
    };
    publisher.put(state("t", "1"));
    assert!(!retain(take(&mut client), "1"));
    publisher.put(event("t", "event"));
    assert!(!retain(take(&mut client), "event"));
    for _ in 0..2 {
        client.follow("t"); // again: what is kept comes again
        assert!(retain(take(&mut client), "1"));
    }
    send(&mut publisher, message("t", "2", QoS::AtMostOnce, true));
    assert!(!retain(take(&mut client), "2"));
    client.follow("t");
    assert!(retain(take(&mut client), "2"));
    publisher.put(event("t", ""));
    assert!(!retain(take(&mut client), ""));
    assert_eq!(node.topic_status("t"), 200, "an empty event deletes nothing");
    publisher.put(state("t", ""));
    assert!(!retain(take(&mut client), ""));
    assert_eq!(node.topic_status("t"), 404);
    client.follow("t");
    publisher.put(event("t", "fence"));
    assert!(!retain(take(&mut client), "fence"));
}

/// With Receive Maximum messages on their way the client gets no further one above QoS 0, but everything else.
/// Shows [MQTT-3.3.4-10], [MQTT-4.9.0-3].
#[test]
fn a_full_window_holds_back_nothing_but_messages() {
    let node = Node::start();
    let mut client = node.connect(&ConnectOptions::v5("c").receive_maximum(1));
    client.follow("t");
    let mut publisher = node.client("publisher");
    publisher.put(event("t", "1"));
    publisher.put(event("t", "2"));
    let first = next_unacknowledged(&mut client);
    client.send(&Packet::PingReq).expect("sent");
    assert_eq!(receive(&mut client), Packet::PingResp);
    client
        .send(&subscribe_packet(&at("other", QoS::AtMostOnce), 7))
        .expect("sent");
    assert!(matches!(receive(&mut client), Packet::SubAck(suback) if suback.packet_id == 7));
    for (packet_id, qos) in [(8, QoS::AtLeastOnce), (9, QoS::ExactlyOnce)] {
        let mut publish = message("x", "", qos, false);
        publish.packet_id = Some(packet_id);
        client.send(&Packet::Publish(Box::new(publish))).expect("sent");
    }
    assert_eq!(receive(&mut client), Packet::PubAck(ack(8)));
    assert_eq!(receive(&mut client), Packet::PubRec(ack(9)));
    client.send(&Packet::PubRel(ack(9))).expect("sent");
    assert_eq!(receive(&mut client), Packet::PubComp(ack(9)));
    client.send(&puback(&first)).expect("sent");
    assert_eq!(payload_of(&take(&mut client)), "2");
}

/// The interval counts from the end of the connection, however long that lasts.
/// Shows [MQTT-4.1.0-1].
#[test]
fn a_session_outlasts_its_interval_while_connected() {
    let node = Node::start();
    let mut session = kept(ConnectOptions::v5("s"));
    session.connect.session_expiry_s = Some(1);
    let mut client = node.connect(&session);
    client.follow("t");
    thread::sleep(Duration::from_millis(2_500));
    client.put(event("t", "here"));
    client.expect("t", "here");
    // Taken over, so that none of the interval goes by.
    assert!(node.connect(&session).connack().session_present);
}

/// A message that was sent before it expired is sent again until it is acknowledged.
/// Shows [MQTT-4.3.3-7].
#[test]
fn what_was_sent_does_not_expire() {
    const EXPIRY_S: u32 = 5; // must not pass before it is sent
    let node = Node::start();
    let sent = [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| {
        let name = format!("{qos:?}");
        let session = kept(ConnectOptions::v5(&name));
        let mut client = node.connect(&session);
        client.subscribed(&at(&name, qos));
        let mut publish = message(&name, "x", qos, false);
        publish.message_expiry_s = Some(EXPIRY_S);
        send(&mut node.client("publisher"), publish);
        (session, next_unacknowledged(&mut client), qos)
    });
    thread::sleep(Duration::from_millis(u64::from(EXPIRY_S) * 1_000 + 500));
    for (session, sent, qos) in sent {
        let mut client = node.connect(&session);
        let again = take(&mut client);
        assert_eq!((again.packet_id, again.dup, again.qos), (sent.packet_id, true, qos));
    }
}

/// QoS 2 to 3.1.1: behind PUBREC it is PUBREL that is sent again, and never the PUBLISH.
/// Shows 3.1.1 [MQTT-4.3.3-1].
#[test]
fn qos_2_to_older_clients() {
    let node = Node::start();
    let session = kept(ConnectOptions::v3("s"));
    let mut client = node.connect(&session);
    client.subscribed(&at("t", QoS::ExactlyOnce));
    send(
        &mut node.client("publisher"),
        message("t", "x", QoS::ExactlyOnce, false),
    );
    let sent = next_unacknowledged(&mut client);
    let packet_id = sent.packet_id.expect("an identifier");
    assert!(!sent.dup);
    client.send(&Packet::PubRec(ack(packet_id))).expect("sent");
    assert_eq!(receive(&mut client), Packet::PubRel(ack(packet_id)));
    drop(client);
    let mut client = node.connect(&session);
    assert_eq!(receive(&mut client), Packet::PubRel(ack(packet_id)));
    client.send(&Packet::PubComp(ack(packet_id))).expect("sent");
    client.put(event("t", "next"));
    assert_eq!(payload_of(&take(&mut client)), "next");
}
