//! The log, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::command::{self, Batch, BatchId, Command, DecodeError, Entry, Item, MemberChange, Operation, Sender};
use banyan_core::keyspace::member::MemberGoal;
use banyan_core::keyspace::origin::{OriginRow, origin_key};
use banyan_core::keyspace::tombstone::tombstone_key;
use banyan_core::keyspace::{RecordFields, Tombstone, topic_key};
use banyan_core::limits;
use banyan_core::metadata::Metadata;
use banyan_core::state::TombstoneBounds;
use banyan_core::topic::TopicName;
use bytes::Bytes;

use super::rows::Rows;
use super::sessions::{SessionStep, Sessions};
use super::topic::{Slot, Value, decide};
use super::{Change, Decision, Outcome, Request, What, Write, filter};
use crate::history::{CommittedLog, Condition, Serial};

/// The log cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// An entry was never seen.
    #[error("log index {0} was committed, as later ones were, and never seen")]
    Missing(u64),
    /// An entry is malformed.
    #[error("the entry at log index {index} is malformed: {error}")]
    Malformed {
        /// Its log index.
        index: u64,
        /// What is wrong.
        error: DecodeError,
    },
}

/// Where the state stands after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    pub(super) revision: u64,
    /// Of topics, tombstones and origins.
    pub(super) digest: u128,
    pub(super) log_time_us: u64,
}

/// The committed log, replayed.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// By topic with `/` as U+0000, which is the order of keys.
    slots: BTreeMap<String, Slot>,
    pub(super) origins: BTreeMap<u64, OriginRow>,
    pub(super) sessions: Sessions,
    pub(super) session_steps: Vec<SessionStep>,
    rows: Rows,
    pub(super) revision: u64,
    pub(super) log_time_us: u64,
    pub(super) standings: Vec<Standing>,
    pub(super) changes: Vec<Change>,
    pub(super) decisions: Vec<Decision>,
    /// Batches that were in the log and were not taken: sent again, out of order, or of a former life.
    pub(super) skipped: Vec<(u64, BatchId)>,
    pub(super) origins_opened: u64,
    /// Nodes that are to leave the cluster.
    leaving: BTreeSet<u64>,
    /// Nodes that have left it.
    gone: BTreeSet<u64>,
    /// Topics whose delete was forgotten, with the log index that did it.
    pub(super) forgotten: Vec<(u64, String)>,
    tombstone_bounds: TombstoneBounds,
}

impl Replay {
    /// Replays the log from index 0.
    ///
    /// # Errors
    /// An entry is missing or malformed.
    pub fn of(committed: &CommittedLog) -> Result<Self, ReplayError> {
        Self::bounded(committed, TombstoneBounds::default())
    }

    /// As [`of`](Self::of), of nodes that forget deletes by other bounds than the default.
    ///
    /// # Errors
    /// An entry is missing or malformed.
    pub fn bounded(committed: &CommittedLog, tombstone_bounds: TombstoneBounds) -> Result<Self, ReplayError> {
        let mut replay = Self {
            tombstone_bounds,
            ..Self::default()
        };
        for (expected, (index, entry)) in (0_u64..).zip(committed) {
            if *index != expected {
                return Err(ReplayError::Missing(expected));
            }
            if let Some(payload) = &entry.payload {
                replay
                    .apply(*index, payload)
                    .map_err(|error| ReplayError::Malformed { index: *index, error })?;
            }
            replay.standings.push(Standing {
                revision: replay.revision,
                digest: replay.rows.digest(),
                log_time_us: replay.log_time_us,
            });
        }
        Ok(replay)
    }

    fn apply(&mut self, index: u64, payload: &Bytes) -> Result<(), DecodeError> {
        let entry = Entry::parse(payload.clone())?;
        self.log_time_us = self.log_time_us.max(entry.time_us());
        for item in entry.items() {
            match item? {
                Item::Batch(bytes) => self.batch(index, &Batch::parse(bytes)?)?,
                Item::OpenOrigin { node_id, .. } if self.gone.contains(&node_id) => {}
                Item::OpenOrigin { node_id, nonce } => {
                    self.open_origin(node_id, nonce);
                    self.end_former_life(index, node_id, limits::SESSION_CHUNK_MAX);
                }
                Item::Expire { limit } => self.expire(index, limit),
                Item::Compact { limit } => self.compact(index, limit),
                Item::EndDue { limit } => self.end_due(index, limit),
                Item::LoseNode {
                    node_id,
                    through_fence,
                    limit,
                } => self.lose_node(index, node_id, through_fence, limit),
                Item::MemberChange(change) => self.change_members(index, &change),
                // Messages that are kept for sessions: no topic changes by them.
                Item::Trim { .. } | Item::Assign { .. } | Item::RaiseLevel(_) => {}
            }
        }
        Ok(())
    }

