//! Three nodes are restarted one after the other, each emptied first, under load; and nobody loses anything by it.
//!
//! Devices with persistent sessions, of MQTT 5.0 and 3.1.1, publish serial numbers to each other in rings; clean clients of both
//! and HTTP clients write topics of their own; clean subscribers follow them. The nodes are the programs themselves.
//!
//! The long form, with the same lines at the end:
//!
//! ```text
//! BANYAN_ROUNDS=10 cargo test --release -p banyan-node --test rolling_restart -- --nocapture
//! ```
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_ROUNDS` | times that each node is restarted | 1 |
//! | `BANYAN_PACE_MS` | between two messages of a device, and two writes of a writer | 20 |
//! | `BANYAN_KEEP` | any value: leave data and logs of the nodes where they are | |
#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use banyan_api::drain::Drain;
use banyan_core::mqtt::packet::{ProtocolVersion, QoS};
use common::client::{Client, ClientError, ConnectOptions, SubscribeOptions, message};
use common::cluster::{Cluster, READY_TIMEOUT};
use common::device::{Device, DeviceLog, DeviceOptions};
use common::{OnDrop, number_from_environment, wait};

/// Rings of devices: protocol and QoS of each.
const RINGS: [(ProtocolVersion, QoS); 3] = [
    (ProtocolVersion::V5, QoS::ExactlyOnce),
    (ProtocolVersion::V5, QoS::AtLeastOnce),
    (ProtocolVersion::V3, QoS::ExactlyOnce),
];
/// Devices of a ring.
const DEVICES: usize = 3;
const WINDOW: usize = 16;
/// Longest time that a write may be tried for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a subscriber listens at a time.
const TURN: Duration = Duration::from_millis(50);

/// How a clean client reaches the cluster.
#[derive(Debug, Clone, Copy)]
enum Way {
    Mqtt(ProtocolVersion),
    Http,
}

const WRITERS: [Way; 4] = [
    Way::Mqtt(ProtocolVersion::V5),
    Way::Mqtt(ProtocolVersion::V3),
    Way::Http,
    Way::Http,
];

/// What a writer saw.
#[derive(Debug, Default)]
struct WriterLog {
    acknowledged: u64,
    /// Attempts after the first of a write: nothing was answered, or the node said to go elsewhere.
    retries: u64,
    /// Writes that were refused, or answered with an outcome that is not known.
    failures: Vec<String>,
    longest_gap: Duration,
}

/// Every client's view of the run.
struct Run<'a> {
    cluster: &'a Cluster,
    pace: Duration,
    /// Devices wait for each other here: what is published before somebody subscribes is not for him.
    subscribed: Barrier,
    /// Serial number up to which devices publish now.
    goal: AtomicU64,
    /// Writers end.
    is_over: AtomicBool,
    /// Devices and subscribers end: everything has come.
    is_done: AtomicBool,
}

#[test]
fn nobody_notices_a_rolling_restart() {
    let rounds = number_from_environment("BANYAN_ROUNDS", 1);
    let pace = Duration::from_millis(number_from_environment("BANYAN_PACE_MS", 20) as u64);
    let cluster = Cluster::start(3, &[("drain_rate", "20")]);
    let run = Run {
        cluster: &cluster,
        pace,
        subscribed: Barrier::new(RINGS.len() * DEVICES),
        goal: AtomicU64::new(1),
        is_over: AtomicBool::new(false),
        is_done: AtomicBool::new(false),
    };
    let received: Vec<AtomicU64> = (0..RINGS.len() * DEVICES).map(|_| AtomicU64::new(0)).collect();
    let versions = [ProtocolVersion::V5, ProtocolVersion::V3];
    let followed: [Mutex<BTreeMap<String, u64>>; 2] = Default::default();
    let begun = Instant::now();
    thread::scope(|scope| {
        let run = &run;
        let received = &received;
        let devices: Vec<_> = (0..received.len())
            .map(|number| scope.spawn(move || run.device(number, &received[number])))
            .collect();
        let writers: Vec<_> = (0..WRITERS.len())
            .map(|number| scope.spawn(move || run.writer(number)))
            .collect();
        for (version, topics) in versions.into_iter().zip(&followed) {
            scope.spawn(move || run.subscriber(version, topics));
        }
        let release = OnDrop(|| {
            run.is_over.store(true, Ordering::Relaxed);
            run.is_done.store(true, Ordering::Relaxed);
        });
        let pacer = scope.spawn(move || run.pace_devices());

        wait::until("traffic", READY_TIMEOUT, || {
            received
                .iter()
                .all(|count| count.load(Ordering::Relaxed) > 0)
                .then_some(())
        });
        for _ in 0..rounds {
            for node in cluster.indexes() {
                run.restart(node);
            }
        }
        run.is_over.store(true, Ordering::Relaxed);
        let writers: Vec<WriterLog> = writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer"))
            .collect();
        pacer.join().expect("the pacer");
        let goal = run.goal.load(Ordering::Relaxed);
        let counts = || -> Vec<u64> { received.iter().map(|count| count.load(Ordering::Relaxed)).collect() };
        let patience_ends = Instant::now() + PATIENCE;
        while counts().iter().any(|count| *count != goal) {
            if Instant::now() >= patience_ends {
                let late = counts().into_iter().enumerate().filter(|(_, count)| *count != goal);
                for (number, count) in late {
                    let session = cluster.get(0, &format!("/v1/sessions/device-{number}?consistency=local"));
                    println!("device {number} has {count} of {goal} messages; its session: {session:?}");
                }
                panic!("messages are missing");
            }
            wait::let_run(run.pace);
        }
        let members = cluster.wait_until_equal();
        let written: Vec<u64> = writers.iter().map(|writer| writer.acknowledged).collect();
        wait::until("every write at every node", PATIENCE, || {
            run.stands_everywhere(&written).then_some(())
        });
        let last: BTreeMap<String, u64> = (0..).map(topic).zip(written).collect();
        wait::until("every write at every clean subscriber", PATIENCE, || {
            let has_all = |topics: &Mutex<_>| *topics.lock().expect("a subscriber") == last;
            followed.iter().all(has_all).then_some(())
        });
        drop(release);
        let devices: Vec<DeviceLog> = devices
            .into_iter()
            .map(|device| device.join().expect("a device"))
            .collect();

        let restarts = rounds * cluster.size();
        println!(
            "{restarts} restarts in {:.0} s, {} clients; digest {} on {} nodes",
            begun.elapsed().as_secs_f64(),
            devices.len() + writers.len() + followed.len(),
            members[0].digest.as_deref().unwrap_or("?"),
            members.len(),
        );
        report_writers(&writers);
        report_devices(&devices, goal);
        for writer in &writers {
            assert!(writer.failures.is_empty(), "writes that failed: {:?}", writer.failures);
        }
    });
}

fn report_writers(writers: &[WriterLog]) {
    let total = |count: fn(&WriterLog) -> u64| -> u64 { writers.iter().map(count).sum() };
    println!(
        "writes: {} acknowledged, failed {}, retried {}; longest gap of one writer {} ms",
        total(|writer| writer.acknowledged),
        total(|writer| writer.failures.len() as u64),
        total(|writer| writer.retries),
        writers
            .iter()
            .map(|writer| writer.longest_gap)
            .max()
            .unwrap_or_default()
            .as_millis(),
    );
}

/// Says what devices saw, and checks it: everything, in order, and at QoS 2 nothing twice.
fn report_devices(devices: &[DeviceLog], goal: u64) {
    for (ring, (version, qos)) in RINGS.into_iter().enumerate() {
        let logs = &devices[ring * DEVICES..(ring + 1) * DEVICES];
        let mut doubled = 0;
        for log in logs {
            let mut seen = BTreeSet::new();
            for serial in &log.received {
                if seen.insert(*serial) {
                    assert_eq!(*serial, seen.len() as u64, "{version:?} {qos:?}: out of order, or lost");
                } else {
                    doubled += 1;
                }
            }
            assert_eq!(seen.len() as u64, goal, "{version:?} {qos:?}: lost");
        }
        let outages = || logs.iter().flat_map(|log| &log.outages);
        println!(
            "sessions, {version:?} {qos:?}: {DEVICES} sessions lost 0, moved {}; {} messages lost 0, doubled {doubled}; longest \
             gap {} ms",
            outages().count(),
            goal * DEVICES as u64,
            outages().max().copied().unwrap_or_default().as_millis(),
        );
        assert!(qos != QoS::ExactlyOnce || doubled == 0, "doubled at QoS 2");
    }
}

fn topic(writer: usize) -> String {
    format!("rolling/{writer}")
}

impl Run<'_> {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.cluster.indexes().map(|node| self.cluster.mqtt(node)).collect()
    }

    /// Drained, stopped, started, ready: as an operator does it.
    fn restart(&self, node: usize) {
        let asked = (node + 1) % self.cluster.size();
        let path = format!("/v1/cluster/members/{}/drain", self.cluster.id(node));
        // Refused while another is not ready, such as the one that was restarted last on a busy machine.
        wait::until("a drain", READY_TIMEOUT, || {
            ureq::post(self.cluster.url(asked, &path)).send_empty().ok()
        });
        wait::until("an empty node", READY_TIMEOUT, || {
            let (_, body) = self.cluster.get(asked, &path)?;
            let drain: Drain = serde_json::from_str(&body).ok()?;
            (drain.state == "ready-to-stop").then_some(())
        });
        self.cluster.restart(node);
    }

    /// Lets devices publish, at the pace, until it is over.
    fn pace_devices(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            wait::let_run(self.pace);
            self.goal.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn device(&self, number: usize, received: &AtomicU64) -> DeviceLog {
        let (ring, place) = (number / DEVICES, number % DEVICES);
        let (version, qos) = RINGS[ring];
        let options = DeviceOptions {
            version,
            client_id: format!("device-{number}"),
            qos,
            topic: format!("ring/{ring}/{place}"),
            filter: format!("ring/{ring}/{}", (place + DEVICES - 1) % DEVICES),
            window: WINDOW,
        };
        let mut device = Device::start(options, self.addresses(), place);
        self.subscribed.wait();
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        let mut counted = 0;
        while !self.is_done.load(Ordering::Relaxed) {
            device.turn(self.goal.load(Ordering::Relaxed));
            let log = device.log();
            seen.extend(&log.received[counted..]);
            counted = log.received.len();
            received.store(seen.len() as u64, Ordering::Relaxed);
        }
        let log = device.log().clone();
        let missing: Vec<u64> = (1..=self.goal.load(Ordering::Relaxed))
            .filter(|serial| !seen.contains(serial))
            .collect();
        if !missing.is_empty() {
            println!(
                "device {number} at node {}: {missing:?} have not come; of its own {} are acknowledged",
                self.cluster.id(device.node()),
                log.acknowledged
            );
        }
        log
    }

    /// Writes serial numbers to a topic of its own, one after the other, each until it is acknowledged.
    fn writer(&self, number: usize) -> WriterLog {
        let mut log = WriterLog::default();
        let mut node = number;
        let mut client = None;
        let mut last = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            let serial = log.acknowledged + 1;
            let begun = Instant::now();
            loop {
                let tried = match WRITERS[number] {
                    Way::Mqtt(version) => self.publish(&mut client, version, number, node, serial),
                    Way::Http => self.put(number, node, serial),
                };
                match tried {
                    Ok(()) => break,
                    Err(Tried::Again) => {
                        log.retries += 1;
                        node += 1;
                        assert!(begun.elapsed() < PATIENCE, "writer {number}: no node takes {serial}");
                    }
                    Err(Tried::Failed(why)) => log.failures.push(why),
                }
            }
            log.acknowledged = serial;
            log.longest_gap = log.longest_gap.max(last.elapsed());
            last = Instant::now();
            wait::let_run(self.pace);
        }
        log
    }

    fn publish(
        &self,
        kept: &mut Option<Client>,
        version: ProtocolVersion,
        number: usize,
        node: usize,
        serial: u64,
    ) -> Result<(), Tried> {
        let client = match kept {
            Some(client) => client,
            None => {
                let options = ConnectOptions::new(version, &format!("writer-{number}"));
                let address = self.addresses()[node % self.cluster.size()];
                kept.insert(Client::connect(address, &options).map_err(|_| Tried::Again)?)
            }
        };
        let published = client.publish(message(&topic(number), serial.to_string(), QoS::AtLeastOnce, true));
        match published {
            Ok(ack) if ack.reason.is_failure() => Err(Tried::Failed(format!("PUBACK {}", ack.reason))),
            Ok(_) => Ok(()),
            Err(_) => {
                // Not acknowledged: sent again elsewhere.
                *kept = None;
                Err(Tried::Again)
            }
        }
    }

    fn put(&self, number: usize, node: usize, serial: u64) -> Result<(), Tried> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .build()
            .into();
        let url = self
            .cluster
            .url(node % self.cluster.size(), &format!("/v1/topics/{}", topic(number)));
        match agent.put(url).send(serial.to_string()) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            // Nothing has happened.
            Ok(answer) if answer.status().as_u16() == 503 => Err(Tried::Again),
            Ok(answer) => Err(Tried::Failed(format!("PUT {}", answer.status()))),
            // PUT is idempotent: without an answer it may be sent again (RFC 9110 §9.2.2).
            Err(_) => Err(Tried::Again),
        }
    }

    /// A clean session that follows all writers: it subscribes anew wherever it comes to.
    fn subscriber(&self, version: ProtocolVersion, topics: &Mutex<BTreeMap<String, u64>>) {
        let mut node = 0;
        while !self.is_done.load(Ordering::Relaxed) {
            let options = ConnectOptions::new(version, &format!("follower-{version:?}"));
            let address = self.addresses()[node % self.cluster.size()];
            node += 1;
            let Ok(mut client) = Client::connect(address, &options) else {
                continue;
            };
            match client.subscribe(&SubscribeOptions::new("rolling/#")) {
                Ok(suback) if !suback.reasons[0].is_failure() => {}
                _ => continue,
            }
            while !self.is_done.load(Ordering::Relaxed) {
                match client.next_message(TURN) {
                    Ok(publish) => {
                        let serial = String::from_utf8_lossy(&publish.payload)
                            .parse()
                            .expect("a serial number");
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        topics.lock().expect("a test").insert(topic, serial);
                    }
                    Err(ClientError::Timeout) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Whether each writer's last write is the value at each node.
    fn stands_everywhere(&self, written: &[u64]) -> bool {
        let is_there = |node: usize, number: usize| {
            let found = self
                .cluster
                .get(node, &format!("/v1/topics/{}?consistency=local", topic(number)));
            found.is_some_and(|(status, body)| status == 200 && body == written[number].to_string())
        };
        let nodes = self.cluster.indexes();
        nodes
            .into_iter()
            .all(|node| (0..written.len()).all(|number| is_there(node, number)))
    }
}

/// Why a write was not acknowledged.
enum Tried {
    /// Nothing was answered, or that it must go elsewhere: the protocol says to try again.
    Again,
    /// It was refused, or is lost without a word.
    Failed(String),
}
