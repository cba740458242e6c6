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

use super::digest::{RowSum, row_hash};
use super::{ApplyError, State};
use crate::keyspace::expiry::expiry_key;
use crate::keyspace::tombstone::tombstone_key;
use crate::keyspace::{FormatError, RecordHead, Tombstone, TopicRecord, topic_key};
use crate::store::hash_of_key;
use crate::topic::TopicName;

/// Key of a topic's row, hashed once for all that is found by it.
#[derive(Debug)]
pub(super) struct TopicKey {
    bytes: Bytes,
    hash: u64,
}

impl TopicKey {
    pub(super) fn of(topic: &TopicName) -> Self {
        let bytes = topic_key(topic);
        let hash = hash_of_key(&bytes);
        Self { bytes, hash }
    }

    /// The topic as keys have it.
    fn stored(&self) -> &[u8] {
        &self.bytes[1..]
    }
}

/// What is known of a stored record without reading it: to be noted with its row, so that a write need not fetch from
/// memory what it replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRecord {
    pub(super) head: RecordHead,
    /// What it adds to the digest, in halves: 128 bits at once would be aligned with padding.
    row_hash: [u64; 2],
}

impl StoredRecord {
    pub(super) fn of(key: &TopicKey, record: &TopicRecord) -> Self {
        Self {
            head: record.head(),
            row_hash: split(row_hash(key.hash, record.as_bytes())),
        }
    }

    const fn row_hash(&self) -> u128 {
        (self.row_hash[0] as u128) << 64 | self.row_hash[1] as u128
    }
}

const fn split(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

/// What a topic has.
#[derive(Debug)]
pub(super) enum Current {
    /// Neither value nor tombstone.
    Missing,
    /// It was deleted.
    Tombstone(Tombstone),
    /// It holds a value.
    Record(StoredRecord),
}

impl Current {
    /// Revision of the value.
    pub(super) fn value_revision(&self) -> Option<u64> {
        match self {
            Self::Record(record) => Some(record.head.revision),
            Self::Missing | Self::Tombstone(_) => None,
        }
    }

    /// Revision of the latest write or delete; 0 if none is known.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Tombstone(tombstone) => tombstone.revision,
            Self::Record(record) => record.head.revision,
        }
    }

    /// Timestamp of the latest write or delete, which is the greatest of the topic.
    pub(super) fn timestamp_us(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Tombstone(tombstone) => Some(tombstone.timestamp_us),
            Self::Record(record) => Some(record.head.timestamp_us),
        }
    }
}

impl State {
    /// What the topic with `key` has: one read if it holds a value, none if that was written not long ago.
    pub(super) fn current(&self, key: &TopicKey) -> Result<Current, ApplyError> {
        if let Some(record) = self.layer.note(&key.bytes, key.hash) {
            return Ok(Current::Record(*record));
        }
        if let Some(value) = self.layer.get(&key.bytes)? {
            let record = TopicRecord::parse(value)?;
            return Ok(Current::Record(StoredRecord::of(key, &record)));
        }
        match self.layer.get(&tombstone_key(key.stored()))? {
            Some(value) => Ok(Current::Tombstone(Tombstone::parse(&value)?)),
            None => Ok(Current::Missing),
        }
    }

    /// The record of the topic with `key`, which has one.
    pub(super) fn record(&self, key: &TopicKey) -> Result<TopicRecord, ApplyError> {
        let value = self.layer.get(&key.bytes)?;
        let value = value.ok_or(FormatError::new("topic record", "is missing"))?;
        Ok(TopicRecord::parse(value)?)
    }

    /// Makes `record` the value of `topic`, which has `current`.
    pub(super) fn store_record(
        &mut self,
        topic: &TopicName,
        key: TopicKey,
        current: &Current,
        record: &TopicRecord,
    ) -> Result<(), ApplyError> {
        let new = StoredRecord::of(&key, record);
        let (old_hash, expired_at_us) = match current {
            Current::Record(old) => {
                self.keep_superseded(topic, &key, &old.head)?;
                self.recent.retire_record(&old.head);
                (Some(old.row_hash()), old.head.expires_at_us)
            }
            Current::Tombstone(old) => {
                self.drop_tombstone(key.stored(), old);
                self.position.topic_count += 1;
                (None, None)
            }
            Current::Missing => {
                self.position.topic_count += 1;
                (None, None)
            }
        };
        let expires_at_us = new.head.expires_at_us;
        if expired_at_us != expires_at_us {
            if let Some(time) = expired_at_us {
                self.layer.delete(expiry_key(time, key.stored()));
            }
            if let Some(time) = expires_at_us {
                self.layer.put(expiry_key(time, key.stored()), Bytes::new());
            }
        }
        self.position.digest.replace_hash(old_hash, Some(new.row_hash()));
        let kept = self.layer.put_hot(key.bytes, key.hash, record.as_bytes().clone(), new);
        self.recent.push_record(&new.head, kept.slice(1..));
        Ok(())
    }

    /// Makes `tombstone` what remains of `topic`, which has `current`.
    pub(super) fn store_tombstone(
        &mut self,
        topic: &TopicName,
        key: TopicKey,
        current: &Current,
        tombstone: &Tombstone,
    ) -> Result<(), ApplyError> {
        let stored = key.bytes.slice(1..);
        match current {
            Current::Record(old) => {
                self.keep_superseded(topic, &key, &old.head)?;
                self.recent.retire_record(&old.head);
                if let Some(time) = old.head.expires_at_us {
                    self.layer.delete(expiry_key(time, &stored));
                }
                self.position.digest.replace_hash(Some(old.row_hash()), None);
                self.position.topic_count -= 1;
                self.layer.delete(key.bytes);
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
        Ok(())
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
