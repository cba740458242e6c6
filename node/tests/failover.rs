//! How long the cluster cannot write after its leader was killed under load; and that changes of the leader leave nobody stuck.
//!
//! The long form:
//!
//! ```text
//! BANYAN_ROUNDS=20 cargo test --release -p banyan-node --test failover -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_ROUNDS` | times that the leader is killed | 3 |
//! | `BANYAN_KEEP` | any value: leave data and logs of the nodes where they are | |

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::cluster::Cluster;
use common::load::{Load, LoadOptions, WriterLog};
use common::{OnDrop, number_from_environment, wait};

/// The cluster must acknowledge again within this. A bound for a broken failover, not for a slow machine.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(20);
/// Writes between two kills.
const WRITES_BETWEEN: u64 = 500;

#[test]
fn the_cluster_writes_again_after_its_leader_was_killed() {
    let rounds = number_from_environment("BANYAN_ROUNDS", 3);
    let cluster = Cluster::start(3, &[]);
    let mut kills = Vec::new();
    let options = LoadOptions {
        payload_bytes: 128,
        ..LoadOptions::default()
    };
    let writers = Load::run(&cluster, options, |load| {
        for _ in 0..rounds {
            load.wait_until_acknowledged(load.acknowledged() + WRITES_BETWEEN, FAILOVER_TIMEOUT);
            let leader = cluster.wait_for_leader();
            let killed = Instant::now();
            cluster.kill(leader);
            load.wait_until_acknowledged(load.acknowledged() + WRITES_BETWEEN, FAILOVER_TIMEOUT);
            kills.push((killed, Instant::now()));
            cluster.start_node(leader);
        }
    });
    cluster.wait_until_equal();
    let times = acknowledgement_times(&writers);
    let mut gaps: Vec<u128> = kills
        .iter()
        .map(|&(from, to)| longest_gap(&times, from, to).as_millis())
        .collect();
    println!("leader killed {rounds} times, longest time without an acknowledged write, ms: {gaps:?}");
    gaps.sort_unstable();
    println!("p50 {} ms, longest {} ms", gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
}

/// While everybody looks at how the nodes stand, the leadership goes round, and no node gets stuck between a look and a change.
#[test]
fn nodes_that_are_looked_at_live_through_changes_of_the_leader() {
    const CHANGES: usize = 20;
    let cluster = Cluster::start(3, &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for node in cluster.indexes() {
            let (cluster, is_over) = (&cluster, &is_over);
            for _ in 0..2 {
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = cluster.status(node);
                    }
                });
            }
        }
        let _end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        for _ in 0..CHANGES {
            let leader = cluster.wait_for_leader();
            let heir = cluster.id((leader + 1) % cluster.size());
            wait::until("another leader", FAILOVER_TIMEOUT, || {
                // Refused while the heir is behind, or an election goes on.
                let url = cluster.url(leader, &format!("/v1/cluster/leader?to={heir}"));
                let asked = ureq::post(url).config().timeout_global(Some(FAILOVER_TIMEOUT)).build();
                let _ = asked.send_empty();
                (cluster.leader()? != leader).then_some(())
            });
        }
    });
    cluster.wait_until_equal();
}

fn acknowledgement_times(writers: &[WriterLog]) -> Vec<Instant> {
    let attempts = writers.iter().flat_map(|writer| &writer.attempts);
    let mut times: Vec<Instant> = attempts.filter_map(|attempt| Some(attempt.acknowledged?.at)).collect();
    times.sort_unstable();
    times
}

/// The longest time between two acknowledgements of which the later came in `from..to`.
fn longest_gap(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let pairs = times.windows(2).filter(|pair| pair[1] >= from && pair[1] <= to);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or(to - from)
}
