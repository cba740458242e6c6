//! openraft's log storage on our segment files.
//!
//! Everything is queued for the log's one writer in the order in which openraft calls. Appending, truncating and
//! purging return once they are queued, since their order is all that openraft relies on; saving a vote returns once it
//! is on disk. `save_committed` only remembers: it is written with the next append.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use banyan_core::planted::{Bug, planted};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use super::types::{Entry, EntryData, LogId, TypeConfig, Vote};
use super::wire;
use crate::storage::disk::Disk;
use crate::storage::log::{
    Completion, EntryId, EntryKind, Log, LogCounters, LogEntry, LogError, LogSettings, LogTimes, OnFatal, SyncLatency,
    Vote as StoredVote,
};

/// Payload bytes that one call of replication reads, and one step of applying.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// The log of one Raft group, for openraft. There is one; [`LogHandle`]s and readers share its log.
pub struct LogStore {
    log: Arc<Log>,
}

impl LogStore {
    /// Opens the log in `directory`, creating it if there is none. Blocks while what is found there is checked.
    ///
    /// `on_fatal` is told once if the log fails later; the process must end then.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        settings: &LogSettings,
        on_fatal: OnFatal,
    ) -> Result<Self, LogError> {
        Ok(Self {
            log: Arc::new(Log::open(disk, directory, settings, Some(on_fatal))?),
        })
    }

    /// What the rest of the node may ask of the log.
    pub fn handle(&self) -> LogHandle {
        LogHandle {
            log: Arc::clone(&self.log),
        }
    }
}

/// What others than openraft ask of the log. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    log: Arc<Log>,
}

impl LogHandle {
    /// Index of the last purged entry; 0 if none was purged.
    pub fn purged_index(&self) -> u64 {
        self.log
            .ends()
            .ok()
            .and_then(|(purged, _)| purged)
            .map_or(0, |purged| purged.index)
    }

    /// Every entry up to this index is on this node's disk; 0 if none is.
    pub fn flushed_index(&self) -> u64 {
        self.log.flushed_index().unwrap_or(0)
    }

    /// Waits until every entry up to `index` is on this node's disk. Can be cancelled at any time.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`]: it will not happen.
    pub async fn wait_flushed(&self, index: u64) -> Result<(), LogError> {
        self.log.wait_flushed(index).await
    }

    /// The last index that can be purged so that at least `keep_bytes` of log stay; 0 if nothing can.
    pub fn index_keeping_bytes(&self, keep_bytes: u64) -> u64 {
        self.log.purge_index_keeping(keep_bytes).unwrap_or(0)
    }

    /// The vote last made durable.
    pub fn vote(&self) -> Option<StoredVote> {
        self.log.vote().ok().flatten()
    }

    /// The last purged entry and the last entry (the last purged one if the log is empty).
    pub fn ends(&self) -> (Option<EntryId>, Option<EntryId>) {
        self.log.ends().unwrap_or_default()
    }

    /// Entries of `range` that the log holds, consecutive; about a mebibyte of them at most.
    ///
    /// # Errors
    /// The log has failed, or is closed.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<LogEntry>, LogError> {
        self.log.read(range, READ_BYTES_MAX)
    }

    /// Waits until everything asked of the log before is on disk.
    ///
    /// # Errors
    /// The log has failed, or is closed.
    pub async fn barrier(&self) -> Result<(), LogError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.log
            .append(Vec::new(), Box::new(move |result| drop(sender.send(result))))?;
        receiver.await.unwrap_or(Err(LogError::Closed))
    }

    /// Bytes of the log's records.
    pub fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// What the log has done since it was opened.
    pub fn counters(&self) -> LogCounters {
        self.log.counters()
    }

    /// How long syncs have taken in the last seconds; `None` if there was none.
    pub fn sync_latency(&self) -> Option<SyncLatency> {
        self.log.sync_latency()
    }

    /// How long the log has taken for what it has done.
    pub fn times(&self) -> LogTimes {
        self.log.times()
    }

    /// Writes what is queued, leaves an exact synced-through mark, and lets go of the directory. Blocks meanwhile: for
    /// after Raft was shut down.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn close(&self) -> Result<(), LogError> {
        self.log.close()
    }
}

