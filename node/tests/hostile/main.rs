//! Hostile clients against one node of a cluster, while an honest one is served by it: nobody crashes, memory stays bounded.
//!
//! What the nodes hold in memory is watched, and limited by the kernel if there is a control group for it. What the honest client
//! sees before, during and after is printed, not judged: a test machine has other things to do. The long form:
//!
//! ```text
//! BANYAN_SECONDS=300 BANYAN_ATTACKERS=100 BANYAN_CGROUP=/sys/fs/cgroup/memory \
//!     cargo test --release -p banyan-node --test hostile -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_SECONDS` | seconds of attacks | 6 |
//! | `BANYAN_ATTACKERS` | connections that each kind of attack holds open | 20 |
//! | `BANYAN_ATTACK` | only the attacks whose names contain this | all |
//! | `BANYAN_CGROUP` | directory of the memory controller, beneath which each node gets a group with the limit | none |
//!
//! | module | about |
//! |---|---|
//! | [`attacks`] | what hostile clients do |
//! | [`bytes`] | what they send |
//! | [`honest`] | the client that is measured |
//! | [`memory`] | what the nodes hold |

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

#[path = "../listeners/certificates.rs"]
#[allow(dead_code, reason = "only one certificate is needed here")]
mod certificates;
#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod bytes;
mod honest;
mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::cluster::Cluster;
use common::ports::ReservedPort;
use common::wait::let_run;
use common::{OnDrop, number_from_environment};

/// Memory that each node may use, bytes.
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The node that is attacked.
const ATTACKED: usize = 0;

#[test]
fn hostile_clients() {
    let seconds = number_from_environment("BANYAN_SECONDS", 6) as u64;
    let attackers = number_from_environment("BANYAN_ATTACKERS", 20);
    let only = std::env::var("BANYAN_ATTACK").unwrap_or_default();
    let attacked_for = Duration::from_secs(seconds);
    let calm = Duration::from_secs(seconds.div_ceil(5).max(2));

    let mut groups = memory::Groups::default();
    let mqtts = ReservedPort::new();
    let target = attacks::Target::new(mqtts.number());
    let cluster = Cluster::new(3, &[]);
    let files = certificates::Authority::new("clients")
        .issue("node", &[certificates::SERVER])
        .write(target.dir.path());
    cluster.spawn_with(
        ATTACKED,
        &[
            ("mqtts", &target.mqtts.to_string()),
            ("tls_certificate", &files.certificate.to_string_lossy()),
            ("tls_key", &files.key.to_string_lossy()),
        ],
    );
    cluster.start_all();
    cluster.wait_for_leader();
    let target = attacks::Target {
        mqtt: cluster.mqtt(ATTACKED),
        http: cluster.http(ATTACKED),
        ..target
    };
    if let Some(parent) = std::env::var_os("BANYAN_CGROUP") {
        groups.limit(parent.as_ref(), &cluster, MEMORY_BYTES_MAX);
    }
    let watch = memory::Watch::new(&cluster, MEMORY_BYTES_MAX);

    let stop = AtomicBool::new(false);
    let stop_attacks = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whatever fails, all threads end.
        let _stop = OnDrop(|| {
            stop.store(true, Ordering::Relaxed);
            stop_attacks.store(true, Ordering::Relaxed);
        });
        let watching = scope.spawn(|| watch.run(&stop));
        let background = scope.spawn(|| attacks::feed_readers(cluster.mqtt(1), &stop));
        let honest = honest::Honest::start(scope, cluster.mqtt(ATTACKED), &stop);
        honest.wait_until_served();
        let_run(calm);
        let before = honest.take();

        let attacking = attacks::start(scope, &target, attackers, &only, &stop_attacks);
        let_run(attacked_for);
        let during = honest.take();
        stop_attacks.store(true, Ordering::Relaxed);
        let attempts: Vec<_> = attacking
            .into_iter()
            .map(|(name, thread)| (name, thread.join().expect("an attack goes on until it is stopped")))
            .collect();

        honest.take();
        honest.wait_until_served();
        let_run(calm);
        let after = honest.take();
        stop.store(true, Ordering::Relaxed);
        honest.join();
        background.join().expect("what is published to the readers");
        let peak = watching.join().expect("memory is watched");

        for (name, attempts) in attempts {
            println!("{attempts:>8} connections: {name}");
            assert!(attempts > 0, "{name} reached nobody");
        }
        for (phase, seen) in [("before", &before), ("during", &during), ("after", &after)] {
            println!("honest client {phase}: {seen}");
            assert!(seen.count() > 0, "nothing came through {phase} the attacks");
        }
        println!("p99 during/calm: {:.2}", during.p99_ratio(&[&before, &after]));
        println!("memory, KiB: {peak}");
    });
    // All are still there, and agree.
    for index in cluster.indexes() {
        cluster.assert_running(index);
    }
    cluster.wait_until_equal();
    watch.assert_bounded();
}
