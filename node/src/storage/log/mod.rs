//! The Raft log and vote, in files of our own.
//!
//! | module | concept |
//! |---|---|
//! | `record` | what a segment consists of: entries, truncations, batches |
//! | `segment` | one file of the log, and its header |
//! | `index` | where every entry is |
//! | `writer` | the one writer: batches, syncs, segments, purging |
//! | `spare` | prefilled and recycled segment files |
//! | `vote` | the vote, in two slots |
//! | `mark` | up to where the log is known to be on disk |
//! | `latency` | how long syncs have taken lately |
//! | `recovery` | opening: what is a torn append, and what is damage |
//! | `task` | the writer on a simulated disk |
//! | `shared`, `read` | the newest entries in memory, older ones from the files |
//!
//! Guarantees:
//!
//! - Entries can be read when [`Log::append`] returns; they are on disk when its completion is called with `Ok`.
//! - Appends, truncations, purges and votes take effect in the order of their calls, also on disk: a crash leaves the effect
//!   of all that was completed, and of some first part of what was not.
//! - The log never has a hole. Damage to what was synced is refused when the log is opened ([`LogError::Damaged`]); only the
//!   last append beyond the synced-through mark can be mistaken for a torn one.
//! - The vote never goes back.
//! - After the first failure of the disk nothing succeeds any more.
//!
//! A directory holds `lock`, `vote`, `mark`, the segments, and `spare-…` files.

mod error;
mod index;
mod latency;
mod mark;
mod read;
mod record;
mod recovery;
mod segment;
mod shared;
mod slots;
mod spare;
mod task;
mod vote;
mod writer;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod log_test;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod sweep_test;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

pub use error::LogError;
pub use latency::SyncLatency;
pub use record::{EntryId, EntryKind, LogEntry, is_record};
pub use shared::{Completion, LogCounters, LogTimes, OnFatal};
pub use vote::Vote;

use latency::SyncTimes;
use recovery::{Recovered, RecoverySettings};
use shared::{Counters, Flushed, Op, Shared, State};
use task::WriterTask;
use writer::{Active, BatchBuffer, Writer, WriterSettings};

use crate::storage::disk::Disk;

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Size of a segment, bytes; at most 1 GiB. Applies to segments that begin from now on.
    pub segment_bytes: u64,
    /// Most purged segments that are kept for another use.
    pub spare_count_max: usize,
    /// Payloads of the newest entries kept in memory, bytes. Entries that are not written yet are kept in any case.
    pub cache_bytes: usize,
    /// A write call ends with the entry that passes this many bytes.
    pub write_bytes_max: usize,
    /// The synced-through mark is written after this many bytes.
    pub mark_bytes: u64,
    /// And when nothing was appended for this long.
    pub mark_idle: Duration,
    /// Mixed into checksums and tags, so that nobody can craft a payload that looks like a record. Draw it at random;
    /// it counts only for a directory that is created.
    pub salt: u32,
    /// Whether the writer runs beside those who call: on a thread of its own, or as a task if the disk is a simulated one
    /// ([`Disk::latency`]). Otherwise every call does its work itself.
    pub thread: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            spare_count_max: 4,
            cache_bytes: 8 * 1024 * 1024,
            write_bytes_max: 4 * 1024 * 1024,
            mark_bytes: 16 * 1024 * 1024,
            mark_idle: Duration::from_secs(1),
            salt: 0,
            thread: true,
        }
    }
}

/// An open log. Dropping it stops the writer once all that is queued is written; [`Log::close`] also leaves an exact
/// mark.
pub struct Log {
    shared: Arc<Shared>,
    dir: PathBuf,
    writer: Mutex<WriterHandle>,
}

/// Who carries out what is queued.
enum WriterHandle {
    /// Whoever queues.
    Inline(Box<Writer>),
    Task(WriterTask),
    Thread(JoinHandle<()>),
    Stopped,
}

