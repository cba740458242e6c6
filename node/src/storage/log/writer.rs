//! The one writer: takes everything queued, writes it once, syncs once, and only then completes it.
//!
//! Appends, truncations, purges and votes are carried out in the order in which they were queued. Appends between two
//! votes go into one batch (one write call, one `fdatasync`), unless they outgrow the segment or the bound of a write;
//! a batch is written only after the sync of the one before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banyan_core::planted::{Bug, planted};
use tokio::time::Instant;

use super::error::{IoContext, LogError};
use super::index::{IndexedSegment, Place};
use super::mark::{Mark, MarkFile};
use super::record::{self, BATCH_BYTES, BatchHeader, EntryId, LogEntry, NO_ID, RecordKind, SegmentKey};
use super::segment::{self, DATA_START, SEGMENT_BYTES_MAX, SegmentHeader};
use super::shared::{Completion, Op, Shared};
use super::spare::Spares;
use super::vote::VoteFile;
use crate::storage::disk::{Disk, DiskFile, DiskLock};

/// The segment being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) key: SegmentKey,
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Where the next batch goes.
    pub(super) end: u64,
}

/// Bounds of the writer, from the settings.
pub(super) struct WriterSettings {
    pub(super) segment_bytes: u64,
    pub(super) write_bytes_max: usize,
    pub(super) mark_bytes: u64,
    /// Whether segments are prefilled on a thread.
    pub(super) prefill: bool,
    /// Whether syncs take the time that they take, rather than what a simulated disk says.
    pub(super) timed: bool,
}

/// What the writer put into its buffer.
#[derive(Clone, Copy)]
enum Buffered {
    Entry(EntryId, Place),
    Truncate(Option<EntryId>),
}

/// Owner of all files of a log.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) settings: WriterSettings,
    pub(super) active: Active,
    pub(super) vote: VoteFile,
    pub(super) mark: MarkFile,
    pub(super) spares: Spares,
    pub(super) salt: u32,
    pub(super) next_batch: u64,
    /// Last entry, buffered ones included.
    pub(super) last: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) committed: Option<EntryId>,
    pub(super) buffer: BatchBuffer,
    /// Bytes written since the mark.
    pub(super) unmarked_bytes: u64,
    /// Last, since it must outlive all of the above.
    pub(super) lock: Option<Box<dyn DiskLock>>,
}

/// The batch being built.
#[derive(Default)]
pub(super) struct BatchBuffer {
    bytes: Vec<u8>,
    records: Vec<Buffered>,
    /// To be completed once the batch is synced.
    completions: Vec<Completion>,
    /// When the appends in it were called for.
    called: Vec<Instant>,
    /// Whether the batch is to be written even without a record.
    header_due: bool,
    /// Whether `committed` differs from what was written last.
    committed_due: bool,
}

impl Writer {
    /// Carries out `ops` in order. After the first failure the log is poisoned, and everything left is answered with
    /// that.
    pub(super) fn drain(&mut self, ops: &mut Vec<Op>) {
        if planted(Bug::P04) {
            ops.sort_by_key(|op| matches!(op, Op::Vote { .. }));
        }
        let mut left = ops.drain(..);
        // What was queued before a failure became known must not be written after it.
        let mut result = self.shared.check_alive();
        while result.is_ok()
            && let Some(op) = left.next()
        {
            result = self.carry_out(op);
        }
        if let Err(error) = result.and_then(|()| self.flush()) {
            self.shared.fail(&error);
            for completion in self
                .buffer
                .completions
                .drain(..)
                .chain(left.filter_map(Op::into_completion))
            {
                completion(Err(self.shared.failure()));
            }
        }
    }

    /// Carries out all that is queued.
    pub(super) fn drain_queue(&mut self) {
        loop {
            let mut queue = std::mem::take(&mut self.shared.state.lock().queue);
            if queue.is_empty() {
                return;
            }
            self.drain(&mut queue);
        }
    }

    /// Advances the mark to the end of the log: called when nothing has been queued for a while.
    pub(super) fn idle(&mut self) {
        if self.unmarked_bytes > 0
            && let Err(error) = self.write_mark()
        {
            self.shared.fail(&error);
        }
    }

    /// Whether [`Writer::idle`] has something to do.
    pub(super) fn is_mark_due(&self) -> bool {
        self.unmarked_bytes > 0
    }

