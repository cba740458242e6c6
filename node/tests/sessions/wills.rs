//! When a will is published, and when not.

use std::thread;
use std::time::{Duration, Instant};

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{QoS, Will};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;

use crate::common::client::{Client, ConnectOptions};
use crate::common::cluster::Cluster;
use crate::support::{ClientExt, Node, payload_of, topic_of};
use crate::{expect_silence, leave, lose, one_at_a_time, resume, session};

fn with_will(mut options: ConnectOptions, delay_s: u32, retain: bool) -> ConnectOptions {
    let topic = format!("will/{}", String::from_utf8_lossy(&options.connect.client_id));
    options.connect.will = Some(will(&topic, delay_s, retain));
    options
}

fn will(topic: &str, delay_s: u32, retain: bool) -> Will {
    Will {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        retain,
        delay_s,
        message_expiry_s: None,
        metadata: Metadata::empty(),
    }
}

/// [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
#[test]
fn a_will_tells_of_a_client_that_is_lost_and_of_no_other() {
    let nodes = Node::three();
    let mut witness = Client::connect_soon(nodes[1].mqtt(), &ConnectOptions::v5("witness"));
    witness.follow("will/#");
    let connect = |client_id| {
        let options = with_will(ConnectOptions::v5(client_id), 0, true);
        Client::connect_soon(nodes[0].mqtt(), &options)
    };
    connect("clean").disconnect();
    expect_silence(&mut witness);
    lose(connect("lost"));
    witness.expect("will/lost", "gone");
    leave(connect("asked"), ReasonCode::DisconnectWithWill, None);
    witness.expect("will/asked", "gone");
    let former = connect("taken");
    let _now = connect("taken");
    witness.expect("will/taken", "gone");
    drop(former);
    assert_eq!(nodes[2].topic_status("will/lost"), 200, "a retained will is a write");
    assert_eq!(nodes[2].topic_status("will/clean"), 404);
}

/// [MQTT-3.1.3-9]: not if the client is back in time.
/// Shows [MQTT-3.1.2-8].
#[test]
fn a_will_waits_for_its_delay_and_for_the_client() {
    // Long enough for the client to be back in time on a busy machine.
    const DELAY_S: u32 = 5;
    let node = Node::start();
    let mut witness = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("witness"));
    witness.follow("will/#");
    let (back, gone) = (
        with_will(session("back"), DELAY_S, false),
        with_will(session("gone"), DELAY_S, false),
    );
    lose(resume(node.mqtt(), &back, false));
    let gone = resume(node.mqtt(), &gone, false);
    let lost_at = Instant::now();
    lose(gone);
    expect_silence(&mut witness);
    let _back = resume(node.mqtt(), &back, true);
    witness.expect("will/gone", "gone");
    assert!(
        lost_at.elapsed() > Duration::from_secs(DELAY_S.into()) - Duration::from_millis(100),
        "{:?}",
        lost_at.elapsed()
    );
    thread::sleep(Duration::from_secs(1));
    expect_silence(&mut witness);
}

#[test]
fn a_will_is_published_when_the_node_of_the_client_dies() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[("node_lost_s", "5")]);
    let mut witness = Client::connect_soon(cluster.mqtt(1), &ConnectOptions::v5("witness"));
    witness.follow("will/#");
    let _client = Client::connect_soon(cluster.mqtt(0), &with_will(ConnectOptions::v5("c"), 0, false));
    let _session = resume(cluster.mqtt(0), &with_will(session("s"), 0, false), false);
    cluster.kill(0);
    let mut told: Vec<_> = (0..2)
        .map(|_| witness.next())
        .map(|publish| (topic_of(&publish), payload_of(&publish)))
        .collect();
    told.sort();
    let gone = "gone".to_owned();
    assert_eq!(told, [("will/c".to_owned(), gone.clone()), ("will/s".to_owned(), gone)]);
    cluster.start_all();
    expect_silence(&mut witness);
}

/// A node that stops closes the network connection, so its clients' wills are due [MQTT-3.1.2-8].
#[test]
fn a_will_is_published_when_the_node_of_the_client_stops() {
    let [node, other, _third] = Node::three();
    let mut witness = Client::connect_soon(other.mqtt(), &ConnectOptions::v5("witness"));
    witness.follow("will/#");
    let mut client = Client::connect_soon(node.mqtt(), &with_will(ConnectOptions::v5("c"), 0, false));
    let stopping = thread::spawn(move || drop(node));
    assert_eq!(client.end_reason(), ReasonCode::ServerShuttingDown);
    witness.expect("will/c", "gone");
    drop(client);
    stopping.join().unwrap();
}
