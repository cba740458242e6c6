//! Subscriptions: options, identifiers, overlaps, replacement and end.

use std::sync::atomic::{AtomicBool, Ordering};

use banyan_core::mqtt::packet::{QoS, RetainHandling};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{ConnectOptions, SubscribeOptions};
use crate::support::{ClientExt, Node, event, filters, payload_of, state, with_id};

/// No Local: not what this client identifier published [MQTT-3.8.3-3], whether it is delivered live or was retained, and at
/// whatever node it was published.
#[test]
fn no_local() {
    let nodes = Node::three();
    let mut own = nodes[0].client("me");
    own.write("n/own", "before");
    let mut other = nodes[1].client("other");
    other.write("n/other", "before");
    own.subscribed(&SubscribeOptions::new("n/#").each_filter(|filter| filter.no_local = true));
    assert!(own.expect("n/other", "before").retain);
    own.write("n/own", "after");
    own.put(event("n/event", "own"));
    other.put(event("n/event", "other"));
    own.expect("n/event", "other");
    // A second subscription that does not say so gets its share.
    own.subscribed(&SubscribeOptions::new("n/event"));
    own.put(event("n/event", "own"));
    own.expect("n/event", "own");
}

/// A message carries the identifier of the subscription that brings it, live and retained [MQTT-3.3.4-3]; one that several
/// bring comes once, with the greatest QoS and all identifiers [MQTT-3.3.4-2], [MQTT-3.3.4-4].
#[test]
fn overlapping_subscriptions_deliver_once() {
    let nodes = Node::three();
    let mut client = nodes[2].client("client");
    for (filter, qos, id) in [
        ("o/#", QoS::AtMostOnce, Some(268_435_455)),
        ("o/+", QoS::AtLeastOnce, Some(7)),
        ("o/x", QoS::AtMostOnce, None),
        ("o/x/y", QoS::AtLeastOnce, Some(9)),
    ] {
        let mut options = SubscribeOptions::new(filter).each_filter(|filter| filter.qos = qos);
        options.subscribe.subscription_id = id;
        client.subscribed(&options);
    }
    let mut publisher = nodes[0].client("publisher");
    for publish in [event("o/x", "event"), state("o/x", "state")] {
        publisher.put(publish);
    }
    for payload in ["event", "state"] {
        let mut publish = client.expect("o/x", payload);
        publish.subscription_ids.sort_unstable();
        assert_eq!(publish.subscription_ids, [7, 268_435_455]);
        assert_eq!(publish.qos, QoS::AtLeastOnce);
    }
    publisher.put(event("o", "parent"));
    let publish = client.expect("o", "parent");
    assert_eq!(
        (publish.qos, publish.subscription_ids),
        (QoS::AtMostOnce, vec![268_435_455])
    );
    // Retained messages come once a SUBSCRIBE, with its identifier alone.
    client.subscribed(&with_id(SubscribeOptions::new("o/#"), 12));
    let publish = client.expect("o/x", "state");
    assert_eq!((publish.retain, publish.subscription_ids), (true, vec![12]));
}

/// A SUBSCRIBE to a filter subscribed before replaces its options and identifier and sends the retained messages again
/// [MQTT-3.8.4-3]; nothing published meanwhile is lost [MQTT-3.8.4-4], and nothing comes twice.
/// Shows 3.1.1 [MQTT-3.8.4-3].
#[test]
fn a_replaced_subscription_loses_nothing() {
    let nodes = Node::three();
    let stop = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let mut subscriber = nodes[1].client("subscriber");
        subscriber.follow("e/#");
        let publisher = scope.spawn(|| {
            let mut publisher = nodes[0].client("publisher");
            let mut count = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                publisher.put(event("e/1", format!("{count}")));
                publisher.put(event("e/2", format!("{}", count + 1)));
                count += 2;
            }
            publisher.put(event("e/end", format!("{count}")));
            count
        });
        for id in 1..=200 {
            let handling = match id % 3 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            };
            let options = SubscribeOptions::new("e/#").each_filter(|filter| filter.retain_handling = handling);
            subscriber.subscribed(&with_id(options, id));
        }
        stop.store(true, Ordering::Relaxed);
        let mut expected = 0;
        loop {
            let publish = subscriber.next();
            assert_eq!(payload_of(&publish), expected.to_string());
            if publish.topic == "e/end" {
                assert_eq!(publish.subscription_ids, [200]);
                break;
            }
            expected += 1;
        }
        assert_eq!(publisher.join().expect("the publisher ends"), expected);
        expected
    });
    assert!(published > 0);
}

