//! Opening a log: what is on disk is either taken exactly as it was, or refused.
//!
//! Every segment but the last has a known end: the next one's header tells it. Anything unreadable before it is damage.
//! In the last segment the end is the first batch that is not whole and valid. That is an end, and not damage, only if
//!
//! - nothing at or below the synced-through mark is missing, and
//! - no valid record of a *later* batch follows anywhere in the segment. One batch is what one write call wrote, and the
//!   next is written only after its sync; so a record of a later batch proves that this one was on disk.
//!
//! Then the batch is the torn last append. It is dropped as a whole, and what is left of it is overwritten with zeros,
//! so that it never stands behind a later append. What lies beyond the mark is written again and synced before anything
//! is served: after a failed sync, bytes can be readable and yet not be on disk.
//!
//! Truncation and purging are records in the same order as the entries, so replaying the segments replays them too: a
//! crash cannot bring truncated entries back behind newer ones. Segments before a gap are remains of a purge whose
//! removal of names was cut short; they are dropped if the rest of the log is complete without them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banyan_core::planted::{Bug, planted};

use super::error::{IoContext, LogError};
use super::index::{Index, IndexedSegment, Place};
use super::mark::{self, Mark, MarkFile};
use super::record::{self, BatchHeader, EntryId, Record, RecordKind, SegmentKey};
use super::segment::{self, DATA_START, SegmentHeader};
use super::spare::Spares;
use super::vote::{self, VoteFile};
use super::writer::create_segment;
use crate::storage::disk::{Disk, DiskLock};

/// Tail bytes are written again in pieces of this size.
const PIECE_BYTES: u64 = 1024 * 1024;

/// A log as found, and made whole.
pub(super) struct Recovered {
    pub(super) lock: Box<dyn DiskLock>,
    pub(super) vote: VoteFile,
    pub(super) mark: MarkFile,
    pub(super) spares: Spares,
    pub(super) index: Index,
    pub(super) committed: Option<EntryId>,
    pub(super) next_batch: u64,
    pub(super) salt: u32,
}

/// What recovery needs to know of the settings.
pub(super) struct RecoverySettings {
    pub(super) segment_bytes: u64,
    pub(super) spare_count_max: usize,
    pub(super) salt: u32,
}

