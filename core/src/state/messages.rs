//! Keeping messages for those who have not had them.
//!
//! A session that is away is a cursor. What it will read is found by position ([`super::waiting`]), and is stored once
//! however many sessions wait for it:
//!
//! - An event or a delete of QoS 1 or 2 that a persistent session wants becomes a [`Message`] row when it happens.
//! - A write becomes one only when its record is superseded, and only if somebody may still wait for it: until then the
//!   record is the message.
//! - A message that is *held* (on its way to somebody, see [`Interest::held`]) is kept when it is superseded whoever wants
//!   it, and until it is let go: it must be sent again as it was.
//!
//! Rows go by [`super::trim`].
//!
//! [`Interest::held`]: super::interest::Interest::held

use super::digest::RowSum;
use super::rows::TopicKey;
use super::{ApplyError, Change, ChangeKind, DeleteCause, State};
use crate::keyspace::message::message_key;
use crate::keyspace::{Message, MessageContent, MessagePosition, RecordHead};
use crate::topic::TopicName;

impl Change {
    /// Where it stands among all messages.
    #[must_use]
    pub const fn position(&self) -> MessagePosition {
        MessagePosition {
            revision: self.revision,
            ordinal: self.ordinal,
        }
    }

    /// QoS with which it was published, 0 to 2: the most with which it is delivered.
    #[must_use]
    pub fn qos(&self) -> u8 {
        match &self.kind {
            ChangeKind::Put { qos, .. } => *qos,
            ChangeKind::Delete(deletion) => deletion.qos,
            ChangeKind::Event { event, .. } => event.qos,
        }
    }

    /// When it is too late to deliver it, microseconds since the Unix epoch (§3.3.2.3.3).
    #[must_use]
    pub fn expires_at_us(&self) -> Option<u64> {
        match &self.kind {
            ChangeKind::Put { record, .. } => record.expires_at_us(),
            ChangeKind::Delete(_) => None,
            ChangeKind::Event { event, received_at_us } => {
                let expiry_us = u64::from(event.expiry_s?) * 1_000_000;
                Some(received_at_us.saturating_add(expiry_us))
            }
        }
    }
}

impl RecordHead {
    /// Where the record stands among all messages.
    #[must_use]
    pub const fn position(&self) -> MessagePosition {
        MessagePosition {
            revision: self.revision,
            ordinal: self.ordinal,
        }
    }
}

impl State {
    /// No persistent session needs a message up to here; `None`: nobody waits at all.
    ///
    /// What sessions and groups hold, being on its way, is apart from it.
    #[must_use]
    pub fn low_water(&self) -> Option<MessagePosition> {
        // What retention has dropped nobody waits for any more, wherever the cursor is.
        let first = self.interest.cursors.first()?;
        Some(first.max(self.position.trimmed_through))
    }

    /// Keeps a change that has just happened and is needed, unless its topic keeps it.
    pub(super) fn keep(&mut self, change: &Change) {
        let content = match &change.kind {
            // Its record is there until it is superseded.
            ChangeKind::Put { .. } => return,
            ChangeKind::Delete(deletion) => MessageContent::Delete {
                timestamp_us: deletion.timestamp_us,
                publisher: deletion.publisher.clone(),
                metadata: deletion.metadata.clone(),
                qos: deletion.qos,
                expired: deletion.cause == DeleteCause::Expired,
            },
            ChangeKind::Event { event, .. } => MessageContent::Event {
                payload: event.payload.clone(),
                publisher: event.publisher.clone(),
                metadata: event.metadata.clone(),
                qos: event.qos,
                expiry_s: event.expiry_s,
            },
        };
        self.put_message(change.position(), &change.topic, content);
    }

    /// The record of `topic`, which has `head`, is about to be superseded: moves its message into a row if somebody may wait
    /// for it.
    pub(super) fn keep_superseded(
        &mut self,
        topic: &TopicName,
        key: &TopicKey,
        head: &RecordHead,
    ) -> Result<(), ApplyError> {
        if self.is_needed(topic, head) {
            let record = self.record(key)?;
            self.put_message(head.position(), topic, MessageContent::Put(record));
        }
        Ok(())
    }

    fn is_needed(&self, topic: &TopicName, head: &RecordHead) -> bool {
        let position = head.position();
        if self.interest.held.contains(position) {
            return true;
        }
        // In the order of what it costs to find out.
        let is_expired = head.expires_at_us.is_some_and(|time| time <= self.position.log_time_us);
        head.qos > 0
            && self.low_water().is_some_and(|low_water| position > low_water)
            && !is_expired
            && self.interest.wants_every(topic)
    }

    fn put_message(&mut self, position: MessagePosition, topic: &TopicName, content: MessageContent) {
        let message = Message {
            kept_at_us: self.position.log_time_us,
            topic: topic.clone(),
            content,
        };
        let row = message.encode();
        let key = message_key(position);
        self.position.session_digest.replace_row(&key, None, Some(&row));
        self.position.message_count += 1;
        self.position.message_bytes += row.len() as u64;
        if position <= self.position.trimmed_through {
            self.position.held_bytes += row.len() as u64;
        }
        self.layer.put_new(key, row);
    }

    pub(super) fn drop_message(&mut self, position: MessagePosition, row: &[u8]) {
        let key = message_key(position);
        self.position.session_digest.replace_row(&key, Some(row), None);
        self.position.message_count -= 1;
        self.position.message_bytes -= row.len() as u64;
        if position <= self.position.trimmed_through {
            self.position.held_bytes -= row.len() as u64;
        }
        self.layer.delete(key);
    }

    /// The message at `position` is on its way to somebody: it is kept until let go as often as it was held.
    pub(super) fn hold(&mut self, position: MessagePosition) {
        self.interest.held.add(position);
    }

    /// Whoever held the message at `position` has it, or does not want it any more.
    ///
    /// # Panics
    /// If nobody holds it.
    pub(super) fn release(&mut self, position: MessagePosition) -> Result<(), ApplyError> {
        // Beyond that position others may wait for it still.
        if self.interest.held.remove(position)
            && position <= self.position.trimmed_through
            && let Some(row) = self.layer.get(&message_key(position))?
        {
            self.drop_message(position, &row);
        }
        Ok(())
    }
}
