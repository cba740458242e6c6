//! What a run leaves outside of its own process, and taking all of it away again.
//!
//! Everything hangs on the run's directory, `banyan-real/<pid>` in the directory for temporary files, which is locked while
//! the run lives: network namespaces and links have names that follow from the pid, volumes are mounted below the
//! directory, and a node's pid stands in a file there. So what a run that was killed has left is found and removed by the
//! next one, and nothing else is touched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::clock;
use super::error::RealError;
use super::tool;

const LOCK: &str = "lock";
/// Time for a killed process to be gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// The directory and the names of one run. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Stage {
    run: u32,
    dir: PathBuf,
    keep_dir: bool,
    _lock: File,
}

impl Stage {
    /// Removes what killed runs have left, and sets up a new one.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn new() -> Result<Self, RealError> {
        let base = std::env::temp_dir().join("banyan-real");
        fs::create_dir_all(&base).map_err(RealError::file(&base))?;
        sweep(&base)?;
        let run = std::process::id();
        let dir = base.join(run.to_string());
        fs::create_dir(&dir).map_err(RealError::file(&dir))?;
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(RealError::file(&path))?;
        lock.try_lock().map_err(|error| RealError::file(&path)(error.into()))?;
        Ok(Self {
            run,
            dir,
            keep_dir: false,
            _lock: lock,
        })
    }

    /// Number of the run: names of namespaces and links are made from it.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    /// The run's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the nodes' logs and a copy of their data for somebody to look at.
    pub(super) fn keep_dir(&mut self) {
        self.keep_dir = true;
    }

    /// File that holds the pid of the process that works on `data_dir`.
    pub(super) fn pid_file(data_dir: &Path) -> PathBuf {
        data_dir.with_extension("pid")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(self.run, &self.dir, self.keep_dir);
    }
}

/// The namespace of a node, or of the switch.
pub(super) fn namespace(run: u32, name: &str) -> String {
    format!("banyan-{run}-{name}")
}

/// This machine's end of the link to the switch. Interface names have at most 15 bytes.
pub(super) fn uplink(run: u32) -> String {
    format!("bny{run}")
}

/// Removes what runs below `base` have left that do not live any more.
fn sweep(base: &Path) -> Result<(), RealError> {
    for entry in fs::read_dir(base).map_err(RealError::file(base))?.flatten() {
        let Some(run) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let is_alive = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err());
        if !is_alive {
            eprintln!("removing what run {run} has left");
            remove(run, &entry.path(), false);
        }
    }
    Ok(())
}

/// Ends the processes of `run` and removes its volumes, namespaces and directory. What is not there is no error.
fn remove(run: u32, dir: &Path, keep_dir: bool) {
    let entries: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    for path in entries
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "pid"))
    {
        kill_node(path);
    }
    if let Ok(list) = tool::run("ip", &["netns", "list"]) {
        let prefix = namespace(run, "");
        for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
            if name.starts_with(&prefix) {
                let _gone = tool::run("ip", &["netns", "del", name]);
            }
        }
    }
    let _gone = tool::run("ip", &["link", "del", &uplink(run)]);
    for path in entries.iter().filter(|path| path.is_dir()) {
        if is_mounted(path) {
            if keep_dir {
                let kept = path.with_extension("kept");
                let (from, to) = (path.display().to_string(), kept.display().to_string());
                let _best_effort = tool::run("cp", &["-a", "--sparse=always", &from, &to]);
            }
            let _gone = tool::run("umount", &["-l", &path.display().to_string()]);
        }
    }
    if entries.iter().any(|path| is_mounted(path)) {
        return; // never remove what is mounted below
    }
    if keep_dir {
        let kept = std::env::temp_dir().join("banyan-real-kept").join(run.to_string());
        let _exists = fs::create_dir_all(kept.with_file_name(""));
        if fs::rename(dir, &kept).is_ok() {
            eprintln!("logs and data of the nodes: {}", kept.display());
        }
    } else {
        let _gone = fs::remove_dir_all(dir);
    }
}

fn is_mounted(path: &Path) -> bool {
    let path = path.display().to_string();
    fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(path.as_str()))
}

/// Kills the node whose pid stands in `pid_file`, if the process with this pid is still that node.
fn kill_node(pid_file: &Path) {
    let data_dir = pid_file.with_extension("");
    let Some(pid) = fs::read_to_string(pid_file)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
    else {
        return;
    };
    let settings = data_dir.with_extension("toml").display().to_string();
    let is_node = || {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&settings)
    };
    if let Some(process) = Pid::from_raw(pid).filter(|_| is_node()) {
        let _already_gone = kill_process(process, Signal::KILL);
        let deadline = tokio::time::Instant::now() + DEATH_TIMEOUT;
        while is_node() && tokio::time::Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    clock::forget(pid.unsigned_abs());
}
