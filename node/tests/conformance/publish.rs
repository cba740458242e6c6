//! PUBLISH of the client: answers, identifiers, aliases, and QoS 2 to its end.

use std::thread;
use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, Publish, QoS};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;

use crate::common::client::{Client, ConnectOptions, message};
use crate::support::{ClientExt, Node, VERSIONS, event};
use crate::{ack, at, kept, next_unacknowledged, receive, take};

/// `publish` under a packet identifier.
fn numbered(mut publish: Publish, packet_id: u16) -> Packet {
    publish.packet_id = Some(packet_id);
    Packet::Publish(Box::new(publish))
}

/// Sends a packet and gives the next one that comes.
#[track_caller]
fn ask(client: &mut Client, packet: &Packet) -> Packet {
    client.send(packet).expect("sent");
    receive(client)
}

/// QoS 0 has no answer, QoS 1 PUBACK, QoS 2 PUBREC and then PUBCOMP, each of the identifier that was sent.
/// Shows [MQTT-2.2.1-5], [MQTT-3.3.4-1]; 3.1.1 [MQTT-2.3.1-6], [MQTT-3.3.4-1].
#[test]
fn each_qos_has_its_answer() {
    let node = Node::start();
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        let publish = |qos| message("t", "x", qos, false);
        client.queue(&Packet::Publish(Box::new(publish(QoS::AtMostOnce))));
        assert_eq!(ask(&mut client, &Packet::PingReq), Packet::PingResp);
        let answer = ask(&mut client, &numbered(publish(QoS::AtLeastOnce), 65_535));
        assert_eq!(answer, Packet::PubAck(ack(65_535)));
        let answer = ask(&mut client, &numbered(publish(QoS::ExactlyOnce), 65_534));
        assert_eq!(answer, Packet::PubRec(ack(65_534)));
        assert_eq!(
            ask(&mut client, &Packet::PubRel(ack(65_534))),
            Packet::PubComp(ack(65_534))
        );
    }
}

/// DUP says something of one connection, not of the message.
/// Shows [MQTT-3.3.1-3]; 3.1.1 [MQTT-3.3.1-3].
#[test]
fn dup_is_not_forwarded() {
    let node = Node::start();
    let mut client = node.client("publisher");
    for version in VERSIONS {
        let mut subscriber = node.client_of(version, "subscriber");
        subscriber.follow("t");
        let mut publish = event("t", "x");
        publish.dup = true;
        client.put(publish);
        assert!(!take(&mut subscriber).dup);
    }
}

/// An alias means nothing on the next connection, also not of the same session.
/// Shows [MQTT-3.3.2-7].
#[test]
fn aliases_end_with_their_connection() {
    let node = Node::start();
    let session = kept(ConnectOptions::v5("s"));
    let mut publish = event("t", "x");
    publish.topic_alias = Some(1);
    node.connect(&session).put(publish.clone());
    publish.topic = Bytes::new();
    let mut client = node.connect(&session);
    assert!(client.connack().session_present);
    client.send(&numbered(publish, 1)).expect("sent");
    assert_eq!(client.end_reason(), ReasonCode::ProtocolError);
}

/// After PUBACK the identifier is that of a new message, even with DUP.
/// Shows [MQTT-4.3.2-5]; 3.1.1 [MQTT-4.3.2-2].
#[test]
fn an_identifier_is_new_after_its_acknowledgement() {
    let node = Node::start();
    let mut subscriber = node.client("subscriber");
    subscriber.follow("t");
    for version in VERSIONS {
        let mut client = node.client_of(version, "publisher");
        for (payload, dup) in [("1", false), ("2", true)] {
            let publish = Publish {
                dup,
                ..event("t", payload)
            };
            assert_eq!(ask(&mut client, &numbered(publish, 5)), Packet::PubAck(ack(5)));
            subscriber.expect("t", payload);
        }
    }
}

