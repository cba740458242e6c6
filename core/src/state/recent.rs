//! Positions of changes that the store does not know yet.
//!
//! The store holds two indexes by position (revision, ordinal): the latest change of each topic, and tombstones by age.
//! Between checkpoints their rows need not exist, since topics and tombstones carry their positions themselves:
//!
//! - A change appends its position here. What the topic had before is not looked up: a row is *stale* if the topic's record
//!   or tombstone has another position, and whoever reads an index passes over stale rows, those of the store included.
//! - A checkpoint derives the new rows from the topics and tombstones that changed, and removes the rows of the store that
//!   became stale, whose positions are noted here.
//!
//! So a write costs one append instead of two changes of an ordered map, and a topic that is written again and again leaves
//! a trail of fixed size per write, until the next checkpoint.
//!
//! Positions in the store come before those of the frozen part, and those before the active part's.

use bytes::Bytes;
use imbl::Vector;

use crate::keyspace::change::change_key;
use crate::keyspace::tombstone::tombstone_age_key;
use crate::keyspace::{FormatError, KeyKind, RecordHead, Tombstone, TopicRecord};
use crate::store::{FrozenLayer, WriteBatch};

/// Where a change of a topic stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PositionRow {
    pub(super) revision: u64,
    pub(super) ordinal: u32,
    /// The topic as keys have it.
    pub(super) stored: Bytes,
}

impl PositionRow {
    fn position(&self) -> (u64, u32) {
        (self.revision, self.ordinal)
    }
}

/// What a row costs, bytes: itself, and its share of the vector's tree.
const ROW_BYTES: usize = std::mem::size_of::<PositionRow>() + 16;

/// Rows in the order of their positions. Cheap to clone.
type Rows = Vector<PositionRow>;

/// Rows of one index since a freeze, and the rows before it that they made stale.
#[derive(Debug, Clone, Default)]
struct Index {
    active: Rows,
    /// Since the freeze before; empty if nothing is frozen.
    frozen: Rows,
    /// Positions up to the last freeze that are stale now.
    stale: Vec<(u64, u32)>,
}

impl Index {
    fn rows(&self) -> RecentRows {
        RecentRows {
            frozen: self.frozen.clone(),
            active: self.active.clone(),
        }
    }

    fn freeze(&mut self) -> Vec<(u64, u32)> {
        self.frozen = std::mem::take(&mut self.active);
        std::mem::take(&mut self.stale)
    }

    fn bytes(&self) -> usize {
        self.active.len() * ROW_BYTES + self.stale.len() * std::mem::size_of::<(u64, u32)>()
    }
}

/// Both indexes, as far as they are not in the store.
#[derive(Debug, Default)]
pub(super) struct RecentPositions {
    changes: Index,
    tombstones: Index,
    /// Every position up to this revision is in the store, or will be with the checkpoint that is being written.
    frozen_revision: u64,
}

/// The indexes' part of a checkpoint.
#[derive(Debug, Clone)]
pub(super) struct StalePositions {
    changes: Vec<(u64, u32)>,
    tombstones: Vec<(u64, u32)>,
}

impl RecentPositions {
    /// Nothing beyond a store that was checkpointed at `revision`.
    pub(super) fn new(revision: u64) -> Self {
        Self {
            frozen_revision: revision,
            ..Self::default()
        }
    }

    /// A topic was written at a position greater than all before.
    pub(super) fn push_record(&mut self, record: &RecordHead, stored: Bytes) {
        self.changes.active.push_back(PositionRow {
            revision: record.revision,
            ordinal: record.ordinal,
            stored,
        });
    }

    /// A topic was deleted at a position greater than all before.
    pub(super) fn push_tombstone(&mut self, tombstone: &Tombstone, stored: Bytes) {
        let row = PositionRow {
            revision: tombstone.revision,
            ordinal: tombstone.ordinal,
            stored,
        };
        self.changes.active.push_back(row.clone());
        self.tombstones.active.push_back(row);
    }

    /// The record is not what its topic has any more.
    pub(super) fn retire_record(&mut self, record: &RecordHead) {
        if record.revision <= self.frozen_revision {
            self.changes.stale.push((record.revision, record.ordinal));
        }
    }

    /// The tombstone is not what its topic has any more.
    pub(super) fn retire_tombstone(&mut self, tombstone: &Tombstone) {
        if tombstone.revision <= self.frozen_revision {
            let position = (tombstone.revision, tombstone.ordinal);
            self.changes.stale.push(position);
            self.tombstones.stale.push(position);
        }
    }

    /// Changes that the store does not have, stale ones among them.
    pub(super) fn changes(&self) -> RecentRows {
        self.changes.rows()
    }

    /// Tombstones that the store does not have, stale ones among them.
    pub(super) fn tombstones(&self) -> RecentRows {
        self.tombstones.rows()
    }

    /// Memory taken since the last freeze, bytes, nearly.
    pub(super) fn bytes(&self) -> usize {
        self.changes.bytes() + self.tombstones.bytes()
    }

    /// A checkpoint at `revision` begins.
    pub(super) fn freeze(&mut self, revision: u64) -> StalePositions {
        self.frozen_revision = revision;
        StalePositions {
            changes: self.changes.freeze(),
            tombstones: self.tombstones.freeze(),
        }
    }

    /// The store has the checkpoint.
    pub(super) fn thaw(&mut self) {
        self.changes.frozen = Rows::new();
        self.tombstones.frozen = Rows::new();
    }
}

/// Rows that the store does not have, in the order of their positions, all greater than those of the store. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct RecentRows {
    frozen: Rows,
    active: Rows,
}

impl RecentRows {
    /// The rows from `position` (revision, ordinal) on.
    pub(super) fn starting_at(&self, position: (u64, u32)) -> impl Iterator<Item = &PositionRow> {
        let behind = |rows: &Rows| match rows.binary_search_by_key(&position, PositionRow::position) {
            Ok(at) | Err(at) => at,
        };
        let (frozen_at, active_at) = (behind(&self.frozen), behind(&self.active));
        self.frozen
            .iter()
            .skip(frozen_at)
            .chain(self.active.iter().skip(active_at))
    }

    /// The stored topic of the row at `position`.
    pub(super) fn at(&self, position: (u64, u32)) -> Option<Bytes> {
        let row = self.starting_at(position).next()?;
        (row.position() == position).then(|| row.stored.clone())
    }
}

impl StalePositions {
    /// The changes of both indexes that belong to the changes in `layer`.
    ///
    /// # Errors
    /// The layer holds a record or a tombstone that is none.
    pub(super) fn index_changes(&self, layer: &FrozenLayer) -> Result<WriteBatch, FormatError> {
        let mut batch = WriteBatch::new();
        for (revision, ordinal) in &self.changes {
            batch.push((change_key(*revision, *ordinal), None));
        }
        for (revision, ordinal) in &self.tombstones {
            batch.push((tombstone_age_key(*revision, *ordinal), None));
        }
        for (key, value) in layer.changes() {
            let Some(value) = value else {
                continue;
            };
            let stored = || Some(key.slice(1..));
            match KeyKind::of_key(key) {
                Some(KeyKind::Topic) => {
                    let record = TopicRecord::parse(value.clone())?;
                    batch.push((change_key(record.revision(), record.ordinal()), stored()));
                }
                Some(KeyKind::Tombstone) => {
                    let Tombstone { revision, ordinal, .. } = Tombstone::parse(value)?;
                    batch.push((change_key(revision, ordinal), stored()));
                    batch.push((tombstone_age_key(revision, ordinal), stored()));
                }
                _ => {}
            }
        }
        Ok(batch)
    }
}
