//! What the nodes may hold in memory, and what they do hold.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::cluster::Cluster;
use crate::common::wait::let_run;

/// A control group for each node, beyond whose limit the kernel ends it. They are removed at the end; declare them before the
/// cluster, so that nobody is in them any more.
#[derive(Default)]
pub struct Groups(Vec<PathBuf>);

/// The processes that are watched, and what they may hold.
pub struct Watch {
    pids: Vec<u32>,
    bytes_max: u64,
}

/// The most that each node held, KiB.
pub struct Peak(Vec<u64>);

impl Groups {
    /// Puts each node of `cluster` into a group of its own beneath `parent`, a directory of the memory controller, version 1
    /// or 2.
    pub fn limit(&mut self, parent: &Path, cluster: &Cluster, bytes_max: u64) {
        for index in cluster.indexes() {
            let group = parent.join(format!("banyan-hostile-{}-{index}", std::process::id()));
            fs::create_dir(&group).expect("a control group");
            self.0.push(group.clone());
            let names = ["memory.max", "memory.limit_in_bytes"];
            let limit = names
                .map(|name| group.join(name))
                .into_iter()
                .find(|file| file.exists());
            let limit = limit.expect("the memory controller");
            fs::write(limit, bytes_max.to_string()).expect("a limit on memory");
            let pid = cluster.pid(index).expect("the node runs");
            fs::write(group.join("cgroup.procs"), pid.to_string()).expect("a node in its group");
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            let _left_behind = fs::remove_dir(group);
        }
    }
}

impl Watch {
    /// Watches the nodes of `cluster`, which must run.
    pub fn new(cluster: &Cluster, bytes_max: u64) -> Self {
        let pids = cluster.indexes().filter_map(|index| cluster.pid(index)).collect();
        Self { pids, bytes_max }
    }

    /// Looks at them until `stop`.
    pub fn run(&self, stop: &AtomicBool) -> Peak {
        let mut peak = vec![0; self.pids.len()];
        while !stop.load(Ordering::Relaxed) {
            for (peak, pid) in peak.iter_mut().zip(&self.pids) {
                *peak = (*peak).max(kib(*pid, "VmRSS:"));
            }
            self.assert_bounded();
            let_run(Duration::from_millis(200));
        }
        Peak(peak)
    }

    /// # Panics
    /// If a node has held more than it may, or has ended.
    pub fn assert_bounded(&self) {
        for (node, pid) in (1..).zip(&self.pids) {
            let most = kib(*pid, "VmHWM:");
            assert!(
                most > 0 && most * 1024 < self.bytes_max,
                "node {node} has held {most} KiB"
            );
        }
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A line of `/proc/PID/status`, 0 if there is none.
fn kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
