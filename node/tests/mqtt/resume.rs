//! What a SUBSCRIBE can ask for beyond the standard: `since`, `marker`, `consistency`; and views that live too long.

use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::{Packet, QoS, RetainHandling};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{ANSWER_TIMEOUT, ConnectOptions, SubscribeOptions, number_property};
use crate::common::wait;
use crate::support::{ClientExt, Node, event, filters, number, payload_of, puback, topic_of, with_id};

fn since(filter: &str, revision: u64) -> SubscribeOptions {
    SubscribeOptions::new(filter)
        .property("since", &revision.to_string())
        .property("marker", "on")
}

/// `since=R0` sends each topic's latest change after R0, in the order of revisions, deletions as empty retained messages;
/// then the changes as they happen. R0 may come from any node.
#[test]
fn since_sends_what_changed() {
    let nodes = Node::three();
    let mut writer = nodes[0].annotated("writer");
    for topic in ["s/kept", "s/changed", "s/deleted", "s/back", "other/x"] {
        writer.write(topic, "old");
    }
    let mut first = nodes[1].annotated("first");
    let suback = first.subscribed(&SubscribeOptions::new("s/#").property("marker", "on"));
    let seen = number_property(&suback.user_properties, "revision").expect("R");
    drop(first);
    writer.write("s/deleted", "");
    writer.write("s/changed", "between");
    writer.write("s/back", "");
    writer.write("s/new", "new");
    writer.write("s/passing", "x");
    writer.write("s/passing", "");
    writer.write("s/back", "again");
    writer.write("other/x", "new");
    writer.write("s/changed", "new");

    for node in &nodes {
        let mut again = node.annotated("again");
        let suback = again.subscribed(&with_id(since("s/#", seen), 5));
        let revision = number_property(&suback.user_properties, "revision").expect("R");
        let mut last = seen;
        for (topic, payload) in [
            ("s/deleted", ""),
            ("s/new", "new"),
            ("s/passing", ""),
            ("s/back", "again"),
            ("s/changed", "new"),
        ] {
            let publish = again.expect(topic, payload);
            assert!(publish.retain);
            assert_eq!(publish.subscription_ids, [5]);
            assert_eq!(publish.metadata.user_property("reset"), None);
            let revision = number(&publish, "revision");
            assert!(revision > last);
            last = revision;
        }
        let marker = again.expect("$SYS/marker", "");
        assert_eq!(number(&marker, "revision"), revision);
        // Nothing after R: only the marker.
        let mut current = node.annotated("current");
        current.subscribed(&since("s/#", revision));
        current.expect("$SYS/marker", "");
        writer.put(event("s/live", "x"));
        again.expect("s/live", "x");
        current.expect("s/live", "x");
    }
}

/// A revision that this cluster cannot continue from gets everything, and `reset=on` says so, on each message and the marker.
#[test]
fn since_an_unknown_revision_resets() {
    let node = Node::start();
    let mut client = node.client("client");
    client.write("s/1", "x");
    client.write("s/2", "x");
    client.write("s/2", "");
    client.subscribed(&since("s/#", 1_000_000));
    let publish = client.expect("s/1", "x");
    assert_eq!(publish.metadata.user_property("reset"), Some("on"));
    let marker = client.expect("$SYS/marker", "");
    assert_eq!(marker.metadata.user_property("reset"), Some("on"));
    // 0 is before everything: all that is there, and every deletion.
    client.subscribed(&since("s/#", 0));
    client.expect("s/1", "x");
    assert_eq!(client.expect("s/2", "").metadata.user_property("reset"), None);
    client.expect("$SYS/marker", "");
}

/// What is asked for in words that do not exist is refused for each filter, and says what to write.
#[test]
fn unreadable_requests_are_refused() {
    let node = Node::start();
    let mut client = node.client("client");
    for (name, value) in [("since", "yesterday"), ("marker", "please"), ("consistency", "strong")] {
        let suback = client
            .subscribe(&filters(&["a", "b"]).property(name, value))
            .expect("SUBACK");
        assert_eq!(suback.reasons, [ReasonCode::ImplementationSpecificError; 2]);
        let text = suback.reason_string.expect("a reason string");
        assert!(text.starts_with(name), "{text}");
    }
}

