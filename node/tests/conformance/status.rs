//! `$SYS` topics, under the names that users of Mosquitto know.

use std::collections::BTreeMap;

use banyan_core::mqtt::packet::QoS;

use crate::common::client::{ConnectOptions, message};
use crate::support::{ClientExt, Node, payload_of, state, topic_of, with_id};
use crate::{at, kept, take};

/// They come as retained messages at SUBSCRIBE and as they change, for clean and persistent sessions, on each node its own; and
/// for no filter that does not name them.
#[test]
fn a_node_tells_of_itself() {
    let nodes: [Node; 3] = Node::cluster_with(|settings| settings.sys_interval_s = 1);
    nodes[0].client("writer").put(state("t", "x"));
    for options in [ConnectOptions::v5("clean"), kept(ConnectOptions::v5("persistent"))] {
        let mut client = nodes[1].connect(&options);
        client.subscribed(&with_id(at("$SYS/broker/#", QoS::AtLeastOnce), 7));
        let mut told = BTreeMap::new();
        let is_all = |told: &BTreeMap<String, String>| {
            told.contains_key("version")
                && told.get("cluster/quorum").is_some_and(|quorum| quorum == "yes")
                && told.get("cluster/voters").is_some_and(|count| count == "3")
                && told.get("retained messages/count").is_some_and(|count| count == "1")
                && told.get("clients/connected").is_some_and(|count| count == "1")
                && told.get("publish/messages/sent").is_some_and(|count| count != "0")
        };
        let mut first = None;
        while !is_all(&told) {
            let publish = take(&mut client);
            assert_eq!(
                (publish.qos, &publish.subscription_ids[..]),
                (QoS::AtMostOnce, &[7][..])
            );
            first.get_or_insert(publish.retain);
            let topic = topic_of(&publish);
            let name = topic
                .strip_prefix("$SYS/broker/")
                .expect("beneath $SYS/broker")
                .to_owned();
            told.insert(name, payload_of(&publish));
        }
        assert_eq!(first, Some(true), "what there is comes at once");
        for name in [
            "uptime",
            "messages/received",
            "bytes/sent",
            "load/messages/received/1min",
            "subscriptions/count",
            "heap/current",
            "cluster/id",
            "cluster/applied",
        ] {
            assert!(told.contains_key(name), "{name}: {told:?}");
        }
        assert!(told["uptime"].ends_with(" seconds"));
        assert_eq!(told["cluster/quorum"], "yes");
        assert_eq!(told["cluster/node"], "2");
        assert_eq!(told["cluster/voters"], "3");
        client.disconnect();
    }
    let mut all = nodes[2].client("all");
    all.subscribed(&at("#", QoS::AtMostOnce));
    all.expect("t", "x");
    all.put(message("t", "y", QoS::AtLeastOnce, false));
    all.expect("t", "y"); // and nothing of the server's before it
}

/// `sys_interval_s = 0` turns them off.
#[test]
fn they_can_be_turned_off() {
    let node = Node::start_with(|settings| settings.sys_interval_s = 0);
    let mut client = node.client("c");
    client.follow("$SYS/#");
    client.follow("t");
    client.write("t", "x");
    client.expect("t", "x");
}
