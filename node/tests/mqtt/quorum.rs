//! What a node serves when it has lost the others.

use std::time::{Duration, Instant};

use banyan_api::cluster::ClusterStatus;
use banyan_core::mqtt::packet::ProtocolVersion;
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{Client, ClientError, ConnectOptions, SubscribeOptions};
use crate::common::wait;
use crate::support::{ClientExt, Node, VERSIONS, state, topic_of};

/// Shorter than by default, so that a write without a quorum fails soon; long enough for one with a quorum on a busy machine.
const WRITE_TIMEOUT_MS: u64 = 3_000;

/// Two of three nodes are stopped. CONNECT is answered 0x88 (3.1.1: 3); a connected client's write ends with DISCONNECT 0x89
/// and no acknowledgement (3.1.1: closed); SUBSCRIBE is answered 0x83 (3.1.1: 0x80) and names `consistency=local`, which
/// still works.
/// Shows 3.1.1 [MQTT-4.8.0-2].
#[test]
fn without_a_quorum() {
    let mut nodes = Node::cluster_with::<3>(|settings| settings.write_timeout_ms = WRITE_TIMEOUT_MS);
    let mut writer = nodes[2].client("writer");
    for topic in ["q/1", "q/2"] {
        writer.write(topic, "known");
    }
    writer.disconnect();
    let mut subscriber = nodes[0].annotated("subscriber");
    subscriber.follow("q/1");
    subscriber.expect("q/1", "known");
    let mut old_subscriber = nodes[0].client_of(ProtocolVersion::V3, "old-subscriber");
    let mut writers = VERSIONS.map(|version| nodes[0].client_of(version, &format!("{version:?}")));
    let [first, second, third] = &mut nodes;
    let stopping = [second.begin_stop(), third.begin_stop()];
    for (node, stopping) in [second, third].into_iter().zip(stopping) {
        node.finish_stop(stopping);
    }
    wait::until("loss of the quorum", Duration::from_secs(30), || {
        first.service().is_ready().err()
    });

    for version in VERSIONS {
        match Client::connect(first.mqtt(), &ConnectOptions::new(version, "late")) {
            Err(ClientError::Refused(ReasonCode::ServerUnavailable)) => {}
            other => panic!("{version:?}: {other:?}"),
        }
    }

    for (version, writer) in VERSIONS.into_iter().zip(&mut writers) {
        match (version, writer.publish(state("q/1", "lost"))) {
            (ProtocolVersion::V5, Err(ClientError::Disconnected(disconnect))) => {
                assert_eq!(disconnect.reason, ReasonCode::ServerBusy);
                assert!(disconnect.reason_string.is_some());
            }
            (ProtocolVersion::V3, Err(ClientError::Closed)) => {}
            (_, other) => panic!("{version:?}: {other:?}"),
        }
    }

    let suback = subscriber.subscribe(&SubscribeOptions::new("q/#")).expect("SUBACK");
    assert_eq!(suback.reasons, [ReasonCode::ImplementationSpecificError]);
    let text = suback.reason_string.expect("a reason string");
    assert!(text.contains("consistency=local"), "{text}");
    let suback = old_subscriber.subscribe(&SubscribeOptions::new("q/#")).expect("SUBACK");
    assert!(suback.reasons[0].is_failure());

    subscriber.subscribed(&SubscribeOptions::new("q/#").property("consistency", "local"));
    let found = [subscriber.next(), subscriber.next()].map(|publish| topic_of(&publish));
    assert_eq!(found, ["q/1", "q/2"]);
}

/// A cluster that has had nothing to do for longer than the write timeout, and then gets another leader, takes the first
/// write at once: its deadline counts from now.
#[test]
fn the_first_write_after_an_idle_change_of_leader() {
    let mut nodes = Node::cluster_with::<3>(|settings| settings.write_timeout_ms = WRITE_TIMEOUT_MS);
    let names = ["one", "two", "three"];
    let mut clients: Vec<_> = nodes.iter().zip(names).map(|(node, name)| node.client(name)).collect();
    clients[0].write("idle/0", "x");
    let idle_until = Instant::now() + Duration::from_millis(WRITE_TIMEOUT_MS + 500);
    wait::until("idle time", Duration::from_secs(20), || {
        (Instant::now() > idle_until).then_some(())
    });
    let leader = wait::until("leader", Duration::from_secs(20), || leader_of(&nodes[0]));
    clients.remove(leader).disconnect();
    nodes[leader].stop();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    for (at, client) in others.into_iter().zip(&mut clients) {
        wait::until("new leader", Duration::from_secs(20), || {
            leader_of(&nodes[at]).filter(|new| *new != leader)?;
            nodes[at].service().is_ready().ok()
        });
        client.write(&format!("idle/{at}"), "x");
    }
}

/// Index of the leader that `node` knows.
fn leader_of(node: &Node) -> Option<usize> {
    let (_, body) = node.get("/v1/cluster");
    let status: ClusterStatus = serde_json::from_str(&body).expect("a cluster status");
    usize::try_from(status.leader? - 1).ok()
}
