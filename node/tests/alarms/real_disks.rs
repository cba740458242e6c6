//! Disks that are full or slow indeed, beneath real processes under load. Long, and only where it is asked for:
//!
//! ```text
//! cargo test -p banyan-node --test alarms real_disks -- --ignored --nocapture --test-threads 1
//! ```
//!
//! Needs root (each node's data is on a small file system of its own) and a C compiler (syncs are slowed down by a library that
//! is loaded before the C library). The short forms, without either, are in [`crate::disks`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::alarm;
use crate::common::client::{Client, ConnectOptions, message};
use crate::common::cluster::Cluster;
use crate::common::wait;

const MIB: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(90);
const WRITERS: usize = 4;
/// Topics of one writer, and the size of each value.
const TOPICS: u64 = 400;
const PAYLOAD_BYTES: usize = 2_048;
/// Size of each node's file system.
const VOLUME_MIB: u64 = 192;

const SETTINGS: &[(&str, &str)] = &[
    ("log_segment_bytes", "4 MiB"),
    ("log_keep_bytes", "8 MiB"),
    ("checkpoint_bytes", "2 MiB"),
    ("disk_reserve_bytes", "8 MiB"),
];

/// File systems that are unmounted at the end.
struct Volumes(Vec<PathBuf>);

impl Volumes {
    fn mount(cluster: &Cluster) -> Self {
        let mut volumes = Self(Vec::new());
        for index in cluster.indexes() {
            let dir = cluster.data_dir(index);
            fs::create_dir_all(&dir).expect("a directory");
            let options = format!("size={VOLUME_MIB}m,mode=700");
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(&dir)
                .status();
            assert!(
                mount.expect("mount").success(),
                "a tmpfs cannot be mounted: this test needs root"
            );
            volumes.0.push(dir);
        }
        volumes
    }

    /// Takes all but `left` bytes of what is free.
    fn fill(&self, index: usize, left: u64) {
        let dir = &self.0[index];
        let filler = File::create(dir.join("filler")).expect("a file");
        let mut at = 0;
        // In pieces: the node may write meanwhile.
        loop {
            let status = statvfs(dir).expect("a file system");
            let more = (status.f_bavail * status.f_frsize).saturating_sub(left);
            if more == 0 {
                return;
            }
            if fallocate(&filler, FallocateFlags::empty(), at, more).is_ok() {
                at += more;
            }
        }
    }

    fn free(&self, index: usize) {
        fs::remove_file(self.0[index].join("filler")).expect("the filler");
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = Command::new("umount").arg("-l").arg(dir).status();
        }
    }
}

/// What writers have seen.
#[derive(Default)]
struct Load {
    stopping: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    /// By topic: the last serial that was acknowledged, and the last that was tried.
    topics: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Longest time between two acknowledgements.
    gap: Mutex<(Option<Instant>, Duration)>,
}

