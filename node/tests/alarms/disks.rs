//! Nodes whose disks say what a test lets them say.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banyan_api::cluster::{Alarm, ClusterStatus};
use banyan_api::problem::Problem;
use banyan_core::mqtt::packet::{ProtocolVersion, QoS};
use banyan_core::mqtt::reason::ReasonCode;
use banyan_node::components::Components;
use banyan_node::settings::Settings;
use banyan_node::storage::disk::{Disk, DiskFile, DiskLock, Space, SystemDisk};

use crate::common::client::message;
use crate::common::wait;
use crate::support::{ClientExt, Node, components, event, state};
use crate::{ALARM_TIMEOUT, alarm};

const GIB: u64 = 1024 * 1024 * 1024;
/// What the test disks have in all: their floor is 2 GiB.
const TOTAL: u64 = 1_000 * GIB;

/// Until a leader has handed over. After an attempt that failed it waits for a minute.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(150);

/// What a test says of a disk. Clones say the same.
#[derive(Clone)]
struct Told {
    free_bytes: Arc<AtomicU64>,
    sync_ms: Arc<AtomicU64>,
}

impl Told {
    fn healthy() -> Self {
        Self {
            free_bytes: Arc::new(AtomicU64::new(TOTAL / 2)),
            sync_ms: Arc::default(),
        }
    }

