//! A node that has lost its data and is started again under its id is refused, and ends with a word that says what to do.
//!
//! It has forgotten what it acknowledged: counted as before, it could make a majority with a node that lacks the same.

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::fs;
use std::time::Duration;

use common::cluster::Cluster;
use common::evidence::{Evidence, read_state};
use common::load::{Load, LoadOptions};

/// Longest time without any acknowledged write while a majority is up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The node that loses its data.
const LOST: usize = 2;
/// "Refused by the cluster".
const REFUSED: i32 = 4;

#[test]
fn a_node_whose_data_is_gone_does_not_come_back_under_its_id() {
    let cluster = Cluster::start(3, &[]);
    let writers = Load::run(&cluster, LoadOptions::default(), |load| {
        load.wait_until_acknowledged(500, PATIENCE);
        cluster.kill(LOST);
        let directory = cluster.data_dir(LOST);
        let cluster_id = fs::read(directory.join("cluster-id")).expect("the name of the cluster");
        fs::remove_dir_all(&directory).expect("the data of node 3");
        refused(
            &cluster,
            "node 3 has been a member, and its data directory is empty now",
        );
        load.wait_until_acknowledged(load.acknowledged() + 200, PATIENCE);
        // It knows where it belongs, and has forgotten all else.
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("cluster-id"), cluster_id).expect("the name of the cluster");
        refused(&cluster, "the data of node 3 is gone");
        load.wait_until_acknowledged(load.acknowledged() + 200, PATIENCE);
    });
    cluster.wait_until_equal();
    let state = read_state(&cluster, 0);
    assert!(read_state(&cluster, 1) == state, "nodes 1 and 2 list different states");
    let evidence = Evidence {
        writers: &writers,
        observers: &[],
        state: &state,
    };
    println!("{}", evidence.check());
}

/// Starts the node that has lost its data: it ends by itself, with a word that says why.
fn refused(cluster: &Cluster, why: &str) {
    cluster.spawn(LOST);
    let status = cluster.wait_for_end(LOST);
    let log = fs::read_to_string(cluster.log_file(LOST)).expect("the log of node 3");
    let said = log.lines().rev().find(|line| line.starts_with("banyan: "));
    let said = said.unwrap_or("nothing");
    println!("{said}");
    assert_eq!(status.code(), Some(REFUSED), "{said}");
    assert!(said.contains(why), "{said}");
}

/// One that was not there yet when the others began is no such node.
#[test]
fn a_node_that_starts_for_the_first_time_may_be_late() {
    let cluster = Cluster::new(3, &[]);
    for index in [0, 1] {
        cluster.spawn(index);
    }
    for index in [0, 1] {
        cluster.wait_until_ready(index);
    }
    cluster.start_node(LOST);
    // Nor is one that comes back with what it had.
    cluster.kill(LOST);
    cluster.start_node(LOST);
    cluster.wait_until_equal();
}
