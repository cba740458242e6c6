//! `banyanctl snapshot restore`: the data directory of one node of a new cluster.

use std::path::PathBuf;

use banyan_core::topic::TopicName;
use banyan_node::offline::restore;
use banyan_node::settings::Member;
use clap::Args;
use serde::Serialize;

use crate::error::CliError;
use crate::output::{Output, count_text};
use crate::progress::Progress;

/// Arguments of `snapshot restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The snapshot
    file: PathBuf,
    /// The data directory to make; nothing may be there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The node that it is for
    #[arg(long, value_name = "ID")]
    node_id: u64,
    /// An initial member of the new cluster, its id and peer address; give every one, the same on each of them
    #[arg(long = "member", value_name = "ID@HOST:PORT", required = true, value_delimiter = ',', value_parser = Member::parse)]
    members: Vec<Member>,
    /// Only this topic and those beneath it; no sessions
    #[arg(long, value_name = "TOPIC", value_parser = |text: &str| TopicName::parse(text))]
    prefix: Option<TopicName>,
    /// Read and check the snapshot, say what would be restored, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was restored.
#[derive(Debug, Serialize)]
struct Restored {
    data_dir: String,
    dry_run: bool,
    node_id: u64,
    /// The new cluster.
    cluster_id: String,
    /// The cluster that the snapshot is of.
    former_cluster_id: String,
    members: Vec<String>,
    revision: u64,
    topics: u64,
    tombstones: u64,
    sessions: u64,
    /// Digest of the state, read back from the new directory.
    digest: String,
    /// Digest of topics and tombstones alone.
    data_digest: String,
}

impl Restore {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<(), CliError> {
        let restore = restore::Restore {
            file: &self.file,
            data_dir: &self.data_dir,
            node_id: self.node_id,
            members: &self.members,
            prefix: self.prefix.as_ref(),
            dry_run: self.dry_run,
        };
        let mut progress = Progress::new("rows");
        let restored = restore.run(&mut |sum, bytes| progress.show(sum.row_count, None, bytes))?;
        drop(progress);
        let restored = Restored {
            data_dir: self.data_dir.display().to_string(),
            dry_run: self.dry_run,
            node_id: self.node_id,
            cluster_id: format!("{:016x}", restored.cluster_id),
            former_cluster_id: format!("{:016x}", restored.header.cluster_id),
            members: self
                .members
                .iter()
                .map(|member| format!("{}@{}", member.node_id, member.address))
                .collect(),
            revision: restored.header.position.revision,
            topics: restored.sum.topic_count,
            tombstones: restored.sum.tombstone_count,
            sessions: restored.sum.session_count,
            digest: restored.digest.to_string(),
            data_digest: restored.sum.data_digest().to_string(),
        };
        if output.is_json() {
            return output.json(&restored);
        }
        print(&restored, output)
    }
}

fn print(restored: &Restored, output: &mut Output<'_>) -> Result<(), CliError> {
    let verb = if restored.dry_run { "would restore" } else { "restored" };
    output.line(&format!(
        "{verb} revision {} into {}",
        restored.revision, restored.data_dir
    ))?;
    output.line(&format!(
        "topics {}  tombstones {}  sessions {}",
        count_text(restored.topics),
        count_text(restored.tombstones),
        count_text(restored.sessions)
    ))?;
    output.line(&format!(
        "digest {}  of topics alone {}",
        restored.digest, restored.data_digest
    ))?;
    let count = restored.members.len();
    output.line(&format!(
        "new cluster {} with {count} member{}, this is node {} (the snapshot is of cluster {})",
        restored.cluster_id,
        if count == 1 { "" } else { "s" },
        restored.node_id,
        restored.former_cluster_id
    ))?;
    if restored.dry_run {
        return Ok(());
    }
    match count {
        1 => output.line("next: start the node on this directory"),
        _ => {
            output.line("next: restore the same snapshot with the same members on each of them, then start all of them")
        }
    }
}
