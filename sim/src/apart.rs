//! Seeds in processes of their own, and what they tell.
//!
//! tokio counts tasks by process, and the order in which the tasks of a crashed host end depends on their numbers. So of runs
//! in one process at the same time none would repeat itself: more than one at a time means more than one process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::cluster::ClusterCounters;
use crate::history::Time;
use crate::invariants::coverage::Coverage;
use crate::run::{Outcome, PANIC_MARK};

/// What is told of a process that has ended without telling what came out: it stood still, or was ended from outside.
pub const NO_ANSWER: &str = "process";

/// What came out of one seed, as it passes from process to process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    /// What was in store, in one line.
    pub plan: String,
    /// The promise that was broken, if one was.
    pub violation: Option<ToldViolation>,
    /// Simulated time.
    pub simulated_us: Time,
    /// Processor time that it took, seconds.
    pub cpu_s: f64,
    /// The classes of faults that were switched on, and how often each has struck.
    pub faults: Vec<(String, u64)>,
    /// What happened to nodes.
    pub counters: ClusterCounters,
    /// Whether what must happen now and then did.
    pub coverage: Coverage,
    /// Digest of the whole trace: equal for equal traces.
    pub trace: String,
    /// The last lines of the trace that matter, if a promise was broken.
    pub timeline: Vec<String>,
}

/// A [`Violation`](crate::history::Violation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldViolation {
    /// Which promise.
    pub invariant: String,
    /// The whole sentence.
    pub text: String,
}

/// Lines of the timeline that are told of a failure.
const TIMELINE_LINES: usize = 60;

impl Told {
    /// What `outcome` comes to.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let mut digest = Xxh3::new();
        for line in &outcome.trace {
            digest.update(format!("{line}\n").as_bytes());
        }
        let struck = |class| outcome.injected.iter().find(|(struck, _)| *struck == class);
        let faults = outcome
            .plan
            .classes
            .iter()
            .map(|class| (class.name().to_owned(), struck(*class).map_or(0, |(_, times)| *times)));
        let timeline = match outcome.violation {
            Some(_) => {
                let lines: Vec<_> = outcome.trace.iter().filter(|line| line.matters()).collect();
                let from = lines.len().saturating_sub(TIMELINE_LINES);
                lines[from..].iter().map(ToString::to_string).collect()
            }
            None => Vec::new(),
        };
        Self {
            seed: outcome.seed,
            plan: outcome.plan.describe(),
            violation: outcome.violation.as_ref().map(|violation| ToldViolation {
                invariant: violation.invariant.to_owned(),
                text: violation.to_string(),
            }),
            simulated_us: outcome.simulated_us,
            cpu_s: outcome.cpu_s,
            faults: faults.collect(),
            counters: outcome.counters,
            coverage: outcome.coverage.clone(),
            trace: format!("{:032x}", digest.digest128()),
            timeline,
        }
    }

    /// What can be told of a process that said nothing but `text`.
    fn silent(seed: u64, invariant: &str, text: String) -> Self {
        let mut digest = Xxh3::new();
        digest.update(text.as_bytes());
        Self {
            seed,
            plan: String::new(),
            violation: Some(ToldViolation {
                invariant: invariant.to_owned(),
                text,
            }),
            simulated_us: 0,
            cpu_s: 0.0,
            faults: Vec::new(),
            counters: ClusterCounters::default(),
            coverage: Coverage::default(),
            trace: format!("{:032x}", digest.digest128()),
            timeline: Vec::new(),
        }
    }
}

/// Runs `seed` in a process of `program`, which is `banyan-sim`, turned by `arguments` of its command `run`.
///
/// # Errors
/// The process cannot be started, or does not take the arguments.
pub fn run(program: &Path, seed: u64, arguments: &[impl AsRef<OsStr>]) -> Result<Told, String> {
    let output = Command::new(program)
        .args(["run", "--json", "--seed", &seed.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) {
        return Err(complaint.trim().to_owned());
    }
    let told = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let panic = complaint.lines().find_map(|line| line.strip_prefix(PANIC_MARK));
    Ok(told.unwrap_or_else(|| match panic {
        Some(panic) => Told::silent(seed, "panic", format!("panic: {panic}")),
        None => {
            let text = format!(
                "seed {seed} did not come to an end ({}): {said}{complaint}",
                output.status
            );
            Told::silent(seed, NO_ANSWER, text.trim().replace('\n', " "))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives() {
        let mut told = Told::silent(7, NO_ANSWER, "it stood still".to_owned());
        told.faults.push(("N5 partition".to_owned(), 3));
        told.coverage.add("leader changes", 2);
        let line = serde_json::to_string(&told).unwrap();
        assert!(!line.contains('\n'));
        let back: Told = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), line);
    }

    #[test]
    fn a_process_that_tells_nothing() {
        let told = run(Path::new("/bin/false"), 7, &["--scenario", "swarm"]).unwrap();
        assert_eq!(told.violation.unwrap().invariant, NO_ANSWER);
        assert!(run(Path::new("/nowhere/banyan-sim"), 7, &[""; 0]).is_err());
    }
}
