//! Reading messages by position: what a session that was away has missed.
//!
//! A message is in one of three places, and its position is the same in all of them:
//!
//! - the topic's record, or what a deleted topic leaves, while it is the latest change of its topic: found by the index of
//!   changes;
//! - a [`Message`] row: events, deletes, and records that were superseded while somebody might wait for them;
//! - nowhere, if nobody waited, or if retention dropped it.
//!
//! So reading is the merge of two ordered ranges. A record that moves into a row between two reads stands at the same place
//! in both, before or behind where the reader is: it is neither missed nor read twice.

use bytes::Bytes;

use super::recent::RecentRows;
use super::{Change, ChangeKind, ChangeRow, DeleteCause, Deletion, StateView};
use crate::command::Event;
use crate::keyspace::change::{change_key, change_of_key};
use crate::keyspace::message::{message_key, message_of_key};
use crate::keyspace::record::FormatError;
use crate::keyspace::tombstone::tombstone_key;
use crate::keyspace::topic::{stored_topic, topic_of_stored};
use crate::keyspace::{KeyKind, Message, MessageContent, MessagePosition, Tombstone, TopicRecord, topic_key};
use crate::metadata::Metadata;
use crate::store::{Direction, LayeredView, ReadView, StoreError};
use crate::topic::TopicName;

/// A piece of what waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Messages in the order of their positions.
    pub rows: Vec<WaitingRow>,
    /// Where to go on, though maybe nothing follows; `None`: there is nothing more now.
    pub next: Option<MessagePosition>,
}

/// A message that waits for whoever has not had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// The message. A deletion of which nothing but a tombstone is left has QoS 0, and no publisher: it was published with
    /// QoS 0, or retention has dropped the rest.
    pub change: Change,
    /// It is an event, or the topic has not changed since: what `deliver=latest` asks for. A deletion also counts if
    /// nothing is known of the topic any more, so that it may follow another one after the tombstones of both are forgotten.
    pub is_latest: bool,
}

/// Gives the present value of a key.
type Get<'a> = &'a dyn Fn(&[u8]) -> Result<Option<Bytes>, StoreError>;

/// What reading by position needs of a state or a view of it.
pub(super) struct PositionReader<'a> {
    /// For the kinds Change and Message, whose rows are never hot.
    pub(super) view: &'a LayeredView,
    /// Positions of changes that `view` does not have.
    pub(super) recent: &'a RecentRows,
    /// Of topics and tombstones.
    pub(super) get: Get<'a>,
    pub(super) compacted_revision: u64,
}

/// A row of the index of changes, which may be stale.
type IndexRow = (MessagePosition, Bytes);