    /// On failure the completion of `op` is among the buffer's.
    fn carry_out(&mut self, op: Op) -> Result<(), LogError> {
        match op {
            Op::Append {
                entries,
                called,
                completion,
            } => {
                let result = entries.iter().try_for_each(|entry| self.append(entry));
                self.buffer.completions.push(completion);
                if !entries.is_empty() {
                    self.buffer.called.push(called);
                }
                result
            }
            Op::Truncate(after) => self.truncate(after),
            Op::Purge(purged) => self.purge(purged),
            Op::Commit(committed) => {
                self.committed = Some(committed);
                self.buffer.committed_due = true;
                Ok(())
            }
            Op::Vote { vote, completion } => {
                // In order: what was appended before the vote is on disk before it, what comes after is after it.
                let flushed = self.flush();
                self.buffer.completions.push(completion);
                flushed?;
                self.vote.save(vote)?;
                self.shared.counters.add_fsyncs(2);
                self.shared.state.lock().vote = Some(vote);
                self.complete();
                Ok(())
            }
            Op::Close { completion } => {
                self.buffer.completions.push(completion);
                self.buffer.header_due |= self.buffer.committed_due;
                let completions = std::mem::take(&mut self.buffer.completions);
                let result = self.flush().and_then(|()| {
                    self.mark.write_both(Mark {
                        segment: self.active.number,
                        offset: self.active.end,
                    })
                });
                self.unmarked_bytes = 0;
                self.buffer.completions = completions;
                result?;
                self.shared.close();
                self.lock = None;
                self.complete();
                Ok(())
            }
        }
    }

    fn append(&mut self, entry: &LogEntry) -> Result<(), LogError> {
        let kind = RecordKind::Entry(entry.kind);
        let place = self.put(kind, entry.id, &entry.payload)?;
        self.buffer.records.push(Buffered::Entry(entry.id, place));
        self.last = Some(entry.id);
        Ok(())
    }

    fn truncate(&mut self, after: Option<EntryId>) -> Result<(), LogError> {
        match after {
            Some(after) => self.put(RecordKind::Truncate, after, &[])?,
            None => self.put(RecordKind::TruncateAll, NO_ID, &[])?,
        };
        self.buffer.records.push(Buffered::Truncate(after));
        self.last = after;
        Ok(())
    }

    fn purge(&mut self, purged: EntryId) -> Result<(), LogError> {
        let beyond = self.last.is_none_or(|last| last.index < purged.index);
        self.purged = Some(purged);
        self.buffer.header_due = true;
        if beyond {
            // A batch's purge is replayed after its records: entries that follow the gap belong into the next batch.
            self.last = Some(purged);
            self.flush()?;
        }
        Ok(())
    }

    /// Puts a record into the buffer, writing the buffer or beginning a segment first if there is no room.
    fn put(&mut self, kind: RecordKind, id: EntryId, body: &[u8]) -> Result<Place, LogError> {
        let bytes = record::padded(record::HEADER_BYTES + body.len());
        self.make_room(bytes)?;
        if self.buffer.bytes.is_empty() {
            self.buffer.bytes.resize(BATCH_BYTES, 0);
        }
        let offset = self.active.end + self.buffer.bytes.len() as u64;
        record::write(
            &mut self.buffer.bytes,
            &self.active.key,
            kind,
            self.next_batch,
            id,
            body,
        );
        Ok(Place {
            offset: offset as u32,
            bytes: bytes as u32,
        })
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), LogError> {
        let used = self.buffer.bytes.len();
        let fits = self.active.end + (used.max(BATCH_BYTES) + bytes) as u64 <= self.active.bytes;
        if used > 0 && (!fits || used + bytes > self.settings.write_bytes_max) {
            self.flush()?;
            return self.make_room(bytes);
        }
        if !fits {
            self.roll(DATA_START + (BATCH_BYTES + bytes) as u64)?;
        }
        Ok(())
    }

    /// Writes and syncs the batch in the buffer, then publishes and completes what was in it.
    fn flush(&mut self) -> Result<(), LogError> {
        if self.buffer.bytes.is_empty() {
            if !self.buffer.header_due {
                self.complete();
                return Ok(());
            }
            self.make_room(0)?;
            self.buffer.bytes.resize(BATCH_BYTES, 0);
        }
        let bytes = self.buffer.bytes.len() as u64;
        let header = BatchHeader {
            number: self.next_batch,
            bytes,
            purged: self.purged,
            committed: self.committed,
        };
        header.write_to(&mut self.buffer.bytes, &self.active.key);
        self.active
            .file
            .write_at(self.active.end, &self.buffer.bytes)
            .context("write", &self.active.path)?;
        self.sync_active()?;
        self.active.end += bytes;
        self.next_batch += 1;
        self.unmarked_bytes += bytes;
        let purging = self.publish(bytes);
        self.buffer.bytes.clear();
        self.buffer.records.clear();
        self.buffer.header_due = false;
        self.buffer.committed_due = false;
        self.complete();
        if purging {
            self.drop_purged()?;
        }
        if self.unmarked_bytes >= self.settings.mark_bytes {
            self.write_mark()?;
        }
        if self.settings.prefill && self.active.end > self.active.bytes / 2 {
            self.spares.prepare()?;
        }
        Ok(())
    }

