//! The state of a topic over MQTT: written, read at SUBSCRIBE, deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, ProtocolVersion, QoS, RetainHandling};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{ConnectOptions, SubscribeOptions, message};
use crate::support::{ClientExt, Node, VERSIONS, event, filters, payload_of, state, topic_of};

/// What is written at one node is read at every node by whoever subscribes after its PUBACK, with RETAIN set
/// [MQTT-3.3.1-9], and with the lesser QoS; the newest replaces the older [MQTT-3.3.1-5].
#[test]
fn written_anywhere_read_everywhere() {
    let nodes = Node::three();
    for version in VERSIONS {
        for (at, node) in nodes.iter().enumerate() {
            let topic = format!("state/{version:?}/{at}");
            let mut writer = node.client_of(version, "writer");
            writer.write(&topic, "old");
            writer.write(&topic, "new");
            for reader_node in &nodes {
                for granted in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                    let mut reader = reader_node.client_of(version, "reader");
                    reader.subscribed(&SubscribeOptions::new(&topic).each_filter(|filter| filter.qos = granted));
                    let publish = reader.expect(&topic, "new");
                    assert!(publish.retain);
                    assert_eq!(publish.qos, granted);
                }
            }
        }
    }
}

/// An empty retained message deletes [MQTT-3.3.1-6], [MQTT-3.3.1-7]: subscribers get it live as an empty payload, later
/// ones get nothing, and there is nothing to be had over HTTP.
#[test]
fn an_empty_retained_message_deletes() {
    let nodes = Node::three();
    let mut live = nodes[1].client("live");
    live.follow("d/#");
    let mut writer = nodes[0].client("writer");
    writer.write("d/gone", "here");
    writer.write("d/stays", "here");
    live.expect("d/gone", "here");
    live.expect("d/stays", "here");
    writer.write("d/gone", "");
    let deletion = live.expect("d/gone", "");
    assert!(!deletion.retain); // [MQTT-3.3.1-12]
    for node in &nodes {
        let mut late = node.client("late");
        late.follow("d/#");
        assert!(late.expect("d/stays", "here").retain);
        late.put(event("d/fence", ""));
        late.expect("d/fence", "");
        live.expect("d/fence", "");
        assert_eq!(node.topic_status("d/gone"), 404);
        assert_eq!(node.topic_status("d/stays"), 200);
    }
    // Deleting what is not there is no change: acknowledged, and nobody hears of it.
    writer.write("d/never", "");
    writer.put(event("d/fence", "2"));
    live.expect("d/fence", "2");
}

/// A retained message of QoS 0 writes as well, without an answer.
#[test]
fn qos_0_writes_too() {
    let node = Node::start();
    let mut client = node.client("client");
    let publish = message("zero", "0", QoS::AtMostOnce, true);
    client.publish_unacknowledged(publish).expect("sent");
    client.write("one", "1"); // acknowledged after what was sent before it
    client.follow("zero");
    let read = client.expect("zero", "0");
    assert_eq!((read.qos, read.retain), (QoS::AtMostOnce, true));
}

/// Retain As Published keeps RETAIN of what is delivered live [MQTT-3.3.1-12], [MQTT-3.3.1-13]; deletions included. At
/// SUBSCRIBE it is set either way [MQTT-3.3.1-8].
#[test]
fn retain_as_published() {
    let nodes = Node::three();
    let mut writer = nodes[0].client("writer");
    writer.write("r/state", "before");
    let mut published = nodes[1].client("published");
    published.subscribed(&SubscribeOptions::new("r/#").each_filter(|filter| filter.retain_as_published = true));
    let mut plain = nodes[1].client("plain");
    plain.follow("r/#");
    assert!(published.expect("r/state", "before").retain);
    assert!(plain.expect("r/state", "before").retain);
    writer.write("r/state", "after");
    writer.put(event("r/event", "now"));
    writer.write("r/state", "");
    for (client, keeps) in [(&mut published, true), (&mut plain, false)] {
        assert_eq!(client.expect("r/state", "after").retain, keeps);
        assert!(!client.expect("r/event", "now").retain);
        assert_eq!(client.expect("r/state", "").retain, keeps);
    }
}

