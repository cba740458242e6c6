//! Shared subscriptions over three nodes: each message to exactly one member.

use std::collections::BTreeSet;
use std::time::Duration;

use banyan_core::mqtt::packet::QoS;

use crate::common::client::{Client, ClientError, ConnectOptions, message};
use crate::common::cluster::Cluster;
use crate::common::wait::until;
use crate::support::{ClientExt, Node, event, payload_of, topic_of};
use crate::{expect_silence, next_unacknowledged, one_at_a_time, resume, session};

/// How long a look at a member takes that has nothing.
const LOOK: Duration = Duration::from_millis(100);

/// What is here for each of `members` on `topic`, without waiting for more.
fn take(members: &mut [Client], topic: &str) -> Vec<Vec<u64>> {
    let mut take_one = |member: &mut Client| {
        let mut got = Vec::new();
        loop {
            match member.next_message(LOOK) {
                Ok(publish) if topic_of(&publish) == topic => got.push(payload_of(&publish).parse().unwrap()),
                Ok(_) => {}
                Err(ClientError::Timeout) => return got,
                Err(error) => panic!("{error}"),
            }
        }
    };
    members.iter_mut().map(&mut take_one).collect()
}

/// What each of `members` gets on `topic` until they have `count` in all; then nothing more comes.
fn all_of(members: &mut [Client], topic: &str, count: u64) -> Vec<Vec<u64>> {
    let mut got = vec![Vec::new(); members.len()];
    until("messages for the members", Duration::from_secs(60), || {
        for (got, more) in got.iter_mut().zip(take(members, topic)) {
            got.extend(more);
        }
        (got.iter().map(Vec::len).sum::<usize>() as u64 >= count).then_some(())
    });
    members.iter_mut().for_each(expect_silence);
    got
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
    let got = all_of(&mut members, "a/b", MESSAGES);
    assert!(got.iter().all(|got| got.len() >= 20), "round robin: {got:?}");
    let mut all = got.concat();
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());

    // The nodes may not have met yet on the lane that events take. What was sent on it before comes before what is counted.
    let mut has_met = [false; 3];
    until("member that an event of QoS 0 reaches", Duration::from_secs(60), || {
        let probe = message("a/probe", "0", QoS::AtMostOnce, false);
        publisher.publish_unacknowledged(probe).unwrap();
        for (has_met, got) in has_met.iter_mut().zip(take(&mut members, "a/probe")) {
            *has_met |= !got.is_empty();
        }
        has_met.iter().all(|has_met| *has_met).then_some(())
    });
    for count in 0..30_u64 {
        let publish = message("a/b", count.to_string(), QoS::AtMostOnce, false);
        publisher.publish_unacknowledged(publish).unwrap();
    }
    let got = all_of(&mut members, "a/b", 30);
    let mut all = got.concat();
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>(), "QoS 0, outside of the log: {got:?}");
}

/// What a member had not acknowledged when its node died goes to another one.
#[test]
fn what_a_lost_member_had_goes_to_another() {
    const MESSAGES: u64 = 60;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[("node_lost_s", "5")]);
    let mut lost = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("m0"));
    lost.follow("$share/g/a");
    let mut members: Vec<_> = (1..3)
        .map(|node| resume(cluster.mqtt(node), &session(&format!("m{node}")), false))
        .collect();
    members.iter_mut().for_each(|member| drop(member.follow("$share/g/a")));
    let mut publisher = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("p"));
    for count in 0..MESSAGES {
        publisher.put(event("a", count.to_string()));
    }
    // The third member has this one, and keeps it.
    let unacknowledged: u64 = payload_of(&next_unacknowledged(&mut lost)).parse().unwrap();
    let mut got: BTreeSet<u64> = take(&mut members, "a").concat().into_iter().collect();
    assert!(!got.contains(&unacknowledged), "it has one member at a time");
    cluster.kill(0);
    until("message that the lost member had", Duration::from_secs(60), || {
        got.extend(take(&mut members, "a").concat());
        (got.len() as u64 == MESSAGES).then_some(())
    });
    assert!(got.contains(&unacknowledged));
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
    for count in 0..300 {
        member.expect("a", &count.to_string());
    }
    expect_silence(&mut member);
}
