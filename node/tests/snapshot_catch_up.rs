//! A node that was away for so long that the others have purged the log it would need catches up by snapshot, while they serve.
//!
//! The long form:
//!
//! ```text
//! BANYAN_WRITES=100000 cargo test --release -p banyan-node --test snapshot_catch_up -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_WRITES` | acknowledged writes at least while the node is away | 10,000 |
//! | `BANYAN_KEEP` | any value: leave data and logs of the nodes where they are | |

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use banyan_core::mqtt::QoS;
use common::client::{Client, ConnectOptions, message};
use common::cluster::Cluster;
use common::evidence::{Evidence, read_state};
use common::load::{Load, LoadOptions};
use common::number_from_environment;
use common::wait;

/// Longest time without any acknowledged write while a majority is up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for the state to be transferred and the log behind it to be applied, under load.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);
/// The node that goes away.
const AWAY: usize = 2;

/// The smallest files there are, so that few writes suffice for the log to be purged.
const SMALL_FILES: &[(&str, &str)] = &[
    ("log_segment_bytes", "1 MiB"),
    ("log_keep_bytes", "0"),
    ("checkpoint_bytes", "1 MiB"),
];

/// Each test has a whole cluster and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_node_behind_the_purged_log_catches_up_by_snapshot() {
    let writes = number_from_environment("BANYAN_WRITES", 10_000) as u64;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, SMALL_FILES);
    let options = LoadOptions {
        payload_bytes: 400,
        ..LoadOptions::default()
    };
    let writers = Load::run(&cluster, options, |load| {
        load.wait_until_acknowledged(writes / 20, PATIENCE);
        assert!(cluster.stop(AWAY).success(), "node 3 stops as asked");
        let last_log_index = |index| cluster.member(index).and_then(|member| member.last_log_index);
        // It cannot hold more of the log than the others do now.
        let held = last_log_index(0).max(last_log_index(1)).expect("nodes 1 and 2 answer");
        let begin = load.acknowledged();
        load.wait_until_acknowledged(begin + writes, PATIENCE);
        // The load goes on until the log is purged.
        wait::until("log purged beyond the node that is away", CATCH_UP_TIMEOUT, || {
            let purged = |index| cluster.member(index).and_then(|member| member.purged_index);
            (purged(0) > Some(held) && purged(1) > Some(held)).then_some(())
        });
        let missed = load.acknowledged() - begin;
        let purged = cluster
            .member(0)
            .and_then(|member| member.purged_index)
            .unwrap_or_default();
        println!(
            "node 3 holds the log up to {held} at most and missed {missed} writes; node 1 has purged up to {purged}"
        );

        let started = Instant::now();
        let (before, mut served) = (load.acknowledged(), 0);
        cluster.start_node(AWAY);
        wait::until("node 3 with the state of the others", CATCH_UP_TIMEOUT, || {
            let caught_up = cluster.member(AWAY)?.applied_index? > purged;
            served = load.acknowledged() - before;
            caught_up.then_some(())
        });
        println!(
            "caught up after {} ms, {served} writes were acknowledged meanwhile",
            started.elapsed().as_millis()
        );
        assert!(served > 0, "the others served meanwhile");
        // Its own log begins behind the snapshot: it cannot have got the purged entries.
        let log_start = cluster.member(AWAY).and_then(|member| member.purged_index);
        assert!(
            log_start > Some(held),
            "node 3 has purged {log_start:?} only: it did not install a snapshot"
        );
        load.wait_until_acknowledged(load.acknowledged() + 500, PATIENCE);
    });
    let members = cluster.wait_until_equal();
    println!(
        "digest {} on {} nodes",
        members[0].digest.as_deref().unwrap_or("?"),
        members.len()
    );
    check(&cluster, &writers);

    // What was installed is durable.
    cluster.kill_all();
    cluster.start_all();
    cluster.wait_until_equal();
    println!("{}", check(&cluster, &writers));
}

