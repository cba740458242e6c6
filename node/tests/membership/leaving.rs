//! Clients of a node that leaves, and changes whose leader dies.

use banyan_core::mqtt::QoS;
use banyan_core::mqtt::reason::ReasonCode;

use super::common::banyanctl;
use super::common::client::{Client, ClientError, ConnectOptions, SubscribeOptions, message};
use super::*;

/// A client of a node that is removed is told, and finds its session and what it missed elsewhere.
#[test]
fn clients_of_a_node_that_leaves_go_on_elsewhere() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    wait_for_feature_level(&cluster);
    let leaves = leader(&cluster, 0);
    let stays: Vec<usize> = (0..3).filter(|index| *index != leaves).collect();
    let mut options = ConnectOptions::v5("device");
    options.connect.session_expiry_s = Some(600);
    let mut device = Client::connect_soon(cluster.mqtt(leaves), &options);
    device.subscribe(&SubscribeOptions::new("to/device")).expect("a SUBACK");
    banyanctl::ok(&cluster, &[leaves], &format!("member remove {}", cluster.id(leaves)));
    match device.next_message(READY_TIMEOUT) {
        Err(ClientError::Disconnected(disconnect)) => assert_eq!(disconnect.reason, ReasonCode::ServerShuttingDown),
        other => panic!("{other:?}"),
    }
    let mut writer = Client::connect_soon(cluster.mqtt(stays[0]), &ConnectOptions::v5("writer"));
    let ack = writer
        .publish(message("to/device", "missed", QoS::AtLeastOnce, false))
        .expect("a PUBACK");
    assert!(!ack.reason.is_failure());
    options.connect.clean_start = false;
    let mut device = Client::connect_soon(cluster.mqtt(stays[1]), &options);
    assert!(device.connack().session_present);
    let missed = device.next_message(READY_TIMEOUT).expect("the message that it missed");
    assert_eq!(missed.payload, "missed");
    assert_removed(&cluster, leaves);
}

/// The leader dies as soon as it has taken the command: the next one goes on.
#[test]
fn a_change_goes_on_when_the_leader_dies() {
    let _alone = one_at_a_time();
    let cluster = Cluster::growing(4, 3, &[]);
    (0..3).for_each(|index| cluster.spawn(index));
    (0..3).for_each(|index| cluster.wait_until_ready(index));
    wait_for_feature_level(&cluster);
    let added = banyanctl::ok(&cluster, &[0], "member add --learner --no-wait");
    start_new(&cluster, 3, &added);
    wait_for_role(&cluster, 0, 3, "learner");
    cluster.wait_until_ready(3);
    let dies = leader(&cluster, 0);
    let stays: Vec<usize> = (0..3).filter(|index| *index != dies).collect();
    let (leaves, asked) = (stays[0], [stays[1]]);
    banyanctl::ok(
        &cluster,
        &asked,
        &format!("member replace {} 4 --no-wait", cluster.id(leaves)),
    );
    cluster.kill(dies);
    wait_for_role(&cluster, stays[1], 3, "voter");
    assert_removed(&cluster, leaves);
    // Two of three voters are left. A second removal waits for the third.
    let refused = banyanctl::run(&cluster, &asked, "member remove 4");
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    cluster.start_node(dies);
    let members = banyanctl::ok(&cluster, &asked, "member list");
    assert!(members.contains("quorum 2 of 3 voters"), "{members}");
    cluster.wait_until_equal();
}
