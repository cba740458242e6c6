//! What the writer shares with those who append and read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::LogError;
use super::index::Index;
use super::latency::SyncTimes;
use super::record::{EntryId, LogEntry};
use super::vote::Vote;
use crate::metrics::{Histogram, Recorded};

/// Called once, from the writer, when what was asked is durable or has failed.
pub type Completion = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// Told the first failure of the log. The process should end: nothing will succeed any more.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Memory that a cached entry costs beside its payload, roughly.
const CACHED_ENTRY_BYTES: usize = 96;

/// Something for the writer to do.
pub(super) enum Op {
    Append {
        entries: Vec<LogEntry>,
        called: Instant,
        completion: Completion,
    },
    Truncate(Option<EntryId>),
    Purge(EntryId),
    Commit(EntryId),
    Vote {
        vote: Vote,
        completion: Completion,
    },
    Close {
        completion: Completion,
    },
}

impl Op {
    pub(super) fn into_completion(self) -> Option<Completion> {
        match self {
            Self::Append { completion, .. } | Self::Vote { completion, .. } | Self::Close { completion } => {
                Some(completion)
            }
            Self::Truncate(_) | Self::Purge(_) | Self::Commit(_) => None,
        }
    }
}

/// How far the log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flushed {
    /// Every entry of the log up to this index is synced.
    pub(super) index: Option<u64>,
    /// Nothing will become durable any more.
    pub(super) ended: bool,
}

/// Shared by the writer and all handles of a log.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Wakes the writer.
    pub(super) wake: Condvar,
    pub(super) flushed: watch::Sender<Flushed>,
    pub(super) counters: Counters,
    pub(super) syncs: SyncTimes,
    pub(super) on_fatal: Option<OnFatal>,
}

/// The log as its users see it, which is ahead of the files, and the index of the files.
pub(super) struct State {
    /// For the writer, in order.
    pub(super) queue: Vec<Op>,
    /// No more will be queued.
    pub(super) stopping: bool,
    /// The newest entries, without a gap; all that are not written yet are among them.
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// Number of entries appended in this life of the log.
    appended: u64,
    /// How many of those are written.
    written: u64,
    /// Last entry, or the last purged one if that is later.
    pub(super) last: Option<EntryId>,
    /// Last purged entry.
    pub(super) purged: Option<EntryId>,
    /// Index of the first entry of a log that was never purged.
    begin: u64,
    /// As last saved.
    pub(super) committed: Option<EntryId>,
    /// As last made durable.
    pub(super) vote: Option<Vote>,
    /// Counts truncations: a read that meets one begins again.
    pub(super) truncations: u64,
    /// What is in the files.
    pub(super) index: Index,
    /// The first failure.
    pub(super) failure: Option<String>,
    pub(super) closed: bool,
}

struct Cached {
    /// How many entries had been appended, this one included: indexes come again after a truncation, this does not.
    serial: u64,
    entry: LogEntry,
}

impl State {
    /// The state right after recovery.
    pub(super) fn new(index: Index, committed: Option<EntryId>, vote: Option<Vote>, cache_bytes_max: usize) -> Self {
        Self {
            queue: Vec::new(),
            stopping: false,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            appended: 0,
            written: 0,
            last: index.last,
            purged: index.purged,
            begin: index.first_available().unwrap_or(0),
            committed,
            vote,
            truncations: 0,
            index,
            failure: None,
            closed: false,
        }
    }