/// UNSUBSCRIBE: a code for each filter [MQTT-3.11.3-1], and nothing new is delivered for it [MQTT-3.10.4-2]; other
/// subscriptions that match go on.
/// Shows [MQTT-3.10.4-4].
#[test]
fn unsubscribe_stops() {
    let nodes = Node::three();
    let mut client = nodes[1].client("client");
    client.subscribed(&filters(&["u/1", "u/2", "u/#"]));
    let mut publisher = nodes[0].client("publisher");
    assert_eq!(
        client.unsubscribe(&["u/1", "u/+", "u/#", "u/#/x"]),
        [
            ReasonCode::Success,
            ReasonCode::NoSubscriptionExisted,
            ReasonCode::Success,
            ReasonCode::TopicFilterInvalid,
        ]
    );
    publisher.put(event("u/1", "no"));
    publisher.put(event("u/3", "no"));
    publisher.put(state("u/2", "yes"));
    client.expect("u/2", "yes");
    client.unsubscribe(&["u/2"]);
    client.follow("fence");
    publisher.put(event("u/2", "no"));
    publisher.put(event("fence", "end"));
    client.expect("fence", "end");
}

/// UNSUBSCRIBE while its retained messages are still being sent: what was not sent yet is not sent [MQTT-3.10.4-2], and what
/// another SUBSCRIBE still has to get comes.
#[test]
fn unsubscribe_ends_a_stream_of_retained_messages() {
    let node = Node::start();
    let mut writer = node.client("writer");
    for count in 0..50 {
        writer.write(&format!("many/{count:02}"), "x");
    }
    writer.write("one", "y");
    let mut client = node.connect(&ConnectOptions::v5("client").receive_maximum(1));
    client.subscribed(&filters(&["many/#", "one"]));
    let first = client.receive(std::time::Duration::from_secs(20)).expect("a message");
    assert_eq!(client.unsubscribe(&["many/#"]), [ReasonCode::Success]);
    client.put_back(first);
    client.expect("many/00", "x"); // was on its way
    client.expect("one", "y");
    writer.put(event("many/00", "no"));
    writer.put(event("one", "end"));
    client.expect("one", "end");
}

/// Filters beyond the limits are refused with their own code, the others are subscribed.
#[test]
fn limits_of_subscriptions() {
    let node = Node::start_with(|settings| {
        settings.filters_per_subscribe_max = 2;
        settings.subscriptions_per_session_max = 3;
    });
    let mut client = node.client("client");
    let suback = client.subscribe(&filters(&["a", "b", "c"])).expect("SUBACK");
    assert_eq!(
        suback.reasons,
        [
            ReasonCode::GrantedQoS1,
            ReasonCode::GrantedQoS1,
            ReasonCode::QuotaExceeded
        ]
    );
    let suback = client.subscribe(&filters(&["c", "d"])).expect("SUBACK");
    assert_eq!(suback.reasons, [ReasonCode::GrantedQoS1, ReasonCode::QuotaExceeded]);
    let suback = client
        .subscribe(&filters(&["a/#/b", "$share/group/a"]))
        .expect("SUBACK");
    assert_eq!(
        suback.reasons,
        [ReasonCode::TopicFilterInvalid, ReasonCode::QuotaExceeded]
    );
    client.put(event("c", "end"));
    client.expect("c", "end");
}
