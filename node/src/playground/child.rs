//! One node as a child process.

use std::fs::OpenOptions;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::plan::{NodePlan, Plan};
use crate::settings::keys;

/// Time a node has to stop by itself after SIGTERM, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Free disk space below which the nodes take no writes.
const DISK_FREE_MIN: &str = "256 MiB";

/// What tokio reads the number of its worker threads from.
const TOKIO_WORKERS: &str = "TOKIO_WORKER_THREADS";

/// Time for one question to a node.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The flags that make up node `node` of `plan`.
pub(super) fn arguments(plan: &Plan, node: &NodePlan) -> Vec<String> {
    let flag = |key: &keys::Key, value: String| [format!("--{}", key.flag()), value];
    [
        flag(&keys::DATA_DIR, node.data_dir.display().to_string()),
        flag(&keys::NODE_ID, node.id.to_string()),
        flag(&keys::MQTT, format!("127.0.0.1:{}", node.mqtt_port)),
        flag(&keys::HTTP, format!("127.0.0.1:{}", node.http_port)),
        flag(&keys::PEER, format!("127.0.0.1:{}", node.peer_port)),
        flag(&keys::MEMBERS, plan.members()),
        // It is somebody's own machine: the nodes leave it some room, and take none in advance.
        flag(&keys::DISK_FREE_MIN_BYTES, DISK_FREE_MIN.to_owned()),
        flag(&keys::DISK_RESERVE_BYTES, "0".to_owned()),
    ]
    .into_iter()
    .flatten()
    .chain([format!("--{}", keys::BOOTSTRAP.flag())])
    .collect()
}

/// Starts a node. It writes its log to its log file and stops when this process is gone, however that happens: its standard
/// input is a pipe from here, and it stops when that closes. It is in a process group of its own, so that Ctrl-C reaches it
/// through us alone.
pub(super) fn spawn(program: &Path, plan: &Plan, node: &NodePlan) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&node.log_file)?;
    let mut command = Command::new(program);
    command
        .args(arguments(plan, node))
        .arg(format!("--{}", super::STOP_WHEN_STDIN_CLOSES))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true);
    // Settings of a node that may stand in this environment would contradict the flags.
    command.env_remove("BANYAN_CONFIG");
    for key in [
        &keys::MQTTS,
        &keys::HTTPS,
        &keys::JOIN,
        &keys::JOIN_TOKEN,
        &keys::PEER_ADVERTISE,
    ] {
        command.env_remove(key.variable());
    }
    // The nodes share this machine: each takes its part of the cores, which spares them waking each other's threads.
    if std::env::var_os(TOKIO_WORKERS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(TOKIO_WORKERS, (cores / plan.nodes.len().max(1)).max(1).to_string());
    }
    command.spawn()
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which one, from 0.
    pub(super) index: usize,
    /// What the system says.
    pub(super) status: io::Result<ExitStatus>,
    /// Whether it was told to stop before.
    pub(super) asked: bool,
}

/// Waits for the child's end. Once `stop` is cancelled it is told to end (SIGTERM), and killed if it takes too long or
/// `kill` is cancelled.
pub(super) async fn supervise(
    index: usize,
    mut child: Child,
    stop: CancellationToken,
    kill: CancellationToken,
) -> Ended {
    let _stdin = child.stdin.take(); // `wait` would close it, and the node would stop
    tokio::select! {
        status = child.wait() => return Ended { index, status, asked: false },
        () = stop.cancelled() => {}
    }
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _already_gone = kill_process(pid, Signal::TERM);
    }
    let status = tokio::select! {
        status = child.wait() => return Ended { index, status, asked: true },
        () = tokio::time::sleep(STOP_TIMEOUT) => None,
        () = kill.cancelled() => None,
    };
    let status = match status {
        Some(status) => status,
        None => match child.kill().await {
            Ok(()) => child.wait().await,
            Err(error) => Err(error),
        },
    };
    Ended {
        index,
        status,
        asked: true,
    }
}

/// Asks a node again and again until it serves.
pub(super) async fn wait_until_ready(http_port: u16) {
    loop {
        if let Ok(Ok(true)) = tokio::time::timeout(PROBE_TIMEOUT, is_ready(http_port)).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One `GET /health/ready`: whether the status is 200.
async fn is_ready(http_port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", http_port)).await?;
    stream
        .write_all(b"GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).await?;
    Ok(status_line.ends_with(b" 200"))
}
