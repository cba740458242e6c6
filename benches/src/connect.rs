//! `banyan-bench connect`: how fast clients connect, and what they cost while they are idle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::ProtocolVersion;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::report::rounded;

/// Arguments of `banyan-bench connect`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// MQTT addresses, as HOST:PORT separated by commas; connections are spread over them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:1883")]
    addresses: Vec<String>,
    /// Number of connections.
    #[arg(long, default_value_t = 1_000)]
    connections: u32,
    /// Connections that are being made at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Process of the broker, whose memory is read before, and when all are connected (Linux).
    #[arg(long)]
    pid: Option<u32>,
    /// Seconds that they stay idle before memory is read.
    #[arg(long, default_value_t = 2.0)]
    idle: f64,
}

/// What a run showed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) connected: u64,
    connect_s: f64,
    connected_per_s: f64,
    /// Of the broker's process, KiB.
    memory_before_kib: Option<u64>,
    memory_after_kib: Option<u64>,
    bytes_per_connection: Option<u64>,
    errors: BTreeMap<String, u64>,
}

/// Connects, waits, and reads the broker's memory.
pub(crate) async fn run(options: Options) -> Result<Report, String> {
    let idle = Duration::try_from_secs_f64(options.idle).map_err(|_| "--idle is no time span".to_owned())?;
    for process in [Some("self".to_owned()), options.pid.map(|pid| pid.to_string())]
        .into_iter()
        .flatten()
    {
        check_open_files(&process, options.connections)?;
    }
    let memory_before_kib = options.pid.map(resident_kib).transpose()?;
    let connecting = Rc::new(Semaphore::new(options.concurrency as usize));
    let begun = Instant::now();
    let mut attempts = JoinSet::new();
    for index in 0..options.connections {
        let connecting = Rc::clone(&connecting);
        let address = options.addresses[index as usize % options.addresses.len()].clone();
        attempts.spawn_local(async move {
            let _permit = connecting.acquire().await;
            let client_id = format!("connect-{}-{index}", std::process::id());
            let client = Client::connect(&address, ProtocolVersion::V5, &client_id).await;
            client.map(Client::into_socket)
        });
    }
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut errors = BTreeMap::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(|error| error.to_string())? {
            Ok(socket) => sockets.push(socket),
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    let connect_s = begun.elapsed().as_secs_f64();
    tokio::time::sleep(idle).await;
    let memory_after_kib = options.pid.map(resident_kib).transpose()?;
    let connected = sockets.len() as u64;
    let grown = memory_before_kib.zip(memory_after_kib);
    Ok(Report {
        connected,
        connect_s: rounded(connect_s),
        connected_per_s: rounded(connected as f64 / connect_s),
        memory_before_kib,
        memory_after_kib,
        bytes_per_connection: grown
            .map(|(before, after)| after.saturating_sub(before) * 1024)
            .and_then(|bytes| bytes.checked_div(connected)),
        errors,
    })
}

/// Files that a process has open beside its connections, at least.
const OTHER_FILES: u64 = 50;

/// Says how to raise the limit of open files, if `process` (an id, or `self`) may not have so many connections (Linux).
fn check_open_files(process: &str, connections: u32) -> Result<(), String> {
    let Ok(limits) = std::fs::read_to_string(format!("/proc/{process}/limits")) else {
        return Ok(());
    };
    let needed = u64::from(connections) + OTHER_FILES;
    match open_files_max(&limits) {
        Some(max) if max < needed => Err(format!(
            "process {process} may have {max} files open, and {connections} connections need {needed}: \
             start it after `ulimit -n {needed}`"
        )),
        _ => Ok(()),
    }
}

/// The limit that holds, out of `/proc/PID/limits`; `None` if there is none.
fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Memory of a process that is in use, KiB.
fn resident_kib(pid: u32) -> Result<u64, String> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .ok_or_else(|| format!("{} has no VmRSS", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             94862                94862                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(open_files_max(&limits.replace("1024", "unlimited")), None);
        let error = check_open_files("self", u32::MAX).expect_err("nobody may have so many");
        assert!(error.contains("ulimit -n"), "{error}");
        assert_eq!(check_open_files("nobody", u32::MAX), Ok(()));
    }
}