/// Opens the log in `dir`, creating it if there is none.
pub(super) fn recover(disk: &Arc<dyn Disk>, dir: &Path, settings: &RecoverySettings) -> Result<Recovered, LogError> {
    disk.create_dir_all(dir).context("create", dir)?;
    let lock_path = dir.join("lock");
    let lock = disk.lock(&lock_path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => LogError::InUse {
            path: dir.to_path_buf(),
        },
        _ => LogError::Io {
            operation: "lock",
            path: lock_path,
            source,
        },
    })?;
    let names = disk.list(dir).context("list", dir)?;
    let has = |name: &str| names.iter().any(|found| found == name);
    let numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::name_number(Path::new(name)))
        .collect();

    // Created in the order vote, mark, first segment: what comes later proves that the earlier ones were there.
    let vote = match has(vote::NAME) {
        true => VoteFile::open(&**disk, dir)?,
        false if has(mark::NAME) || !numbers.is_empty() => return Err(missing(dir.join(vote::NAME))),
        false => VoteFile::create(&**disk, dir)?,
    };
    let mut mark = match has(mark::NAME) {
        true => MarkFile::open(&**disk, dir)?,
        false if !numbers.is_empty() => return Err(missing(dir.join(mark::NAME))),
        false => {
            disk.sync_dir(dir).context("sync", dir)?;
            MarkFile::create(&**disk, dir)?
        }
    };
    let mut spares = Spares::open(
        Arc::clone(disk),
        dir,
        settings.segment_bytes,
        settings.spare_count_max,
        &names,
    )?;
    disk.sync_dir(dir).context("sync", dir)?;

    let Some(mut newest) = numbers.last().copied() else {
        if mark.mark().segment > 0 {
            return Err(missing(segment::path(dir, mark.mark().segment)));
        }
        let header = SegmentHeader {
            number: 1,
            bytes: settings.segment_bytes,
            previous_end: 0,
            first_batch: 1,
            salt: settings.salt,
            last: None,
            purged: None,
            committed: None,
        };
        let first = create_segment(disk, dir, &mut spares, &header)?;
        mark.write(Mark {
            segment: 1,
            offset: DATA_START,
        })?;
        let mut index = Index::default();
        index.segments.push_back(first);
        return Ok(Recovered {
            lock,
            vote,
            mark,
            spares,
            index,
            committed: None,
            next_batch: 1,
            salt: settings.salt,
        });
    };

    let gap = numbers
        .windows(2)
        .rposition(|pair| pair[0] + 1 != pair[1])
        .map_or(0, |at| at + 1);
    let (remains, present) = numbers.split_at(gap);
    let mut replay = Replay {
        disk,
        dir,
        index: Index::default(),
        committed: None,
        next_batch: 0,
        salt: 0,
    };
    let mut last_bytes = Vec::new();
    let mut stop = 0;
    for (at, &number) in present.iter().enumerate() {
        match replay.segment(number) {
            Ok(read) => (last_bytes, stop) = read,
            Err(error) if planted(Bug::P15) && error.is_damage() && at > 0 => {
                newest = present[at - 1];
                for &later in &present[at..] {
                    let path = segment::path(dir, later);
                    disk.remove(&path).context("remove", &path)?;
                }
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let newest_path = segment::path(dir, newest);
    let end = replay.index.segments.back().map_or(DATA_START, |segment| segment.end);
    if mark.mark().segment > newest && !planted(Bug::P15) {
        return Err(missing(segment::path(dir, mark.mark().segment)));
    }
    if mark.mark().segment == newest && mark.mark().offset > end && !planted(Bug::P15) {
        let detail = format!("not a valid record, but synced through byte {}", mark.mark().offset);
        return Err(LogError::Damaged {
            file: newest_path,
            offset: stop,
            detail,
        });
    }
    let torn_end = torn_end(&replay, &newest_path, &last_bytes, end, stop)?;
    drop(last_bytes);
    replay.check_complete()?;

    if let Some(torn_end) = torn_end {
        tracing::warn!(file = %newest_path.display(), offset = end, "cut the torn last append off the log");
        zero(&replay.index, &newest_path, end, torn_end)?;
    }
    if (Mark {
        segment: newest,
        offset: end,
    }) != mark.mark()
        || torn_end.is_some()
    {
        rewrite_tail(&replay.index, dir, mark.mark())?;
        mark.write(Mark {
            segment: newest,
            offset: end,
        })?;
    }
    for &number in remains {
        let path = segment::path(dir, number);
        disk.remove(&path).context("remove", &path)?;
    }
    disk.sync_dir(dir).context("sync", dir)?;
    let Replay {
        index,
        committed,
        next_batch,
        salt,
        ..
    } = replay;
    // What was committed beyond the end came with a snapshot that was being installed; it does not speak of these
    // entries.
    let committed = committed.filter(|committed| index.last.is_some_and(|last| committed.index <= last.index));
    Ok(Recovered {
        lock,
        vote,
        mark,
        spares,
        index,
        committed,
        next_batch,
        salt,
    })
}

fn missing(file: PathBuf) -> LogError {
    LogError::Damaged {
        file,
        offset: 0,
        detail: "the file is missing".to_owned(),
    }
}

/// Looks behind the end of the last segment: `Some(end)` of what is left of a torn last append, damage if there is a
/// record of a later batch.
fn torn_end(replay: &Replay<'_>, path: &Path, bytes: &[u8], end: u64, stop: u64) -> Result<Option<u64>, LogError> {
    let Some(key) = replay.index.segments.back().map(|segment| segment.key) else {
        return Ok(None);
    };
    let mut torn_end = None;
    let mut at = end as usize;
    while at < bytes.len() {
        let Some(record) = Record::parse(&bytes[at..], &key) else {
            at += record::ALIGNMENT;
            continue;
        };
        if record.batch != replay.next_batch as u32 && !planted(Bug::P15) {
            let detail = format!("not a valid record, but a later one follows at byte {at}");
            return Err(LogError::Damaged {
                file: path.to_path_buf(),
                offset: stop,
                detail,
            });
        }
        at += record.bytes();
        torn_end = Some(at as u64);
    }
    Ok(torn_end)
}

/// Overwrites `from..to` of the newest segment with zeros.
fn zero(index: &Index, path: &Path, from: u64, to: u64) -> Result<(), LogError> {
    let Some(segment) = index.segments.back() else {
        return Ok(());
    };
    let zeros = vec![0; (to - from) as usize];
    segment.file.write_at(from, &zeros).context("write", path)?;
    segment.file.sync().context("sync", path)
}

/// Writes everything beyond `mark` again, and syncs it.
fn rewrite_tail(index: &Index, dir: &Path, mark: Mark) -> Result<(), LogError> {
    for segment in index.segments.iter().filter(|segment| segment.number >= mark.segment) {
        let path = segment::path(dir, segment.number);
        let mut at = if segment.number == mark.segment {
            mark.offset.max(DATA_START)
        } else {
            DATA_START
        };
        while at < segment.end {
            let mut piece = vec![0; PIECE_BYTES.min(segment.end - at) as usize];
            segment.file.read_at(at, &mut piece).context("read", &path)?;
            segment.file.write_at(at, &piece).context("write", &path)?;
            at += piece.len() as u64;
        }
        segment.file.sync().context("sync", &path)?;
    }
    Ok(())
}

/// The log as far as it has been read.
struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    index: Index,
    committed: Option<EntryId>,
    next_batch: u64,
    salt: u32,
}

impl Replay<'_> {
    /// Reads segment `number`, which follows those read before. Returns its bytes, and where reading stopped: at its
    /// end, or within a batch that is not whole.
    fn segment(&mut self, number: u64) -> Result<(Vec<u8>, u64), LogError> {
        let path = segment::path(self.dir, number);
        let mut bytes = self.disk.read(&path).context("read", &path)?;
        let header = SegmentHeader::decode(&path, &bytes)?;
        bytes.truncate(header.bytes as usize);
        match self.index.segments.back() {
            Some(before) => {
                let (end, next_batch, last) = (before.end, self.next_batch, self.index.last);
                if (header.previous_end, header.first_batch, header.last) != (end, next_batch, last) {
                    let file = segment::path(self.dir, before.number);
                    let detail = format!(
                        "valid through byte {end} and batch {next_batch}, but the next segment follows byte {} and batch {}",
                        header.previous_end, header.first_batch
                    );
                    return Err(LogError::Damaged {
                        file,
                        offset: end,
                        detail,
                    });
                }
            }
            None => {
                self.next_batch = header.first_batch;
                self.index.last = header.last;
            }
        }
        if let Some(purged) = header.purged {
            self.index.purge(purged);
        }
        self.committed = header.committed;
        self.salt = header.salt;
        self.index.segments.push_back(IndexedSegment {
            number,
            key: header.key(),
            file: Arc::from(self.disk.open(&path, false).context("open", &path)?),
            bytes: header.bytes,
            end: DATA_START,
            first: 0,
            places: Vec::new(),
        });

        let mut records = Vec::new();
        let mut at = DATA_START;
        let stop = loop {
            records.clear();
            let batch = match read_batch(&bytes, at, &header.key(), self.next_batch, &mut records) {
                Ok(batch) => batch,
                Err(stop) => break stop,
            };
            for (kind, id, place) in records.drain(..) {
                self.record(&path, kind, id, place)?;
            }
            if let Some(purged) = batch.purged {
                self.index.purge(purged);
            }
            self.committed = batch.committed;
            self.next_batch += 1;
            at += batch.bytes;
            if let Some(segment) = self.index.segments.back_mut() {
                segment.end = at;
            }
        };
        Ok((bytes, stop))
    }

    fn record(&mut self, path: &Path, kind: RecordKind, id: EntryId, place: Place) -> Result<(), LogError> {
        match kind {
            RecordKind::Entry(_) if !self.index.follows(id.index) => {
                let detail = format!("entry {} does not follow {:?}", id.index, self.index.last);
                return Err(LogError::Damaged {
                    file: path.to_path_buf(),
                    offset: u64::from(place.offset),
                    detail,
                });
            }
            RecordKind::Entry(_) => self.index.push(id, place),
            RecordKind::Truncate => self.index.truncate_after(Some(id)),
            RecordKind::TruncateAll => self.index.truncate_after(None),
            RecordKind::Batch => {}
        }
        Ok(())
    }

    /// Checks that no segment is missing before the first one.
    fn check_complete(&self) -> Result<(), LogError> {
        let Some(oldest) = self.index.segments.front() else {
            return Ok(());
        };
        let complete = match (self.index.purged, self.index.last) {
            (None, None) => oldest.number == 1,
            (None, Some(last)) => oldest.number == 1 && self.index.segment_of(last.index).is_some(),
            (Some(purged), Some(last)) if last.index > purged.index => {
                self.index.segment_of(purged.index + 1).is_some() && self.index.segment_of(last.index).is_some()
            }
            (Some(_), _) => true,
        };
        if complete {
            Ok(())
        } else {
            Err(missing(segment::path(self.dir, oldest.number.saturating_sub(1))))
        }
    }
}

