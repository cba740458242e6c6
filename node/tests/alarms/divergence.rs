//! A replica that holds something else than the others is found, and stops.

use std::fs;
use std::time::Instant;

use banyan_core::keyspace::meta::{POSITION_KEY, Position};
use banyan_core::keyspace::topic_key;
use banyan_core::state::State;
use banyan_core::topic::TopicName;
use banyan_node::components::Stores;
use banyan_node::storage::lsm::LsmStores;
use bytes::Bytes;

use crate::common::client::{Client, ConnectOptions};
use crate::common::cluster::Cluster;
use crate::common::wait;
use crate::support::ClientExt;
use crate::{ALARM_TIMEOUT, alarm};

/// Changes a byte of the value of `topic` in the state of the stopped node `index`, and its digest with it: damage that the
/// node cannot see by itself.
fn plant(cluster: &Cluster, index: usize, topic: &str) {
    let open = || {
        let stores = LsmStores.open(&cluster.data_dir(index).join("state"), 8 * 1024 * 1024);
        stores.expect("the state of a stopped node")
    };
    let key = topic_key(&TopicName::parse(topic).expect("a topic"));
    let store = open();
    let mut row = store.get(&key).expect("a store").expect("the topic's row").to_vec();
    *row.last_mut().expect("a payload") ^= 1;
    store.write(vec![(key, Some(Bytes::from(row)))]).expect("written");
    let digest = {
        let view = State::open(store.clone()).expect("a state").view();
        view.full_topics_digest().expect("readable rows").as_u128()
    };
    let position = store.get(&POSITION_KEY).expect("a store").expect("a position");
    let position = Position {
        digest,
        ..Position::parse(&position).expect("a position")
    };
    let key = Bytes::copy_from_slice(&POSITION_KEY);
    store.write(vec![(key, Some(position.encode()))]).expect("written");
}

/// One replica of three holds another value: all nodes raise an alarm, it stops with exit code 3 and does not start again, the
/// others go on.
#[test]
fn a_replica_that_has_diverged_is_found_and_stops() {
    let cluster = Cluster::start(3, &[]);
    let mut client = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("writer"));
    for number in 0..100 {
        client.write(&format!("v/{number}"), "21.5");
    }
    cluster.wait_until_equal();
    let (planted, id) = (2, cluster.id(2));
    assert!(cluster.stop(planted).success());
    plant(&cluster, planted, "v/7");

    let started = Instant::now();
    cluster.spawn(planted);
    let status = cluster.wait_for_end(planted);
    println!(
        "found and stopped {:.1} s after the node was started",
        started.elapsed().as_secs_f64()
    );
    assert_eq!(status.code(), Some(3), "{status}");
    for index in [0, 1] {
        let alarm = wait::until("an alarm", ALARM_TIMEOUT, || {
            alarm(&cluster.status(index)?, "divergence", id).cloned()
        });
        assert!(
            alarm.action.contains("banyanctl member add --replace"),
            "{}",
            alarm.action
        );
        println!("node {}: {}", cluster.id(index), alarm.detail);
    }
    client.write("v/7", "the others go on");

    cluster.spawn(planted);
    let status = cluster.wait_for_end(planted);
    assert_eq!(status.code(), Some(3), "{status}");
    let log = fs::read_to_string(cluster.log_file(planted)).expect("a log");
    let last = log.lines().last().expect("a last line");
    assert!(last.contains("must not be used any more"), "{last}");
    println!("{last}");
}
