//! `banyanctl recover`: after the loss of a majority, a new cluster out of what one stopped node holds.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use banyan_api::timestamp::format_utc;
use banyan_node::offline::recover::{Holdings, Recovery};
use banyan_node::settings::Address;
use clap::Args;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{Output, count_text};
use crate::progress::Progress;

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Data directory of the stopped node
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where peers will reach the node [default: where they have so far]
    #[arg(long, value_name = "HOST:PORT", value_parser = Address::parse)]
    peer_address: Option<Address>,
    /// Show what the node holds and what may be lost, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What the node holds, and what became of it.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: String,
    node_id: u64,
    /// The cluster that was lost.
    former_cluster_id: String,
    /// The members that the node knows of.
    members: Vec<String>,
    revision: u64,
    topics: u64,
    sessions: u64,
    last_log_index: Option<u64>,
    last_term: Option<u64>,
    /// Log time of the last entry, microseconds since the Unix epoch.
    last_entry_at: u64,
    checkpoint_index: u64,
    committed_index: u64,
    /// Entries that are kept though this node does not know whether they were committed.
    uncertain_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<Outcome>,
}

/// The new cluster.
#[derive(Debug, Serialize)]
struct Outcome {
    cluster_id: String,
    peer_address: String,
    digest: String,
    /// Where the old data directory is now.
    old_data_dir: String,
}

impl Recover {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<(), CliError> {
        let recovery = Recovery::open(&self.data_dir)?;
        let mut report = self.report(recovery.holdings());
        let given = self.peer_address.as_ref().map(ToString::to_string);
        let peer_address = recovery.peer_address(given.as_deref())?;
        if !output.is_json() {
            print(&report, output)?;
        }
        if !self.dry_run {
            self.confirm(&report)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            let mut progress = Progress::new("rows");
            let recovered = recovery.run(&peer_address, now_us, &mut |sum, bytes| {
                progress.show(sum.row_count, None, bytes);
            })?;
            drop(progress);
            report.recovered = Some(Outcome {
                cluster_id: format!("{:016x}", recovered.cluster_id),
                peer_address: recovered.peer_address,
                digest: recovered.digest.to_string(),
                old_data_dir: recovered.old_data_dir.display().to_string(),
            });
        }
        if output.is_json() {
            return output.json(&report);
        }
        match &report.recovered {
            Some(outcome) => print_outcome(&report, outcome, output),
            None => output.line("nothing was changed"),
        }
    }

    fn report(&self, holdings: &Holdings) -> Report {
        let member = |member: &banyan_node::consensus::replica::Member| {
            let role = if member.voter { "" } else { " (learner)" };
            format!("{}@{}{role}", member.node_id, member.peer_address)
        };
        Report {
            data_dir: self.data_dir.display().to_string(),
            node_id: holdings.node_id,
            former_cluster_id: format!("{:016x}", holdings.cluster_id),
            members: holdings.members.iter().map(member).collect(),
            revision: holdings.revision,
            topics: holdings.topic_count,
            sessions: holdings.session_count,
            last_log_index: holdings.last.map(|last| last.index),
            last_term: holdings.last.map(|last| last.term),
            last_entry_at: holdings.last_time_us,
            checkpoint_index: holdings.checkpoint_index,
            committed_index: holdings.committed_index,
            uncertain_entries: holdings.uncertain_entries(),
            recovered: None,
        }
    }

    /// Asks, unless told not to.
    fn confirm(&self, report: &Report) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        let refused = |text: &str| Err(CliError::Usage(text.to_owned()));
        if !std::io::stdin().is_terminal() {
            return refused("there is no terminal to ask at: add --yes to go ahead, or --dry-run to change nothing");
        }
        let mut stderr = std::io::stderr();
        write!(
            stderr,
            "\nGive up the other members for good, and go on with node {} alone? Type its id to go ahead: ",
            report.node_id
        )?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == report.node_id.to_string() {
            return Ok(());
        }
        refused("not confirmed; nothing was changed")
    }
}

fn print(report: &Report, output: &mut Output<'_>) -> Result<(), CliError> {
    output.line(&format!(
        "node {} of cluster {}, members {}",
        report.node_id,
        report.former_cluster_id,
        report.members.join(", ")
    ))?;
    output.line(&format!(
        "holds revision {}  topics {}  sessions {}",
        report.revision,
        count_text(report.topics),
        count_text(report.sessions)
    ))?;
    if let (Some(index), Some(term)) = (report.last_log_index, report.last_term) {
        output.line(&format!(
            "log up to index {index} of term {term}, written {}; known committed up to {}, checkpoint at {}",
            format_utc(report.last_entry_at),
            report.committed_index,
            report.checkpoint_index
        ))?;
    }
    output.line("")?;
    output.line(&format!(
        "May be lost: whatever the cluster acknowledged after index {}, since this node never received it. Compare the other \
         nodes' directories first: the one with the highest term and index has the most.",
        report.last_log_index.unwrap_or_default()
    ))?;
    if report.uncertain_entries > 0 {
        output.line(&format!(
            "Kept: {} at the end of the log, though this node does not know whether the cluster had committed {}. Writes in \
             there may have been answered with an error.",
            match report.uncertain_entries {
                1 => "one entry".to_owned(),
                count => format!("{} entries", count_text(count)),
            },
            if report.uncertain_entries == 1 { "it" } else { "them" }
        ))?;
    }
    Ok(())
}

fn print_outcome(report: &Report, outcome: &Outcome, output: &mut Output<'_>) -> Result<(), CliError> {
    output.line("")?;
    output.line(&format!(
        "node {} is a cluster of its own now: {}, reached by peers at {}",
        report.node_id, outcome.cluster_id, outcome.peer_address
    ))?;
    output.line(&format!("digest {}", outcome.digest))?;
    output.line(&format!("the old data are in {}", outcome.old_data_dir))?;
    output.line(
        "next: start the node; then let new nodes join it, with empty data directories. The other old members are refused.",
    )
}