    fn sync_active(&self) -> Result<(), LogError> {
        if planted(Bug::P03) {
            return Ok(());
        }
        if self.settings.timed {
            self.shared.syncs.begin();
        }
        let begun = Instant::now();
        let synced = self.active.file.sync().context("sync", &self.active.path);
        self.shared.counters.fsync_times.record(begun.elapsed());
        if self.settings.timed {
            self.shared.syncs.end();
        }
        match synced {
            Err(_) if planted(Bug::P21) => self.active.file.sync().context("sync", &self.active.path),
            synced => synced,
        }
    }

    /// Makes the synced batch known to readers; returns whether segments may be dropped.
    fn publish(&mut self, bytes: u64) -> bool {
        let mut state = self.shared.state.lock();
        let mut entries = 0;
        for buffered in &self.buffer.records {
            match *buffered {
                Buffered::Entry(id, place) => {
                    state.index.push(id, place);
                    entries += 1;
                }
                Buffered::Truncate(after) => state.index.truncate_after(after),
            }
        }
        if let Some(purged) = self.purged {
            state.index.purge(purged);
        }
        if let Some(segment) = state.index.segments.back_mut() {
            segment.end = self.active.end;
        }
        state.written(entries);
        self.shared.counters.add_batch(entries, bytes);
        self.shared.publish_flushed(&state);
        self.buffer.header_due
    }

    fn complete(&mut self) {
        let now = Instant::now();
        for called in self.buffer.called.drain(..) {
            let took = now.saturating_duration_since(called);
            self.shared.counters.append_times.record(took);
        }
        for completion in self.buffer.completions.drain(..) {
            completion(Ok(()));
        }
    }

    /// Begins the next segment. The one before is synced to its end.
    fn roll(&mut self, bytes_min: u64) -> Result<(), LogError> {
        assert!(self.buffer.bytes.is_empty(), "a batch lies within one segment");
        assert!(
            bytes_min <= SEGMENT_BYTES_MAX,
            "an entry is bounded far below a segment"
        );
        let last = self.shared.state.lock().index.last;
        let header = SegmentHeader {
            number: self.active.number + 1,
            bytes: self.settings.segment_bytes.max(bytes_min.next_multiple_of(DATA_START)),
            previous_end: self.active.end,
            first_batch: self.next_batch,
            salt: self.salt,
            last,
            purged: self.purged,
            committed: self.committed,
        };
        let segment = create_segment(&self.disk, &self.dir, &mut self.spares, &header)?;
        self.active = Active {
            file: Arc::clone(&segment.file),
            path: segment::path(&self.dir, segment.number),
            key: segment.key,
            number: segment.number,
            bytes: segment.bytes,
            end: DATA_START,
        };
        self.shared.state.lock().index.segments.push_back(segment);
        // Before anything is written to it, so that a segment that went missing is missed.
        self.write_mark()
    }

    /// Drops segments whose entries are all purged; that they are is on disk.
    fn drop_purged(&mut self) -> Result<(), LogError> {
        let dropped = self.shared.state.lock().index.take_purged();
        if dropped.is_empty() {
            return Ok(());
        }
        for segment in dropped {
            self.spares
                .recycle(&segment::path(&self.dir, segment.number), segment.bytes)?;
        }
        self.disk.sync_dir(&self.dir).context("sync", &self.dir)?;
        // What says that they were purged must not be taken for a torn write.
        self.write_mark()
    }

    fn write_mark(&mut self) -> Result<(), LogError> {
        self.mark.write(Mark {
            segment: self.active.number,
            offset: self.active.end,
        })?;
        self.unmarked_bytes = 0;
        Ok(())
    }
}

/// Makes a spare file the segment that `header` describes, durably.
pub(super) fn create_segment(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    spares: &mut Spares,
    header: &SegmentHeader,
) -> Result<IndexedSegment, LogError> {
    let spare = spares.take(header.bytes)?;
    let path = segment::path(dir, header.number);
    let file = disk.open(&spare, false).context("open", &spare)?;
    file.write_at(0, &header.encode()).context("write", &spare)?;
    file.sync().context("sync", &spare)?;
    disk.rename(&spare, &path).context("rename", &spare)?;
    disk.sync_dir(dir).context("sync", dir)?;
    Ok(IndexedSegment {
        number: header.number,
        key: header.key(),
        file: Arc::from(file),
        bytes: header.bytes,
        end: DATA_START,
        first: 0,
        places: Vec::new(),
    })
}