/// Retain Handling: 0 sends at every SUBSCRIBE [MQTT-3.3.1-9], 1 only if the subscription is new [MQTT-3.3.1-10], 2 never
/// [MQTT-3.3.1-11].
#[test]
fn retain_handling() {
    let node = Node::start();
    node.client("writer").write("h/state", "x");
    let subscribe = |handling| SubscribeOptions::new("h/#").each_filter(|filter| filter.retain_handling = handling);
    for (handling, first, again) in [
        (RetainHandling::Send, 1, 1),
        (RetainHandling::SendIfNew, 1, 0),
        (RetainHandling::DoNotSend, 0, 0),
    ] {
        let mut client = node.client("client");
        for (round, expected) in [first, again].into_iter().enumerate() {
            client.subscribed(&subscribe(handling));
            for _ in 0..expected {
                assert!(client.expect("h/state", "x").retain);
            }
            client.put(event("h/fence", format!("{round}")));
            assert!(!client.expect("h/fence", &format!("{round}")).retain);
        }
        // New again after UNSUBSCRIBE.
        assert_eq!(client.unsubscribe(&["h/#"]), [ReasonCode::Success]);
        client.subscribed(&subscribe(handling));
        for _ in 0..first {
            client.expect("h/state", "x");
        }
        client.put(event("h/fence", "last"));
        client.expect("h/fence", "last");
    }
}

/// Wildcards select as they do live: `+` one level, `#` the rest and its parent (§4.7.1); a filter of each shape gets
/// exactly its topics.
/// Shows [MQTT-3.3.2-3]; 3.1.1 [MQTT-3.3.2-3].
#[test]
fn filters_select_retained_messages() {
    let node = Node::start();
    let topics = [
        "a", "a/", "a/b", "a/b/c", "a/b/d", "a/c/c", "a//c", "/a", "b/b/c", "ab", "a/bc", "ä/ö",
    ];
    let mut writer = node.client("writer");
    for topic in topics {
        writer.write(topic, topic);
    }
    for (filter, mut expected) in [
        ("#", topics.to_vec()),
        ("a/#", vec!["a", "a/", "a/b", "a/b/c", "a/b/d", "a/c/c", "a//c", "a/bc"]),
        ("a/+", vec!["a/", "a/b", "a/bc"]),
        ("+", vec!["a", "ab"]),
        ("+/+", vec!["a/", "a/b", "a/bc", "/a", "ä/ö"]),
        ("a/+/c", vec!["a/b/c", "a/c/c", "a//c"]),
        ("+/b/#", vec!["a/b", "a/b/c", "a/b/d", "b/b/c"]),
        ("a/b", vec!["a/b"]),
        ("a/b/c/#", vec!["a/b/c"]),
        ("nothing/#", vec![]),
    ] {
        let mut reader = node.client("reader");
        reader.follow(filter);
        reader.follow("fence");
        let mut found: Vec<String> = expected.iter().map(|_| topic_of(&reader.next())).collect();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter}");
        reader.put(event("fence", filter));
        // `#` brings the fence with the same delivery; nothing else may come before it.
        reader.expect("fence", filter);
    }
}

/// All filters of one SUBSCRIBE get their retained messages, in the order of the filters as if each came alone
/// [MQTT-3.8.4-5].
#[test]
fn several_filters_in_one_subscribe() {
    let node = Node::start();
    let mut client = node.client("client");
    client.write("x/1", "1");
    client.write("y/2", "2");
    let suback = client.subscribed(&filters(&["y/#", "z", "x/+"]));
    assert_eq!(suback.reasons, [ReasonCode::GrantedQoS1; 3]);
    client.expect("y/2", "2");
    client.expect("x/1", "1");
}

