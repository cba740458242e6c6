//! Dropping tombstones that were kept long enough.

use bytes::Bytes;

use super::{ApplyError, State};
use crate::keyspace::tombstone::{tombstone_age_of_key, tombstone_key};
use crate::keyspace::{KeyKind, Tombstone};
use crate::limits::{COMPACTION_CHUNK_TOMBSTONES_MAX, TOMBSTONE_AGE_MIN_US, TOMBSTONE_REVISIONS_MIN};
use crate::store::{Direction, StoreError};

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
        for (stored, tombstone) in self.due_tombstones(limit.min(COMPACTION_CHUNK_TOMBSTONES_MAX))? {
            self.drop_tombstone(&stored, &tombstone);
            self.position.compacted_revision = tombstone.revision;
        }
        Ok(())
    }

    /// Whether a compaction would drop anything now.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn compaction_due(&self) -> Result<bool, StoreError> {
        match self.due_tombstones(1) {
            Ok(due) => Ok(!due.is_empty()),
            Err(ApplyError::Store(error)) => Err(error),
            Err(other) => Err(StoreError(other.to_string())),
        }
    }

    /// Tombstones that both bounds have passed, with their stored topics, oldest first, at most `limit`.
    pub(super) fn due_tombstones(&self, limit: u32) -> Result<Vec<(Bytes, Tombstone)>, ApplyError> {
        let mut due = Vec::new();
        if self.position.tombstone_count == 0 {
            return Ok(due);
        }
        let (lower, upper) = KeyKind::TombstoneAge.range();
        let stored = self
            .layer
            .base_view()
            .range(&lower, Some(&upper), Direction::Ascending)
            .map(|row| {
                let (key, stored) = row?;
                Ok::<_, ApplyError>((tombstone_age_of_key(&key)?, stored))
            });
        let recent = self.recent.tombstones();
        let recent = recent
            .starting_at((0, 0))
            .map(|row| Ok(((row.revision, row.ordinal), row.stored.clone())));
        for row in stored.chain(recent) {
            let (position, stored) = row?;
            // Before the topic is looked up: most of the time the oldest row ends it.
            if due.len() == limit as usize || !self.is_far_behind(position.0) {
                break;
            }
            let Some(tombstone) = self.tombstone_at(position, &stored)? else {
                continue;
            };
            // The log time of deletes grows with their revision: what follows is younger still.
            if !self.is_long_ago(tombstone.deleted_at_us) {
                break;
            }
            due.push((stored, tombstone));
        }
        Ok(due)
    }

    const fn is_far_behind(&self, revision: u64) -> bool {
        self.position.revision.saturating_sub(revision) >= self.tombstone_bounds.revisions
    }

    const fn is_long_ago(&self, time_us: u64) -> bool {
        self.position.log_time_us.saturating_sub(time_us) >= self.tombstone_bounds.age_us
    }

    /// The tombstone that the index has at `position`; `None` if the topic has changed since.
    fn tombstone_at(&self, position: (u64, u32), stored_topic: &[u8]) -> Result<Option<Tombstone>, ApplyError> {
        let Some(row) = self.layer.get(&tombstone_key(stored_topic))? else {
            return Ok(None);
        };
        let tombstone = Tombstone::parse(&row)?;
        Ok(((tombstone.revision, tombstone.ordinal) == position).then_some(tombstone))
    }
}