impl Load {
    /// Writers on all nodes while `direct` runs.
    fn run(cluster: &Cluster, direct: impl FnOnce(&Self)) -> Self {
        let load = Self::default();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let load = &load;
                scope.spawn(move || load.write(cluster, writer));
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| direct(&load)));
            load.stopping.store(true, Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        load
    }

    fn write(&self, cluster: &Cluster, writer: usize) {
        let (mut node, mut serial) = (writer, 0);
        while !self.stopping.load(Ordering::Relaxed) {
            node += 1;
            let options = ConnectOptions::v5(&format!("writer-{writer}"));
            let Ok(mut client) = Client::connect(cluster.mqtt(node % cluster.size()), &options) else {
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            while !self.stopping.load(Ordering::Relaxed) {
                serial += 1;
                let topic = format!("w/{writer}/{}", serial % TOPICS);
                self.topics
                    .lock()
                    .expect("no panic")
                    .entry(topic.clone())
                    .or_default()
                    .1 = serial;
                let payload = format!("{serial} {}", "x".repeat(PAYLOAD_BYTES));
                match client.publish(message(&topic, payload, QoS::AtLeastOnce, true)) {
                    Ok(ack) if ack.reason == ReasonCode::Success => self.note_acknowledged(&topic, serial),
                    Ok(ack) if ack.reason == ReasonCode::QuotaExceeded => {
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(20));
                    }
                    Ok(ack) => panic!("{ack:?}"),
                    Err(_) => {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
    }

    fn note_acknowledged(&self, topic: &str, serial: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.topics
            .lock()
            .expect("no panic")
            .entry(topic.to_owned())
            .or_default()
            .0 = serial;
        let now = Instant::now();
        let mut gap = self.gap.lock().expect("no panic");
        if let Some(last) = gap.0.replace(now) {
            gap.1 = gap.1.max(now - last);
        }
    }

    /// The longest gap since this was called last.
    fn take_gap(&self) -> Duration {
        std::mem::take(&mut self.gap.lock().expect("no panic").1)
    }

    fn wait_for(&self, counter: &AtomicU64, more: u64) {
        let enough = counter.load(Ordering::Relaxed) + more;
        wait::until("more of it", PATIENCE, || {
            (counter.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }

    fn say(&self, what: &str) {
        println!(
            "{what}: {} writes acknowledged, {} refused (0x97), {} connections lost, longest gap {} ms",
            self.acknowledged.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
            self.take_gap().as_millis()
        );
    }

    /// Everything acknowledged is there, or something written later to the same topic.
    fn check(&self, cluster: &Cluster) {
        let topics = self.topics.lock().expect("no panic");
        for (topic, (acknowledged, tried)) in topics.iter().filter(|(_, (acknowledged, _))| *acknowledged > 0) {
            let (status, body) = cluster.get(0, &format!("/v1/topics/{topic}")).expect("an answer");
            let found: u64 = body
                .split(' ')
                .next()
                .and_then(|serial| serial.parse().ok())
                .unwrap_or(0);
            assert_eq!(status, 200, "{topic}: {acknowledged} was acknowledged");
            assert!(
                (*acknowledged..=*tried).contains(&found),
                "{topic}: {acknowledged} was acknowledged and {found} is there"
            );
        }
        println!("{} topics checked: no acknowledged write is lost", topics.len());
    }
}

fn wait_for_alarm(cluster: &Cluster, at: usize, kind: &str, about: usize) -> String {
    wait::until(&format!("alarm {kind}"), PATIENCE, || {
        Some(alarm(&cluster.status(at)?, kind, cluster.id(about))?.detail.clone())
    })
}

fn wait_for_no_alarm(cluster: &Cluster, at: usize) {
    wait::until("end of all alarms", PATIENCE, || {
        cluster.status(at)?.alarms.is_empty().then_some(())
    });
}

fn ms(since: Instant) -> u128 {
    since.elapsed().as_millis()
}

/// One full disk stops its node and nothing else; two that are nearly full have writes refused until there is room again.
#[test]
#[ignore = "long; needs root"]
fn disks_run_full_under_load() {
    let cluster = Cluster::new(3, SETTINGS);
    let volumes = Volumes::mount(&cluster);
    cluster.start_all();
    wait_for_no_alarm(&cluster, 0);
    let load = Load::run(&cluster, |load| {
        load.wait_for(&load.acknowledged, 500);
        load.say("healthy");

        println!("-- the disk of node 3 is filled to the last byte");
        let begun = Instant::now();
        volumes.fill(2, 0);
        println!(
            "alarm after {} ms: {}",
            ms(begun),
            wait_for_alarm(&cluster, 0, "disk-space", 2)
        );
        let status = cluster.wait_for_end_within(2, PATIENCE);
        println!("node 3 ended after {} ms with {status}", ms(begun));
        assert_eq!(status.code(), Some(3), "{status}");
        load.wait_for(&load.acknowledged, 500);
        assert_eq!(load.refused.load(Ordering::Relaxed), 0, "two of three have room");
        load.say("with two nodes");
        volumes.free(2);
        let begun = Instant::now();
        cluster.start_node(2);
        println!("node 3 serves again {} ms after it was started with room", ms(begun));
        wait_for_no_alarm(&cluster, 0);

        println!("-- the disks of nodes 2 and 3 are filled up to 10 MiB");
        load.take_gap();
        let begun = Instant::now();
        volumes.fill(1, 10 * MIB);
        volumes.fill(2, 10 * MIB);
        load.wait_for(&load.refused, 1);
        println!("the first write was refused after {} ms", ms(begun));
        println!("{}", wait_for_alarm(&cluster, 0, "writes-refused", 0));
        load.wait_for(&load.refused, 50);
        let deleted = ureq::delete(cluster.url(0, "/v1/topics/w/0/1"))
            .call()
            .map(|answer| answer.status().as_u16());
        println!("meanwhile a delete is answered {deleted:?}");
        load.topics.lock().expect("no panic").remove("w/0/1");
        cluster.indexes().for_each(|index| cluster.assert_running(index));
        load.say("while refused");
        let begun = Instant::now();
        volumes.free(1);
        load.wait_for(&load.acknowledged, 1);
        println!(
            "a write was taken again {} ms after there was room on node 2",
            ms(begun)
        );
        volumes.free(2);
        wait_for_no_alarm(&cluster, 0);
        load.wait_for(&load.acknowledged, 500);
    });
    load.say("in all");
    cluster.wait_until_equal();
    load.check(&cluster);
}

/// A leader whose syncs become slow hands over.
#[test]
#[ignore = "long; needs a C compiler"]
fn a_disk_becomes_slow_under_load() {
    let cluster = Cluster::new(3, SETTINGS);
    let shim = build_shim(&cluster);
    let delay = |index: usize| cluster.data_dir(index).with_extension("delay-us");
    for index in cluster.indexes() {
        let file = delay(index).display().to_string();
        let environment = [("LD_PRELOAD", shim.as_str()), ("SYNC_DELAY_FILE", file.as_str())];
        cluster.spawn_in(index, &environment);
    }
    cluster.indexes().for_each(|index| cluster.wait_until_ready(index));
    let load = Load::run(&cluster, |load| {
        load.wait_for(&load.acknowledged, 500);
        load.say("healthy");
        let leader = cluster.wait_for_leader();
        let other = (leader + 1) % 3;
        println!("-- syncs of node {}, the leader, take 400 ms", cluster.id(leader));
        let begun = Instant::now();
        fs::write(delay(leader), "400000").expect("written");
        let next = wait::until("another leader", PATIENCE, || {
            cluster.leader().filter(|next| *next != leader)
        });
        println!("node {} leads after {} ms", cluster.id(next), ms(begun));
        println!("{}", wait_for_alarm(&cluster, other, "disk-slow", leader));
        load.say("until the leadership had moved");
        load.wait_for(&load.acknowledged, 1_000);
        load.say("with the slow disk on a follower");
        assert_ne!(cluster.leader(), Some(leader), "it does not come back");
        let begun = Instant::now();
        fs::write(delay(leader), "0").expect("written");
        wait_for_no_alarm(&cluster, other);
        println!("the alarm cleared {} ms after the disk was healthy", ms(begun));
    });
    assert_eq!(load.refused.load(Ordering::Relaxed), 0);
    load.say("in all");
    cluster.wait_until_equal();
    load.check(&cluster);
}

/// A library that has every sync wait for as long as a file says.
fn build_shim(cluster: &Cluster) -> String {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_as_told(void) {
    const char *path = getenv("SYNC_DELAY_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    long us = 0;
    if (file) {
        if (fscanf(file, "%ld", &us) == 1 && us > 0) usleep((useconds_t)us);
        fclose(file);
    }
}
int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_as_told();
    return next(fd);
}
"#;
    let dir = cluster.data_dir(0).parent().expect("a directory").to_path_buf();
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    fs::write(&source, SOURCE).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    assert!(built.expect("a C compiler").success());
    library.display().to_string()
}
