//! Where every entry is in the files: rebuilt by recovery, kept by the writer.

use std::collections::VecDeque;
use std::sync::Arc;

use super::record::{EntryId, SegmentKey};
use crate::storage::disk::DiskFile;

/// Place of a record in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Offset, bytes.
    pub(super) offset: u32,
    /// Length with padding, bytes.
    pub(super) bytes: u32,
}

/// A segment and the entries of the log that are in it.
pub(super) struct IndexedSegment {
    pub(super) number: u64,
    pub(super) key: SegmentKey,
    pub(super) file: Arc<dyn DiskFile>,
    /// Size of the file.
    pub(super) bytes: u64,
    /// End of its records.
    pub(super) end: u64,
    /// Index of the first entry in `places`.
    pub(super) first: u64,
    /// Entries with consecutive indexes.
    pub(super) places: Vec<Place>,
}

impl IndexedSegment {
    /// Index after the last entry in it.
    fn end_index(&self) -> u64 {
        self.first + self.places.len() as u64
    }
}

/// All written entries of the log, by index, and what the log says of itself as written.
#[derive(Default)]
pub(super) struct Index {
    /// Oldest first; the last one is being written.
    pub(super) segments: VecDeque<IndexedSegment>,
    /// Last entry, or the last purged one if that is later.
    pub(super) last: Option<EntryId>,
    /// Last purged entry.
    pub(super) purged: Option<EntryId>,
}

impl Index {
    /// Whether an entry of `index` may come next: it leaves no hole.
    pub(super) fn follows(&self, index: u64) -> bool {
        self.last.is_none_or(|last| index == last.index + 1)
    }

    /// Adds an entry of the newest segment.
    ///
    /// # Panics
    /// If it leaves a hole, or there is no segment.
    pub(super) fn push(&mut self, id: EntryId, place: Place) {
        assert!(self.follows(id.index), "entry {} after {:?}", id.index, self.last);
        let segment = self.segments.back_mut().expect("an entry is in a segment");
        if segment.places.is_empty() {
            segment.first = id.index;
        }
        assert_eq!(segment.end_index(), id.index, "entries of a segment are consecutive");
        segment.places.push(place);
        self.last = Some(id);
    }

    /// Forgets every entry after `after`.
    pub(super) fn truncate_after(&mut self, after: Option<EntryId>) {
        if let (Some(last), Some(after)) = (self.last, after)
            && last.index <= after.index
        {
            return;
        }
        let end = after.map_or(0, |after| after.index + 1);
        for segment in self.segments.iter_mut().rev() {
            if segment.end_index() <= end && !segment.places.is_empty() {
                break;
            }
            segment.places.truncate(end.saturating_sub(segment.first) as usize);
        }
        let is_held = |after: &EntryId| self.purged.is_none_or(|purged| purged.index < after.index);
        let held = after.filter(is_held);
        if held.is_none() {
            self.forget_places();
        }
        self.last = held.or(self.purged);
    }

    /// Notes that everything up to `purged` is no longer part of the log.
    pub(super) fn purge(&mut self, purged: EntryId) {
        if self.purged.is_some_and(|earlier| earlier.index >= purged.index) {
            return;
        }
        self.purged = Some(purged);
        if self.last.is_none_or(|last| last.index < purged.index) {
            self.forget_places();
            self.last = Some(purged);
        }
    }

    /// No entry is held: the next one need not follow those that are left in the files.
    fn forget_places(&mut self) {
        for segment in &mut self.segments {
            segment.places.clear();
        }
    }

    /// Takes the oldest segments out that hold nothing but purged entries; never the newest segment.
    pub(super) fn take_purged(&mut self) -> Vec<IndexedSegment> {
        let Some(purged) = self.purged else { return Vec::new() };
        let mut taken = Vec::new();
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
            && (oldest.places.is_empty() || oldest.end_index() <= purged.index + 1)
        {
            taken.extend(self.segments.pop_front());
        }
        taken
    }

    /// The segment that holds entry `index`.
    pub(super) fn segment_of(&self, index: u64) -> Option<&IndexedSegment> {
        self.segments
            .iter()
            .rev()
            .find(|segment| segment.first <= index && !segment.places.is_empty())
            .filter(|segment| index < segment.end_index())
    }

    /// The first entry in the files that is not purged.
    pub(super) fn first_available(&self) -> Option<u64> {
        let first = self.segments.iter().find(|segment| !segment.places.is_empty())?.first;
        Some(self.purged.map_or(first, |purged| first.max(purged.index + 1)))
    }

    /// Bytes of records in all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.end - super::segment::DATA_START)
            .sum()
    }

    /// The last index that can be purged so that at least `keep_bytes` of records stay; `None` if nothing can.
    pub(super) fn purge_index_keeping(&self, keep_bytes: u64) -> Option<u64> {
        let mut kept = 0;
        for segment in self.segments.iter().rev() {
            if kept >= keep_bytes && !segment.places.is_empty() {
                return Some(segment.end_index() - 1);
            }
            kept += segment.end - super::segment::DATA_START;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::disk::{Disk, MemoryDisk};

    /// Found by fuzzing: ids sort by term first, so that a truncation to before the purged entry, with a greater term, made
    /// the log end before it began.
    #[test]
    fn the_log_never_ends_before_what_is_purged() {
        let id = |term, index| EntryId {
            term,
            node_id: 1,
            index,
        };
        let mut index = Index::default();
        index.purge(id(1, 227));
        index.last = Some(id(18, 228));
        index.truncate_after(Some(id(17, 1)));
        assert_eq!(index.last, Some(id(1, 227)));
    }

    /// Found by fuzzing: what a truncation to before the purged entry left in its segment was not followed by the next entry.
    #[test]
    fn a_log_that_was_truncated_to_before_its_purged_entry_takes_the_next() {
        let id = |index| EntryId {
            term: 1,
            node_id: 1,
            index,
        };
        let place = Place { offset: 0, bytes: 0 };
        let disk = MemoryDisk::new();
        let mut index = Index::default();
        index.segments.push_back(IndexedSegment {
            number: 1,
            key: SegmentKey::new(1, 0),
            file: Arc::from(disk.open(Path::new("segment"), true).unwrap()),
            bytes: 4096,
            end: 0,
            first: 0,
            places: Vec::new(),
        });
        (0..6).for_each(|number| index.push(id(number), place));
        index.purge(id(3));
        index.truncate_after(Some(id(0)));
        assert_eq!(index.last, Some(id(3)));
        index.push(id(4), place);
        assert_eq!((index.first_available(), index.last), (Some(4), Some(id(4))));
        assert!(index.segment_of(4).is_some() && index.segment_of(3).is_none());
    }
}