impl PositionReader<'_> {
    /// The latest changes of topics from `first` on, oldest first.
    pub(super) fn changes_from(
        &self,
        first: MessagePosition,
    ) -> impl Iterator<Item = Result<ChangeRow, StoreError>> + use<'_> {
        self.index_from(first).filter_map(|row| {
            row.and_then(|(position, stored)| self.change_row(position, &stored))
                .transpose()
        })
    }

    /// All messages after `position`, of all topics, oldest first: up to `rows_max` looked at, and about `bytes_max` bytes
    /// of them, but at least one. Rows that are stale count, so that the effort is bounded, and `rows` may be empty though
    /// more follows.
    ///
    /// Which rows are stale is this replica's own affair, and so is where this ends: not for what is replicated.
    pub(super) fn waiting_after(
        &self,
        position: MessagePosition,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Waiting, StoreError> {
        self.waiting(position, None, rows_max, bytes_max)
    }

    /// As [`waiting_after`](Self::waiting_after), up to `through`, and the same on every replica: stale rows count for nothing, and
    /// the effort is bounded by what `through` leaves of the revisions. `next` is `None` if nothing more was found up to there.
    pub(super) fn waiting_through(
        &self,
        position: MessagePosition,
        through: MessagePosition,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Waiting, StoreError> {
        self.waiting(position, Some(through), rows_max, bytes_max)
    }

    fn waiting(
        &self,
        position: MessagePosition,
        through: Option<MessagePosition>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Waiting, StoreError> {
        let mut waiting = Waiting::default();
        let Some(first) = position.next() else {
            return Ok(waiting);
        };
        let (_, upper) = KeyKind::Message.range();
        let mut messages = self
            .view
            .range(&message_key(first), Some(&upper), Direction::Ascending)
            .map(|row| {
                let (key, value) = row?;
                Ok::<_, StoreError>((message_of_key(&key).map_err(damaged)?, value))
            });
        let mut index = self.index_from(first);
        let mut message = messages.next().transpose()?;
        let mut change = index.next().transpose()?;
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let here = match (&message, &change) {
                (None, None) => return Ok(waiting),
                (Some((one, _)), Some((other, _))) => *one.min(other),
                (Some((position, _)), None) | (None, Some((position, _))) => *position,
            };
            if through.is_some_and(|through| here > through) {
                return Ok(waiting);
            }
            let stored_change = take_at(&mut change, here);
            let mut looked_at = 0;
            let found = if let Some(row) = take_at(&mut message, here) {
                looked_at += row.len();
                message = messages.next().transpose()?;
                Some(self.kept(here, &row)?)
            } else if let Some(stored) = &stored_change {
                looked_at += stored.len();
                self.change_row(here, stored)?.map(|row| {
                    looked_at += row.record.as_ref().map_or(0, |record| record.as_bytes().len());
                    WaitingRow::from(row)
                })
            } else {
                None
            };
            if stored_change.is_some() {
                change = index.next().transpose()?;
            }
            if found.is_none() && through.is_some() {
                continue;
            }
            waiting.rows.extend(found);
            bytes += looked_at;
            rows += 1;
            if rows >= rows_max || bytes >= bytes_max {
                waiting.next = Some(here);
                return Ok(waiting);
            }
        }
    }

    /// The message at `position`, if it is anywhere.
    pub(super) fn message_at(&self, position: MessagePosition) -> Result<Option<Change>, StoreError> {
        if let Some(row) = self.view.get(&message_key(position))? {
            return change_of_message(position, &row).map(Some).map_err(damaged);
        }
        let MessagePosition { revision, ordinal } = position;
        let stored = match self.view.get(&change_key(revision, ordinal))? {
            Some(stored) => Some(stored),
            None => self.recent.at((revision, ordinal)),
        };
        let row = stored.map(|stored| self.change_row(position, &stored)).transpose()?;
        Ok(row.flatten().map(|row| WaitingRow::from(row).change))
    }

    /// Rows of the index of changes from `first` on, stale ones among them.
    fn index_from(&self, first: MessagePosition) -> impl Iterator<Item = Result<IndexRow, StoreError>> + use<'_> {
        let MessagePosition { revision, ordinal } = first;
        let (_, upper) = KeyKind::Change.range();
        let stored = self
            .view
            .range(&change_key(revision, ordinal), Some(&upper), Direction::Ascending)
            .map(|row| {
                let (key, stored) = row?;
                let (revision, ordinal) = change_of_key(&key).map_err(damaged)?;
                Ok((MessagePosition { revision, ordinal }, stored))
            });
        let recent = self.recent.starting_at((revision, ordinal)).map(|row| {
            let position = MessagePosition {
                revision: row.revision,
                ordinal: row.ordinal,
            };
            Ok((position, row.stored.clone()))
        });
        stored.chain(recent)
    }

    /// The change of a row in the index; `None` if the topic has changed since.
    fn change_row(&self, position: MessagePosition, stored: &[u8]) -> Result<Option<ChangeRow>, StoreError> {
        let topic = topic_of_stored(stored)
            .ok_or_else(|| damaged(FormatError::new("index of changes", "names what is no topic")))?;
        let (record, tombstone) = self.latest(&topic, stored)?;
        let latest = match (&record, &tombstone) {
            (Some(record), _) => position_of(record.revision(), record.ordinal()),
            (None, Some(tombstone)) => position_of(tombstone.revision, tombstone.ordinal),
            // A deletion that was forgotten since.
            (None, None) if position.revision <= self.compacted_revision => return Ok(None),
            (None, None) => MessagePosition::default(),
        };
        if latest < position {
            return Err(damaged(FormatError::new("index of changes", "contradicts the topic")));
        }
        if latest > position {
            return Ok(None);
        }
        let MessagePosition { revision, ordinal } = position;
        Ok(Some(ChangeRow {
            revision,
            ordinal,
            topic,
            record,
            tombstone,
        }))
    }

    /// What the topic has: a record, or else a tombstone, or neither.
    fn latest(&self, topic: &TopicName, stored: &[u8]) -> Result<(Option<TopicRecord>, Option<Tombstone>), StoreError> {
        if let Some(value) = (self.get)(&topic_key(topic))? {
            return Ok((Some(TopicRecord::parse(value).map_err(damaged)?), None));
        }
        let value = (self.get)(&tombstone_key(stored))?;
        let tombstone = value.map(|value| Tombstone::parse(&value).map_err(damaged));
        Ok((None, tombstone.transpose()?))
    }

    fn kept(&self, position: MessagePosition, row: &Bytes) -> Result<WaitingRow, StoreError> {
        let change = change_of_message(position, row).map_err(damaged)?;
        let is_latest = match &change.kind {
            ChangeKind::Event { .. } => true,
            // It was moved here because it is not.
            ChangeKind::Put { .. } => false,
            ChangeKind::Delete(_) => match self.latest(&change.topic, &stored_topic(&change.topic))? {
                (Some(_), _) => false,
                (None, Some(tombstone)) => position_of(tombstone.revision, tombstone.ordinal) == position,
                // Its tombstone is forgotten, or that of a later one: the topic is deleted either way.
                (None, None) => true,
            },
        };
        Ok(WaitingRow { change, is_latest })
    }
}

