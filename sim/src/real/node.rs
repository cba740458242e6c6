//! One node as a process that can be started, stopped, killed, paused, and found dead.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::clock::{self, Clock};
use super::error::RealError;
use super::stage::Stage;
use super::volume::Volume;

/// Exit code of a node whose storage failed or is damaged.
pub(super) const STORAGE_EXIT: i32 = 3;

const MQTT_PORT: u16 = 1883;
const HTTP_PORT: u16 = 8080;
const PEER_PORT: u16 = 7400;

/// Settings of every node: files small enough that segments, checkpoints, purges and snapshots happen in
/// minutes, and writes that do not wait for long, so that clients go on.
const SETTINGS: &str = r#"bootstrap = true
log_segment_bytes = "1 MiB"
log_keep_bytes = "6 MiB"
checkpoint_bytes = "1 MiB"
write_timeout_ms = 3000
allow_anonymous = true
insecure_peers = true
"#;

/// What stays the same over a node's lives.
#[derive(Debug)]
pub(super) struct Node {
    /// Its id, from 1.
    pub(super) id: u64,
    /// Where it keeps its data.
    pub(super) volume: Volume,
    /// Its clock, if that can be set.
    pub(super) clock: Option<Clock>,
    address: Ipv4Addr,
    namespace: Option<String>,
    binary: PathBuf,
    settings_file: PathBuf,
    log_file: PathBuf,
    pid_file: PathBuf,
    starts: AtomicU32,
    /// Set while its process is alive and not paused, by whoever does something to it: a hint for those who only look.
    up: AtomicBool,
}

/// What a node is made from.
pub(super) struct NodePlan<'a> {
    pub(super) id: u64,
    pub(super) address: Ipv4Addr,
    pub(super) namespace: Option<String>,
    pub(super) members: &'a str,
    pub(super) binary: &'a Path,
    pub(super) volume: Volume,
    pub(super) clock: Option<Clock>,
    pub(super) dir: &'a Path,
}

impl Node {
    /// Writes the settings file. Does not start anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn new(plan: NodePlan<'_>) -> Result<Self, RealError> {
        let data_dir = plan.volume.data_dir();
        let base = plan.dir.join(format!("node-{}", plan.id));
        let settings_file = base.with_extension("toml");
        let address = plan.address;
        let settings = format!(
            "data_dir = \"{}\"\nnode_id = {}\nmqtt = [\"{address}:{MQTT_PORT}\"]\nhttp = [\"{address}:{HTTP_PORT}\"]\n\
             peer = \"{address}:{PEER_PORT}\"\nmembers = [{}]\n{SETTINGS}",
            data_dir.display(),
            plan.id,
            plan.members,
        );
        fs::write(&settings_file, settings).map_err(RealError::file(&settings_file))?;
        Ok(Self {
            id: plan.id,
            volume: plan.volume,
            clock: plan.clock,
            address,
            namespace: plan.namespace,
            binary: plan.binary.to_owned(),
            settings_file,
            log_file: base.with_extension("log"),
            pid_file: Stage::pid_file(&base),
            starts: AtomicU32::new(0),
            up: AtomicBool::new(false),
        })
    }

    /// One element of `members`: equal on all nodes.
    pub(super) fn member(id: u64, address: Ipv4Addr) -> String {
        format!("\"{id}@{address}:{PEER_PORT}\"")
    }

    /// Where it serves MQTT.
    pub(super) fn mqtt(&self) -> SocketAddr {
        (self.address, MQTT_PORT).into()
    }

    /// Where it serves HTTP.
    pub(super) fn http(&self) -> SocketAddr {
        (self.address, HTTP_PORT).into()
    }

    /// What it has logged, over all its lives.
    pub(super) fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// Directory of its Raft log.
    pub(super) fn raft_log_dir(&self) -> PathBuf {
        self.volume.data_dir().join("log")
    }

    /// How often it was started after the first time.
    pub(super) fn life(&self) -> u32 {
        self.starts.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Whether it is worth asking: its process runs and is not paused, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn command(&self) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => {
                // `ip` becomes the node: one process, one pid.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BANYAN_") {
                command.env_remove(variable);
            }
        }
        if let Some(clock) = &self.clock {
            clock.apply_to(&mut command);
        }
        command
            .arg("--config")
            .arg(&self.settings_file)
            .arg("--stop-when-stdin-closes");
        command
    }
}

/// The process of a node, for the one who may do something to it.
#[derive(Debug)]
pub(super) struct Process {
    node: Arc<Node>,
    child: Option<Child>,
    /// Its volume was full in this life: it may have noticed, and say so with the next write.
    was_full: bool,
}

impl Process {
    /// No process yet.
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            child: None,
            was_full: false,
        }
    }

    /// Whose it is.
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Starts the node if it does not run, and does not wait for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&mut self) -> Result<(), RealError> {
        if self.child.is_some() {
            return Ok(());
        }
        let node = &self.node;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&node.log_file)
            .map_err(RealError::file(&node.log_file))?;
        let second = log.try_clone().map_err(RealError::file(&node.log_file))?;
        let child = node
            .command()
            .stdin(Stdio::piped()) // closes with this process, however that ends, and the node with it
            .stdout(second)
            .stderr(log)
            .spawn()
            .map_err(RealError::file(&node.binary))?;
        fs::write(&node.pid_file, child.id().to_string()).map_err(RealError::file(&node.pid_file))?;
        node.starts.fetch_add(1, Ordering::Relaxed);
        self.child = Some(child);
        self.was_full = false;
        self.set_up(true);
        Ok(())
    }

    /// Remembers that its volume is full in this life.
    pub(super) fn note_full(&mut self) {
        self.was_full = true;
    }

    /// Whether its volume was full in this life.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// SIGKILL, and waits for the end. Nothing happens if it does not run.
    pub(super) fn kill(&mut self) {
        self.set_up(false);
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            let _status = child.wait();
            self.forget(child.id());
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.set_up(false);
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.set_up(self.child.is_some());
    }

    /// SIGTERM.
    pub(super) fn terminate(&mut self) {
        self.set_up(false);
        self.signal(Signal::TERM);
    }

    /// How it ended, once, if it has ended by itself since it was started.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let (status, pid) = (child.try_wait().ok()??, child.id());
        self.child = None;
        self.set_up(false);
        self.forget(pid);
        Some(status)
    }

    /// Whether it was started and has not been killed or [found dead](Self::ended).
    pub(super) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| child.id().try_into().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _already_gone = kill_process(pid, signal);
        }
    }

    fn set_up(&self, up: bool) {
        self.node.up.store(up, Ordering::Relaxed);
    }

    /// Nobody need look for the process `pid` any more.
    fn forget(&self, pid: u32) {
        clock::forget(pid);
        let _gone = fs::remove_file(&self.node.pid_file);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
