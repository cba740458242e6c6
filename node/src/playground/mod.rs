//! `banyan playground`: a whole cluster on this machine, one child process a node.
//!
//! ```text
//! DIR/playground.toml   what the directory was made for: number of nodes, first peer port
//! DIR/lock              held while a playground runs on DIR
//! DIR/node-1/           data directory of node 1
//! DIR/node-1.log        its log lines
//! ```
//!
//! A child that ends by itself is reported, not started again: what a cluster does with a dead node is what a playground is
//! for. Everything else about a node is as in production; there is no playground mode inside.

mod child;
mod plan;
mod report;

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::settings::data_dir::{self, DataDirError};
use child::Ended;
use plan::{NodePlan, Plan};

/// Flag of a node: stop in order when standard input closes. How children notice that the playground is gone.
pub const STOP_WHEN_STDIN_CLOSES: &str = "stop-when-stdin-closes";

/// Time for all nodes to answer after the start.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for the nodes of an earlier run, whose playground was killed, to notice that and stop.
const EARLIER_RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `banyan playground`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub nodes: u16,
    /// Directory of the data and logs [default: ./banyan-playground].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Begin with no data, in a new directory (below --data-dir, if given), and remove it at the end.
    #[arg(long)]
    pub ephemeral: bool,
    /// MQTT port of the first node; the others follow.
    #[arg(long, default_value_t = 1883, value_name = "PORT")]
    pub mqtt: u16,
    /// HTTP port of the first node; the others follow.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub http: u16,
    /// Peer port of the first node; the others follow.
    #[arg(long, default_value_t = 7400, value_name = "PORT")]
    pub peer: u16,
}

/// Why a playground did not start or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PlaygroundError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The directory was made for another cluster.
    #[error(
        "{dir} holds a cluster of {nodes} nodes with peer ports from {peer}, which its data remembers: start it with \
         `--nodes {nodes} --peer {peer}`, or choose another --data-dir"
    )]
    OtherLayout {
        /// Directory of the playground.
        dir: PathBuf,
        /// Its number of nodes.
        nodes: usize,
        /// Its first peer port.
        peer: u16,
    },
    /// Another playground, or a node, has the directory open.
    #[error("{0}; stop it first, or choose another --data-dir")]
    DirInUse(DataDirError),
    /// A port is taken, or not allowed.
    #[error(
        "port {port} ({service} of node {node}): {error}; stop what listens there, or choose other ports with --{flag}"
    )]
    Port {
        /// The port.
        port: u16,
        /// What for.
        service: &'static str,
        /// Whose.
        node: u64,
        /// The option that moves it.
        flag: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A node ended during the start.
    #[error("node {node} {ending} while starting; the end of {log}:\n{tail}", log = log.display())]
    NodeEnded {
        /// Which one.
        node: u64,
        /// How.
        ending: String,
        /// Its exit code, if it had one.
        code: Option<u8>,
        /// Its log file.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// The nodes run but do not serve.
    #[error("not all nodes were ready within {} s; see the logs in {dir}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Where the logs are.
        dir: PathBuf,
    },
    /// All nodes have ended without being asked to.
    #[error("no node is left")]
    AllEnded,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl PlaygroundError {
    /// The exit code that the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::OtherLayout { .. } => 2,
            Self::DirInUse(_) => 3,
            Self::NotReady { .. } => 4,
            Self::NodeEnded { code, .. } => code.unwrap_or(1),
            Self::Port { .. } | Self::File { .. } | Self::AllEnded | Self::Io(_) => 1,
        }
    }
}

/// Runs a cluster until SIGINT or SIGTERM, or until no node is left. All children have ended when this returns; dropped
/// before, it kills them.
///
/// # Errors
/// See [`PlaygroundError`].
pub async fn run(options: Options) -> Result<(), PlaygroundError> {
    let directory = Directory::create(&options)?;
    let plan = Plan::new(&options, directory.path.clone())?;
    let _lock = data_dir::lock(&plan.dir).map_err(PlaygroundError::DirInUse)?;
    plan.keep_layout()?;
    wait_for_earlier_run(&plan).await?;

    // Watched from here on, so that no signal leaves a child behind.
    let stop = CancellationToken::new();
    let kill = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(stop.clone(), kill.clone()));

    let mut cluster = Cluster {
        program: std::env::current_exe()?,
        keeps_data: !options.ephemeral,
        plan,
        children: JoinSet::new(),
        stop,
        kill,
    };
    let result = cluster.run().await;
    cluster.stop_all().await;
    signals.abort();
    drop(directory);
    result
}

/// The directory of the playground; an ephemeral one is removed with its contents on drop.
struct Directory {
    path: PathBuf,
    ephemeral: bool,
}