/// Reads the batch at `at`: its header, and its records into `records`. `Err` is where it ceases to be valid.
fn read_batch(
    bytes: &[u8],
    at: u64,
    key: &SegmentKey,
    number: u64,
    records: &mut Vec<(RecordKind, EntryId, Place)>,
) -> Result<BatchHeader, u64> {
    let record = bytes
        .get(at as usize..)
        .and_then(|rest| Record::parse(rest, key))
        .ok_or(at)?;
    let header = BatchHeader::from_record(&record)
        .filter(|header| header.number == number)
        .ok_or(at)?;
    let end = at.checked_add(header.bytes).ok_or(at)?;
    let mut position = at + record.bytes() as u64;
    while position < end {
        let rest = bytes.get(position as usize..end as usize).ok_or(position)?;
        let record = Record::parse(rest, key)
            .filter(|record| record.batch == number as u32)
            .ok_or(position)?;
        records.push((
            record.kind,
            record.id,
            Place {
                offset: position as u32,
                bytes: record.bytes() as u32,
            },
        ));
        position += record.bytes() as u64;
    }
    if position == end { Ok(header) } else { Err(at) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::model_test::{DIR, open, small_settings};
    use super::super::record::COUNT_MAX;
    use super::*;
    use crate::storage::disk::MemoryDisk;

    /// A new log whose first segment begins with `header`, checksum and all.
    fn open_with_header(header: &SegmentHeader) -> Result<(), LogError> {
        let disk = MemoryDisk::new();
        drop(open(&disk).unwrap());
        let mut files = disk.files();
        let file = files.get_mut(&segment::path(Path::new(DIR), 1)).unwrap();
        let encoded = header.encode();
        file[..encoded.len()].copy_from_slice(&encoded);
        open(&MemoryDisk::from_files(files)).map(drop)
    }

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 1,
            bytes: small_settings().segment_bytes,
            previous_end: 0,
            first_batch: 1,
            salt: small_settings().salt,
            last: None,
            purged: None,
            committed: None,
        }
    }

    #[test]
    fn entries_that_no_segment_holds_are_refused() {
        open_with_header(&header()).unwrap();
        let last = Some(EntryId {
            term: 1,
            node_id: 1,
            index: 0,
        });
        // Found by fuzzing: it opened, said that it has entry 0, and failed when that was read.
        let error = open_with_header(&SegmentHeader { last, ..header() }).unwrap_err();
        assert!(error.is_damage(), "{error}");
        open_with_header(&SegmentHeader {
            last,
            purged: last,
            ..header()
        })
        .unwrap();
    }

    #[test]
    fn numbers_that_cannot_be_counted_on_from_are_refused() {
        let id = |index| {
            Some(EntryId {
                term: 1,
                node_id: 1,
                index,
            })
        };
        let (last, purged) = (id(COUNT_MAX + 1), id(COUNT_MAX + 1));
        for header in [
            SegmentHeader {
                first_batch: u64::MAX,
                ..header()
            },
            SegmentHeader {
                last,
                purged,
                ..header()
            },
        ] {
            let error = open_with_header(&header).unwrap_err();
            assert!(error.is_damage(), "{error}");
        }
    }
}
