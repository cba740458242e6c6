//! What a run has shown, as a table.

use std::fmt;
use std::time::Duration;

use super::Options;
use super::committed::Harvest;
use super::gaps;
use super::judge::Verdict;
use super::scene::{Scene, Tally};
use crate::history::{Answer, History, Time, Violation};

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was found; nothing if all is well.
    pub violations: Vec<Violation>,
    /// Requests by what became of them.
    pub operations: Operations,
    /// Faults injected, all kinds together.
    pub faults: u64,
    /// The most kinds of faults that were at work at once.
    pub overlap_max: usize,
    /// Why not everything was checked, if so.
    pub unchecked: Option<String>,
    seed: u64,
    nodes: u8,
    ran: Duration,
    tally: Tally,
    heals: Vec<Duration>,
    deliveries: usize,
    subscriptions: usize,
    committed: usize,
    copies: u64,
    longest_gap: Option<(Time, Time)>,
    failover_gaps: Vec<Time>,
    kills: usize,
    verdict: Verdict,
}

/// Requests by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operations {
    /// Writes that were acknowledged, or answered with a condition that failed.
    pub writes: usize,
    /// Reads that were answered.
    pub reads: usize,
    /// Certainly did nothing.
    pub refused: usize,
    /// May or may not have happened.
    pub unknown: usize,
}

impl Operations {
    fn count(history: &History) -> Self {
        let mut counts = Self::default();
        for operation in &history.operations {
            match &operation.answer {
                None | Some(Answer::Unknown(_)) => counts.unknown += 1,
                Some(Answer::Refused(_)) => counts.refused += 1,
                Some(_) if operation.call.is_read() => counts.reads += 1,
                Some(_) => counts.writes += 1,
            }
        }
        counts
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        scene: &Scene,
        history: &History,
        harvest: &Harvest,
        kills: &[Time],
        verdict: Verdict,
        unchecked: Option<String>,
    ) -> Self {
        let tally = scene.tally();
        Self {
            violations: scene.violations(),
            operations: Operations::count(history),
            faults: tally.injected.values().sum(),
            overlap_max: tally.overlap_max(),
            unchecked,
            seed: options.seed,
            nodes: options.nodes,
            ran: Duration::from_micros(scene.now()),
            heals: scene.heals(),
            tally,
            deliveries: history.subscriptions.iter().map(|one| one.deliveries.len()).sum(),
            subscriptions: history.subscriptions.len(),
            committed: harvest.log.len(),
            copies: harvest.copies,
            longest_gap: gaps::longest(history),
            failover_gaps: gaps::after(history, kills),
            kills: kills.len(),
            verdict,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: fmt::Arguments<'_>| writeln!(f, "{name:<28}{value}");
        let operations = self.operations;
        writeln!(f)?;
        row(
            f,
            "run",
            format_args!(
                "seed {}, {} nodes, {:.0} s",
                self.seed,
                self.nodes,
                self.ran.as_secs_f64()
            ),
        )?;
        row(f, "writes acknowledged", format_args!("{}", operations.writes))?;
        row(f, "reads answered", format_args!("{}", operations.reads))?;
        row(
            f,
            "refused / unknown",
            format_args!("{} / {}", operations.refused, operations.unknown),
        )?;
        row(
            f,
            "delivered",
            format_args!("{} in {} subscriptions", self.deliveries, self.subscriptions),
        )?;
        row(
            f,
            "committed entries seen",
            format_args!("{} in {} copies of logs", self.committed, self.copies),
        )?;
        row(f, "faults injected", format_args!("{}", self.faults))?;
        for (kind, count) in &self.tally.injected {
            row(f, &format!("  {kind}"), format_args!("{count}"))?;
        }
        for (outcome, count) in &self.tally.outcomes {
            row(f, &format!("  {outcome}"), format_args!("{count}"))?;
        }
        let total: u64 = self.tally.overlap_us.values().sum();
        for (kinds, time) in self.tally.overlap_us.iter().filter(|(kinds, _)| **kinds > 0) {
            let percent = *time as f64 * 100.0 / total.max(1) as f64;
            row(
                f,
                &format!("  {kinds} kinds at once"),
                format_args!("{percent:.0} % of the time"),
            )?;
        }
        if let Some(longest) = self.heals.iter().max() {
            let mean = self.heals.iter().sum::<Duration>().as_secs_f64() / self.heals.len() as f64;
            row(
                f,
                "ready after healing",
                format_args!(
                    "{mean:.2} s on average, {:.2} s at most, of {}",
                    longest.as_secs_f64(),
                    self.heals.len()
                ),
            )?;
        }
        if let Some((gap, began)) = self.longest_gap {
            row(
                f,
                "longest write gap",
                format_args!("{:.2} s, from {:.1} s on", in_s(gap), in_s(began)),
            )?;
        }
        if let (Some(p50), Some(p99), Some(max)) = (
            gaps::percentile(&self.failover_gaps, 50),
            gaps::percentile(&self.failover_gaps, 99),
            gaps::percentile(&self.failover_gaps, 100),
        ) {
            row(
                f,
                "SIGKILL of the leader",
                format_args!(
                    "{} times; until a write is acknowledged again: p50 {:.3} s, p99 {:.3} s, longest {:.3} s",
                    self.kills,
                    in_s(p50),
                    in_s(p99),
                    in_s(max)
                ),
            )?;
        }
        row(f, "checks", format_args!("{}", self.verdict.checks.join(" ")))?;
        let sampled = self.verdict.sampled;
        row(
            f,
            "black-box search",
            format_args!(
                "{} topics with {} requests decided, {} topics left out",
                sampled.decided, sampled.requests, sampled.left_out
            ),
        )?;
        if let Some(reason) = &self.unchecked {
            row(f, "NOT CHECKED", format_args!("{reason}"))?;
        }
        for violation in &self.violations {
            row(f, "VIOLATION", format_args!("{violation}"))?;
        }
        match self.violations.is_empty() {
            true => write!(f, "no violation"),
            false => write!(f, "{} violations", self.violations.len()),
        }
    }
}

fn in_s(time: Time) -> f64 {
    time as f64 / 1e6
}
