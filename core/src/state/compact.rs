//! Dropping tombstones that were kept long enough.

use bytes::Bytes;

use super::{ApplyError, State};
use crate::keyspace::tombstone::{tombstone_age_of_key, tombstone_key};
use crate::keyspace::{KeyKind, Tombstone};
use crate::limits::{COMPACTION_CHUNK_TOMBSTONES_MAX, TOMBSTONE_AGE_MIN_US, TOMBSTONE_REVISIONS_MIN};
use crate::planted::{Bug, planted};
use crate::store::{Direction, StoreError};

/// How long a tombstone is kept: until both bounds are passed. The same on every node, always: what a compaction drops
/// follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneBounds {
    /// Log time since the delete, microseconds.
    pub age_us: u64,
    /// Revisions since the delete.
    pub revisions: u64,
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

    /// How long tombstones are kept.
    #[must_use]
    pub const fn tombstone_bounds(&self) -> TombstoneBounds {
        self.tombstone_bounds
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

    fn is_far_behind(&self, revision: u64) -> bool {
        self.position.revision.saturating_sub(revision) >= self.tombstone_bounds.revisions || planted(Bug::P10)
    }

    fn is_long_ago(&self, time_us: u64) -> bool {
        self.position.log_time_us.saturating_sub(time_us) >= self.tombstone_bounds.age_us || planted(Bug::P10)
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