/// The log is written faster than a snapshot is installed, and little of it is kept: the purge must wait for a node that is
/// catching up, or it would be sent one snapshot after the other.
#[test]
fn a_node_that_catches_up_under_load_is_not_outrun() {
    const SNAPSHOTS_MAX: usize = 3;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, SMALL_FILES);
    let options = LoadOptions {
        payload_bytes: 4_000,
        ..LoadOptions::default()
    };
    Load::run(&cluster, options, |load| {
        for _ in 0..3 {
            load.wait_until_acknowledged(load.acknowledged() + 500, PATIENCE);
            cluster.kill(AWAY);
            let purged = |index| cluster.member(index).and_then(|member| member.purged_index);
            let held = cluster.member(0).and_then(|member| member.last_log_index);
            wait::until("log purged beyond the node that is away", CATCH_UP_TIMEOUT, || {
                (purged(0) > held && purged(1) > held).then_some(())
            });
            cluster.start_node(AWAY);
        }
    });
    cluster.wait_until_equal();
    let log = std::fs::read_to_string(cluster.log_file(AWAY)).expect("the log of node 3");
    let snapshots = log.matches("installed a snapshot").count();
    println!("{snapshots} snapshots for 3 absences");
    assert!(
        (1..=3 * SNAPSHOTS_MAX).contains(&snapshots),
        "{snapshots} snapshots for 3 absences"
    );
}

/// A node that loads a snapshot stands still for so long that its leader gives it up: what it has by then is not sent again.
#[test]
fn a_snapshot_that_breaks_off_goes_on_where_it_was() {
    const VALUES: usize = 32;
    const VALUE_BYTES: usize = 256 * 1024;
    /// Of a connection that is taken for broken: 3 s of silence.
    const STANDSTILL: Duration = Duration::from_secs(5);
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, SMALL_FILES);
    assert!(cluster.stop(AWAY).success(), "node 3 stops as asked");
    let held = cluster.member(0).and_then(|member| member.last_log_index);
    let mut writer = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("writer"));
    let mut numbers = (0..VALUES).cycle();
    wait::until("log purged beyond the node that is away", CATCH_UP_TIMEOUT, || {
        for number in numbers.by_ref().take(VALUES) {
            let value = vec![number as u8; VALUE_BYTES];
            let write = message(&format!("large/{number}"), value, QoS::AtLeastOnce, true);
            let ack = writer.publish(write).expect("a PUBACK");
            assert!(!ack.reason.is_failure(), "{}", ack.reason);
        }
        let purged = |index| cluster.member(index).and_then(|member| member.purged_index);
        (purged(0) > held && purged(1) > held).then_some(())
    });

    // Eight seconds of loading.
    cluster.spawn_with(AWAY, &[("catch_up_rate_max", "1 MiB")]);
    let count = |index: usize, text: &str| {
        let log = std::fs::read_to_string(cluster.log_file(index)).expect("a log");
        log.matches(text).count()
    };
    let mut attempts = 0;
    wait::until("snapshot that goes on where it broke off", CATCH_UP_TIMEOUT, || {
        if [0, 1]
            .iter()
            .any(|&index| count(index, "goes on where it broke off") > 0)
        {
            return Some(());
        }
        let begun = count(AWAY, "receiving a snapshot");
        if begun == std::mem::replace(&mut attempts, begun) {
            return None;
        }
        wait::let_run(STANDSTILL / 2); // some of it comes
        cluster.pause(AWAY);
        wait::let_run(STANDSTILL);
        cluster.resume(AWAY);
        None
    });
    cluster.wait_until_equal();
    assert_eq!(count(AWAY, "installed a snapshot"), 1);
}

fn check(cluster: &Cluster, writers: &[common::load::WriterLog]) -> common::evidence::Summary {
    let state = read_state(cluster, AWAY);
    assert!(read_state(cluster, 0) == state, "nodes 1 and 3 list different states");
    Evidence {
        writers,
        observers: &[],
        state: &state,
    }
    .check()
}
