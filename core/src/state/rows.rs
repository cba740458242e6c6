//! A topic's row, and everything that must change with it: indexes, counts, digest.
//!
//! All changes of stored topics go through [`State::store_record`], [`State::store_tombstone`] and
//! [`State::drop_tombstone`], so that these hold after each of them:
//!
//! - a topic has a record, or a tombstone, or neither;
//! - its position is in the index of changes, and that of its tombstone in the index by age (see [`super::recent`]);
//! - a record that expires has one row in the index of expiry;
//! - a record that somebody waits for is kept as a message when it is superseded (see [`super::messages`]).

use bytes::Bytes;

use super::digest::RowSum;
use super::{ApplyError, State};
use crate::keyspace::expiry::expiry_key;
use crate::keyspace::tombstone::tombstone_key;
use crate::keyspace::{Tombstone, TopicRecord};
use crate::topic::TopicName;

/// What a topic has.
#[derive(Debug, Clone)]
pub(super) enum Current {
    /// Neither value nor tombstone.
    Missing,
    /// It was deleted.
    Tombstone(Tombstone),
    /// It holds a value.
    Record(TopicRecord),
}

impl Current {
    /// Revision of the value.
    pub(super) fn value_revision(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.revision()),
            Self::Missing | Self::Tombstone(_) => None,
        }
    }

    /// Revision of the latest write or delete; 0 if none is known.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Tombstone(tombstone) => tombstone.revision,
            Self::Record(record) => record.revision(),
        }
    }

    /// Timestamp of the latest write or delete, which is the greatest of the topic.
    pub(super) fn timestamp_us(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Tombstone(tombstone) => Some(tombstone.timestamp_us),
            Self::Record(record) => Some(record.timestamp_us()),
        }
    }
}

/// The stored topic in a topic key: shares its memory.
fn stored_topic(topic_key: &Bytes) -> Bytes {
    topic_key.slice(1..)
}

impl State {
    /// What the topic with `topic_key` has: one read if it holds a value.
    pub(super) fn current(&self, topic_key: &Bytes) -> Result<Current, ApplyError> {
        if let Some(value) = self.layer.get(topic_key)? {
            return Ok(Current::Record(TopicRecord::parse(value)?));
        }
        match self.layer.get(&tombstone_key(&topic_key[1..]))? {
            Some(value) => Ok(Current::Tombstone(Tombstone::parse(&value)?)),
            None => Ok(Current::Missing),
        }
    }

    /// Makes `record` the value of `topic`, which has `current`.
    pub(super) fn store_record(
        &mut self,
        topic: &TopicName,
        topic_key: Bytes,
        current: &Current,
        record: &TopicRecord,
    ) {
        let expires_at_us = record.expires_at_us();
        let expired_at_us = match current {
            Current::Record(old) => {
                self.keep_superseded(topic, old);
                self.recent.retire_record(old);
                old.expires_at_us()
            }
            Current::Tombstone(old) => {
                self.drop_tombstone(&topic_key[1..], old);
                None
            }
            Current::Missing => None,
        };
        if expired_at_us != expires_at_us {
            if let Some(time) = expired_at_us {
                self.layer.delete(expiry_key(time, &topic_key[1..]));
            }
            if let Some(time) = expires_at_us {
                self.layer.put(expiry_key(time, &topic_key[1..]), Bytes::new());
            }
        }
        let old = match current {
            Current::Record(old) => Some(&old.as_bytes()[..]),
            Current::Missing | Current::Tombstone(_) => {
                self.position.topic_count += 1;
                None
            }
        };
        self.position
            .digest
            .replace_row(&topic_key, old, Some(record.as_bytes()));
        let kept = self.layer.put_hot(topic_key, record.as_bytes().clone());
        self.recent.push_record(record, stored_topic(&kept));
    }

    /// Makes `tombstone` what remains of `topic`, which has `current`.
    pub(super) fn store_tombstone(
        &mut self,
        topic: &TopicName,
        topic_key: Bytes,
        current: &Current,
        tombstone: &Tombstone,
    ) {
        let stored = stored_topic(&topic_key);
        match current {
            Current::Record(old) => {
                self.keep_superseded(topic, old);
                self.recent.retire_record(old);
                if let Some(time) = old.expires_at_us() {
                    self.layer.delete(expiry_key(time, &stored));
                }
                self.position.digest.replace_row(&topic_key, Some(old.as_bytes()), None);
                self.position.topic_count -= 1;
                self.layer.delete(topic_key);
            }
            Current::Tombstone(old) => self.drop_tombstone(&stored, old),
            Current::Missing => {}
        }
        let key = tombstone_key(&stored);
        let row = tombstone.encode();
        self.position.digest.replace_row(&key, None, Some(&row));
        self.position.tombstone_count += 1;
        self.layer.put(key, row);
        self.recent.push_tombstone(tombstone, stored);
    }

    /// Takes a tombstone away: the topic has nothing then.
    pub(super) fn drop_tombstone(&mut self, stored_topic: &[u8], tombstone: &Tombstone) {
        let key = tombstone_key(stored_topic);
        self.recent.retire_tombstone(tombstone);
        self.position
            .digest
            .replace_row(&key, Some(&tombstone.to_bytes()), None);
        self.position.tombstone_count -= 1;
        self.layer.delete(key);
    }
}
