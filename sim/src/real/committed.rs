//! The committed log, gathered from copies of the nodes' logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banyan_node::storage::disk::SystemDisk;
use banyan_node::storage::log::{EntryKind, Log, LogError, LogSettings};

use super::error::RealError;
use super::node::Node;
use crate::cluster::members;
use crate::history::{CommittedEntry, CommittedLog, LogIdSeen};

/// Bytes read at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// What was gathered so far.
#[derive(Debug)]
pub(super) struct Harvest {
    /// By index.
    pub(super) log: CommittedLog,
    /// Where logs are copied to.
    scratch: PathBuf,
    /// Copies that could be read.
    pub(super) copies: u64,
}

impl Harvest {
    /// Nothing yet. Copies are made below `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            log: CommittedLog::new(),
            scratch: dir.join("copy-of-log"),
            copies: 0,
        }
    }

    /// Adds what a node that may be running holds. A copy that was made while the node changed its files may be unreadable;
    /// that says nothing.
    ///
    /// # Errors
    /// The node holds another committed entry than was seen before.
    pub(super) fn gather_live(&mut self, node: &Node) -> Result<(), String> {
        match self.gather(node) {
            Ok(conflict) => conflict.map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }

    /// Adds what a stopped node holds.
    ///
    /// # Errors
    /// Its log cannot be read; or as [`Self::gather_live`].
    pub(super) fn gather_stopped(&mut self, node: &Node) -> Result<(), String> {
        match self.gather(node) {
            Ok(conflict) => conflict.map_or(Ok(()), Err),
            Err(error) => Err(format!(
                "the log of node {} cannot be read after the run: {error}",
                node.id
            )),
        }
    }

    /// The indexes that are missing before the last one, if any.
    pub(super) fn gap(&self) -> Option<(u64, u64)> {
        let (first, _) = self.log.first_key_value()?;
        if *first > 0 {
            return Some((0, first - 1));
        }
        let mut pairs = self.log.keys().zip(self.log.keys().skip(1));
        let (before, after) = pairs.find(|(before, after)| *before + 1 != **after)?;
        Some((before + 1, after - 1))
    }

    fn gather(&mut self, node: &Node) -> Result<Option<String>, GatherError> {
        copy(&node.raft_log_dir(), &self.scratch)?;
        let settings = LogSettings {
            thread: false,
            ..LogSettings::default()
        };
        let log = Log::open(Arc::new(SystemDisk), &self.scratch, &settings, None)?;
        let (purged, _) = log.ends()?;
        let Some(committed) = log.committed()? else {
            return Ok(None);
        };
        let mut next = purged.map_or(0, |purged| purged.index + 1);
        while next <= committed.index {
            let entries = log.read(next..committed.index + 1, READ_BYTES)?;
            let Some(last) = entries.last() else { break };
            next = last.id.index + 1;
            for entry in entries {
                let seen = CommittedEntry {
                    index: entry.id.index,
                    id: LogIdSeen {
                        term: entry.id.term,
                        leader: entry.id.node_id,
                        index: entry.id.index,
                    },
                    membership: members::of_entry(&entry),
                    payload: (entry.kind == EntryKind::Normal).then_some(entry.payload),
                };
                if let Some(conflict) = self.add(node.id, seen) {
                    return Ok(Some(conflict));
                }
            }
        }
        self.copies += 1;
        Ok(None)
    }

    /// Committed entries never change and are the same everywhere.
    fn add(&mut self, node: u64, entry: CommittedEntry) -> Option<String> {
        match self.log.get(&entry.index) {
            Some(known) if *known != entry => Some(format!(
                "node {node} holds committed entry {}, but {} was committed there before{}",
                entry.id,
                known.id,
                if known.id == entry.id { ", with other bytes" } else { "" }
            )),
            Some(_) => None,
            None => {
                self.log.insert(entry.index, entry);
                None
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum GatherError {
    #[error(transparent)]
    File(#[from] RealError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Copies the files of a log: what says how much of the rest counts comes first, as it may only be too old.
fn copy(from: &Path, to: &Path) -> Result<(), RealError> {
    let _none_yet = fs::remove_dir_all(to);
    fs::create_dir(to).map_err(RealError::file(to))?;
    let entries = fs::read_dir(from).map_err(RealError::file(from))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| (name.to_string_lossy().ends_with(".log"), name.clone()));
    for name in names {
        if !name.to_string_lossy().starts_with("spare") {
            fs::copy(from.join(&name), to.join(&name)).map_err(RealError::file(from.join(&name)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> CommittedEntry {
        CommittedEntry {
            index,
            id: LogIdSeen { term, leader: 1, index },
            payload: None,
            membership: None,
        }
    }

    #[test]
    fn gaps_and_contradictions_are_found() {
        let mut harvest = Harvest::new(Path::new("nowhere"));
        assert_eq!(harvest.gap(), None);
        assert_eq!(harvest.add(1, entry(1, 1)), None);
        assert_eq!(harvest.gap(), Some((0, 0)));
        for index in [0, 1, 4] {
            assert_eq!(harvest.add(2, entry(index, 1)), None);
        }
        assert_eq!(harvest.gap(), Some((2, 3)));
        assert!(harvest.add(3, entry(4, 2)).is_some());
    }
}