impl Directory {
    fn create(options: &Options) -> Result<Self, PlaygroundError> {
        let base = match (&options.data_dir, options.ephemeral) {
            (Some(dir), _) => dir.clone(),
            (None, true) => std::env::temp_dir(),
            (None, false) => PathBuf::from("./banyan-playground"),
        };
        let failed = |path: &Path, error: io::Error| PlaygroundError::File {
            path: path.to_owned(),
            error: error.to_string(),
        };
        fs::create_dir_all(&base).map_err(|error| failed(&base, error))?;
        if !options.ephemeral {
            return Ok(Self {
                path: base,
                ephemeral: false,
            });
        }
        let path = base.join(format!("banyan-playground-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| failed(&path, error))?; // refuses one that exists: it is removed at the end
        Ok(Self { path, ephemeral: true })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.ephemeral
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            say(&format!("{} could not be removed: {error}", self.path.display()));
        }
    }
}

struct Cluster {
    program: PathBuf,
    keeps_data: bool,
    plan: Plan,
    children: JoinSet<Ended>,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Cluster {
    async fn run(&mut self) -> Result<(), PlaygroundError> {
        let dir = self.plan.dir.display();
        let count = self.plan.nodes.len();
        let plural = if count == 1 { "" } else { "s" };
        say(&format!(
            "Banyan playground: {count} node{plural}, data and logs in {dir}"
        ));
        let mut pids = Vec::new();
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let child = child::spawn(&self.program, &self.plan, node)?;
            pids.push(child.id().unwrap_or_default());
            self.children
                .spawn(child::supervise(index, child, self.stop.clone(), self.kill.clone()));
        }
        if !self.wait_until_ready().await? {
            return Ok(());
        }
        say(&report::table(&self.plan, &pids));
        say(if self.keeps_data {
            "Ctrl-C stops all nodes; the same command starts them again with their data."
        } else {
            "Ctrl-C stops all nodes and removes their data."
        });
        self.watch().await
    }

    /// Returns true when all nodes serve, false when asked to stop before.
    async fn wait_until_ready(&mut self) -> Result<bool, PlaygroundError> {
        let all_ready = async {
            for node in &self.plan.nodes {
                child::wait_until_ready(node.http_port).await;
            }
        };
        tokio::select! {
            () = all_ready => Ok(true),
            () = self.stop.cancelled() => Ok(false),
            Some(Ok(ended)) = self.children.join_next() => match self.plan.nodes.get(ended.index) {
                Some(node) => Err(ended_while_starting(node, &ended)),
                None => Err(PlaygroundError::AllEnded),
            },
            () = tokio::time::sleep(READY_TIMEOUT) => Err(PlaygroundError::NotReady { dir: self.plan.dir.clone() }),
        }
    }

    /// Reports every child that ends, until asked to stop or none is left.
    async fn watch(&mut self) -> Result<(), PlaygroundError> {
        while let Some(joined) = self.children.join_next().await {
            let Ok(ended) = joined else { continue };
            if ended.asked || self.stop.is_cancelled() {
                return Ok(());
            }
            if let Some(node) = self.plan.nodes.get(ended.index) {
                let restart = report::command_line(&self.program, &child::arguments(&self.plan, node));
                say(&format!(
                    "\nnode {} {}. Its log: {}. To start it again, on its own from then on:\n\n  \
                     {restart}\n",
                    node.id,
                    report::ending(&ended.status),
                    node.log_file.display(),
                ));
            }
        }
        Err(PlaygroundError::AllEnded)
    }

    /// Ends what still runs.
    async fn stop_all(&mut self) {
        if self.children.is_empty() {
            return;
        }
        say("stopping all nodes");
        self.stop.cancel();
        while let Some(joined) = self.children.join_next().await {
            let Ok(ended) = joined else { continue };
            if !ended.status.as_ref().is_ok_and(std::process::ExitStatus::success) {
                say(&format!("node {} {}", ended.index + 1, report::ending(&ended.status)));
            }
        }
    }
}

fn ended_while_starting(node: &NodePlan, ended: &Ended) -> PlaygroundError {
    let code = ended.status.as_ref().ok().and_then(std::process::ExitStatus::code);
    PlaygroundError::NodeEnded {
        node: node.id,
        ending: report::ending(&ended.status),
        code: code.and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0),
        log: node.log_file.clone(),
        tail: report::last_lines(&node.log_file),
    }
}

/// Waits until directories and ports are free: nodes whose playground was killed stop by themselves shortly after.
async fn wait_for_earlier_run(plan: &Plan) -> Result<(), PlaygroundError> {
    let deadline = tokio::time::Instant::now() + EARLIER_RUN_TIMEOUT;
    for node in &plan.nodes {
        while node.data_dir.exists() {
            match data_dir::lock(&node.data_dir) {
                Ok(_unlocked_again) => break,
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(PlaygroundError::DirInUse(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let services = [
            (node.mqtt_port, "MQTT", "mqtt"),
            (node.http_port, "HTTP", "http"),
            (node.peer_port, "peer", "peer"),
        ];
        for (port, service, flag) in services {
            TcpListener::bind(("127.0.0.1", port)).map_err(|error| PlaygroundError::Port {
                port,
                service,
                node: node.id,
                flag,
                error,
            })?;
        }
    }
    Ok(())
}

/// The first SIGINT or SIGTERM cancels `stop`, the second `kill`.
async fn watch_signals(stop: CancellationToken, kill: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for token in [stop, kill] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    }
}

/// One message to the user. A closed terminal is no reason to stop.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}
