//! Nodes as child processes that can be started, stopped, killed and asked.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use banyan_api::cluster::{ClusterStatus, Member};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports::ReservedPort;
use super::wait;

/// Time for a node to become ready after its start, and for a cluster to agree again. Generous: debug builds on busy machines.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a node to end after SIGTERM.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for one HTTP answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
/// Lines of each node's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// What differs from the defaults so that a cluster fits into a test: small files.
const TEST_SETTINGS: &[(&str, &str)] = &[
    ("log_segment_bytes", "4 MiB"),
    ("log_keep_bytes", "16 MiB"),
    ("checkpoint_bytes", "2 MiB"),
    ("disk_reserve_bytes", "0"),
];

/// A cluster on this machine, in a directory of its own. Nodes are named by index, from 0; their ids are index + 1.
///
/// Its methods take `&self`, so that writers, subscribers and the one who kills can share it. When it is dropped all nodes
/// are killed and the directory is removed; if a test failed, the end of every node's log is shown. With `BANYAN_KEEP=1`
/// the directory stays.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    nodes: Vec<Node>,
    /// How many of the nodes begin the cluster; the others may enter it.
    founders: usize,
    settings: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Node {
    mqtt: ReservedPort,
    http: ReservedPort,
    peer: ReservedPort,
    child: Mutex<Option<Child>>,
    /// The program, if it is not the one that was built with the test.
    program: Mutex<Option<PathBuf>>,
}

impl Cluster {
    /// `size` nodes, none started. `settings` are keys of the settings file and win over those tests use.
    pub fn new(size: usize, settings: &[(&str, &str)]) -> Self {
        Self::growing(size, size, settings)
    }

    /// `size` nodes, none started, of which the first `founders` begin the cluster; the others are started with
    /// [`spawn_with`](Self::spawn_with) and the settings with which they enter it.
    pub fn growing(size: usize, founders: usize, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory for the cluster");
        let node = || Node {
            mqtt: ReservedPort::new(),
            http: ReservedPort::new(),
            peer: ReservedPort::new(),
            child: Mutex::new(None),
            program: Mutex::new(None),
        };
        let settings = TEST_SETTINGS
            .iter()
            .chain(settings)
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Self {
            dir,
            nodes: (0..size).map(|_| node()).collect(),
            founders,
            settings,
        }
    }

    /// `size` nodes, started and ready.
    pub fn start(size: usize, settings: &[(&str, &str)]) -> Self {
        let cluster = Self::new(size, settings);
        cluster.start_all();
        cluster
    }

    /// Number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The indexes of all nodes.
    pub fn indexes(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// Id of node `index`.
    pub fn id(&self, index: usize) -> u64 {
        index as u64 + 1
    }

    /// Where node `index` serves MQTT.
    pub fn mqtt(&self, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.nodes[index].mqtt.number()).into()
    }

