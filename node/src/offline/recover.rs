//! A cluster of one, made of what one node of a lost majority still holds.
//!
//! The state of the new cluster is the node's last checkpoint and every entry of its log after that, whether it was known to
//! be committed or not: an entry here may have been acknowledged, and those who knew are gone. What other nodes had and this
//! one had not received is lost.
//!
//! The old data directory is only opened, as a start of the node would, and then moved aside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banyan_core::state::{AppliedId, Digest, ImageSum, State, StateView};
use xxhash_rust::xxh3::Xxh3;

use super::new_dir::{Founding, NewDir, beside, check_absent, parent_of, sync_dir};
use super::restore::OnProgress;
use super::{CACHE_BYTES, OfflineError};
use crate::components::SystemRandom;
use crate::consensus::checkpoint_mark::CheckpointMark;
use crate::consensus::founding::{members_of_state, row_of_entry};
use crate::consensus::replica::Member;
use crate::settings::data_dir::DataDir;
use crate::storage::disk::SystemDisk;
use crate::storage::log::{EntryId, EntryKind, Log, LogEntry, LogSettings};
use crate::storage::lsm::LsmStore;

/// Payload bytes read from the log at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of the image read at a time.
const ROWS_BYTES: usize = 1024 * 1024;

/// What a stopped node holds.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// The node.
    pub node_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
    /// The members that it knows of.
    pub members: Vec<Member>,
    /// Revision of the state with all of the log.
    pub revision: u64,
    /// Topics of that state.
    pub topic_count: u64,
    /// Its sessions.
    pub session_count: u64,
    /// Last log index of the checkpoint.
    pub checkpoint_index: u64,
    /// Last log index that this node is known to have seen committed.
    pub committed_index: u64,
    /// Last entry of the log.
    pub last: Option<EntryId>,
    /// Log time of the last entry, microseconds since the Unix epoch: nothing that was written later is here.
    pub last_time_us: u64,
}

impl Holdings {
    /// Entries of the log that may have been committed or not, as far as this node knows.
    #[must_use]
    pub fn uncertain_entries(&self) -> u64 {
        self.last
            .map_or(0, |last| last.index.saturating_sub(self.committed_index))
    }
}

/// What was recovered.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The new cluster.
    pub cluster_id: u64,
    /// Where peers reach the node.
    pub peer_address: String,
    /// Digest of the state.
    pub digest: Digest,
    /// Where the old data directory is now.
    pub old_data_dir: PathBuf,
}

/// A stopped node, looked at. Nobody else can open its directory meanwhile.
pub struct Recovery {
    path: PathBuf,
    holdings: Holdings,
    view: StateView,
    // Dropped after what is in it.
    _data_dir: DataDir,
}

impl Recovery {
    /// Looks at the node in `path`.
    ///
    /// # Errors
    /// There is none, it runs, or what it holds is damaged.
    pub fn open(path: &Path) -> Result<Self, OfflineError> {
        if !path.join("node-id").exists() {
            let text = format!("{} is not the data directory of a node", path.display());
            return Err(OfflineError::Refused(text));
        }
        let data_dir = DataDir::open(path, None, &SystemRandom)?;
        let cluster_id = read_cluster_id(path)?;
        let settings = LogSettings {
            thread: false,
            ..LogSettings::default()
        };
        let log = Log::open(Arc::new(SystemDisk), &path.join("log"), &settings, None)?;
        let store = LsmStore::open(&path.join("state"), CACHE_BYTES)?;
        let mut state = State::open(Arc::new(store))?;
        let checkpoint_index = check_fit(path, &state, &log)?;
        let committed_index = log.committed()?.map_or(0, |committed| committed.index);
        replay(&log, &mut state)?;
        let (_, last) = log.ends()?;
        log.close()?;
        let members = match state.membership() {
            Some(row) => members_of_state(&row).map_err(|error| OfflineError::Damaged(error.to_string()))?,
            None => Vec::new(),
        };
        let view = state.view();
        let holdings = Holdings {
            node_id: data_dir.node_id(),
            cluster_id,
            members,
            revision: view.revision,
            topic_count: view.topic_count,
            session_count: view.session_count() as u64,
            checkpoint_index,
            committed_index: committed_index.max(checkpoint_index),
            last,
            last_time_us: view.log_time_us,
        };
        Ok(Self {
            path: path.to_owned(),
            holdings,
            view,
            _data_dir: data_dir,
        })
    }

    /// What it holds.
    #[must_use]
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// Where peers reach the node: as given, or else as the members have it.
    ///
    /// # Errors
    /// Neither says.
    pub fn peer_address(&self, given: Option<&str>) -> Result<String, OfflineError> {
        let node_id = self.holdings.node_id;
        let own = self.holdings.members.iter().find(|member| member.node_id == node_id);
        let known = own.map(|member| member.peer_address.as_str());
        given.or(known).map(str::to_owned).ok_or_else(|| {
            let text =
                format!("node {node_id} is not among the members that it knows of; say where peers will reach it");
            OfflineError::Refused(text)
        })
    }

