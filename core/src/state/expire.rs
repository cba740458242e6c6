//! Deleting records whose time has come.

use bytes::Bytes;

use super::rows::{Current, TopicKey};
use super::{ApplyError, Change, ChangeKind, DeleteCause, Deletion, State};
use crate::keyspace::KeyKind;
use crate::keyspace::expiry::{expiry_key, expiry_of_key};
use crate::keyspace::record::FormatError;
use crate::keyspace::topic::topic_of_stored;
use crate::limits::EXPIRY_CHUNK_TOPICS_MAX;
use crate::metadata::Metadata;
use crate::store::{Direction, ReadView, StoreError};

impl State {
    /// Deletes up to `limit` records that expire at log time or before, earliest first, at one revision.
    ///
    /// The tombstone has the record's own timestamp: the value ceased to be without anybody saying so at a later time, and
    /// a write newer than it must win.
    pub(super) fn expire(&mut self, limit: u32, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        let due = self.due_records(limit.min(EXPIRY_CHUNK_TOPICS_MAX))?;
        if due.is_empty() {
            return Ok(());
        }
        let revision = self.next_revision();
        for (ordinal, row) in (0_u32..).zip(due) {
            let (time, stored) = expiry_of_key(&row)?;
            let topic = topic_of_stored(stored).ok_or(FormatError::new("index by expiry", "names what is no topic"))?;
            let key = TopicKey::of(&topic);
            let current = self.current(&key)?;
            let Current::Record(record) = &current else {
                return Err(FormatError::new("index by expiry", "names a topic without a value").into());
            };
            if record.head.expires_at_us != Some(time) {
                return Err(FormatError::new("index by expiry", "contradicts the record").into());
            }
            let timestamp_us = record.head.timestamp_us;
            self.bury(&topic, key, &current, revision, ordinal, timestamp_us)?;
            let deletion = Deletion {
                timestamp_us,
                publisher: Bytes::new(),
                metadata: Metadata::empty(),
                qos: 2,
                cause: DeleteCause::Expired,
            };
            changes.push(Change {
                revision,
                ordinal,
                topic,
                kind: ChangeKind::Delete(Box::new(deletion)),
            });
        }
        Ok(())
    }

    /// Keys of the expiry index that are due, at most `limit`.
    fn due_records(&self, limit: u32) -> Result<Vec<Bytes>, StoreError> {
        let (lower, end) = KeyKind::Expiry.range();
        let upper = match self.position.log_time_us.checked_add(1) {
            Some(after_now) => expiry_key(after_now, &[]),
            None => Bytes::copy_from_slice(&end),
        };
        // Rows of this index are never hot.
        let view = self.layer.settled_view();
        let due = view.range(&lower, Some(&upper), Direction::Ascending);
        due.take(limit as usize).map(|row| row.map(|(key, _)| key)).collect()
    }

    /// When the next record expires, microseconds since the Unix epoch; log time may be past it already.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn next_expiry_us(&self) -> Result<Option<u64>, StoreError> {
        let (lower, upper) = KeyKind::Expiry.range();
        let view = self.layer.settled_view();
        let Some(row) = view.range(&lower, Some(&upper), Direction::Ascending).next() else {
            return Ok(None);
        };
        let (key, _) = row?;
        match expiry_of_key(&key) {
            Ok((time, _)) => Ok(Some(time)),
            Err(error) => Err(StoreError(error.to_string())),
        }
    }
}
