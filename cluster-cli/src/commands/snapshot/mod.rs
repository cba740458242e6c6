//! `banyanctl snapshot`: the whole state as a file, and a new cluster out of it.

mod restore;
mod save;
mod verify;

use banyan_api::timestamp::format_utc;
use banyan_node::backup::{Header, Reader};
use clap::Subcommand;
use serde::Serialize;

use crate::client::Client;
use crate::error::CliError;
use crate::output::{Output, bytes_text, count_text};

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Save the state at one revision from a running cluster, through any node
    Save(save::Save),
    /// Check every byte of a snapshot
    Verify(verify::Verify),
    /// Make the data directory of a node of a new cluster out of a snapshot
    Restore(restore::Restore),
}

impl Snapshot {
    /// Does it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        match self {
            Self::Save(save) => save.run(client, output),
            Self::Verify(verify) => verify.run(output),
            Self::Restore(restore) => restore.run(output),
        }
    }
}

/// What a snapshot holds.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    /// The file.
    file: String,
    /// Revision of the state.
    revision: u64,
    /// Topics that hold a value.
    topics: u64,
    /// Tombstones.
    tombstones: u64,
    /// Sessions.
    sessions: u64,
    /// Superseded messages that are kept for sessions.
    messages: u64,
    /// Rows of all kinds.
    rows: u64,
    /// Length of the file.
    bytes: u64,
    /// Digest of the state, as `status` shows it.
    digest: String,
    /// Digest of topics and tombstones alone: the same after a restore.
    data_digest: String,
    /// The cluster that it is of.
    cluster_id: String,
    /// The node that wrote it.
    node_id: u64,
    /// When, microseconds since the Unix epoch.
    taken_at: u64,
    /// Last log index that the state holds.
    applied_index: Option<u64>,
    /// Version of the program that wrote it.
    version: String,
}

impl Summary {
    /// Of a backup that was read to its end.
    fn of<R: std::io::Read>(file: &std::path::Path, reader: &Reader<R>) -> Self {
        let (header, sum): (&Header, _) = (reader.header(), reader.sum());
        Self {
            file: file.display().to_string(),
            revision: header.position.revision,
            topics: sum.topic_count,
            tombstones: sum.tombstone_count,
            sessions: sum.session_count,
            messages: sum.message_count,
            rows: sum.row_count,
            bytes: reader.bytes(),
            digest: sum.digest().to_string(),
            data_digest: sum.data_digest().to_string(),
            cluster_id: format!("{:016x}", header.cluster_id),
            node_id: header.node_id,
            taken_at: header.taken_at_us,
            applied_index: header.position.applied.map(|applied| applied.index),
            version: header.program.clone(),
        }
    }

    fn print(&self, output: &mut Output<'_>) -> Result<(), CliError> {
        output.line(&format!(
            "revision {}  topics {}  tombstones {}  sessions {}  kept messages {}  {}",
            self.revision,
            count_text(self.topics),
            count_text(self.tombstones),
            count_text(self.sessions),
            count_text(self.messages),
            bytes_text(self.bytes),
        ))?;
        output.line(&format!("digest {}  of topics alone {}", self.digest, self.data_digest))?;
        output.line(&format!(
            "cluster {}  node {}  taken {}  banyan {}",
            self.cluster_id,
            self.node_id,
            format_utc(self.taken_at),
            self.version
        ))
    }
}