    /// Where node `index` serves HTTP.
    pub fn http(&self, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.nodes[index].http.number()).into()
    }

    /// Where the peers of node `index` reach it.
    pub fn peer(&self, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.nodes[index].peer.number()).into()
    }

    /// The URL of `path` (with its leading slash) at node `index`.
    pub fn url(&self, index: usize, path: &str) -> String {
        format!("http://{}{path}", self.http(index))
    }

    /// Directory of node `index`'s data.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("node-{}", self.id(index)))
    }

    /// What node `index` logs, over all its lives.
    pub fn log_file(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("node-{}.log", self.id(index)))
    }

    /// Process id of node `index`, if it runs.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.child(index).as_ref().map(Child::id)
    }

    /// Starts node `index` and does not wait for it.
    ///
    /// # Panics
    /// If it runs already.
    pub fn spawn(&self, index: usize) {
        self.spawn_with(index, &[]);
    }

    /// Starts node `index` with variables in its environment, and does not wait for it.
    ///
    /// # Panics
    /// If it runs already.
    pub fn spawn_in(&self, index: usize, environment: &[(&str, &str)]) {
        let mut command = self.command(index);
        command.envs(environment.iter().copied());
        self.spawn_command(index, command);
    }

    /// Starts node `index` with more settings than the others, and does not wait for it.
    ///
    /// # Panics
    /// If it runs already.
    pub fn spawn_with(&self, index: usize, settings: &[(&str, &str)]) {
        let mut command = self.command(index);
        for (key, value) in settings {
            command.arg(format!("--{}", key.replace('_', "-"))).arg(value);
        }
        self.spawn_command(index, command);
    }

    fn spawn_command(&self, index: usize, mut command: Command) {
        let mut child = self.child(index);
        assert!(child.is_none(), "node {} runs already", self.id(index));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file(index))
            .expect("a log file");
        let spawned = command
            .stdin(Stdio::piped()) // closes with this process, however that ends, and the node with it
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn();
        *child = Some(spawned.expect("the banyan program starts"));
    }

    /// Has node `index` run `program`, such as one of another version, from its next start on.
    pub fn use_program(&self, index: usize, program: impl Into<PathBuf>) {
        let mut used = self.nodes[index].program.lock().unwrap_or_else(PoisonError::into_inner);
        *used = Some(program.into());
    }

    /// Starts node `index` with another address for other nodes than it had, and does not wait for it.
    ///
    /// # Panics
    /// If it runs already.
    pub fn spawn_moved(&self, index: usize, peer: &str) {
        self.spawn_command(index, self.command_at(index, peer, false));
    }

    /// The command line of node `index`, without input and output set.
    pub fn command(&self, index: usize) -> Command {
        let peer = format!("127.0.0.1:{}", self.nodes[index].peer.number());
        self.command_at(index, &peer, index < self.founders)
    }

    fn command_at(&self, index: usize, peer: &str, is_founder: bool) -> Command {
        let node = &self.nodes[index];
        let members: Vec<String> = self
            .nodes
            .iter()
            .enumerate()
            .take(self.founders)
            .map(|(other, node)| format!("{}@127.0.0.1:{}", self.id(other), node.peer.number()))
            .collect();
        let program = node.program.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Another version may not know every setting of the tests.
        let help = program.as_ref().map(|program| {
            let help = Command::new(program).arg("--help").output();
            String::from_utf8_lossy(&help.expect("the program runs").stdout).into_owned()
        });
        let knows = |flag: &str| help.as_ref().is_none_or(|help| help.contains(flag));
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_banyan").into()));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BANYAN_") {
                command.env_remove(variable);
            }
        }
        command
            .arg("--data-dir")
            .arg(self.data_dir(index))
            .args(["--node-id", &self.id(index).to_string()])
            .args(["--mqtt", &format!("127.0.0.1:{}", node.mqtt.number())])
            .args(["--http", &format!("127.0.0.1:{}", node.http.number())])
            .args(["--peer", peer])
            .arg("--stop-when-stdin-closes");
        if is_founder {
            command.args(["--members", &members.join(","), "--bootstrap"]);
        }
        for (key, value) in &self.settings {
            let flag = format!("--{}", key.replace('_', "-"));
            if knows(&flag) {
                command.arg(flag).arg(value);
            }
        }
        command
    }

    /// Starts every node that does not run and waits until all are ready.
    pub fn start_all(&self) {
        for index in self.indexes() {
            if self.pid(index).is_none() {
                self.spawn(index);
            }
        }
        for index in self.indexes() {
            self.wait_until_ready(index);
        }
    }

    /// Starts node `index` and waits until it is ready.
    pub fn start_node(&self, index: usize) {
        self.spawn(index);
        self.wait_until_ready(index);
    }

    /// SIGKILL, and waits for the process to be gone. Nothing happens if it does not run.
    pub fn kill(&self, index: usize) {
        if let Some(mut child) = self.child(index).take() {
            child.kill().expect("SIGKILL");
            child.wait().expect("the killed node's end");
        }
    }

    /// SIGKILL for all nodes at one moment.
    pub fn kill_all(&self) {
        let mut children: Vec<Child> = self.indexes().filter_map(|index| self.child(index).take()).collect();
        for child in &mut children {
            child.kill().expect("SIGKILL");
        }
        for child in &mut children {
            child.wait().expect("the killed node's end");
        }
    }

    /// SIGTERM to node `index`, without waiting for its end.
    pub fn terminate(&self, index: usize) {
        self.signal(index, Signal::TERM);
    }

    /// SIGSTOP: node `index` keeps its connections and does nothing from now on until [`resume`](Self::resume).
    pub fn pause(&self, index: usize) {
        self.signal(index, Signal::STOP);
        // Threads on other processors run on until they hear of it.
        let tasks = format!("/proc/{}/task", self.pid(index).expect("the node runs"));
        let stands = |task: &Path| {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        };
        wait::until("all threads stopped", Duration::from_secs(10), || {
            let mut all = fs::read_dir(&tasks).ok()?.filter_map(Result::ok);
            all.all(|task| stands(&task.path())).then_some(())
        });
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    /// Sends a signal to node `index`.
    pub fn signal(&self, index: usize, signal: Signal) {
        let id = self.pid(index).expect("the node runs");
        let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("a signal");
    }

    /// SIGTERM, and waits for the process to end by itself.
    ///
    /// # Panics
    /// If it does not in [`STOP_TIMEOUT`].
    pub fn stop(&self, index: usize) -> ExitStatus {
        self.terminate(index);
        self.wait_for_end_within(index, STOP_TIMEOUT)
    }

    /// Waits until node `index`, which may have to find out first that it must end, has ended by itself.
    pub fn wait_for_end(&self, index: usize) -> ExitStatus {
        self.wait_for_end_within(index, READY_TIMEOUT)
    }

    /// Waits until node `index` has ended by itself.
    pub fn wait_for_end_within(&self, index: usize, timeout: Duration) -> ExitStatus {
        let status = wait::until(&format!("end of node {}", self.id(index)), timeout, || {
            self.child(index)
                .as_mut()
                .expect("the node was started")
                .try_wait()
                .expect("a status")
        });
        self.child(index).take();
        status
    }

    /// SIGTERM, start, ready.
    pub fn restart(&self, index: usize) {
        let status = self.stop(index);
        assert!(status.success(), "node {} ended with {status}", self.id(index));
        self.start_node(index);
    }

    /// `GET path` at node `index`: status and body. `None` if there is no answer.
    pub fn get(&self, index: usize, path: &str) -> Option<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(HTTP_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent.get(self.url(index, path)).call().ok()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_string().ok()?;
        Some((status, body))
    }

    /// `GET /v1/cluster` at node `index`. `None` if it does not answer.
    pub fn status(&self, index: usize) -> Option<ClusterStatus> {
        let (status, body) = self.get(index, "/v1/cluster")?;
        assert_eq!(status, 200, "{body}");
        Some(serde_json::from_str(&body).expect("a cluster status"))
    }

    /// Node `index` by its own account. `None` if it does not answer.
    pub fn member(&self, index: usize) -> Option<Member> {
        let status = self.status(index)?;
        status.members.into_iter().find(|member| member.id == self.id(index))
    }

    /// Waits until node `index` says that it is ready.
    ///
    /// # Panics
    /// If it ends instead, or takes longer than [`READY_TIMEOUT`].
    pub fn wait_until_ready(&self, index: usize) {
        wait::until(&format!("ready node {}", self.id(index)), READY_TIMEOUT, || {
            self.assert_running(index);
            self.get(index, "/health/ready").filter(|(status, _)| *status == 200)
        });
    }

    /// # Panics
    /// If node `index` has ended by itself.
    pub fn assert_running(&self, index: usize) {
        if let Some(child) = self.child(index).as_mut()
            && let Some(status) = child.try_wait().expect("a status")
        {
            panic!("node {} ended by itself: {status}", self.id(index));
        }
    }

    /// The leader that a majority of the nodes names, if they do.
    pub fn leader(&self) -> Option<usize> {
        let mut votes: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for index in self.indexes().filter(|&index| self.pid(index).is_some()) {
            if let Some(ClusterStatus {
                term,
                leader: Some(leader),
                ..
            }) = self.status(index)
            {
                *votes.entry((term, leader)).or_default() += 1;
            }
        }
        let (&(_, leader), _) = votes.iter().find(|&(_, &count)| count > self.size() / 2)?;
        self.indexes()
            .find(|&index| self.id(index) == leader && self.pid(index).is_some())
    }

    /// Waits until there is a leader.
    pub fn wait_for_leader(&self) -> usize {
        wait::until("leader", READY_TIMEOUT, || self.leader())
    }

    /// Waits until all running nodes show one digest at one applied index, and gives what they then say of themselves.
    /// Nobody may write meanwhile.
    ///
    /// # Panics
    /// If digests differ at an equal applied index, or the indexes do not meet in [`READY_TIMEOUT`].
    pub fn wait_until_equal(&self) -> Vec<Member> {
        let running: Vec<usize> = self.indexes().filter(|&index| self.pid(index).is_some()).collect();
        wait::until("equal applied index on all nodes", READY_TIMEOUT, || {
            let members: Vec<Member> = running.iter().map(|&index| self.member(index)).collect::<Option<_>>()?;
            let first = members.first()?;
            if members.iter().any(|member| member.applied_index != first.applied_index) {
                return None;
            }
            for member in &members {
                assert_eq!(
                    (&member.digest, member.revision),
                    (&first.digest, first.revision),
                    "nodes {} and {} differ at applied index {:?}",
                    member.id,
                    first.id,
                    first.applied_index
                );
            }
            Some(members)
        })
    }

    fn child(&self, index: usize) -> MutexGuard<'_, Option<Child>> {
        // A test that failed elsewhere still wants its nodes killed.
        self.nodes[index].child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_logs(&self) {
        for index in self.indexes() {
            let log = fs::read_to_string(self.log_file(index)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!(
                "---- node {}, last {} of {} lines",
                self.id(index),
                shown.len(),
                lines.len()
            );
            for line in shown {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in self.indexes() {
            if let Some(mut child) = self.child(index).take() {
                let _already_gone = child.kill();
                let _status = child.wait();
            }
        }
        if std::thread::panicking() {
            self.show_logs();
        }
        if std::env::var_os("BANYAN_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}