/// Until PUBREL the identifier is that of one message; after PUBCOMP that of the next.
/// Shows [MQTT-4.3.3-10], [MQTT-4.3.3-12]; 3.1.1 [MQTT-4.3.3-2].
#[test]
fn qos_2_comes_once() {
    let node = Node::start();
    for version in VERSIONS {
        let mut subscriber = node.client("subscriber");
        subscriber.subscribed(&at("t", QoS::ExactlyOnce));
        let mut client = node.client_of(version, "publisher");
        for payload in ["1", "2"] {
            let mut publish = message("t", payload, QoS::ExactlyOnce, false);
            assert_eq!(ask(&mut client, &numbered(publish.clone(), 7)), Packet::PubRec(ack(7)));
            publish.dup = true;
            assert_eq!(ask(&mut client, &numbered(publish, 7)), Packet::PubRec(ack(7)));
            assert_eq!(ask(&mut client, &Packet::PubRel(ack(7))), Packet::PubComp(ack(7)));
        }
        client.put(event("t", "3"));
        let got = [1, 2, 3].map(|_| take(&mut subscriber).payload);
        assert_eq!(got, ["1", "2", "3"]);
    }
}

/// The exchange of a message that has expired meanwhile is finished all the same.
/// Shows [MQTT-4.3.3-13].
#[test]
fn an_exchange_ends_after_its_message_has_expired() {
    let node = Node::start();
    let mut client = node.client("c");
    let mut publish = message("t", "x", QoS::ExactlyOnce, true);
    publish.message_expiry_s = Some(1);
    assert_eq!(ask(&mut client, &numbered(publish.clone(), 7)), Packet::PubRec(ack(7)));
    thread::sleep(Duration::from_millis(1_500));
    publish.dup = true;
    assert_eq!(ask(&mut client, &numbered(publish, 7)), Packet::PubRec(ack(7)));
    assert_eq!(ask(&mut client, &Packet::PubRel(ack(7))), Packet::PubComp(ack(7)));
    client.subscribed(&at("#", QoS::AtMostOnce));
    client.put(event("fence", ""));
    assert_eq!(
        next_unacknowledged(&mut client).topic,
        "fence",
        "it was written once, and is gone"
    );
}

/// The least and the greatest Message Expiry Interval are legal: one is over at once, the other stays for longer than a century.
#[test]
fn any_expiry_interval_is_legal() {
    let node = Node::start();
    let mut client = node.client("c");
    for (topic, expiry_s) in [("now", 0), ("never", u32::MAX)] {
        let mut publish = message(topic, "x", QoS::AtLeastOnce, true);
        publish.message_expiry_s = Some(expiry_s);
        client.put(publish);
    }
    client.subscribed(&at("never", QoS::AtLeastOnce));
    let never = take(&mut client);
    assert!(
        never.message_expiry_s.is_some_and(|left| left > u32::MAX - 60),
        "{never:?}"
    );
    crate::common::wait::until("the end of the other", crate::common::client::ANSWER_TIMEOUT, || {
        (node.topic_status("now") == 404).then_some(())
    });
}

/// With a limit on its rate a client is read no faster, and nothing of what it sends is lost or refused.
#[test]
fn a_client_that_is_too_fast_is_slowed() {
    let node = Node::start_with(|settings| settings.publish_rate_max = 20);
    let mut client = node.client("c");
    client.follow("t");
    let started = std::time::Instant::now();
    for count in 1..=40 {
        client.queue(&numbered(event("t", ""), count));
    }
    client.flush().expect("sent");
    let mut acks = 0;
    while acks < 40 {
        match receive(&mut client) {
            Packet::PubAck(ack) => {
                acks += 1;
                assert_eq!((ack.packet_id, ack.reason), (acks, ReasonCode::Success));
            }
            Packet::Publish(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(
        started.elapsed() >= Duration::from_millis(950),
        "20 at once, 20 within a second"
    );
}
