//! What this machine lets a run do: found out by trying, and told in words.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::stage::{self, Stage};
use super::tool;

/// Where Debian, Fedora and Arch keep the library that changes a program's clock.
const CLOCK_LIBRARIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How packets on a link can be slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slowing {
    /// `netem`: delay, jitter and loss.
    Delay,
    /// `htb` alone: a rate, behind which packets queue.
    Rate,
}

/// What can be done here; `Err` says why not.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// A network namespace for each node: without it there are no faults of links.
    pub(super) namespaces: Result<(), String>,
    /// Slow links.
    pub(super) slowing: Result<Slowing, String>,
    /// A volume of its own for each node, which can be filled.
    pub(super) volumes: Result<(), String>,
    /// The library with which a node's clock is set.
    pub(super) clock: Result<PathBuf, String>,
}

impl Machine {
    /// Tries everything, below `stage`.
    pub(super) fn probe(stage: &Stage) -> Self {
        let namespaces = probe_namespaces(stage);
        let slowing = match &namespaces {
            Ok(()) => probe_slowing(stage),
            Err(reason) => Err(reason.clone()),
        };
        if namespaces.is_ok() {
            let _gone = tool::run("ip", &["netns", "del", &probe_namespace(stage)]);
        }
        let library = CLOCK_LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
        Self {
            namespaces,
            slowing,
            volumes: probe_volumes(stage),
            clock: library.ok_or_else(|| "libfaketime is not installed (Debian: package libfaketime)".to_owned()),
        }
    }

    /// Does without namespaces although they are possible.
    pub(super) fn forbid_namespaces(&mut self, reason: &str) {
        self.namespaces = Err(reason.to_owned());
        self.slowing = Err(reason.to_owned());
    }

    /// What a run with all faults would need and is not here.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut add = |what: &str, result: Result<(), &String>| {
            if let Err(reason) = result {
                missing.push(format!("{what}: {reason}"));
            }
        };
        add("network namespaces", self.namespaces.as_ref().copied());
        add("slow links", self.slowing.as_ref().map(|_| ()));
        add("volumes", self.volumes.as_ref().copied());
        add("clock offsets", self.clock.as_ref().map(|_| ()));
        missing
    }
}

/// One line a means.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            Ok(()) => writeln!(
                f,
                "network     one namespace a node; cuts by policy routing at the receiver"
            )?,
            Err(reason) => writeln!(
                f,
                "network     NOT AVAILABLE, all nodes on loopback, no faults of links: {reason}"
            )?,
        }
        match &self.slowing {
            Ok(Slowing::Delay) => writeln!(f, "slow links  delay, jitter and loss (netem)")?,
            Ok(Slowing::Rate) => writeln!(
                f,
                "slow links  rate limit with a queue (htb); delay and loss NOT AVAILABLE: this kernel has no netem"
            )?,
            Err(reason) => writeln!(f, "slow links  NOT AVAILABLE: {reason}")?,
        }
        match &self.volumes {
            Ok(()) => writeln!(f, "volumes     a small tmpfs a node")?,
            Err(reason) => writeln!(f, "volumes     NOT AVAILABLE, no full disks: {reason}")?,
        }
        match &self.clock {
            Ok(library) => write!(f, "clock       {}", library.display()),
            Err(reason) => write!(f, "clock       NOT AVAILABLE: {reason}"),
        }
    }
}

fn probe_namespace(stage: &Stage) -> String {
    stage::namespace(stage.run(), "probe")
}

fn probe_namespaces(stage: &Stage) -> Result<(), String> {
    let name = probe_namespace(stage);
    let steps: [&[&str]; 5] = [
        &["netns", "add", &name],
        &["-n", &name, "link", "add", "br0", "type", "bridge"],
        &[
            "-n", &name, "link", "add", "end0", "type", "veth", "peer", "name", "end1",
        ],
        &[
            "-n",
            &name,
            "rule",
            "add",
            "pref",
            "10",
            "from",
            "192.0.2.1",
            "blackhole",
        ],
        &["-n", &name, "link", "set", "end0", "up"],
    ];
    for step in steps {
        if let Err(error) = tool::run("ip", step) {
            let _gone = tool::run("ip", &["netns", "del", &name]);
            return Err(error.to_string());
        }
    }
    Ok(())
}

fn probe_slowing(stage: &Stage) -> Result<Slowing, String> {
    let name = probe_namespace(stage);
    let tc = |arguments: &[&str]| {
        let in_namespace = [&["-n", name.as_str()], arguments].concat();
        tool::run("tc", &in_namespace).map_err(|error| error.to_string())
    };
    tc(&[
        "qdisc", "add", "dev", "end0", "root", "handle", "1:", "htb", "default", "1",
    ])?;
    tc(&[
        "class", "add", "dev", "end0", "parent", "1:", "classid", "1:1", "htb", "rate", "1mbit",
    ])?;
    let filter = [
        "filter", "add", "dev", "end0", "parent", "1:", "protocol", "ip", "prio", "1", "u32",
    ];
    tc(&[&filter[..], &["match", "ip", "dst", "192.0.2.1/32", "flowid", "1:1"]].concat())?;
    let netem = tc(&["qdisc", "add", "dev", "end0", "parent", "1:1", "netem", "delay", "1ms"]);
    Ok(if netem.is_ok() { Slowing::Delay } else { Slowing::Rate })
}

fn probe_volumes(stage: &Stage) -> Result<(), String> {
    let dir = stage.dir().join("probe");
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let path = dir.display().to_string();
    let mounted = tool::run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &path]);
    let _unmounted = mounted.is_ok() && tool::run("umount", &[&path]).is_ok();
    let _gone = fs::remove_dir(&dir);
    mounted.map(|_| ()).map_err(|error| error.to_string())
}
