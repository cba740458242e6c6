//! What comes to who was away.

use std::thread;
use std::time::Duration;

use banyan_api::cluster::ClusterStatus;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, QoS};

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions, SubscribeOptions};
use crate::common::wait::until;
use crate::support::{ClientExt, Node, event, payload_of, state, topic_of, with_id};
use crate::{expect_silence, go_away, lose, next_unacknowledged, resume, session, session_once};

/// Shows [MQTT-4.5.0-1].
#[test]
fn everything_in_order_whatever_became_of_the_topics() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a/#");
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    let mut expected = Vec::new();
    for count in 0..50 {
        let payload = count.to_string();
        publisher.write("a/state", &payload);
        expected.push(("a/state".to_owned(), payload.clone()));
        publisher.put(event("a/event", &payload));
        expected.push(("a/event".to_owned(), payload));
    }
    publisher.put(state("a/state", ""));
    expected.push(("a/state".to_owned(), String::new()));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    for expected in expected {
        let publish = subscriber.next();
        assert_eq!((topic_of(&publish), payload_of(&publish)), expected);
    }
    expect_silence(&mut subscriber);
}

/// [MQTT-3.3.4-9], [MQTT-4.4.0-1]: what was in flight comes again a few at a time, if the client takes no more; at QoS 2 to the end.
#[test]
fn what_was_in_flight_comes_again_as_fast_as_the_client_takes_it() {
    const MESSAGES: usize = 8;
    let node = Node::start();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let client_id = format!("{qos:?}");
        let mut subscriber = resume(node.mqtt(), &session(&client_id), false);
        subscriber.subscribed(&SubscribeOptions::new(&client_id).each_filter(|filter| filter.qos = qos));
        let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
        for count in 0..MESSAGES {
            publish_at(qos, &mut publisher, event(&client_id, count.to_string()));
        }
        for _ in 0..MESSAGES {
            next_unacknowledged(&mut subscriber);
        }
        lose(subscriber);
        let mut subscriber = resume(node.mqtt(), &session(&client_id).receive_maximum(2), true);
        let (mut received, mut done) = (Vec::new(), 0);
        while done < MESSAGES {
            let answer = match subscriber
                .receive(ANSWER_TIMEOUT)
                .expect("more, once what was sent is acknowledged")
            {
                Packet::Publish(publish) => {
                    assert!(publish.dup && publish.qos == qos);
                    received.push(payload_of(&publish));
                    let packet_id = publish.packet_id.unwrap();
                    match qos {
                        QoS::ExactlyOnce => Packet::PubRec(ack(packet_id)),
                        _ => {
                            done += 1;
                            Packet::PubAck(ack(packet_id))
                        }
                    }
                }
                Packet::PubRel(pubrel) => {
                    done += 1;
                    Packet::PubComp(ack(pubrel.packet_id))
                }
                other => panic!("{other:?}"),
            };
            subscriber.send(&answer).unwrap();
        }
        let expected: Vec<_> = (0..MESSAGES).map(|count| count.to_string()).collect();
        assert_eq!(received, expected);
        expect_silence(&mut subscriber);
    }
}

fn ack(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

/// Publishes at QoS 1 or 2, to the end of the exchange.
fn publish_at(qos: QoS, publisher: &mut Client, mut publish: Publish) {
    if qos == QoS::AtLeastOnce {
        publisher.put(publish);
        return;
    }
    let packet_id = publisher.next_packet_id();
    (publish.qos, publish.packet_id) = (qos, Some(packet_id));
    publisher.send(&Packet::Publish(Box::new(publish))).unwrap();
    let is_received =
        |packet: &Packet| matches!(packet, Packet::PubRec(ack) if ack.packet_id == packet_id).then_some(());
    publisher.await_packet(is_received).unwrap();
    publisher.send(&Packet::PubRel(ack(packet_id))).unwrap();
    let is_done = |packet: &Packet| matches!(packet, Packet::PubComp(ack) if ack.packet_id == packet_id).then_some(());
    publisher.await_packet(is_done).unwrap();
}

/// [MQTT-4.4.0-1]: with DUP, and the identifiers that the client knows.
/// Shows [MQTT-3.3.1-1], [MQTT-4.3.2-2], [MQTT-4.3.2-3]; 3.1.1 [MQTT-2.3.1-4].
#[test]
fn what_was_in_flight_comes_again_under_its_identifier() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for payload in ["1", "2", "3"] {
        publisher.put(event("a", payload));
    }
    subscriber.expect("a", "1"); // acknowledged with the next flush
    let unacknowledged: Vec<_> = (0..2).map(|_| next_unacknowledged(&mut subscriber)).collect();
    subscriber.flush().unwrap();
    session_once(&node, "s", |session| {
        session.in_flight == 2 && session.lag_messages == 0
    });
    lose(subscriber);
    publisher.put(event("a", "4"));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    for former in unacknowledged {
        let again = subscriber.next();
        assert!(again.dup && !former.dup);
        assert_eq!((again.packet_id, &again.payload), (former.packet_id, &former.payload));
    }
    let new = subscriber.expect("a", "4");
    assert!(!new.dup);
    expect_silence(&mut subscriber);
}