impl Log {
    /// Opens the log in `dir`, or creates it. Blocks until everything found there is checked and durable.
    ///
    /// `on_fatal` is told once if the log fails later.
    ///
    /// # Errors
    /// [`LogError::Damaged`] and [`LogError::Version`]: do not start ([`LogError::is_damage`]). [`LogError::InUse`].
    /// [`LogError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: &LogSettings,
        on_fatal: Option<OnFatal>,
    ) -> Result<Self, LogError> {
        let segment_bytes = settings
            .segment_bytes
            .clamp(segment::DATA_START * 2, segment::SEGMENT_BYTES_MAX / 2);
        let recovery = RecoverySettings {
            segment_bytes,
            spare_count_max: settings.spare_count_max,
            salt: settings.salt,
        };
        let Recovered {
            lock,
            vote,
            mark,
            spares,
            index,
            committed,
            next_batch,
            salt,
        } = recovery::recover(&disk, dir, &recovery)?;
        let (last, purged) = (index.last, index.purged);
        let Some(active) = index.segments.back().map(|newest| Active {
            file: Arc::clone(&newest.file),
            path: segment::path(dir, newest.number),
            key: newest.key,
            number: newest.number,
            bytes: newest.bytes,
            end: newest.end,
        }) else {
            return Err(LogError::Closed);
        };
        let flushed = Flushed {
            index: last.map(|last| last.index),
            ended: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(index, committed, vote.vote(), settings.cache_bytes)),
            wake: Condvar::new(),
            flushed: watch::Sender::new(flushed),
            counters: Counters::default(),
            syncs: SyncTimes::default(),
            on_fatal,
        });
        let simulated = disk.latency().is_some();
        let mut writer = Box::new(Writer {
            shared: Arc::clone(&shared),
            disk,
            dir: dir.to_path_buf(),
            settings: WriterSettings {
                segment_bytes,
                write_bytes_max: settings.write_bytes_max,
                mark_bytes: settings.mark_bytes,
                prefill: settings.thread && !simulated,
                timed: !simulated,
            },
            active,
            vote,
            mark,
            spares,
            salt,
            next_batch,
            last,
            purged,
            committed,
            buffer: BatchBuffer::default(),
            unmarked_bytes: 0,
            lock: Some(lock),
        });
        let writer = if settings.thread && simulated {
            WriterHandle::Task(WriterTask::start(writer, settings.mark_idle))
        } else if settings.thread {
            let mark_idle = settings.mark_idle;
            let thread = std::thread::Builder::new().name("banyan-log".to_owned());
            let spawned = thread.spawn(move || run_writer(&mut writer, mark_idle));
            let io = |source| LogError::Io {
                operation: "start the writer of",
                path: dir.to_path_buf(),
                source,
            };
            WriterHandle::Thread(spawned.map_err(io)?)
        } else {
            WriterHandle::Inline(writer)
        };
        Ok(Self {
            shared,
            dir: dir.to_path_buf(),
            writer: Mutex::new(writer),
        })
    }

    /// Appends `entries`. They can be read when this returns; `completion` is called once they are on disk.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`]: nothing happened. [`LogError::Poisoned`], [`LogError::Closed`]. `completion` is
    /// dropped then.
    pub fn append(&self, entries: Vec<LogEntry>, completion: Completion) -> Result<(), LogError> {
        {
            let mut state = self.shared.state.lock();
            state.check()?;
            state.append(&entries)?;
            let called = Instant::now();
            state.queue.push(Op::Append {
                entries,
                called,
                completion,
            });
        }
        self.shared.counters.add_append();
        self.wake();
        Ok(())
    }

    /// Removes every entry after `after`; all entries for `None`. On disk before anything that is appended later.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn truncate_after(&self, after: Option<EntryId>) -> Result<(), LogError> {
        {
            let mut state = self.shared.state.lock();
            state.check()?;
            let Some(after) = state.truncate(after) else {
                return Ok(());
            };
            state.queue.push(Op::Truncate(after));
            self.shared.publish_flushed(&state);
        }
        self.wake();
        Ok(())
    }

    /// Removes every entry up to `purged`, which may lie beyond the last entry. Files are reused or removed by whole
    /// segments.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn purge(&self, purged: EntryId) -> Result<(), LogError> {
        {
            let mut state = self.shared.state.lock();
            state.check()?;
            if !state.purge(purged) {
                return Ok(());
            }
            state.queue.push(Op::Purge(purged));
        }
        self.wake();
        Ok(())
    }

    /// Remembers that everything up to `committed` is committed. Written with the next append or when the log is
    /// closed.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn save_committed(&self, committed: EntryId) -> Result<(), LogError> {
        let mut state = self.shared.state.lock();
        state.check()?;
        state.committed = Some(committed);
        // Whoever commits much while nothing is appended leaves one of these, not many.
        match state.queue.last_mut() {
            Some(Op::Commit(queued)) => *queued = committed,
            _ => state.queue.push(Op::Commit(committed)),
        }
        Ok(())
    }

    /// Saves `vote`; `completion` is called once it is on disk, in both slots.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`]. `completion` is dropped then.
    pub fn save_vote(&self, vote: Vote, completion: Completion) -> Result<(), LogError> {
        {
            let mut state = self.shared.state.lock();
            state.check()?;
            state.queue.push(Op::Vote { vote, completion });
        }
        self.wake();
        Ok(())
    }

    /// The vote last made durable.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn vote(&self) -> Result<Option<Vote>, LogError> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.vote)
    }

    /// What [`Log::save_committed`] was told last; after a restart perhaps something older.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn committed(&self) -> Result<Option<EntryId>, LogError> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.committed)
    }

    /// The last purged entry and the last entry (the last purged one if the log is empty).
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    pub fn ends(&self) -> Result<(Option<EntryId>, Option<EntryId>), LogError> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok((state.purged, state.last))
    }

    /// Entries of `range` that the log holds, consecutive, at most `bytes_max` of payloads but at least one if there is
    /// any.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`]; [`LogError::Io`] and [`LogError::Damaged`], which poison the log.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        read::read(&self.shared, &self.dir, range, bytes_max)
    }

    /// Every entry of the log up to this index is on disk; `None` if the first one is not.
    pub fn flushed_index(&self) -> Option<u64> {
        self.shared.flushed.borrow().index
    }

    /// Waits until every entry up to `index` is on disk. Can be cancelled at any time.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`]: it will not happen.
    pub async fn wait_flushed(&self, index: u64) -> Result<(), LogError> {
        let mut flushed = self.shared.flushed.subscribe();
        let reached = |flushed: &Flushed| flushed.index >= Some(index);
        let seen = flushed.wait_for(|flushed| reached(flushed) || flushed.ended);
        // Not to be held where the failure is asked for: who publishes what is flushed has the state's lock.
        let is_there = matches!(seen.await, Ok(flushed) if reached(&flushed));
        match is_there {
            true => Ok(()),
            false => Err(self.shared.failure()),
        }
    }

    /// Bytes of records in all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.state.lock().index.bytes()
    }

    /// The last index that can be purged so that at least `keep_bytes` of records stay; `None` if nothing can.
    pub fn purge_index_keeping(&self, keep_bytes: u64) -> Option<u64> {
        self.shared.state.lock().index.purge_index_keeping(keep_bytes)
    }

    /// What the log has done since it was opened.
    pub fn counters(&self) -> LogCounters {
        self.shared.counters.read()
    }

    /// How long syncs have taken in the last seconds; `None` if there was none.
    pub fn sync_latency(&self) -> Option<SyncLatency> {
        self.shared.syncs.read()
    }

    /// How long it has taken.
    pub fn times(&self) -> LogTimes {
        self.shared.counters.times()
    }

    /// Writes all that is queued, leaves an exact mark, stops the writer and unlocks the directory. Blocks meanwhile.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]; [`LogError::Closed`] if it was closed before.
    pub fn close(&self) -> Result<(), LogError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        {
            let mut state = self.shared.state.lock();
            state.check()?;
            let completion: Completion = Box::new(move |result| drop(sender.send(result)));
            state.queue.push(Op::Close { completion });
            state.stopping = true;
        }
        self.wake();
        if let WriterHandle::Task(task) = &*self.writer.lock() {
            task.drain();
        }
        let result = receiver.recv().unwrap_or_else(|_| Err(self.shared.failure()));
        self.stop();
        result
    }

    /// Has what is queued carried out.
    fn wake(&self) {
        self.shared.wake.notify_one();
        match self.writer.try_lock().as_deref_mut() {
            Some(WriterHandle::Inline(writer)) => writer.drain_queue(),
            Some(WriterHandle::Task(task)) => task.wake(),
            _ => {}
        }
    }

    fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.wake();
        let stopped = std::mem::replace(&mut *self.writer.lock(), WriterHandle::Stopped);
        match stopped {
            WriterHandle::Thread(thread) => {
                // A panic of the writer has poisoned the log already.
                let _ = thread.join();
            }
            WriterHandle::Task(task) => task.drain(),
            WriterHandle::Inline(_) | WriterHandle::Stopped => {}
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The writer's thread.
fn run_writer(writer: &mut Writer, mark_idle: Duration) {
    let shared = Arc::clone(&writer.shared);
    let run = std::panic::AssertUnwindSafe(|| {
        let mut queue = Vec::new();
        loop {
            let mut state = shared.state.lock();
            while state.queue.is_empty() && !state.stopping {
                if !writer.is_mark_due() || state.failure.is_some() {
                    shared.wake.wait(&mut state);
                } else if shared.wake.wait_for(&mut state, mark_idle).timed_out() && state.queue.is_empty() {
                    drop(state);
                    writer.idle();
                    state = shared.state.lock();
                }
            }
            if state.queue.is_empty() {
                return;
            }
            std::mem::swap(&mut state.queue, &mut queue);
            drop(state);
            writer.drain(&mut queue);
        }
    });
    if std::panic::catch_unwind(run).is_err() {
        shared.fail(&LogError::Poisoned {
            reason: "the writer panicked".to_owned(),
        });
        // Dropping a completion tells whoever waits that nothing will come.
        shared.state.lock().queue.clear();
    }
}
