//! Writing a topic.

use std::cmp::Ordering;

use super::rows::{Current, TopicKey};
use super::winner::{condition_failed, not_newer};
use super::{ApplyError, Change, ChangeKind, Outcome, State};
use crate::command::Put;
use crate::keyspace::RecordFields;

const MICROSECONDS_PER_SECOND: u64 = 1_000_000;

impl State {
    pub(super) fn put(&mut self, put: Put, changes: &mut Vec<Change>) -> Result<Outcome, ApplyError> {
        let key = TopicKey::of(&put.topic);
        let current = self.current(&key)?;
        if !put.condition.is_met(current.value_revision()) {
            return Ok(condition_failed(&current));
        }
        let timestamp_us = match put.timestamp_us {
            None => self.stamp(&current),
            Some(timestamp_us) => {
                if let Some(refusal) = self.timestamp_ahead(timestamp_us) {
                    return Ok(refusal);
                }
                match self.compare_put(&put, timestamp_us, &key, &current)? {
                    Ordering::Greater => timestamp_us,
                    order => return Ok(not_newer(order, put.condition, &current)),
                }
            }
        };
        let revision = self.next_revision();
        let created_revision = match &current {
            Current::Record(record) => record.head.created_revision,
            Current::Missing | Current::Tombstone(_) => revision,
        };
        let fields = RecordFields {
            revision,
            ordinal: 0,
            created_revision,
            timestamp_us,
            expires_at_us: put.expiry_s.map(|expiry_s| self.expires_at_us(expiry_s)),
            qos: put.qos,
            publisher: &put.publisher,
            metadata: &put.metadata,
            payload: &put.payload,
        };
        let record = fields.encode();
        self.store_record(&put.topic, key, &current, &record)?;
        changes.push(Change {
            revision,
            ordinal: 0,
            topic: put.topic,
            kind: ChangeKind::Put { record, qos: put.qos },
        });
        Ok(Outcome::Applied {
            revision,
            created: created_revision == revision,
        })
    }

    /// When a value expires that is committed now: its interval counts from the commit (§3.3.2.3.3).
    fn expires_at_us(&self, expiry_s: u32) -> u64 {
        self.position
            .log_time_us
            .saturating_add(u64::from(expiry_s) * MICROSECONDS_PER_SECOND)
    }
}