#[test]
fn only_the_latest_of_each_topic_if_asked_for() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.subscribed(&SubscribeOptions::new("a/#").property("deliver", "latest"));
    go_away(subscriber, &node, "s");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for round in 0..20 {
        for topic in ["a/1", "a/2", "a/3"] {
            publisher.write(topic, &format!("{topic} {round}"));
        }
    }
    publisher.put(state("a/2", ""));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    subscriber.expect("a/1", "a/1 19");
    subscriber.expect("a/3", "a/3 19");
    subscriber.expect("a/2", "");
    publisher.write("a/1", "live");
    subscriber.expect("a/1", "live");
    expect_silence(&mut subscriber);
}

/// Shows [MQTT-3.3.4-3], [MQTT-3.3.4-4].
#[test]
fn options_and_identifiers_outlive_the_connection() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    let options = SubscribeOptions::new("a/#").each_filter(|filter| {
        filter.no_local = true;
        filter.retain_as_published = true;
    });
    subscriber.subscribed(&with_id(options, 7));
    subscriber.subscribed(&with_id(SubscribeOptions::new("a/1"), 8).each_filter(|filter| filter.qos = QoS::AtMostOnce));
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    publisher.write("a/1", "state");
    publisher.put(event("a/2", "event"));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    let mut first = subscriber.expect("a/1", "state");
    first.subscription_ids.sort_unstable();
    assert_eq!((first.retain, first.qos), (true, QoS::AtLeastOnce));
    assert_eq!(first.subscription_ids, [7, 8]);
    let second = subscriber.expect("a/2", "event");
    assert_eq!((second.retain, second.subscription_ids), (false, vec![7]));
    subscriber.put(event("a/3", "its own"));
    expect_silence(&mut subscriber);
}

/// Shows [MQTT-3.3.2-5].
#[test]
fn a_message_that_has_expired_meanwhile_does_not_come() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a");
    go_away(subscriber, &node, "s");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for (payload, expiry_s) in [("short", 1), ("long", 600)] {
        let mut publish = event("a", payload);
        publish.message_expiry_s = Some(expiry_s);
        publisher.put(publish);
    }
    thread::sleep(Duration::from_millis(1_500));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    let publish = subscriber.expect("a", "long");
    assert!(publish.message_expiry_s.is_some_and(|left| left < 600));
    expect_silence(&mut subscriber);
}

#[test]
fn an_unsubscribed_filter_brings_nothing_later() {
    let node = Node::start();
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a");
    subscriber.follow("b");
    subscriber.unsubscribe(&["a"]);
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    publisher.put(event("a", "no"));
    publisher.put(event("b", "yes"));
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    subscriber.expect("b", "yes");
    expect_silence(&mut subscriber);
}

#[test]
fn who_was_away_for_too_long_is_told_what_is_gone() {
    const KEEP_BYTES: u64 = 256 * 1024;
    let node = Node::start_with(|settings| settings.message_keep_bytes = KEEP_BYTES);
    let member = || {
        let status: ClusterStatus = serde_json::from_str(&node.get("/v1/cluster").1).unwrap();
        status.members.into_iter().next().unwrap()
    };
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.follow("a");
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for count in 0..60 {
        publisher.put(event("a", format!("{count:0>16384}")));
    }
    let had = member();
    assert!(
        had.message_count > Some(0) && had.gap_count == Some(0) && had.session_count == Some(2),
        "{had:?}"
    );
    until("room", Duration::from_secs(20), || {
        (member().message_bytes <= Some(KEEP_BYTES)).then_some(())
    });
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    let notice = subscriber.next();
    assert_eq!(topic_of(&notice), "$SYS/gap/s");
    let told: serde_json::Value = serde_json::from_str(&payload_of(&notice)).unwrap();
    assert!(told["from"].as_u64() < told["through"].as_u64(), "{told}");
    // It is counted a moment after it is told.
    let gaps = until("count of the gap", ANSWER_TIMEOUT, || {
        member().gap_count.filter(|count| *count > 0)
    });
    assert_eq!(gaps, 1);
    let first: u64 = payload_of(&subscriber.next()).parse().unwrap();
    assert!(first > 0, "the oldest were dropped");
    for count in first + 1..60 {
        let publish = subscriber.next();
        assert_eq!(payload_of(&publish).parse::<u64>().unwrap(), count);
    }
}
