//! Real nodes, real faults: processes of the shipped program, each with a network, a disk and a clock of its own that can
//! be broken. Clients, histories and checks are those of the simulator.
//!
//! A run begins with a cluster that is ready, goes through chaos and calm in turn, and ends healed: all nodes must agree, hold
//! everything that was acknowledged, and stop when asked. In every calm all nodes must become ready again.
//!
//! | file | concept |
//! |---|---|
//! | `machine` | what this machine lets us do |
//! | `stage` | what exists outside of this process, and removing it |
//! | `network`, `volume`, `clock` | what a node has of its own, and can be broken |
//! | `node`, `cluster`, `ask` | processes, all of them, questions to them |
//! | `faults` | what is done to them |
//! | `scene` | what everything in a run shares: phases, counts, findings |
//! | `observer`, `committed` | what nodes show, what their logs hold |
//! | `script`, `patience` | the order of things, deadlines on a busy machine |
//! | `failover` | probes that measure how long nobody can write |
//! | `judge`, `sample` | the checks |
//! | `gaps`, `report` | figures, and the table at the end |

mod ask;
mod clock;
mod cluster;
mod committed;
mod error;
mod failover;
mod faults;
mod gaps;
mod judge;
mod machine;
mod network;
mod node;
mod observer;
mod patience;
mod report;
mod sample;
mod scene;
mod script;
mod stage;
mod tool;
mod volume;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

pub use error::RealError;
pub use faults::Kind;
pub use report::Report;

use machine::Machine;
use stage::Stage;

/// Exit code of a run that has found something.
const FOUND: u8 = 1;
/// Exit code of a run that could not be made.
const FAILED: u8 = 2;

/// What to run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How long faults go on, minutes.
    #[arg(long, value_name = "M", default_value_t = 2.0)]
    pub minutes: f64,
    /// Faults and clients are drawn from it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Number of nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// The program of the node [default: `banyan` beside this program].
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Kinds of faults, separated by commas [default: all that this machine allows].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub faults: Option<Vec<Kind>>,
    /// Kill the leader so many times and measure how long nobody can write; no other faults.
    #[arg(long, value_name = "KILLS")]
    pub measure_failover: Option<u32>,
    /// Size of each node's volume, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    pub volume_mib: u32,
    /// Run all nodes on loopback, without faults of links, even where namespaces are possible.
    #[arg(long)]
    pub loopback: bool,
    /// Leave logs and data of the nodes in place, wherever that is said.
    #[arg(long)]
    pub keep: bool,
}

/// Runs `banyan-sim real`: 0 if nothing was found, 1 if something was, 2 if the run could not be made.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RealError::file("tokio"))
        .and_then(|runtime| runtime.block_on(run(options)));
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::from(if report.violations.is_empty() { 0 } else { FOUND })
        }
        Err(error) => {
            eprintln!("banyan-sim: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Makes one run. Whatever it sets up is gone when this returns, or is dropped.
///
/// # Errors
/// The run could not be made; that says nothing about Banyan. What it found is in the report.
pub async fn run(options: &Options) -> Result<Report, RealError> {
    let binary = find_binary(options)?;
    let mut stage = Stage::new()?;
    if options.keep {
        stage.keep_dir();
    }
    let mut machine = Machine::probe(&stage);
    if options.loopback {
        machine.forbid_namespaces("--loopback was given");
    }
    eprintln!("{machine}");
    let kinds = choose_kinds(options, &machine)?;
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let report = tokio::select! {
        report = script::play(options, &stage, &machine, &kinds, &binary) => report?,
        _ = interrupt.recv() => return Err(RealError::Interrupted),
        _ = terminate.recv() => return Err(RealError::Interrupted),
    };
    if !report.violations.is_empty() {
        stage.keep_dir();
    }
    Ok(report)
}

/// What a run with the default faults would lack on this machine, each in one sentence; for tests that must say why they
/// prove less here.
///
/// # Errors
/// The directory for temporary files cannot be used.
pub fn missing() -> Result<Vec<String>, RealError> {
    let stage = Stage::new()?;
    Ok(Machine::probe(&stage).missing())
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, RealError> {
    signal(kind).map_err(RealError::file("signals"))
}

fn find_binary(options: &Options) -> Result<PathBuf, RealError> {
    let beside = || std::env::current_exe().map(|program| program.with_file_name("banyan"));
    let binary = match &options.binary {
        Some(path) => path.clone(),
        None => beside().map_err(RealError::file("banyan"))?,
    };
    // Nodes are started from other directories.
    binary.canonicalize().map_err(|_| RealError::NoBinary(binary))
}

fn choose_kinds(options: &Options, machine: &Machine) -> Result<Vec<Kind>, RealError> {
    if options.measure_failover.is_some() {
        if options.nodes < 3 {
            return Err(RealError::Usage("--measure-failover needs at least 3 nodes".to_owned()));
        }
        return Ok(Vec::new());
    }
    let mut kinds = Vec::new();
    for &kind in options.faults.as_deref().unwrap_or(&Kind::ALL) {
        match kind.missing(machine) {
            None if options.nodes < 2 && kind.needs_links() => {}
            None => kinds.push(kind),
            Some(reason) if options.faults.is_some() => {
                return Err(RealError::Usage(format!("`{kind}` is not possible here: {reason}")));
            }
            Some(reason) => eprintln!("left out    {kind}: {reason}"),
        }
    }
    Ok(kinds)
}
