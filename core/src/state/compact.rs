//! Dropping tombstones that were kept long enough.

use bytes::Bytes;

use super::{ApplyError, State};
use crate::keyspace::record::FormatError;
use crate::keyspace::tombstone::{tombstone_age_of_key, tombstone_key};
use crate::keyspace::{KeyKind, Tombstone};
use crate::limits::{COMPACTION_CHUNK_TOMBSTONES_MAX, TOMBSTONE_AGE_MIN_US, TOMBSTONE_REVISIONS_MIN};
use crate::store::{Direction, ReadView, StoreError};

/// How long a tombstone is kept: until both bounds are passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct TombstoneBounds {
    /// Log time since the delete, microseconds.
    pub(super) age_us: u64,
    /// Revisions since the delete.
    pub(super) revisions: u64,
}

impl Default for TombstoneBounds {
    fn default() -> Self {
        Self {
            age_us: TOMBSTONE_AGE_MIN_US,
            revisions: TOMBSTONE_REVISIONS_MIN,
        }
    }
}

impl State {
    /// Drops up to `limit` tombstones that both bounds have passed, oldest first. No revision, no change: what the topics
    /// hold stays as it is. Only a resume from before them is not complete any more, and an older write that arrives now
    /// creates the topic again.
    pub(super) fn compact(&mut self, limit: u32) -> Result<(), ApplyError> {
        for (key, stored) in self.oldest_tombstones(limit.min(COMPACTION_CHUNK_TOMBSTONES_MAX))? {
            let (revision, ordinal) = tombstone_age_of_key(&key)?;
            let tombstone = self.tombstone_of(&stored)?;
            if (tombstone.revision, tombstone.ordinal) != (revision, ordinal) {
                return Err(FormatError::new("index of tombstones", "contradicts the tombstone").into());
            }
            // The log time of deletes grows with their revision: what follows is younger still.
            if !self.is_old_enough(&tombstone) {
                break;
            }
            self.drop_tombstone(&stored, &tombstone);
            self.position.compacted_revision = revision;
        }
        Ok(())
    }

    /// Whether a compaction would drop anything now.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn compaction_due(&self) -> Result<bool, StoreError> {
        let Some((_, stored)) = self.oldest_tombstones(1)?.pop() else {
            return Ok(false);
        };
        match self.tombstone_of(&stored) {
            Ok(tombstone) => Ok(self.is_old_enough(&tombstone)),
            Err(ApplyError::Store(error)) => Err(error),
            Err(other) => Err(StoreError(other.to_string())),
        }
    }

    const fn is_old_enough(&self, tombstone: &Tombstone) -> bool {
        let Self {
            position,
            tombstone_bounds,
            ..
        } = self;
        position.revision.saturating_sub(tombstone.revision) >= tombstone_bounds.revisions
            && position.log_time_us.saturating_sub(tombstone.deleted_at_us) >= tombstone_bounds.age_us
    }

    /// Rows of the index of tombstones, oldest first.
    fn oldest_tombstones(&self, limit: u32) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if self.position.tombstone_count == 0 {
            return Ok(Vec::new());
        }
        let (lower, upper) = KeyKind::TombstoneAge.range();
        let view = self.layer.view();
        view.range(&lower, Some(&upper), Direction::Ascending)
            .take(limit as usize)
            .collect()
    }

    fn tombstone_of(&self, stored_topic: &[u8]) -> Result<Tombstone, ApplyError> {
        match self.layer.get(&tombstone_key(stored_topic))? {
            Some(row) => Ok(Tombstone::parse(&row)?),
            None => Err(FormatError::new("index of tombstones", "names a topic without a tombstone").into()),
        }
    }
}