    fn open_origin(&mut self, node_id: u64, nonce: u64) {
        let former = self.origins.get(&node_id);
        if former.is_some_and(|row| row.nonce == nonce) {
            return;
        }
        let incarnation = former.map_or(1, |row| row.incarnation + 1);
        self.origins_opened += 1;
        self.set_origin(
            node_id,
            OriginRow {
                incarnation,
                nonce,
                next_sequence: 1,
            },
        );
    }

    /// Of what members are to be, only that nodes leave shows in topics and origins.
    fn change_members(&mut self, index: u64, change: &MemberChange) {
        match *change {
            MemberChange::SetGoal {
                node_id,
                goal: MemberGoal::Leaves,
            } if !self.gone.contains(&node_id) => {
                self.leaving.insert(node_id);
            }
            MemberChange::Forget { node_id } if self.leaving.contains(&node_id) => {
                self.lose_node(index, node_id, u64::MAX, limits::SESSION_CHUNK_MAX);
                if !self.sessions.has_connections_of(node_id) {
                    self.leaving.remove(&node_id);
                    self.gone.insert(node_id);
                    if self.origins.remove(&node_id).is_some() {
                        self.rows.set(origin_key(node_id), None);
                    }
                }
            }
            _ => {}
        }
    }

    fn set_origin(&mut self, node_id: u64, row: OriginRow) {
        self.origins.insert(node_id, row);
        self.rows.set(origin_key(node_id), Some(&row.encode()));
    }

    fn batch(&mut self, index: u64, batch: &Batch) -> Result<(), DecodeError> {
        let id = batch.id();
        let row = match self.origins.get(&id.node_id) {
            Some(row) if (row.incarnation, row.next_sequence) == (id.incarnation, id.sequence) => *row,
            _ => {
                self.skipped.push((index, id));
                return Ok(());
            }
        };
        let next_sequence = row.next_sequence + 1;
        self.set_origin(id.node_id, OriginRow { next_sequence, ..row });
        let is_late = self.log_time_us > batch.deadline_us();
        for command in batch.commands() {
            let Command { sender, operation } = command?;
            // The end of a connection is never too late; of what was sent before, nothing may be overtaken.
            if let Some(Sender { fence, .. }) = sender
                && is_late
                && !matches!(operation, Operation::Disconnect(_))
            {
                self.sessions.take_no_more(fence);
            }
            let Some((publisher, request)) = describe(&operation) else {
                if !is_late || matches!(operation, Operation::Disconnect(_)) {
                    self.session_operation(index, id, sender, operation);
                }
                continue;
            };
            let revision_before = self.revision;
            let (outcome, timestamp_us) = match is_late {
                true => (Outcome::TooLate, None),
                false => self.received(index, sender, operation),
            };
            self.decisions.push(Decision {
                index,
                batch: id,
                sender,
                publisher,
                request,
                outcome,
                revision_before,
                timestamp_us,
            });
        }
        Ok(())
    }

    /// What becomes of an operation, and the timestamp it counts with.
    pub(super) fn operation(&mut self, index: u64, operation: Operation) -> (Outcome, Option<u64>) {
        match operation {
            Operation::Put(put) => self.put(index, put),
            Operation::Delete(delete) => self.delete(index, &delete),
            Operation::DeleteFilter(delete) => (self.delete_filter(index, &delete), None),
            Operation::Event(event) => {
                self.revision += 1;
                let serial = Serial::of_payload(&event.payload);
                self.change(index, 0, event.topic.as_str(), What::Event { serial });
                let revision = self.revision;
                (Outcome::Done { revision }, None)
            }
            other => unreachable!("{other:?} is not described"),
        }
    }