const fn position_of(revision: u64, ordinal: u32) -> MessagePosition {
    MessagePosition { revision, ordinal }
}

/// Takes the value of `head` if it is at `position`.
fn take_at(head: &mut Option<(MessagePosition, Bytes)>, position: MessagePosition) -> Option<Bytes> {
    head.take_if(|(found, _)| *found == position).map(|(_, value)| value)
}

/// The change that was kept in a row.
pub(super) fn change_of_message(position: MessagePosition, row: &Bytes) -> Result<Change, FormatError> {
    let Message {
        kept_at_us,
        topic,
        content,
    } = Message::parse(row)?;
    let kind = match content {
        MessageContent::Put(record) => ChangeKind::Put {
            qos: record.qos(),
            record,
        },
        MessageContent::Delete {
            timestamp_us,
            publisher,
            metadata,
            qos,
            expired,
        } => ChangeKind::Delete(Box::new(Deletion {
            timestamp_us,
            publisher,
            metadata,
            qos,
            cause: if expired {
                DeleteCause::Expired
            } else {
                DeleteCause::Client
            },
        })),
        MessageContent::Event {
            payload,
            publisher,
            metadata,
            qos,
            expiry_s,
        } => ChangeKind::Event {
            event: Box::new(Event {
                topic: topic.clone(),
                payload,
                metadata,
                publisher,
                qos,
                expiry_s,
            }),
            received_at_us: kept_at_us,
        },
    };
    let MessagePosition { revision, ordinal } = position;
    Ok(Change {
        revision,
        ordinal,
        topic,
        kind,
    })
}

impl From<ChangeRow> for WaitingRow {
    /// The latest change of a topic as a message.
    fn from(row: ChangeRow) -> Self {
        let kind = match (row.record, row.tombstone) {
            (Some(record), _) => ChangeKind::Put {
                qos: record.qos(),
                record,
            },
            (None, tombstone) => ChangeKind::Delete(Box::new(Deletion {
                timestamp_us: tombstone.map_or(0, |tombstone| tombstone.timestamp_us),
                publisher: Bytes::new(),
                metadata: Metadata::empty(),
                qos: 0,
                cause: DeleteCause::Client,
            })),
        };
        Self {
            change: Change {
                revision: row.revision,
                ordinal: row.ordinal,
                topic: row.topic,
                kind,
            },
            is_latest: true,
        }
    }
}

impl StateView {
    /// All messages after `position`, of all topics, oldest first: those of sessions that were away, still to be matched
    /// with what each of them subscribed to. Looks at no more than `rows_max` rows, and at about `bytes_max` bytes of them,
    /// but at least at one; `rows` may be empty though more follows.
    ///
    /// Messages that have expired meanwhile are among them.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn waiting_after(
        &self,
        position: MessagePosition,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Waiting, StoreError> {
        self.positions(|reader| reader.waiting_after(position, rows_max, bytes_max))
    }

    /// The message at `position`, for sending it again; `None` if it is not kept any more.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn message_at(&self, position: MessagePosition) -> Result<Option<Change>, StoreError> {
        self.positions(|reader| reader.message_at(position))
    }

    pub(super) fn positions<R>(&self, read: impl FnOnce(&PositionReader<'_>) -> R) -> R {
        read(&PositionReader {
            view: &self.view,
            recent: &self.recent_changes,
            get: &|key| self.view.get(key),
            compacted_revision: self.compacted_revision,
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
pub(super) fn damaged(error: FormatError) -> StoreError {
    StoreError(error.to_string())
}