    /// Refuses everything once the log has failed or is closed.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match &self.failure {
            Some(reason) => Err(LogError::Poisoned { reason: reason.clone() }),
            None if self.closed || self.stopping => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    /// Takes `entries` into the log; the caller queues them.
    pub(super) fn append(&mut self, entries: &[LogEntry]) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut last = self.last;
        for entry in entries {
            if let Some(last) = last
                && entry.id.index != last.index + 1
            {
                return Err(LogError::OutOfOrder {
                    expected: last.index + 1,
                    found: entry.id.index,
                });
            }
            last = Some(entry.id);
        }
        if self.last.is_none() {
            self.begin = entries.first().map_or(0, |entry| entry.id.index);
        }
        self.last = last;
        for entry in entries {
            self.appended += 1;
            self.cache_bytes += cached_bytes(entry);
            self.cache.push_back(Cached {
                serial: self.appended,
                entry: entry.clone(),
            });
        }
        Ok(())
    }

    /// Takes every entry after `after` out of the log; the caller queues it. Returns what it comes down to, `None` if
    /// there is nothing to do.
    pub(super) fn truncate(&mut self, after: Option<EntryId>) -> Option<Option<EntryId>> {
        let index = |id: Option<EntryId>| id.map(|id| id.index);
        let after = if index(after) < index(self.purged) {
            self.purged
        } else {
            after
        };
        if index(self.last) <= index(after) {
            return None;
        }
        while self
            .cache
            .back()
            .is_some_and(|cached| Some(cached.entry.id.index) > index(after))
        {
            if let Some(cached) = self.cache.pop_back() {
                self.cache_bytes -= cached_bytes(&cached.entry);
            }
        }
        self.last = after;
        self.truncations += 1;
        Some(after)
    }

    /// Takes every entry up to `purged` out of the log; the caller queues it. Returns whether there is anything to do.
    pub(super) fn purge(&mut self, purged: EntryId) -> bool {
        if self.purged.is_some_and(|earlier| earlier.index >= purged.index) {
            return false;
        }
        self.purged = Some(purged);
        if self.last.is_none_or(|last| last.index < purged.index) {
            self.last = Some(purged);
        }
        while self
            .cache
            .front()
            .is_some_and(|cached| cached.entry.id.index <= purged.index)
        {
            self.pop_cached();
        }
        true
    }

    /// Notes that the next `count` entries are in the files, and shrinks the cache to its bound.
    pub(super) fn written(&mut self, count: u64) {
        self.written += count;
        while self.cache_bytes > self.cache_bytes_max
            && self.cache.front().is_some_and(|cached| cached.serial <= self.written)
        {
            self.pop_cached();
        }
    }

    fn pop_cached(&mut self) {
        if let Some(cached) = self.cache.pop_front() {
            self.cache_bytes -= cached_bytes(&cached.entry);
        }
    }

    /// Index up to which every entry of the log is written.
    pub(super) fn flushed_index(&self) -> Option<u64> {
        let unwritten = self.cache.partition_point(|cached| cached.serial <= self.written);
        match self.cache.get(unwritten) {
            Some(cached) => cached.entry.id.index.checked_sub(1),
            None => self.last.map(|last| last.index),
        }
    }

    /// Index of the first entry; what it would be if there is none.
    pub(super) fn first_index(&self) -> u64 {
        self.purged.map_or(self.begin, |purged| purged.index + 1)
    }

    /// Index of the first cached entry; the index after the last entry if there is none.
    pub(super) fn cache_start(&self) -> u64 {
        match self.cache.front() {
            Some(cached) => cached.entry.id.index,
            None => self.last.map_or(0, |last| last.index + 1),
        }
    }

    /// The cached entries from `index` on.
    pub(super) fn cached_from(&self, index: u64) -> impl Iterator<Item = &LogEntry> {
        let skipped = index.saturating_sub(self.cache_start()) as usize;
        self.cache
            .range(skipped.min(self.cache.len())..)
            .map(|cached| &cached.entry)
    }
}

fn cached_bytes(entry: &LogEntry) -> usize {
    entry.payload.len() + CACHED_ENTRY_BYTES
}

impl Shared {
    /// Poisons the log: every later call fails, and those who wait are told.
    pub(super) fn fail(&self, error: &LogError) {
        let reason = error.to_string();
        let first = {
            let mut state = self.state.lock();
            let first = state.failure.is_none();
            state.failure.get_or_insert_with(|| reason.clone());
            first
        };
        self.flushed.send_modify(|flushed| flushed.ended = true);
        if first {
            tracing::error!(%reason, "the log failed");
            if let Some(on_fatal) = &self.on_fatal {
                on_fatal(&reason);
            }
        }
    }

    /// Fails after a failure.
    pub(super) fn check_alive(&self) -> Result<(), LogError> {
        match &self.state.lock().failure {
            Some(reason) => Err(LogError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// The error that everything is answered with after a failure.
    pub(super) fn failure(&self) -> LogError {
        self.state.lock().check().err().unwrap_or(LogError::Closed)
    }

    /// Ends the log in good order.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.flushed.send_modify(|flushed| flushed.ended = true);
    }

    /// Tells those who wait how far the log is durable.
    pub(super) fn publish_flushed(&self, state: &State) {
        let index = state.flushed_index();
        self.flushed
            .send_if_modified(|flushed| std::mem::replace(&mut flushed.index, index) != index);
    }
}

/// Counts what the log has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    appends: AtomicU64,
    batches: AtomicU64,
    fsyncs: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    pub(super) fsync_times: Histogram,
    pub(super) append_times: Histogram,
}

/// How long a log has taken for what it has done since it was opened.
#[derive(Clone, Debug, Default)]
pub struct LogTimes {
    /// Syncs of segments.
    pub fsync: Recorded,
    /// From the call of append until what was appended is synced.
    pub append: Recorded,
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Calls of append.
    pub appends: u64,
    /// Write calls that carried entries, truncations or purges; each was synced before anything in it was completed.
    pub batches: u64,
    /// Syncs of segments and of the vote.
    pub fsyncs: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written to segments.
    pub bytes: u64,
}

impl Counters {
    pub(super) fn add_append(&self) {
        self.appends.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_batch(&self, entries: u64, bytes: u64) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_fsyncs(&self, count: u64) {
        self.fsyncs.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn times(&self) -> LogTimes {
        LogTimes {
            fsync: self.fsync_times.read(),
            append: self.append_times.read(),
        }
    }

    pub(super) fn read(&self) -> LogCounters {
        LogCounters {
            appends: self.appends.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            fsyncs: self.fsyncs.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
