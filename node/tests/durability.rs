//! Acknowledged means durable: writers on every node, pipelined, while nodes are killed.
//!
//! Writes carry serial numbers and are never sent twice. Afterwards, over acknowledgements, subscribers at every node and the
//! final states: no acknowledged write is missing, none was applied twice, each writer's order was kept, no subscriber missed
//! a change, and the digests of all nodes are equal at an equal applied index.
//!
//! The long form, with a summary line at the end of each test:
//!
//! ```text
//! BANYAN_ROUNDS=20 BANYAN_WRITES=100000 cargo test --release -p banyan-node --test durability -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_ROUNDS` | times that the leader, or all nodes, are killed | 3 |
//! | `BANYAN_WRITES` | acknowledged writes at least, over all rounds | 6,000 |
//! | `BANYAN_KEEP` | any value: leave data and logs of the nodes where they are | |

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use banyan_core::mqtt::QoS;
use common::client::{Client, ConnectOptions, message};
use common::cluster::{Cluster, READY_TIMEOUT};
use common::evidence::{Evidence, read_state};
use common::load::{self, Load, LoadOptions};
use common::number_from_environment;
use common::observer::Observer;
use common::wait;

/// Longest time without any acknowledged write while a majority is up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writes that must be acknowledged after a kill, before anything else happens.
const SIGN_OF_LIFE: u64 = 200;

/// The smallest files there are and little kept of the log, so that kills meet checkpoints, purges and snapshots too.
const SMALL_FILES: &[(&str, &str)] = &[
    ("log_segment_bytes", "1 MiB"),
    ("log_keep_bytes", "1 MiB"),
    ("checkpoint_bytes", "1 MiB"),
];

/// Each test has a whole cluster and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_are_killed() {
    let _alone = one_at_a_time();
    let mut kills = [0_u32; 3];
    run_rounds("leader killed", |cluster, load, round| {
        let leader = cluster.wait_for_leader();
        cluster.kill(leader);
        kills[leader] += 1;
        // The others go on by themselves; every other time only after they have shown it is the node started again.
        if round % 2 == 0 {
            load.wait_until_acknowledged(load.acknowledged() + SIGN_OF_LIFE, PATIENCE);
        }
        cluster.start_node(leader);
        load.wait_until_acknowledged(load.acknowledged() + SIGN_OF_LIFE, PATIENCE);
    });
    println!("kills by node: {kills:?}");
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let _alone = one_at_a_time();
    run_rounds("all killed at once", |cluster, load, _| {
        cluster.kill_all();
        cluster.start_all();
        load.wait_until_acknowledged(load.acknowledged() + SIGN_OF_LIFE, PATIENCE);
    });
}

/// A leader that does not run for a while and then goes on as if nothing had happened must not acknowledge, or serve, what the
/// others have not agreed to.
#[test]
fn nothing_acknowledged_is_lost_when_leaders_are_paused() {
    let _alone = one_at_a_time();
    run_rounds("leader paused", |cluster, load, _| {
        let leader = cluster.wait_for_leader();
        cluster.pause(leader);
        load.wait_until_acknowledged(load.acknowledged() + SIGN_OF_LIFE, PATIENCE);
        cluster.resume(leader);
        cluster.wait_until_ready(leader);
        load.wait_until_acknowledged(load.acknowledged() + SIGN_OF_LIFE, PATIENCE);
    });
}

/// Runs load and observers, calls `disturb` once a round with the rounds spread over the writes, and checks everything.
fn run_rounds(name: &str, mut disturb: impl FnMut(&Cluster, &Load, usize)) {
    let rounds = number_from_environment("BANYAN_ROUNDS", 3);
    let writes = number_from_environment("BANYAN_WRITES", 6_000) as u64;
    let cluster = Cluster::start(3, SMALL_FILES);
    let last_revision = AtomicU64::new(0);
    let (writers, observers, state) = thread::scope(|scope| {
        let observe = |node| Observer::new(&cluster, node, load::FILTER).run(&last_revision);
        let observers: Vec<_> = cluster
            .indexes()
            .map(|node| scope.spawn(move || observe(node)))
            .collect();
        // However this ends, observers must not be waited for in vain.
        let release = Release(&last_revision);
        let options = LoadOptions {
            payload_bytes: 700,
            ..LoadOptions::default()
        };
        let writers = Load::run(&cluster, options, |load| {
            for round in 0..rounds {
                load.wait_until_acknowledged(writes * (round as u64 + 1) / (rounds as u64 + 1), PATIENCE);
                disturb(&cluster, load, round);
            }
            load.wait_until_acknowledged(writes, PATIENCE);
        });
        let members = cluster.wait_until_equal();
        let state = read_state(&cluster, 0);
        for node in 1..cluster.size() {
            assert!(
                read_state(&cluster, node) == state,
                "nodes 1 and {} list different states",
                cluster.id(node)
            );
        }
        // Nothing is deleted, so the state holds the last change.
        let last = state
            .values()
            .map(|&(revision, _)| revision)
            .max()
            .expect("something was written");
        release.at(last);
        let observers: Vec<_> = observers
            .into_iter()
            .map(|observer| observer.join().expect("an observer"))
            .collect();
        println!(
            "{name}, {rounds} rounds: digest {} on {} nodes",
            members[0].digest.as_deref().unwrap_or("?"),
            members.len()
        );
        (writers, observers, state)
    });
    let summary = Evidence {
        writers: &writers,
        observers: &observers,
        state: &state,
    }
    .check();
    println!("{name}, {rounds} rounds: {summary}");
    assert!(
        summary.acknowledged as u64 >= writes,
        "only {} writes",
        summary.acknowledged
    );
}

/// Tells observers what they have to see; if the test fails before, that they need not see more.
struct Release<'a>(&'a AtomicU64);

impl Release<'_> {
    fn at(&self, last_revision: u64) {
        self.0.store(last_revision, Ordering::Relaxed);
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.at(1);
        }
    }
}

/// Between receiving a write and acknowledging it, a majority of nodes has synced its log.
#[test]
fn each_acknowledged_write_was_synced_by_a_majority() {
    const WRITES: usize = 30;
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    // Who does not answer in time is listed without an account of itself.
    let fsyncs = || -> Vec<u64> {
        wait::until("answer of every member", READY_TIMEOUT, || {
            let members = cluster.status(0)?.members;
            members.iter().map(|member| member.log_fsyncs).collect()
        })
    };
    let mut totals = (0, 0);
    for node in cluster.indexes() {
        let options = ConnectOptions::v5(&format!("single-{node}"));
        let mut client = Client::connect_soon(cluster.mqtt(node), &options);
        for number in 0..WRITES {
            let before = fsyncs();
            let write = message("synced", format!("{node} {number}"), QoS::AtLeastOnce, true);
            let ack = client.publish(write).expect("a PUBACK");
            let after = fsyncs();
            assert!(!ack.reason.is_failure(), "{}", ack.reason);
            let synced = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| after > before)
                .count();
            assert!(
                synced >= 2,
                "write {number} at node {node}: fsyncs {before:?}, then {after:?}"
            );
            totals.0 += 1;
            totals.1 += after
                .iter()
                .zip(&before)
                .map(|(after, before)| after - before)
                .sum::<u64>();
        }
    }
    println!(
        "{} writes one by one: {} fsyncs of log and vote on three nodes",
        totals.0, totals.1
    );
}
