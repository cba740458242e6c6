//! From any node to any node, at every QoS, between both versions.

use banyan_core::metadata::MetadataBuilder;
use banyan_core::mqtt::packet::{ProtocolVersion, QoS};

use crate::common::client::{SubscribeOptions, message};
use crate::common::wait;
use crate::support::{ClientExt, Node, VERSIONS, event, payload_of, state};
use std::time::Duration;

const QOS: [QoS; 2] = [QoS::AtMostOnce, QoS::AtLeastOnce];

/// A message reaches the subscribers of every node with the lesser of its QoS and the one granted [MQTT-3.8.4-8], in the
/// order of its publisher [MQTT-4.6.0-5]; RETAIN is 0, since it is new to them [MQTT-3.3.1-12].
/// Shows [MQTT-4.6.0-6]; 3.1.1 [MQTT-4.6.0-5], [MQTT-4.6.0-6].
#[test]
fn every_node_delivers_what_any_node_takes() {
    let nodes = Node::three();
    for (publisher_version, subscriber_version) in [
        (ProtocolVersion::V5, ProtocolVersion::V5),
        (ProtocolVersion::V5, ProtocolVersion::V3),
        (ProtocolVersion::V3, ProtocolVersion::V5),
        (ProtocolVersion::V3, ProtocolVersion::V3),
    ] {
        let mut subscribers = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            for granted in QOS {
                let mut client = node.client_of(subscriber_version, &format!("subscriber-{at}-{granted:?}"));
                client.subscribed(&SubscribeOptions::new("plant/+/speed").each_filter(|filter| filter.qos = granted));
                subscribers.push((granted, client));
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let mut publisher = node.client_of(publisher_version, &format!("publisher-{at}"));
            for count in 0..5 {
                publisher.put(event("plant/1/speed", format!("event {count}")));
                publisher.put(state("plant/2/speed", format!("{subscriber_version:?} {at} {count}")));
            }
            for (granted, subscriber) in &mut subscribers {
                for count in 0..5 {
                    let first = subscriber.expect("plant/1/speed", &format!("event {count}"));
                    let second = subscriber.expect("plant/2/speed", &format!("{subscriber_version:?} {at} {count}"));
                    for publish in [first, second] {
                        assert_eq!(publish.qos, *granted);
                        assert!(!publish.retain && !publish.dup); // [MQTT-3.3.1-1]
                        assert_eq!(publish.packet_id.is_some(), *granted != QoS::AtMostOnce); // [MQTT-2.2.1-2]
                    }
                }
            }
        }
        // The next round's subscribers start without state.
        nodes[0].client("cleaner").write("plant/2/speed", "");
    }
}

/// QoS 0: never more than once to each subscriber, and without an answer [MQTT-4.3.1-1]. Between nodes it is best effort, so
/// the publisher here repeats until each node has had one.
/// Shows 3.1.1 [MQTT-4.3.1-1].
#[test]
fn qos_0_reaches_subscribers_of_other_nodes() {
    let nodes = Node::three();
    for version in VERSIONS {
        for retain in [false, true] {
            let mut publisher = nodes[1].client_of(version, "publisher");
            for (at, node) in nodes.iter().enumerate() {
                let mut subscriber = node.client_of(version, "subscriber");
                let topic = format!("qos0/{version:?}/{at}/{retain}");
                subscriber.follow(&topic);
                let mut serial = 0;
                let first = wait::until("message of QoS 0", Duration::from_secs(20), || {
                    serial += 1;
                    let publish = message(&topic, format!("{serial}"), QoS::AtMostOnce, retain);
                    publisher.publish_unacknowledged(publish).expect("sent");
                    subscriber.next_message(Duration::from_millis(200)).ok()
                });
                assert_eq!((first.qos, first.packet_id), (QoS::AtMostOnce, None));
                // Each of those that followed comes once, in order.
                let mut last: u32 = payload_of(&first).parse().expect("a number");
                while last < serial {
                    let next = payload_of(&subscriber.next()).parse().expect("a number");
                    assert!(next > last, "{next} after {last}");
                    last = next;
                }
            }
        }
    }
}

/// Payload format, content type, response topic, correlation data and user properties arrive as they were sent, live and
/// retained [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]; and nothing
/// is added for a client that asked for nothing.
#[test]
fn metadata_arrives_as_it_was_sent() {
    let nodes = Node::three();
    let mut builder = MetadataBuilder::new();
    builder.payload_format(1);
    builder.content_type("application/json");
    builder.response_topic("answers/7");
    builder.correlation_data(&[0, 1, 254, 255]);
    for (name, value) in [("unit", "°C"), ("unit", "K"), ("timestamp", "yesterday"), ("", "")] {
        builder.user_property(name, value);
    }
    let metadata = builder.build().expect("legal metadata");

    let mut live = nodes[2].client("live");
    live.follow("m/#");
    let mut publisher = nodes[0].client("publisher");
    for publish in [event("m/event", "{}"), state("m/state", "{}")] {
        let mut publish = publish;
        publish.metadata = metadata.clone();
        publisher.put(publish);
    }
    let mut late = nodes[1].client("late");
    late.follow("m/#");
    for received in [
        live.expect("m/event", "{}"),
        live.expect("m/state", "{}"),
        late.expect("m/state", "{}"),
    ] {
        assert_eq!(received.metadata, metadata);
        assert_eq!((received.message_expiry_s, received.topic_alias), (None, None));
        assert!(received.subscription_ids.is_empty());
    }
    // A 3.1.1 client gets the same payload without them.
    let mut old = nodes[1].client_of(ProtocolVersion::V3, "old");
    old.follow("m/#");
    assert!(old.expect("m/state", "{}").metadata.is_empty());
}

/// An event of QoS 1 is acknowledged whether or not anybody subscribes, and is not kept [MQTT-3.3.1-8].
#[test]
fn an_event_is_not_kept() {
    let node = Node::start();
    let mut client = node.client("client");
    client.write("kept", "state");
    client.put(event("kept", "event"));
    client.put(event("passing", "event"));
    client.follow("#");
    assert!(client.expect("kept", "state").retain);
    client.put(event("fence", ""));
    client.expect("fence", "");
}

/// Topic aliases in both directions: the client's stand for what it said they do [MQTT-3.3.2-12], the server's stay within
/// the client's Topic Alias Maximum [MQTT-3.3.2-11].
#[test]
fn topic_aliases_stand_for_names() {
    let node = Node::start();
    let mut options = crate::common::client::ConnectOptions::v5("client");
    options.connect.topic_alias_maximum = Some(2);
    let mut client = node.connect(&options);
    client.follow("alias/+");
    let mut names: std::collections::BTreeMap<u16, String> = std::collections::BTreeMap::new();
    for round in 0..3 {
        for topic in ["alias/a", "alias/b", "alias/c"] {
            let mut publish = event(if round == 0 { topic } else { "" }, topic);
            publish.topic_alias = Some(1 + u16::from(topic.as_bytes()[6] - b'a'));
            client.put(publish);
            let received = client.next();
            let name = match received.topic_alias {
                Some(alias) => {
                    assert!((1..=2).contains(&alias));
                    if !received.topic.is_empty() {
                        names.insert(alias, crate::support::topic_of(&received));
                    }
                    names[&alias].clone()
                }
                None => crate::support::topic_of(&received),
            };
            assert_eq!(name, payload_of(&received));
        }
    }
}
