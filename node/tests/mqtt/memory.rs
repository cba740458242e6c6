//! A subscriber of everything, with a small window, over many retained topics: it gets them all, and the node's memory does
//! not grow with their number.
//!
//! The long form:
//!
//! ```text
//! BANYAN_TOPICS=200_000 cargo test --release -p banyan-node --test mqtt memory -- --nocapture
//! ```

use std::fs;

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions};
use crate::common::cluster::Cluster;
use crate::common::number_from_environment;
use crate::common::publisher::Publisher;
use crate::support::{ClientExt, state, topic_of};

/// What the node may grow by.
const GROWTH_MAX_KIB: u64 = 32 * 1024;
/// Resident memory of a process, KiB: `VmRSS` now, `VmHWM` at most since [`forget_most`].
fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

/// Lets `VmHWM` begin anew at what is resident now.
fn forget_most(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("clear_refs");
}

fn topic(count: usize) -> String {
    format!("memory/{:03}/{count:07}", count % 500)
}

#[test]
fn everything_to_a_small_window() {
    let topics = number_from_environment("BANYAN_TOPICS", 3_000);
    let cluster = Cluster::start(1, &[]);
    let writer = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("writer"));
    let mut publisher = Publisher::new(writer, 256);
    let payload = [b'x'; 100];
    let mut next = 0;
    while next < topics || publisher.in_flight() > 0 {
        while next < topics && publisher.has_room() {
            publisher.publish(state(&topic(next), payload), ());
            next += 1;
        }
        for ((), ack) in publisher.acknowledged(ANSWER_TIMEOUT).expect("PUBACK") {
            assert!(!ack.reason.is_failure());
        }
    }

    // What writing needed is not what reading needs: the node is new.
    cluster.restart(0);
    let pid = cluster.pid(0).expect("the node runs");
    for round in ["first", "second"] {
        forget_most(pid);
        let before = memory_kib(pid, "VmRSS:");
        let options = ConnectOptions::v5("subscriber").receive_maximum(10);
        let mut client = Client::connect_soon(cluster.mqtt(0), &options);
        client.follow("#");
        let mut missing = vec![true; topics];
        for _ in 0..topics {
            let publish = client.next();
            assert_eq!(publish.payload, payload[..]);
            let name = topic_of(&publish);
            let at: usize = name
                .rsplit('/')
                .next()
                .and_then(|last| last.parse().ok())
                .expect("a number");
            assert_eq!(name, topic(at));
            assert!(std::mem::take(&mut missing[at]), "{name} twice");
        }
        let most = memory_kib(pid, "VmHWM:");
        let growth = most.saturating_sub(before);
        println!(
            "{topics} topics, {round} subscriber: resident {before} KiB before, {most} KiB at most, growth {growth} KiB"
        );
        assert!(growth < GROWTH_MAX_KIB, "grew by {growth} KiB");
    }
}
