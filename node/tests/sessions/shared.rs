//! Shared subscriptions over three nodes: each message to exactly one member.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use banyan_core::mqtt::packet::QoS;

use crate::common::client::{Client, ClientError, ConnectOptions, message};
use crate::common::cluster::Cluster;
use crate::support::{ClientExt, Node, event, payload_of};
use crate::{one_at_a_time, resume, session};

/// What `client` gets until it is quiet for a while.
fn all_of(client: &mut Client) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        match client.next_message(Duration::from_millis(700)) {
            Ok(publish) => got.push(payload_of(&publish).parse().unwrap()),
            Err(ClientError::Timeout) => return got,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn each_message_goes_to_one_member() {
    const MESSAGES: u64 = 90;
    let nodes = Node::three();
    // Sessions of both kinds.
    let mut members = [
        resume(nodes[0].mqtt(), &session("m0"), false),
        resume(nodes[1].mqtt(), &session("m1"), false),
        Client::connect_soon(nodes[2].mqtt(), &ConnectOptions::v5("m2")),
    ];
    members
        .iter_mut()
        .for_each(|member| drop(member.follow("$share/g/a/#")));
    let mut publisher = Client::connect_soon(nodes[0].mqtt(), &ConnectOptions::v5("p"));
    for count in 0..MESSAGES {
        publisher.put(event("a/b", count.to_string()));
    }
    let got: Vec<Vec<u64>> = members.iter_mut().map(all_of).collect();
    assert!(got.iter().all(|got| got.len() >= 20), "round robin: {got:?}");
    let mut all = got.concat();
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());

    // The nodes may not have met on the lane that events take.
    publisher
        .publish_unacknowledged(message("other", "x", QoS::AtMostOnce, false))
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    for count in 0..30_u64 {
        let publish = message("a/b", count.to_string(), QoS::AtMostOnce, false);
        publisher.publish_unacknowledged(publish).unwrap();
    }
    let got: Vec<Vec<u64>> = members.iter_mut().map(all_of).collect();
    let mut all = got.concat();
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>(), "QoS 0, outside of the log: {got:?}");
}

/// What a member had not acknowledged when its node died goes to another one.
#[test]
fn what_a_lost_member_had_goes_to_another() {
    const MESSAGES: u64 = 60;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[("node_lost_s", "2")]);
    let lost = {
        let mut lost = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("m0"));
        lost.follow("$share/g/a");
        lost
    };
    let mut members: Vec<_> = (1..3)
        .map(|node| resume(cluster.mqtt(node), &session(&format!("m{node}")), false))
        .collect();
    members.iter_mut().for_each(|member| drop(member.follow("$share/g/a")));
    let mut publisher = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("p"));
    for count in 0..MESSAGES {
        publisher.put(event("a", count.to_string()));
    }
    let mut got: BTreeSet<u64> = members.iter_mut().flat_map(all_of).collect();
    assert!((got.len() as u64) < MESSAGES, "the third member has some");
    cluster.kill(0);
    crate::common::wait::until("all messages", Duration::from_secs(60), || {
        got.extend(members.iter_mut().flat_map(all_of));
        (got.len() as u64 == MESSAGES).then_some(())
    });
    drop(lost);
}

/// A group whose members are all away keeps its messages for them, if they have sessions.
#[test]
fn a_group_waits_for_its_members() {
    let node = Node::start();
    let mut member = resume(node.mqtt(), &session("m"), false);
    member.follow("$share/g/a");
    member.disconnect();
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for count in 0..300 {
        publisher.put(event("a", count.to_string()));
    }
    let mut member = resume(node.mqtt(), &session("m"), true);
    assert_eq!(all_of(&mut member), (0..300).collect::<Vec<_>>());
}