/// Topics that begin with `$` are the server's: no client writes them, no leading wildcard matches them [MQTT-4.7.2-1].
#[test]
fn dollar_topics_are_the_servers() {
    let node = Node::start_with(|settings| settings.sys_interval_s = 0); // its own topics are for another test
    let mut client = node.client("client");
    for publish in [
        state("$SYS/x", "mine"),
        event("$SYS/x", "mine"),
        state("$other", "mine"),
    ] {
        let ack = client.publish(publish).expect("PUBACK");
        assert_eq!(ack.reason, ReasonCode::NotAuthorized);
        assert!(ack.reason_string.is_some_and(|text| text.contains('$')));
    }
    assert_eq!(node.topic_status("$SYS/x"), 404);
    // 3.1.1 has no codes: acknowledged, and without effect.
    let mut old = node.client_of(ProtocolVersion::V3, "old");
    old.put(state("$SYS/x", "mine"));

    // The marker is a `$` topic that a node does send: to the one who asked, not to everybody with a wildcard.
    let mut wildcard = node.client("wildcard");
    wildcard.subscribed(&filters(&["#", "+/#", "+/marker", "$SYS/#"]));
    client.subscribed(&SubscribeOptions::new("s").property("marker", "on"));
    assert_eq!(topic_of(&client.next()), "$SYS/marker");
    client.put(event("fence", "end"));
    let received = wildcard.next();
    assert_eq!(
        (topic_of(&received), payload_of(&received)),
        ("fence".into(), "end".into())
    );
}

/// More SUBSCRIBEs at once than are answered at once, each with more retained messages than the window holds: only the
/// client's acknowledgements let them go on, so they must be read. The same when the session resumes with all of them open.
#[test]
fn many_subscriptions_at_once_get_through_a_small_window() {
    const SUBSCRIPTIONS: usize = 20;
    const TOPICS: usize = 5;
    let node = Node::start();
    let mut writer = node.client("writer");
    for (group, topic) in (0..SUBSCRIPTIONS).flat_map(|group| (0..TOPICS).map(move |topic| (group, topic))) {
        writer.write(&format!("many/{group}/{topic}"), "x");
    }
    for session_expiry_s in [None, Some(60)] {
        let mut options = ConnectOptions::v5("reader").receive_maximum(2);
        (options.connect.session_expiry_s, options.connect.clean_start) = (session_expiry_s, false);
        let mut reader = node.connect(&options);
        for group in 0..SUBSCRIPTIONS {
            let mut subscribe = SubscribeOptions::new(&format!("many/{group}/#")).subscribe;
            subscribe.packet_id = reader.next_packet_id();
            reader.queue(&Packet::Subscribe(Box::new(subscribe)));
        }
        reader.flush().expect("sent");
        let mut topics = BTreeSet::new();
        if session_expiry_s.is_some() {
            topics.insert(topic_of(&reader.next()));
            reader.disconnect();
            reader = node.connect(&options);
        }
        while topics.len() < SUBSCRIPTIONS * TOPICS {
            topics.insert(topic_of(&reader.next()));
        }
    }
}

/// With a limit on its rate, what is retained takes its time, and all of it comes: for a session of either kind.
#[test]
fn retained_messages_at_a_rate() {
    let node = Node::start_with(|settings| settings.replay_rate_max = 100_000);
    let mut publisher = node.client("publisher");
    for topic in 0..10 {
        publisher.put(state(&format!("paced/{topic}"), [b'.'; 10_000]));
    }
    let mut persistent = ConnectOptions::v5("persistent");
    persistent.connect.session_expiry_s = Some(600);
    for options in [ConnectOptions::v5("clean"), persistent] {
        let mut client = node.connect(&options);
        let started = std::time::Instant::now();
        client.follow("paced/#");
        for topic in 0..10 {
            client.expect(&format!("paced/{topic}"), &".".repeat(10_000));
        }
        // 100,000 bytes at 100,000 a second; what fills the write buffer leaves at once.
        assert!(
            started.elapsed() >= Duration::from_millis(500),
            "{:?}",
            started.elapsed()
        );
        publisher.put(event("paced/live", "x"));
        client.expect("paced/live", "x");
    }
}
