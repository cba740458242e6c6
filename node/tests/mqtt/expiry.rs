//! Message Expiry Interval: what is left of it, and what happens when nothing is.

use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::{Packet, Publish};

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions};
use crate::common::wait;
use crate::support::{ClientExt, Node, event, puback, state, topic_of};

fn expiring(mut publish: Publish, seconds: u32) -> Publish {
    publish.message_expiry_s = Some(seconds);
    publish
}

/// Lets `time` pass, asking the node meanwhile: it has nothing to write, so that its log stands still.
fn pass(client: &mut Client, time: Duration) {
    let end = Instant::now() + time;
    wait::until("time passing", time + Duration::from_secs(20), || {
        client.send(&Packet::PingReq).expect("sent");
        client
            .await_packet(|packet| matches!(packet, Packet::PingResp).then_some(()))
            .expect("PINGRESP");
        (Instant::now() > end).then_some(())
    });
}

/// A message is forwarded with its interval less the time it has waited in the server [MQTT-3.3.2-6], live and retained, at
/// every node, and also when nothing is written meanwhile.
#[test]
fn the_rest_of_the_interval_is_forwarded() {
    let nodes = Node::three();
    let mut live = nodes[1].client("live");
    live.follow("x/#");
    let mut writer = nodes[0].client("writer");
    writer.put(expiring(state("x/state", "s"), 1000));
    writer.put(expiring(event("x/event", "e"), 1000));
    for (topic, payload) in [("x/state", "s"), ("x/event", "e")] {
        let left = live.expect(topic, payload).message_expiry_s.expect("an interval");
        assert!((900..=1000).contains(&left), "{left}");
    }
    pass(&mut live, Duration::from_millis(2_100));
    for node in &nodes {
        let mut late = node.client("late");
        late.follow("x/#");
        let left = late.expect("x/state", "s").message_expiry_s.expect("an interval");
        assert!((900..=998).contains(&left), "{left}");
    }
}

/// What has waited for a slow client beyond its interval is not sent to it [MQTT-3.3.2-5]; what has waited less comes with
/// the rest [MQTT-3.3.2-6].
#[test]
fn waiting_for_a_slow_client_counts() {
    let node = Node::start();
    let mut slow = node.connect(&ConnectOptions::v5("slow").receive_maximum(1));
    slow.follow("w/#");
    let mut writer = node.client("writer");
    writer.put(event("w/first", ""));
    let Ok(Packet::Publish(first)) = slow.receive(ANSWER_TIMEOUT) else {
        panic!("no message")
    };
    writer.put(expiring(event("w/short", ""), 1));
    writer.put(expiring(event("w/long", ""), 1000));
    writer.put(event("w/last", ""));
    pass(&mut writer, Duration::from_millis(2_100));
    slow.queue(&puback(&first));
    let long = slow.next();
    assert_eq!(topic_of(&long), "w/long");
    assert!(
        long.message_expiry_s.is_some_and(|left| (900..=998).contains(&left)),
        "{long:?}"
    );
    slow.expect("w/last", "");
}

/// An expired value is deleted: subscribers of every node get the deletion, later ones nothing, and HTTP has none.
#[test]
fn expiry_is_a_deletion() {
    // Long enough for a value to be renewed in time on a busy machine.
    const EXPIRY_S: u32 = 5;
    let nodes = Node::three();
    let names = ["one", "two", "three"];
    let mut subscribers: Vec<_> = nodes
        .iter()
        .zip(names)
        .map(|(node, name)| node.annotated(name))
        .collect();
    for subscriber in &mut subscribers {
        subscriber.follow("z/#");
    }
    let mut writer = nodes[0].client("writer");
    // The one that expires is written last, so that nothing that is written can come later than its deletion.
    writer.put(expiring(state("z/renewed", "x"), EXPIRY_S));
    writer.put(state("z/renewed", "for good"));
    writer.put(expiring(state("z/short", "x"), EXPIRY_S));
    for subscriber in &mut subscribers {
        subscriber.expect("z/renewed", "x");
        assert_eq!(subscriber.expect("z/renewed", "for good").message_expiry_s, None);
        let written = subscriber.expect("z/short", "x");
        let left = written.message_expiry_s.expect("an interval");
        assert!((1..=EXPIRY_S).contains(&left), "{left}");
        let deleted = subscriber.expect("z/short", "");
        assert!(crate::support::number(&deleted, "revision") > crate::support::number(&written, "revision"));
        assert_eq!(deleted.message_expiry_s, None);
    }
    for node in &nodes {
        assert_eq!(node.topic_status("z/short"), 404);
        assert_eq!(node.topic_status("z/renewed"), 200);
        let mut late = node.client("late");
        late.follow("z/#");
        late.expect("z/renewed", "for good");
        late.put(event("z/fence", ""));
        late.expect("z/fence", "");
    }
}
