//! The synced-through mark: up to where every byte of the log is known to be on disk.
//!
//! It lags behind the log, so that it costs nothing: it is written after so many bytes, when the log has been idle,
//! whenever a segment begins, and exactly at a clean stop. Damage below it can never be taken for a torn write. The two
//! slots are written in turn, so a crash leaves the one before; if the newest slot is damaged later, the older mark
//! only protects less.

use std::path::Path;

use super::error::LogError;
use super::record::u64_at;
use super::slots::{CONTENT_BYTES, Slot, SlotFile};
use crate::storage::disk::Disk;

/// Name of the file.
pub(super) const NAME: &str = "mark";
const MAGIC: [u8; 7] = *b"BNYmark";

/// A position in the log: everything before it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// Number of the segment; 0 = there is none yet.
    pub(super) segment: u64,
    /// Offset in that segment, bytes.
    pub(super) offset: u64,
}

/// The open file of the mark.
pub(super) struct MarkFile {
    slots: SlotFile,
    sequence: u64,
    /// The slot that was not written last.
    next: usize,
    mark: Mark,
}

impl MarkFile {
    /// Creates the file, marking nothing. Its name is durable once the directory is synced.
    pub(super) fn create(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let mark = Mark { segment: 0, offset: 0 };
        let slots = SlotFile::create(
            disk,
            dir,
            NAME,
            MAGIC,
            &Slot {
                sequence: 1,
                content: encode(mark),
            },
        )?;
        Ok(Self {
            slots,
            sequence: 1,
            next: 0,
            mark,
        })
    }

    /// Opens the file and takes the newest valid mark.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let (slots, found) = SlotFile::open(disk, dir, NAME, MAGIC)?;
        let (newest, slot) = match found {
            [Some(first), Some(second)] if first.sequence >= second.sequence => (0, first),
            [_, Some(second)] => (1, second),
            [Some(first), None] => (0, first),
            [None, None] => return Err(slots.damaged("neither slot is valid")),
        };
        let mark = Mark {
            segment: u64_at(&slot.content, 0),
            offset: u64_at(&slot.content, 8),
        };
        Ok(Self {
            slots,
            sequence: slot.sequence,
            next: 1 - newest,
            mark,
        })
    }

    /// The mark last written.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Writes `mark`, durably.
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), LogError> {
        self.slots.write(
            self.next,
            &Slot {
                sequence: self.sequence + 1,
                content: encode(mark),
            },
        )?;
        self.sequence += 1;
        self.next = 1 - self.next;
        self.mark = mark;
        Ok(())
    }

    /// Writes `mark` into both slots, so that no single damaged byte weakens it.
    pub(super) fn write_both(&mut self, mark: Mark) -> Result<(), LogError> {
        self.write(mark)?;
        self.write(mark)
    }
}

fn encode(mark: Mark) -> [u8; CONTENT_BYTES] {
    let mut content = [0; CONTENT_BYTES];
    content[0..8].copy_from_slice(&mark.segment.to_le_bytes());
    content[8..16].copy_from_slice(&mark.offset.to_le_bytes());
    content
}
