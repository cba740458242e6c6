//! A persistent session loses nothing, and at QoS 2 doubles nothing, when its node dies.
//!
//! Devices in a ring publish serial numbers, each to the next, while the nodes they are connected to are killed one after the
//! other. Every device takes its session to another node at once and goes on where it was.
//!
//! The long form, with a summary line at the end of each test:
//!
//! ```text
//! BANYAN_ROUNDS=200 BANYAN_MESSAGES=1_000_000 cargo test --release -p banyan-node --test session_failover -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_ROUNDS` | times that a node is killed | 3 |
//! | `BANYAN_MESSAGES` | messages over all devices | 6,000 |
//! | `BANYAN_KEEP` | any value: leave data and logs of the nodes where they are | |

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::{ProtocolVersion, QoS};
use common::cluster::Cluster;
use common::device::{Device, DeviceLog, DeviceOptions};
use common::{OnDrop, number_from_environment, wait};

const DEVICES: usize = 6;
/// Messages of a device in flight.
const WINDOW: usize = 64;
/// Longest time without any progress while a majority is up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each test has a whole cluster and the machine few cores.
static RUNNING: Mutex<()> = Mutex::new(());

#[test]
fn qos_2_is_exactly_once_while_nodes_are_killed() {
    let doubled = run_ring(QoS::ExactlyOnce);
    assert_eq!(doubled, 0, "doubled at QoS 2");
}

#[test]
fn qos_1_loses_nothing_while_nodes_are_killed() {
    run_ring(QoS::AtLeastOnce);
}

/// Where a device is, for the one who kills.
#[derive(Default)]
struct Position {
    node: AtomicUsize,
    received: AtomicU64,
    acknowledged: AtomicU64,
}

/// Runs the ring and checks it; the number of messages that came twice.
fn run_ring(qos: QoS) -> usize {
    let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = number_from_environment("BANYAN_ROUNDS", 3);
    let messages = number_from_environment("BANYAN_MESSAGES", 6_000) as u64;
    let each = messages.div_ceil(DEVICES as u64);
    let cluster = Cluster::start(3, &[]);
    let addresses: Vec<SocketAddr> = cluster.indexes().map(|node| cluster.mqtt(node)).collect();
    let positions: Vec<Position> = (0..DEVICES).map(|_| Position::default()).collect();
    let devices: Vec<Device> = (0..DEVICES)
        .map(|number| start_device(number, qos, &addresses))
        .collect();
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let logs: Vec<DeviceLog> = thread::scope(|scope| {
        let running: Vec<_> = devices
            .into_iter()
            .zip(&positions)
            .map(|(device, position)| scope.spawn(|| run_device(device, position, each, &stop)))
            .collect();
        // However this ends, devices must not be waited for in vain.
        let release = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let total = || -> u64 {
            positions
                .iter()
                .map(|position| position.received.load(Ordering::Relaxed))
                .sum()
        };
        for round in 0..rounds {
            let goal = messages * (round as u64 + 1) / (rounds as u64 + 1);
            wait_for_progress(goal, &total);
            let victim = positions[round % DEVICES].node.load(Ordering::Relaxed);
            cluster.kill(victim);
            let moved = || {
                positions
                    .iter()
                    .all(|position| position.node.load(Ordering::Relaxed) != victim)
            };
            wait::until("new node for every device", PATIENCE, || moved().then_some(()));
            cluster.start_node(victim);
        }
        wait_for_progress(each * DEVICES as u64, &total);
        let acknowledged = |position: &Position| position.acknowledged.load(Ordering::Relaxed) == each;
        wait::until("end of every flow", PATIENCE, || {
            positions.iter().all(acknowledged).then_some(())
        });
        drop(release);
        running
            .into_iter()
            .map(|device| device.join().expect("a device"))
            .collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let members = cluster.wait_until_equal();
    let mut doubled = 0;
    for (number, log) in logs.iter().enumerate() {
        doubled += check(number, log, each);
    }
    let mut outages: Vec<u128> = logs
        .iter()
        .flat_map(|log| &log.outages)
        .map(Duration::as_millis)
        .collect();
    outages.sort_unstable();
    let quantile = |part: usize| outages.get((outages.len() * part / 100).min(outages.len().saturating_sub(1)));
    println!(
        "{qos:?}: {rounds} nodes killed, {} messages in {seconds:.0} s, lost 0, doubled {doubled}; {} sessions moved, from the \
         loss to the next message p50 {:?} ms, p99 {:?} ms; digest {} on {} nodes",
        each * DEVICES as u64,
        outages.len(),
        quantile(50),
        quantile(99),
        members[0].digest.as_deref().unwrap_or("?"),
        members.len(),
    );
    doubled
}

fn start_device(number: usize, qos: QoS, addresses: &[SocketAddr]) -> Device {
    let options = DeviceOptions {
        version: ProtocolVersion::V5,
        client_id: format!("device-{number}"),
        qos,
        topic: format!("ring/{number}"),
        filter: format!("ring/{}", (number + DEVICES - 1) % DEVICES),
        window: WINDOW,
    };
    Device::start(options, addresses.to_vec(), number % addresses.len())
}

/// Until told to stop, also when everything is done: the session goes on to move.
fn run_device(mut device: Device, position: &Position, last_serial: u64, stop: &AtomicBool) -> DeviceLog {
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    let mut counted = 0;
    while !stop.load(Ordering::Relaxed) {
        device.turn(last_serial);
        let log = device.log();
        seen.extend(&log.received[counted..]);
        counted = log.received.len();
        position.node.store(device.node(), Ordering::Relaxed);
        position.received.store(seen.len() as u64, Ordering::Relaxed);
        position.acknowledged.store(log.acknowledged, Ordering::Relaxed);
    }
    device.log().clone()
}

fn wait_for_progress(goal: u64, total: &dyn Fn() -> u64) {
    while total() < goal {
        let before = total();
        wait::until("progress of the ring", PATIENCE, || (total() > before).then_some(()));
    }
}

/// Everything came, in the order in which it was published; returns what came more than once.
fn check(number: usize, log: &DeviceLog, each: u64) -> usize {
    let mut last = 0;
    let mut seen = BTreeSet::new();
    for serial in &log.received {
        if seen.insert(*serial) {
            assert_eq!(*serial, last + 1, "device {number}: {serial} came after {last}");
            last = *serial;
        }
    }
    assert_eq!(last, each, "device {number} lost what came after {last}");
    log.received.len() - seen.len()
}