/// Reads the log for openraft.
pub struct LogReader {
    log: Arc<Log>,
}

impl LogReader {
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        self.log.read(range, bytes_max)?.into_iter().map(to_raft).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(to_range(&range), usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX)
    }

    /// In steps, so that applying a long log again never holds more of it than one step in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = Self {
            log: Arc::clone(&self.log),
        };
        let Range { start, end } = to_range(&range);
        let steps = (reader, start, Vec::new().into_iter());
        stream::try_unfold(steps, move |(reader, next, mut step)| async move {
            if step.as_slice().is_empty() && next < end {
                step = reader.read(next..end, READ_BYTES_MAX)?.into_iter();
            }
            let Some(entry) = step.next() else { return Ok(None) };
            let next = entry.index() + 1;
            Ok(Some((entry, (reader, next, step))))
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let to_vote = |vote: StoredVote| Vote {
            leader_id: LeaderId {
                term: vote.term,
                node_id: vote.node_id,
            },
            committed: vote.committed,
        };
        Ok(self.log.vote()?.map(to_vote))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (purged, last) = self.log.ends()?;
        Ok(LogState {
            last_purged_log_id: purged.map(to_log_id),
            last_log_id: last.map(to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader {
            log: Arc::clone(&self.log),
        }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (sender, receiver) = oneshot::channel();
        let vote = StoredVote {
            term: vote.leader_id.term,
            node_id: vote.leader_id.node_id,
            committed: vote.committed,
        };
        let completion: Completion = Box::new(move |result| drop(sender.send(result)));
        self.log.save_vote(vote, completion)?;
        if planted(Bug::P04) {
            return Ok(());
        }
        Ok(receiver.await.unwrap_or(Err(LogError::Closed))?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        match committed {
            _ if planted(Bug::P06) => Ok(()),
            Some(committed) => Ok(self.log.save_committed(to_entry_id(committed))?),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.committed()?.map(to_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(from_raft)
            .collect::<io::Result<Vec<LogEntry>>>()?;
        if planted(Bug::P19) {
            self.log.append(entries, Box::new(drop))?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let completion: Completion = Box::new(move |result| callback.io_completed(result.map_err(io::Error::from)));
        Ok(self.log.append(entries, completion)?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.log.truncate_after(last_log_id.map(to_entry_id))?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        Ok(self.log.purge(to_entry_id(log_id))?)
    }
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn to_log_id(id: EntryId) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: id.term,
            node_id: id.node_id,
        },
        index: id.index,
    }
}

pub(super) fn to_entry_id(id: LogId) -> EntryId {
    EntryId {
        term: id.leader_id.term,
        node_id: id.leader_id.node_id,
        index: id.index,
    }
}

fn from_raft(entry: Entry) -> io::Result<LogEntry> {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(EntryData(bytes)) => (EntryKind::Normal, bytes),
        EntryPayload::Membership(membership) => (
            EntryKind::Membership,
            wire::encode(&membership).map_err(io::Error::other)?,
        ),
    };
    Ok(LogEntry {
        id: to_entry_id(entry.log_id),
        kind,
        payload,
    })
}

fn to_raft(entry: LogEntry) -> io::Result<Entry> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Normal => EntryPayload::Normal(EntryData(entry.payload)),
        EntryKind::Membership => {
            let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            EntryPayload::Membership(wire::decode(&entry.payload).map_err(malformed)?)
        }
    };
    Ok(Entry {
        log_id: to_log_id(entry.id),
        payload,
    })
}

#[cfg(test)]
#[path = "log_store_test.rs"]
mod tests;