    /// Makes the new cluster of this node alone, reached by peers at `peer_address`, and moves the old directory aside.
    /// `now_us` is the time, microseconds since the Unix epoch: it goes into the new cluster's id and the name of the old
    /// directory.
    ///
    /// # Errors
    /// See [`OfflineError`]. The old directory is in its place then, unless the error says otherwise.
    pub fn run(self, peer_address: &str, now_us: u64, on_progress: OnProgress<'_>) -> Result<Recovered, OfflineError> {
        let path = std::path::absolute(&self.path).map_err(OfflineError::io(&self.path))?;
        let old_data_dir = beside(&path, &format!("before-recovery-{}", now_us / 1_000_000))?;
        check_absent(&old_data_dir)?;
        let recovered = beside(&path, "recovered")?;
        let Holdings {
            node_id, cluster_id, ..
        } = self.holdings;
        let founding = Founding {
            node_id,
            cluster_id: new_cluster_id(cluster_id, node_id, now_us, self.view.digest),
            members: BTreeMap::from([(node_id, peer_address.to_owned())]),
        };
        let mut new_dir = NewDir::create(&recovered)?;
        let (mut sum, mut bytes, mut last) = (ImageSum::default(), 0, None);
        loop {
            let rows = self.view.image_after(last.as_deref(), ROWS_BYTES)?;
            let Some((key, _)) = rows.last() else { break };
            last = Some(key.clone());
            for (key, value) in rows {
                let added = sum.add(&key, &value);
                added.map_err(|error| OfflineError::Damaged(error.to_string()))?;
                bytes += (key.len() + value.len()) as u64;
                new_dir.push(key, value)?;
            }
            on_progress(&sum, bytes);
        }
        let position = *self.view.position();
        let checked = sum.check(&position);
        checked.map_err(|error| OfflineError::Damaged(format!("the state of this node is damaged: {error}")))?;
        let digest = new_dir.finish(&sum.position_of_another_cluster(&position), &founding)?;
        let Self { view, _data_dir, .. } = self;
        drop(view); // closes the old store
        fs::rename(&path, &old_data_dir).map_err(OfflineError::io(&path))?;
        fs::rename(&recovered, &path).map_err(|error| OfflineError::Io {
            path: recovered.clone(),
            error,
        })?;
        sync_dir(&parent_of(&path)?)?;
        Ok(Recovered {
            cluster_id: founding.cluster_id,
            peer_address: peer_address.to_owned(),
            digest,
            old_data_dir,
        })
    }
}

fn read_cluster_id(path: &Path) -> Result<u64, OfflineError> {
    let path = path.join("cluster-id");
    let text = fs::read_to_string(&path).map_err(OfflineError::io(&path))?;
    let number = text.trim().parse();
    number.map_err(|_| OfflineError::Damaged(format!("{} holds no number", path.display())))
}

/// Refuses what a node would not start with; returns the last log index of the checkpoint.
fn check_fit(path: &Path, state: &State, log: &Log) -> Result<u64, OfflineError> {
    let applied = state.applied().map_or(0, |applied| applied.index);
    let (purged, _) = log.ends()?;
    let purged = purged.map_or(0, |purged| purged.index);
    let mark = CheckpointMark::new(Arc::new(SystemDisk), path);
    let marked = mark.read().map_err(OfflineError::io(path))?;
    let least = purged.max(marked);
    if applied < least {
        return Err(OfflineError::Damaged(format!(
            "the state ends at log index {applied}, but must reach {least}: this directory is damaged, use that of another \
             node"
        )));
    }
    Ok(applied)
}

/// Applies every entry of the log that the state does not hold yet. The store is not written.
fn replay(log: &Log, state: &mut State) -> Result<(), OfflineError> {
    let (_, last) = log.ends()?;
    let Some(last) = last else { return Ok(()) };
    loop {
        let next = state.applied().map_or(0, |applied| applied.index + 1);
        if next > last.index {
            return Ok(());
        }
        let entries = log.read(next..last.index + 1, READ_BYTES)?;
        if entries.first().is_none_or(|entry| entry.id.index != next) {
            return Err(OfflineError::Damaged(format!(
                "the log lacks the entry at index {next}"
            )));
        }
        for entry in entries {
            apply(state, &entry)?;
        }
    }
}

fn apply(state: &mut State, entry: &LogEntry) -> Result<(), OfflineError> {
    let EntryId { term, node_id, index } = entry.id;
    let id = AppliedId { term, node_id, index };
    match entry.kind {
        EntryKind::Blank => state.apply_blank(id),
        EntryKind::Membership => {
            let row = row_of_entry(&entry.payload, id).map_err(|error| OfflineError::Damaged(error.to_string()))?;
            state.set_membership(id, row);
        }
        EntryKind::Normal => {
            let applied = state.apply(id, &entry.payload);
            applied.map_err(|error| OfflineError::Damaged(error.to_string()))?;
        }
    }
    Ok(())
}

/// An id that no cluster has.
fn new_cluster_id(former: u64, node_id: u64, now_us: u64, digest: Digest) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(b"recovered");
    for number in [former, node_id, now_us] {
        hash.update(&number.to_be_bytes());
    }
    hash.update(&digest.as_u128().to_be_bytes());
    hash.digest()
}