    fn put(&mut self, index: u64, put: command::Put) -> (Outcome, Option<u64>) {
        let key = key_of(put.topic.as_str());
        let slot = self.slots.get(&key);
        let rank = |timestamp_us| (timestamp_us, true, &put.payload[..], &put.metadata.as_bytes()[..]);
        let decided = decide(
            slot,
            condition_of(put.condition),
            put.timestamp_us,
            rank,
            self.timestamp_max_us(),
            self.stamp_us(slot),
        );
        let timestamp_us = match decided {
            Ok(timestamp_us) => timestamp_us,
            Err(outcome) => return (outcome, put.timestamp_us),
        };
        let former = slot.and_then(Slot::value).map(|value| value.created_revision);
        self.revision += 1;
        let revision = self.revision;
        let value = Value {
            revision,
            created_revision: former.unwrap_or(revision),
            timestamp_us,
            expires_at_us: put
                .expiry_s
                .map(|s| self.log_time_us.saturating_add(u64::from(s) * 1_000_000)),
            qos: put.qos,
            publisher: text(&put.publisher),
            metadata: put.metadata,
            payload: put.payload,
        };
        let what = What::Put {
            serial: value.serial(),
            timestamp_us,
            expires_at_us: value.expires_at_us,
        };
        self.change(index, 0, put.topic.as_str(), what);
        self.set_slot(key, Some(Slot::Value(value)));
        (Outcome::Done { revision }, Some(timestamp_us))
    }

    fn delete(&mut self, index: u64, delete: &command::Delete) -> (Outcome, Option<u64>) {
        let key = key_of(delete.topic.as_str());
        let slot = self.slots.get(&key);
        let decided = decide(
            slot,
            condition_of(delete.condition),
            delete.timestamp_us,
            |timestamp_us| (timestamp_us, false, &[], &[]),
            self.timestamp_max_us(),
            self.stamp_us(slot),
        );
        let timestamp_us = match decided {
            Ok(_) if delete.timestamp_us.is_none() && slot.and_then(Slot::value).is_none() => {
                return (Outcome::NothingThere, None);
            }
            Ok(timestamp_us) => timestamp_us,
            Err(outcome) => return (outcome, delete.timestamp_us),
        };
        self.revision += 1;
        self.change(index, 0, delete.topic.as_str(), What::Delete { timestamp_us });
        self.bury(key, 0, timestamp_us);
        let revision = self.revision;
        (Outcome::Done { revision }, Some(timestamp_us))
    }

    fn delete_filter(&mut self, index: u64, delete: &command::DeleteFilter) -> Outcome {
        let limit = delete.limit.min(limits::DELETE_FILTER_TOPICS_MAX) as usize;
        let matching = self
            .slots
            .iter()
            .filter(|(key, slot)| slot.value().is_some() && filter::matches(delete.filter.as_str(), &topic_of(key)));
        let keys: Vec<String> = matching.map(|(key, _)| key.clone()).take(limit).collect();
        if keys.is_empty() {
            return Outcome::NothingThere;
        }
        self.revision += 1;
        for (ordinal, key) in (0..).zip(keys) {
            let timestamp_us = self.stamp_us(self.slots.get(&key));
            self.change(index, ordinal, &topic_of(&key), What::Delete { timestamp_us });
            self.bury(key, ordinal, timestamp_us);
        }
        let revision = self.revision;
        Outcome::Done { revision }
    }

    /// Expires what is due, earliest first, at one revision. A tombstone of expiry keeps the value's timestamp.
    fn expire(&mut self, index: u64, limit: u32) {
        let mut due: Vec<(u64, String, u64)> = Vec::new();
        for (key, slot) in &self.slots {
            if let Some(value) = slot.value()
                && let Some(at) = value.expires_at_us.filter(|at| *at <= self.log_time_us)
            {
                due.push((at, key.clone(), value.timestamp_us));
            }
        }
        due.sort();
        due.truncate(limit.min(limits::EXPIRY_CHUNK_TOPICS_MAX) as usize);
        if due.is_empty() {
            return;
        }
        self.revision += 1;
        for (ordinal, (_, key, timestamp_us)) in (0..).zip(due) {
            self.change(index, ordinal, &topic_of(&key), What::Expired { timestamp_us });
            self.bury(key, ordinal, timestamp_us);
        }
    }

    /// Drops tombstones that both bounds have passed, oldest first.
    fn compact(&mut self, index: u64, limit: u32) {
        let mut old: Vec<((u64, u32), String)> = Vec::new();
        for (key, slot) in &self.slots {
            if let Slot::Tombstone {
                revision,
                ordinal,
                deleted_at_us,
                ..
            } = slot
                && self.revision.saturating_sub(*revision) >= self.tombstone_bounds.revisions
                && self.log_time_us.saturating_sub(*deleted_at_us) >= self.tombstone_bounds.age_us
            {
                old.push(((*revision, *ordinal), key.clone()));
            }
        }
        old.sort();
        old.truncate(limit.min(limits::COMPACTION_CHUNK_TOMBSTONES_MAX) as usize);
        for (_, key) in old {
            self.forgotten.push((index, topic_of(&key)));
            self.set_slot(key, None);
        }
    }