/// `marker=on`: behind the last retained message of all filters, an empty message to `$SYS/marker` with R and the
/// identifier, not retained, also if there was nothing to send. Without it there is none.
#[test]
fn the_marker_ends_the_retained_messages() {
    let node = Node::start();
    let mut client = node.client("client");
    client.write("m/1", "x");
    client.write("m/2", "x");
    client.subscribed(&with_id(filters(&["m/2", "m/1", "none/#"]), 3).property("marker", "on"));
    client.expect("m/2", "x");
    client.expect("m/1", "x");
    let marker = client.expect("$SYS/marker", "");
    assert!(!marker.retain);
    assert_eq!((marker.qos, marker.subscription_ids), (QoS::AtMostOnce, vec![3]));
    assert_eq!(marker.metadata.user_properties().count(), 1);
    let options = SubscribeOptions::new("m/#").each_filter(|filter| filter.retain_handling = RetainHandling::DoNotSend);
    client.subscribed(&options.property("marker", "on"));
    client.expect("$SYS/marker", "");
    client.subscribed(&SubscribeOptions::new("m/+").property("marker", "off"));
    client.expect("m/1", "x");
    client.expect("m/2", "x");
    client.put(event("fence", ""));
    client.follow("fence");
    client.put(event("fence", "end"));
    client.expect("fence", "end");
}

/// `consistency=local` and `linearizable` are both served while there is a quorum.
#[test]
fn consistency_can_be_chosen() {
    let nodes = Node::three();
    nodes[0].client("writer").write("c", "x");
    let mut client = nodes[2].client("client");
    client.subscribed(&SubscribeOptions::new("c").property("consistency", "linearizable"));
    client.expect("c", "x");
    client.subscribed(&SubscribeOptions::new("c").property("consistency", "local"));
    client.expect("c", "x");
}

/// A SUBSCRIBE whose retained messages are still being sent is replaced by one that sends none: what the first promised
/// still comes [MQTT-3.8.4-4].
#[test]
fn a_stream_goes_on_when_the_filter_is_subscribed_again_without_one() {
    let node = Node::start();
    let mut writer = node.client("writer");
    for count in 0..50 {
        writer.write(&format!("g/{count:02}"), "x");
    }
    let mut client = node.connect(&ConnectOptions::v5("client").receive_maximum(1));
    client.follow("g/#");
    for handling in [RetainHandling::SendIfNew, RetainHandling::DoNotSend] {
        client.subscribed(&SubscribeOptions::new("g/#").each_filter(|filter| filter.retain_handling = handling));
    }
    for count in 0..50 {
        client.expect(&format!("g/{count:02}"), "x");
    }
    writer.put(event("g/end", ""));
    client.expect("g/end", "");
}

/// A client that takes nothing for the lease of its view gets everything anew at a newer R: first the changes until then,
/// deletions included, then all retained messages, with `reset=on` for those who asked for annotations or a marker. It ends
/// with the tree as it is.
#[test]
fn a_view_that_lives_too_long_starts_again() {
    const TOPICS: usize = 200;
    // The view that it then gets must live until all is read, message by message, also on a busy machine.
    const LEASE_S: u64 = 5;
    let node = Node::start_with(|settings| settings.view_lease_s = LEASE_S);
    let mut writer = node.client("writer");
    for count in 0..TOPICS {
        writer.write(&format!("v/{count:03}"), "old");
    }
    for annotated in [true, false] {
        let mut options = ConnectOptions::v5("client").receive_maximum(1);
        if annotated {
            options = options.annotated();
        }
        let mut client = node.connect(&options);
        client.follow("v/#");
        let Ok(Packet::Publish(stuck)) = client.receive(ANSWER_TIMEOUT) else {
            panic!("no message")
        };
        assert_eq!(topic_of(&stuck), "v/000");
        writer.write("v/000", "");
        writer.write("v/001", "new");
        let end = Instant::now() + Duration::from_secs(LEASE_S) + Duration::from_millis(500);
        wait::until("end of the lease", ANSWER_TIMEOUT, || {
            writer.write("beside", "x");
            (Instant::now() > end).then_some(())
        });
        client.queue(&puback(&stuck));
        let mut live = Vec::new();
        let mut retained = 0;
        while retained < TOPICS - 1 {
            let publish = client.next();
            let reset = publish.metadata.user_property("reset");
            if publish.retain {
                assert_eq!(reset.is_some(), annotated);
                retained += 1;
                assert_eq!(topic_of(&publish), format!("v/{retained:03}"));
                assert_eq!(payload_of(&publish), if retained == 1 { "new" } else { "old" });
            } else {
                assert_eq!((reset, retained), (None, 0));
                live.push((topic_of(&publish), payload_of(&publish)));
            }
        }
        assert_eq!(
            live,
            [("v/000", ""), ("v/001", "new")].map(|(topic, payload)| (topic.to_owned(), payload.to_owned()))
        );
        writer.put(event("v/end", ""));
        client.expect("v/end", "");
        writer.write("v/000", "old");
        client.expect("v/000", "old");
        writer.write("v/001", "old");
        client.expect("v/001", "old");
    }
}
