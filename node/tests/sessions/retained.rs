//! Retained messages of a persistent session: those of one moment, then every change; sent on after a failover.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::client::{Client, ConnectOptions, SubscribeOptions};
use crate::common::cluster::Cluster;
use crate::support::{ClientExt, Node, payload_of, puback, state, topic_of};
use crate::{expect_silence, lose, next_unacknowledged, one_at_a_time, resume, session};

#[test]
fn retained_messages_then_changes() {
    let node = Node::start();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for topic in ["a/1", "a/2", "a/3"] {
        publisher.write(topic, "before");
    }
    let mut subscriber = resume(node.mqtt(), &session("s"), false);
    subscriber.subscribed(&SubscribeOptions::new("a/#").property("marker", "on"));
    for topic in ["a/1", "a/2", "a/3"] {
        assert!(subscriber.expect(topic, "before").retain);
    }
    assert_eq!(topic_of(&subscriber.next()), "$SYS/marker");
    publisher.write("a/1", "after");
    assert!(!subscriber.expect("a/1", "after").retain);
    lose(subscriber);
    let mut subscriber = resume(node.mqtt(), &session("s"), true);
    publisher.write("a/1", "later");
    while payload_of(&subscriber.next()) != "later" {}
    expect_silence(&mut subscriber);
}

/// What has been sent is not sent again, what changes meanwhile comes once, and never an older value after a newer one.
#[test]
fn a_replay_goes_on_where_it_was() {
    const TOPICS: usize = 300;
    let node = Node::start();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for topic in 0..TOPICS {
        publisher.write(&format!("a/{topic:03}"), "0");
    }
    let options = session("s").receive_maximum(10);
    let mut subscriber = resume(node.mqtt(), &options, false);
    subscriber.follow("a/#");
    let mut got: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut round = 0;
    while round < 4 || got.len() < TOPICS || got[&format!("a/{:03}", TOPICS - 1)].last() != Some(&4) {
        for _ in 0..25 {
            let Ok(publish) = subscriber.next_message(Duration::from_secs(1)) else {
                break;
            };
            let value = payload_of(&publish).parse().unwrap();
            let values = got.entry(topic_of(&publish)).or_default();
            // What was in flight comes again; the former connection may not have brought it.
            if !(publish.dup && values.contains(&value)) {
                values.push(value);
            }
        }
        subscriber.flush().unwrap();
        if round < 4 {
            round += 1;
            // Both behind and in front of where the replay is.
            for topic in [0, TOPICS / 2, TOPICS - 1] {
                publisher.put(state(&format!("a/{topic:03}"), round.to_string()));
            }
        }
        lose(subscriber);
        subscriber = resume(node.mqtt(), &options, true);
    }
    assert_eq!(got.len(), TOPICS);
    for (topic, values) in got {
        assert!(values.is_sorted_by(|a, b| a < b), "{topic}: {values:?}");
    }
}

#[test]
fn a_replay_goes_on_at_another_node() {
    const TOPICS: usize = 200;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let mut publisher = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("p"));
    for topic in 0..TOPICS {
        publisher.write(&format!("a/{topic:03}"), "value");
    }
    let options = session("s").receive_maximum(8);
    let mut subscriber = resume(cluster.mqtt(0), &options, false);
    subscriber.follow("a/#");
    let mut got = BTreeMap::new();
    for _ in 0..50 {
        let publish = next_unacknowledged(&mut subscriber);
        subscriber.send(&puback(&publish)).unwrap();
        got.insert(topic_of(&publish), 1);
    }
    cluster.kill(0);
    let mut subscriber = resume(cluster.mqtt(2), &options, true);
    while got.len() < TOPICS {
        let publish = subscriber.next();
        assert!(publish.retain, "{publish:?}");
        *got.entry(topic_of(&publish)).or_default() += 1;
    }
    let twice = got.values().filter(|count| **count > 1).count();
    assert!(
        twice <= 50,
        "{twice} of those sent before came again: more than were in flight"
    );
}