    fn set_free(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    fn set_sync(&self, time: Duration) {
        self.sync_ms.store(time.as_millis() as u64, Ordering::Relaxed);
    }
}

/// The operating system's files, as free and as slow as was told.
struct TestDisk(Told);

struct TestFile(Box<dyn DiskFile>, Told);

impl Disk for TestDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(dir)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(TestFile(SystemDisk.open(path, create)?, self.0.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        SystemDisk.lock(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }
    fn space(&self, _dir: &Path) -> io::Result<Option<Space>> {
        Ok(Some(Space {
            free_bytes: self.0.free_bytes.load(Ordering::Relaxed),
            total_bytes: TOTAL,
        }))
    }
}

impl DiskFile for TestFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        // As slow as was told and no slower: what the real disk would take is not a matter of these tests.
        std::thread::sleep(Duration::from_millis(self.1.sync_ms.load(Ordering::Relaxed)));
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

fn cluster<const N: usize>(change: impl Fn(&mut Settings)) -> ([Node; N], [Told; N]) {
    let told: [Told; N] = std::array::from_fn(|_| Told::healthy());
    let nodes = Node::cluster_on(change, |at| Components {
        disk: Arc::new(TestDisk(told[at].clone())),
        ..components()
    });
    (nodes, told)
}

fn status(node: &Node) -> ClusterStatus {
    serde_json::from_str(&node.get("/v1/cluster").1).expect("a cluster status")
}

fn wait_for_alarm(node: &Node, kind: &str, node_id: u64) -> Alarm {
    wait::until(&format!("alarm {kind}"), ALARM_TIMEOUT, || {
        alarm(&status(node), kind, node_id).cloned()
    })
}

/// Waits until `node` has heard from the members `about` that this much is free.
fn wait_for_free(node: &Node, about: &[u64], bytes: u64) {
    wait::until("what the others say of their disks", ALARM_TIMEOUT, || {
        let members = status(node).members;
        let mut asked = members.iter().filter(|member| about.contains(&member.id));
        asked.all(|member| member.disk_free_bytes == Some(bytes)).then_some(())
    });
}

fn wait_for_no_alarm(node: &Node) {
    wait::until("end of all alarms", ALARM_TIMEOUT, || {
        status(node).alarms.is_empty().then_some(())
    });
}

/// With one of three disks low the cluster goes on and says so; with two, writes are refused on every node (507, 0x97, and
/// 3.1.1 acknowledges and counts), deletes and reads are not; with room again, all is as before, by itself.
#[test]
fn writes_are_refused_while_fewer_than_a_quorum_have_room() {
    let (nodes, disks) = cluster::<3>(|_| {});
    let mut client = nodes[0].client("writer");
    let mut old_client = nodes[0].client_of(ProtocolVersion::V3, "old-writer");
    for topic in ["d/1", "d/2"] {
        client.write(topic, "before");
    }

    disks[1].set_free(GIB);
    wait_for_alarm(&nodes[2], "disk-space", 2);
    wait_for_free(&nodes[0], &[1, 3], TOTAL / 2);
    client.write("d/3", "one is low");

    disks[2].set_free(GIB);
    for node in &nodes {
        for about in 1..=3 {
            wait_for_alarm(node, "writes-refused", about);
        }
    }
    let low = wait_for_alarm(&nodes[0], "disk-space", 3);
    assert_eq!(low.detail, "1.0 GiB free of 1000.0 GiB, the floor is 2.0 GiB");
    assert!(low.action.contains("disk_free_min_bytes"), "{}", low.action);
    wait_for_free(&nodes[0], &[2, 3], GIB);

    for publish in [state("d/1", "refused"), event("d/1", "refused")] {
        let ack = client.publish(publish).expect("PUBACK");
        assert_eq!(ack.reason, ReasonCode::QuotaExceeded);
        let text = ack.reason_string.expect("a reason string");
        assert!(text.starts_with("1 of 3 voters have room on their disks"), "{text}");
    }
    let (code, body) = nodes[1].put("/v1/topics/d/1", "refused");
    let problem: Problem = serde_json::from_str(&body).expect("a problem");
    assert_eq!((code, problem.kind.as_str()), (507, "/problems/insufficient-storage"));
    let ack = old_client.publish(state("d/1", "refused")).expect("PUBACK");
    assert_eq!(ack.reason, ReasonCode::Success);
    client
        .publish_unacknowledged(message("d/1", "refused", QoS::AtMostOnce, true))
        .expect("sent");

    assert_eq!(nodes[1].get("/v1/topics/d/1").1, "before");
    client.put(state("d/2", ""));
    assert_eq!(nodes[2].topic_status("d/2"), 404);
    assert_eq!(nodes[2].delete("/v1/topics/d/3"), 200);
    assert_eq!(nodes[0].get("/health/ready").0, 200, "it serves what it may");

    let hardly_above = 2 * GIB + GIB / 10; // the alarm lasts
    disks[2].set_free(hardly_above);
    disks[1].set_free(hardly_above);
    wait_for_free(&nodes[0], &[2, 3], hardly_above);
    let ack = client.publish(state("d/1", "still refused")).expect("PUBACK");
    assert_eq!(ack.reason, ReasonCode::QuotaExceeded);

    disks[1].set_free(3 * GIB);
    disks[2].set_free(3 * GIB);
    wait_for_no_alarm(&nodes[0]);
    client.write("d/1", "after");
    assert_eq!(nodes[1].get("/v1/topics/d/1").1, "after");
}

/// The topics beneath `$SYS/broker/alarms` follow, on nodes that the alarm is not about too.
#[test]
fn subscribers_are_told() {
    let (nodes, disks) = cluster::<3>(|_| {});
    wait_for_no_alarm(&nodes[0]);
    let mut client = nodes[0].client("watcher");
    client.follow("$SYS/broker/alarms/disk-space");
    client.expect("$SYS/broker/alarms/disk-space", "none");
    disks[1].set_free(GIB);
    client.expect("$SYS/broker/alarms/disk-space", "2");
    disks[1].set_free(3 * GIB);
    client.expect("$SYS/broker/alarms/disk-space", "none");
}

/// A leader whose disk has become slow hands over to another, says so, and does not get the leadership back as long as it is.
#[test]
fn a_leader_with_a_slow_disk_hands_over() {
    let (nodes, disks) = cluster::<3>(|_| {});
    let mut client = nodes[0].client("writer");
    let leader = |node: &Node| status(node).leader;
    let first = wait::until("a leader", ALARM_TIMEOUT, || leader(&nodes[0]));
    disks[first as usize - 1].set_sync(Duration::from_millis(250));
    let mut count = 0;
    let next = wait::until("another leader", HAND_OVER_TIMEOUT, || {
        count += 1;
        client.write("s", &count.to_string());
        leader(&nodes[0]).filter(|leader| *leader != first)
    });
    let at = next as usize - 1;
    wait::until("the alarm", ALARM_TIMEOUT, || {
        client.write("s", "on");
        let status = status(&nodes[at]);
        let alarm = alarm(&status, "disk-slow", first)?;
        assert!(alarm.detail.contains("100 ms and more are slow"), "{}", alarm.detail);
        Some(())
    });
    let still = wait::until("a leader", ALARM_TIMEOUT, || leader(&nodes[at]));
    assert_ne!(still, first);

    disks[first as usize - 1].set_sync(Duration::ZERO);
    wait::until("the end of the alarm", ALARM_TIMEOUT, || {
        client.write("s", "healthy");
        status(&nodes[at]).alarms.is_empty().then_some(())
    });
}
