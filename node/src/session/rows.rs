//! What a subscription replays, read from a view a chunk at a time: retained messages by topic, or each topic's latest change
//! after a revision.

use std::collections::VecDeque;

use banyan_core::command::ReplayFrom;
use banyan_core::keyspace::{MessagePosition, Scan, Selection};
use banyan_core::state::StateView;
use banyan_core::store::{Direction, StoreError};
use banyan_core::topic::TopicFilter;

use crate::broker::Message;

/// Rows read at a time.
const CHUNK_ROWS: usize = 64;
/// Bytes read at a time, roughly.
const CHUNK_BYTES: usize = 64 * 1024;

/// The rows of one subscription.
pub struct Rows {
    filter: TopicFilter,
    source: Source,
    read: VecDeque<Message>,
}

/// Where they come from.
enum Source {
    Scan(Box<Scan>),
    Changes(MessagePosition),
}

impl Rows {
    /// What `view` holds of `filter` behind `from`.
    #[must_use]
    pub fn new(view: &StateView, filter: TopicFilter, from: &ReplayFrom) -> Self {
        let selection = Selection::Filter(filter.clone());
        let source = match from {
            ReplayFrom::Topics { after: None } => Source::Scan(Box::new(view.scan(selection, Direction::Ascending))),
            ReplayFrom::Topics { after: Some(last) } => {
                Source::Scan(Box::new(view.resume_scan(selection, Direction::Ascending, last)))
            }
            ReplayFrom::Changes { after } => Source::Changes(*after),
        };
        Self {
            filter,
            source,
            read: VecDeque::new(),
        }
    }

    /// The next row, if one is read.
    #[must_use]
    pub fn front(&self) -> Option<&Message> {
        self.read.front()
    }

    /// Goes on behind the next row, and gives it.
    pub fn pop(&mut self) -> Option<Message> {
        self.read.pop_front()
    }

    /// Where to go on behind `message`, which came from here.
    #[must_use]
    pub fn behind(&self, message: &Message) -> ReplayFrom {
        match self.source {
            Source::Scan(_) => ReplayFrom::Topics {
                after: Some(message.topic().clone()),
            },
            Source::Changes(_) => ReplayFrom::Changes {
                after: message.position().unwrap_or_default(),
            },
        }
    }

    /// Reads further rows from the same view; `false` if there are no more. A chunk may hold none.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn read_chunk(&mut self, view: &StateView) -> Result<bool, StoreError> {
        let log_time_us = view.log_time_us;
        match &mut self.source {
            Source::Scan(scan) => {
                let mut found = Vec::with_capacity(CHUNK_ROWS);
                let more = scan.next_chunk(CHUNK_ROWS, CHUNK_BYTES, &mut found)?;
                let messages = found
                    .iter()
                    .map(|(topic, record)| Message::of_record(topic, record, log_time_us));
                self.read.extend(messages);
                Ok(more || !self.read.is_empty())
            }
            Source::Changes(after) => {
                let changes = view.changes_after(after.revision, after.ordinal, CHUNK_ROWS)?;
                let Some(last) = changes.last() else {
                    return Ok(false);
                };
                *after = MessagePosition {
                    revision: last.revision,
                    ordinal: last.ordinal,
                };
                for change in changes.iter().filter(|change| self.filter.matches(&change.topic)) {
                    let position = MessagePosition {
                        revision: change.revision,
                        ordinal: change.ordinal,
                    };
                    self.read.push_back(match &change.record {
                        Some(record) => Message::of_record(&change.topic, record, log_time_us),
                        None => {
                            let timestamp_us = change.tombstone.as_ref().map_or(0, |tombstone| tombstone.timestamp_us);
                            Message::of_tombstone(&change.topic, position, timestamp_us)
                        }
                    });
                }
                Ok(true)
            }
        }
    }
}
