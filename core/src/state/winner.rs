//! Newest timestamp wins, exactly.
//!
//! All writes and deletes of a topic that have a timestamp are ordered by (timestamp, value over delete, payload bytes,
//! metadata bytes). The greatest stands, in whatever order they arrive.

use std::cmp::Ordering;

use super::rows::{Current, TopicKey};
use super::{ApplyError, Outcome, State};
use crate::command::{Condition, Put};
use crate::limits::TIMESTAMP_AHEAD_MAX_US;

/// How a delete with `timestamp_us` stands to what the topic has. `Equal`: it is the same delete.
pub(super) fn compare_delete(timestamp_us: u64, current: &Current) -> Ordering {
    match current {
        Current::Missing => Ordering::Greater,
        Current::Tombstone(tombstone) => timestamp_us.cmp(&tombstone.timestamp_us),
        Current::Record(record) => timestamp_us.cmp(&record.head.timestamp_us).then(Ordering::Less),
    }
}

/// The answer to a write or delete whose condition is met and whose timestamp does not make it the latest.
pub(super) fn not_newer(order: Ordering, condition: Condition, current: &Current) -> Outcome {
    match (order, condition) {
        (Ordering::Less, Condition::None) => Outcome::Superseded {
            winner: current.revision(),
        },
        (Ordering::Less, _) => condition_failed(current),
        _ => Outcome::Unchanged {
            revision: current.revision(),
        },
    }
}

/// The answer to a write or delete whose condition is not met, or is of no use.
pub(super) fn condition_failed(current: &Current) -> Outcome {
    Outcome::ConditionFailed {
        current: current.value_revision().unwrap_or(0),
    }
}

impl State {
    /// How `put` with `timestamp_us` stands to `current`, which the topic with `key` has. `Equal`: it is the same write.
    pub(super) fn compare_put(
        &self,
        put: &Put,
        timestamp_us: u64,
        key: &TopicKey,
        current: &Current,
    ) -> Result<Ordering, ApplyError> {
        let by_time = match current {
            Current::Missing => Ordering::Greater,
            Current::Tombstone(tombstone) => timestamp_us.cmp(&tombstone.timestamp_us).then(Ordering::Greater),
            Current::Record(record) => timestamp_us.cmp(&record.head.timestamp_us),
        };
        if by_time != Ordering::Equal {
            return Ok(by_time);
        }
        let record = self.record(key)?;
        let by_payload = put.payload[..].cmp(record.payload_bytes());
        Ok(by_payload.then_with(|| put.metadata.as_bytes()[..].cmp(record.metadata_bytes())))
    }

    /// The refusal of a client's timestamp that is too far ahead of log time.
    pub(super) const fn timestamp_ahead(&self, timestamp_us: u64) -> Option<Outcome> {
        let ahead_us = timestamp_us.saturating_sub(self.position.log_time_us);
        if ahead_us > TIMESTAMP_AHEAD_MAX_US {
            Some(Outcome::TimestampAhead { ahead_us })
        } else {
            None
        }
    }

    /// The timestamp of a write or delete that came without one: greater than every earlier one of the topic.
    pub(super) fn stamp(&self, current: &Current) -> u64 {
        let after_latest = current.timestamp_us().map_or(0, |latest| latest.saturating_add(1));
        self.position.log_time_us.max(after_latest)
    }
}
