//! The newest segment of a stopped node's Raft log, and changes to its bytes.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use banyan_node::storage::log::is_record;
use rand::Rng;
use rand::rngs::StdRng;

use crate::real::error::RealError;

/// Where the records of a segment begin; before is its header.
const DATA_START: usize = 4096;
/// Where the header keeps the segment's number (u64) and the log's salt (u32), little-endian as all.
const NUMBER_AT: usize = 16;
const SALT_AT: usize = 48;
/// A record: length of its body (u32), kind, number of its batch (u32), log index (u64), and where the body begins.
const KIND_AT: usize = 8;
const BATCH_AT: usize = 12;
const INDEX_AT: usize = 32;
const BODY_AT: usize = 40;
const ALIGNMENT: usize = 8;
/// Kinds of records that are entries.
const ENTRY_KINDS: std::ops::RangeInclusive<u8> = 2..=4;
/// Most bytes put behind the end.
const GARBAGE_BYTES_MAX: usize = 8192;

/// What is to be written where.
#[derive(Debug)]
pub(super) struct Patch {
    path: PathBuf,
    offset: usize,
    bytes: Vec<u8>,
    what: &'static str,
}

impl Patch {
    /// Writes it, and returns the patch that undoes it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(super) fn apply(&self) -> Result<Self, RealError> {
        let failed = || RealError::file(&self.path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(failed())?;
        let mut before = vec![0; self.bytes.len()];
        file.read_exact_at(&mut before, self.offset as u64).map_err(failed())?;
        file.write_all_at(&self.bytes, self.offset as u64).map_err(failed())?;
        Ok(Self {
            path: self.path.clone(),
            offset: self.offset,
            bytes: before,
            what: "undone",
        })
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(
            f,
            "{} at byte {} of {name} ({} bytes)",
            self.what,
            self.offset,
            self.bytes.len()
        )
    }
}

/// One record.
#[derive(Debug, Clone, Copy)]
struct RecordSeen {
    offset: usize,
    /// Without padding.
    bytes: usize,
    batch: u32,
    /// `None`: not an entry.
    index: Option<u64>,
}

/// The newest segment, with its valid records.
#[derive(Debug)]
pub(super) struct NewestSegment {
    path: PathBuf,
    bytes: Vec<u8>,
    records: Vec<RecordSeen>,
    end: usize,
}

impl NewestSegment {
    /// Reads it from the log in `dir`; `None` if there is none yet.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, RealError> {
        let Ok(names) = fs::read_dir(dir) else { return Ok(None) };
        let newest = names
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .max();
        let Some(path) = newest else { return Ok(None) };
        let bytes = fs::read(&path).map_err(RealError::file(&path))?;
        Ok(Self::parse(path, bytes))
    }

    fn parse(path: PathBuf, bytes: Vec<u8>) -> Option<Self> {
        let number = u64::from_le_bytes(bytes.get(NUMBER_AT..NUMBER_AT + 8)?.try_into().ok()?);
        let salt = u32_at(&bytes, SALT_AT)?;
        let mut records = Vec::new();
        let mut end = DATA_START;
        while let Some(rest) = bytes.get(end..)
            && is_record(rest, salt, number)
            && let Some(record) = RecordSeen::parse(rest, end)
        {
            end += record.bytes.next_multiple_of(ALIGNMENT);
            records.push(record);
        }
        Some(Self {
            path,
            bytes,
            records,
            end,
        })
    }

    fn last_batch(&self) -> impl Iterator<Item = &RecordSeen> {
        let last = self.records.last().map(|record| record.batch);
        self.records.iter().filter(move |record| Some(record.batch) == last)
    }

    /// Index of the first entry of the last append; `None` if it has no entries.
    pub(super) fn last_batch_first_index(&self) -> Option<u64> {
        self.last_batch().find_map(|record| record.index)
    }

    /// Cuts the last append somewhere within, as if the rest had not reached the disk.
    pub(super) fn cut_last_batch(&self, rng: &mut StdRng) -> Option<Patch> {
        let (first, last) = (self.last_batch().next()?, self.records.last()?);
        let offset = rng.random_range(first.offset..last.offset + last.bytes);
        Some(self.patch(offset, vec![0; self.end - offset], "last append cut"))
    }

    /// Random bytes behind the end, as if of an append that has not reached the disk in whole. `None` if the segment is
    /// full.
    pub(super) fn garbage_behind_the_end(&self, rng: &mut StdRng) -> Option<Patch> {
        let room = (self.bytes.len() - self.end).min(GARBAGE_BYTES_MAX);
        if room < BODY_AT {
            return None;
        }
        let mut garbage = vec![0; rng.random_range(1..room)];
        rng.fill(&mut garbage[..]);
        Some(self.patch(self.end, garbage, "torn append"))
    }

    /// Flips one bit of a record before the last append. `None` if there is only one.
    pub(super) fn flip_in_the_middle(&self, rng: &mut StdRng) -> Option<Patch> {
        let last = self.records.last()?.batch;
        let count = self.records.iter().take_while(|record| record.batch != last).count();
        if count == 0 {
            return None;
        }
        let record = self.records[rng.random_range(0..count)];
        let offset = record.offset + rng.random_range(0..record.bytes);
        let flipped = self.bytes[offset] ^ (1 << rng.random_range(0..8));
        Some(self.patch(offset, vec![flipped], "bit flipped"))
    }

    fn patch(&self, offset: usize, bytes: Vec<u8>, what: &'static str) -> Patch {
        Patch {
            path: self.path.clone(),
            offset,
            bytes,
            what,
        }
    }
}

