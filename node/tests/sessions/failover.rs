//! Nodes killed and started again.

use std::time::Duration;

use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{Client, ConnectOptions};
use crate::common::cluster::Cluster;
use crate::common::wait;
use crate::support::{ClientExt, event};
use crate::{expect_silence, next_unacknowledged, one_at_a_time, resume, session};

#[test]
fn a_session_goes_on_at_another_node_when_its_own_is_killed() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let mut subscriber = resume(cluster.mqtt(0), &session("s"), false);
    subscriber.follow("a");
    let mut publisher = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("p"));
    for payload in ["1", "2", "3"] {
        publisher.put(event("a", payload));
    }
    subscriber.expect("a", "1");
    subscriber.flush().unwrap();
    let unacknowledged = next_unacknowledged(&mut subscriber);
    wait::until("PUBACK of the first in the state", Duration::from_secs(20), || {
        let (_, body) = cluster.get(1, "/v1/sessions/s")?;
        let session: banyan_api::session::Session = serde_json::from_str(&body).ok()?;
        (session.in_flight == 2 && session.lag_messages == 0).then_some(())
    });
    cluster.kill(0);
    let mut subscriber = resume(cluster.mqtt(2), &session("s"), true);
    let again = subscriber.expect("a", "2");
    assert_eq!((again.dup, again.packet_id), (true, unacknowledged.packet_id));
    assert!(subscriber.expect("a", "3").dup);
    let mut publisher = resume(cluster.mqtt(1), &ConnectOptions::v5("p"), false);
    publisher.put(event("a", "4"));
    subscriber.expect("a", "4");
    expect_silence(&mut subscriber);
    // The node that comes back neither has the session nor ends it.
    cluster.start_all();
    publisher.put(event("a", "5"));
    subscriber.expect("a", "5");
    let mut elsewhere = resume(cluster.mqtt(0), &session("s"), true);
    assert_eq!(subscriber.end_reason(), ReasonCode::SessionTakenOver);
    publisher.put(event("a", "6"));
    while elsewhere.next().payload != "6" {}
    cluster.wait_until_equal();
}

#[test]
fn what_waits_outlives_all_nodes() {
    const MESSAGES: usize = 200;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let mut subscriber = resume(cluster.mqtt(0), &session("s"), false);
    subscriber.follow("a/#");
    subscriber.disconnect();
    let mut publisher = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("p"));
    for count in 0..MESSAGES {
        publisher.put(event("a/event", count.to_string()));
        publisher.write("a/state", &count.to_string());
    }
    for node in cluster.indexes() {
        cluster.kill(node);
    }
    cluster.start_all();
    let mut subscriber = resume(cluster.mqtt(2), &session("s"), true);
    for count in 0..MESSAGES {
        subscriber.expect("a/event", &count.to_string());
        subscriber.expect("a/state", &count.to_string());
    }
    expect_silence(&mut subscriber);
    cluster.wait_until_equal();
}