    fn bury(&mut self, key: String, ordinal: u32, timestamp_us: u64) {
        let tombstone = Slot::Tombstone {
            revision: self.revision,
            ordinal,
            timestamp_us,
            deleted_at_us: self.log_time_us,
        };
        self.set_slot(key, Some(tombstone));
    }

    fn set_slot(&mut self, key: String, slot: Option<Slot>) {
        // Every topic in the log was decoded as one.
        let topic = TopicName::parse(&topic_of(&key)).expect("a topic of the log is legal");
        let (value, tombstone) = match &slot {
            Some(Slot::Value(value)) => (Some(record(value)), None),
            Some(Slot::Tombstone {
                revision,
                ordinal,
                timestamp_us,
                deleted_at_us,
            }) => {
                let tombstone = Tombstone {
                    revision: *revision,
                    ordinal: *ordinal,
                    timestamp_us: *timestamp_us,
                    deleted_at_us: *deleted_at_us,
                };
                (None, Some(tombstone.encode()))
            }
            None => (None, None),
        };
        self.rows.set(topic_key(&topic), value.as_deref());
        self.rows.set(tombstone_key(key.as_bytes()), tombstone.as_deref());
        match slot {
            Some(slot) => drop(self.slots.insert(key, slot)),
            None => drop(self.slots.remove(&key)),
        }
    }

    fn change(&mut self, index: u64, ordinal: u32, topic: &str, what: What) {
        self.changes.push(Change {
            index,
            revision: self.revision,
            ordinal,
            topic: topic.to_owned(),
            what,
        });
    }

    const fn timestamp_max_us(&self) -> u64 {
        self.log_time_us.saturating_add(limits::TIMESTAMP_AHEAD_MAX_US)
    }

    /// The timestamp of a write or delete that brings none.
    fn stamp_us(&self, slot: Option<&Slot>) -> u64 {
        let after = slot.map_or(0, |slot| slot.timestamp_us().saturating_add(1));
        self.log_time_us.max(after)
    }
}

fn key_of(topic: &str) -> String {
    topic.replace('/', "\0")
}

fn topic_of(key: &str) -> String {
    key.replace('\0', "/")
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record(value: &Value) -> Bytes {
    let fields = RecordFields {
        revision: value.revision,
        ordinal: 0,
        created_revision: value.created_revision,
        timestamp_us: value.timestamp_us,
        expires_at_us: value.expires_at_us,
        qos: value.qos,
        publisher: value.publisher.as_bytes(),
        metadata: &value.metadata,
        payload: &value.payload,
    };
    fields.encode().as_bytes().clone()
}

const fn condition_of(condition: command::Condition) -> Condition {
    match condition {
        command::Condition::None => Condition::None,
        command::Condition::Revision(revision) => Condition::Revision(revision),
        command::Condition::Absent => Condition::Absent,
        command::Condition::Present => Condition::Present,
    }
}

/// The writer of an operation, and what it asks for; none of what sessions ask for.
fn describe(operation: &Operation) -> Option<(String, Request)> {
    let write = |topic: &TopicName, payload: &Bytes, metadata: &Metadata, timestamp_us, condition| Write {
        topic: topic.as_str().to_owned(),
        serial: Serial::of_payload(payload),
        payload: payload.clone(),
        metadata: metadata.as_bytes().clone(),
        timestamp_us,
        condition: condition_of(condition),
    };
    Some(match operation {
        Operation::Put(put) => {
            let write = write(&put.topic, &put.payload, &put.metadata, put.timestamp_us, put.condition);
            (text(&put.publisher), Request::Put(write))
        }
        Operation::Delete(delete) => {
            let write = write(
                &delete.topic,
                &Bytes::new(),
                &delete.metadata,
                delete.timestamp_us,
                delete.condition,
            );
            (text(&delete.publisher), Request::Delete(write))
        }
        Operation::DeleteFilter(delete) => {
            let filter = delete.filter.as_str().to_owned();
            (text(&delete.publisher), Request::DeleteFilter { filter })
        }
        Operation::Event(event) => {
            let topic = event.topic.as_str().to_owned();
            let serial = Serial::of_payload(&event.payload);
            (text(&event.publisher), Request::Event { topic, serial })
        }
        _ => return None,
    })
}