impl RecordSeen {
    fn parse(bytes: &[u8], offset: usize) -> Option<Self> {
        let index = bytes.get(INDEX_AT..BODY_AT)?.try_into().ok().map(u64::from_le_bytes)?;
        Some(Self {
            offset,
            bytes: BODY_AT + u32_at(bytes, 0)? as usize,
            batch: u32_at(bytes, BATCH_AT)?,
            index: ENTRY_KINDS.contains(bytes.get(KIND_AT)?).then_some(index),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use banyan_node::storage::disk::SystemDisk;
    use banyan_node::storage::log::{EntryId, EntryKind, Log, LogEntry, LogSettings};
    use rand::SeedableRng;

    use super::*;

    fn open(dir: &Path) -> Result<Log, banyan_node::storage::log::LogError> {
        let settings = LogSettings {
            segment_bytes: 1024 * 1024,
            thread: false,
            salt: 7,
            ..LogSettings::default()
        };
        Log::open(Arc::new(SystemDisk), dir, &settings, None)
    }

    fn write(dir: &Path) {
        let log = open(dir).unwrap();
        for index in 0..10 {
            let id = EntryId {
                term: 1,
                node_id: 1,
                index,
            };
            let payload = vec![index as u8; 100 + index as usize].into();
            let entry = LogEntry {
                id,
                kind: EntryKind::Normal,
                payload,
            };
            log.append(vec![entry], Box::new(|_| ())).unwrap();
        }
        std::mem::forget(log); // as if killed: no exact mark
    }

    fn last_index(log: &Log) -> Option<u64> {
        log.ends().unwrap().1.map(|last| last.index)
    }

    #[test]
    fn every_flipped_bit_in_the_middle_is_refused_and_can_be_undone() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let copy = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            copy_files(dir.path(), copy.path());
            let segment = NewestSegment::read(copy.path()).unwrap().unwrap();
            let undo = segment.flip_in_the_middle(&mut rng).unwrap().apply().unwrap();
            assert!(open(copy.path()).is_err_and(|error| error.is_damage()), "{undo}");
            undo.apply().unwrap();
            assert_eq!(last_index(&open(copy.path()).unwrap()), Some(9));
        }
    }

    #[test]
    fn a_torn_tail_costs_at_most_the_last_append() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let copy = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..50 {
            copy_files(dir.path(), copy.path());
            let segment = NewestSegment::read(copy.path()).unwrap().unwrap();
            assert_eq!(segment.last_batch_first_index(), Some(9));
            segment.garbage_behind_the_end(&mut rng).unwrap().apply().unwrap();
            assert_eq!(last_index(&open(copy.path()).unwrap()), Some(9));

            copy_files(dir.path(), copy.path());
            segment.cut_last_batch(&mut rng).unwrap().apply().unwrap();
            assert_eq!(last_index(&open(copy.path()).unwrap()), Some(8));
        }
    }

    fn copy_files(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
