//! Deleting a topic.

use std::cmp::Ordering;

use super::rows::{Current, TopicKey};
use super::winner::{compare_delete, condition_failed, not_newer};
use super::{ApplyError, Change, ChangeKind, DeleteCause, Deletion, Outcome, State};
use crate::command::Delete;
use crate::keyspace::Tombstone;
use crate::topic::TopicName;

impl State {
    pub(super) fn delete(&mut self, delete: Delete, changes: &mut Vec<Change>) -> Result<Outcome, ApplyError> {
        let key = TopicKey::of(&delete.topic);
        let current = self.current(&key)?;
        if !delete.condition.is_met(current.value_revision()) {
            return Ok(condition_failed(&current));
        }
        let timestamp_us = match (delete.timestamp_us, &current) {
            (None, Current::Record(_)) => self.stamp(&current),
            (None, Current::Missing | Current::Tombstone(_)) => return Ok(Outcome::NotFound),
            (Some(timestamp_us), _) => {
                if let Some(refusal) = self.timestamp_ahead(timestamp_us) {
                    return Ok(refusal);
                }
                match compare_delete(timestamp_us, &current) {
                    Ordering::Greater => timestamp_us,
                    order => return Ok(not_newer(order, delete.condition, &current)),
                }
            }
        };
        let revision = self.next_revision();
        self.bury(&delete.topic, key, &current, revision, 0, timestamp_us)?;
        let deletion = Deletion {
            timestamp_us,
            publisher: delete.publisher,
            metadata: delete.metadata,
            qos: delete.qos,
            cause: DeleteCause::Client,
        };
        changes.push(Change {
            revision,
            ordinal: 0,
            topic: delete.topic,
            kind: ChangeKind::Delete(Box::new(deletion)),
        });
        Ok(Outcome::Deleted { revision })
    }

    /// Replaces what `topic` has by a tombstone.
    pub(super) fn bury(
        &mut self,
        topic: &TopicName,
        key: TopicKey,
        current: &Current,
        revision: u64,
        ordinal: u32,
        timestamp_us: u64,
    ) -> Result<(), ApplyError> {
        let deleted_at_us = self.position.log_time_us;
        self.store_tombstone(
            topic,
            key,
            current,
            &Tombstone {
                revision,
                ordinal,
                timestamp_us,
                deleted_at_us,
            },
        )
    }
}
