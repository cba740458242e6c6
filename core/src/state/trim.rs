//! Dropping messages that nobody waits for, and those that were kept long enough.
//!
//! Rows are dropped in the order of their positions, and [`Position::trimmed_through`] says how far: up to there only rows
//! are left that somebody holds. So neither a row that everybody has had nor a held one is looked at twice, and a held row
//! goes as soon as it is let go.
//!
//! Retention drops what somebody waits for. It raises [`Position::dropped_through`]: a session whose cursor is below it may
//! have missed something, and is told.
//!
//! [`Position::trimmed_through`]: crate::keyspace::meta::Position::trimmed_through
//! [`Position::dropped_through`]: crate::keyspace::meta::Position::dropped_through

use bytes::Bytes;

use super::{ApplyError, State};
use crate::keyspace::message::{message_key, message_of_key};
use crate::keyspace::{KeyKind, Message, MessagePosition};
use crate::limits::{TRIM_CHUNK_BYTES_MAX, TRIM_CHUNK_MESSAGES_MAX};
use crate::store::{Direction, ReadView, StoreError};

/// Rows that [`State::trim_due`] looks at: more than one, since an old record that was superseded just now is kept as a
/// young row before older ones.
const LOOK_AHEAD_ROWS: u32 = 16;

/// How much is kept for those who wait, whatever they miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most bytes of messages that wait, those held not counted.
    pub keep_bytes: u64,
    /// Longest time that a message waits, microseconds of log time since it was kept.
    pub keep_us: u64,
}

/// Rows at the front of what is kept, and how many of them are due.
struct Front {
    rows: Vec<(MessagePosition, Bytes)>,
    due: usize,
}

impl State {
    /// Drops up to `limit` messages that nobody waits for or that `retention` does not keep, oldest first, except those that
    /// somebody holds.
    pub(super) fn trim(&mut self, limit: u32, retention: Retention) -> Result<(), ApplyError> {
        let floor = self.floor();
        let Front { mut rows, due } = self.front(limit.min(TRIM_CHUNK_MESSAGES_MAX), retention)?;
        rows.truncate(due);
        let Some((through, _)) = rows.last() else {
            return Ok(());
        };
        let through = *through;
        for (position, row) in rows {
            if self.interest.held.contains(position) {
                self.position.held_bytes += row.len() as u64;
                continue;
            }
            self.drop_message(position, &row);
        }
        if through > floor {
            // Also if all of them were held: a record up to here will not be kept when it is superseded.
            self.position.dropped_through = through;
        }
        self.position.trimmed_through = through;
        Ok(())
    }

    /// Whether trimming by `retention` would drop anything now.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn trim_due(&self, retention: Retention) -> Result<bool, StoreError> {
        match self.front(LOOK_AHEAD_ROWS, retention) {
            Ok(front) => Ok(front.due > 0),
            Err(ApplyError::Store(error)) => Err(error),
            Err(other) => Err(StoreError(other.to_string())),
        }
    }

    /// Nobody waits for a message up to here.
    fn floor(&self) -> MessagePosition {
        self.low_water()
            .unwrap_or(MessagePosition::end_of(self.position.revision))
    }

    /// Up to `limit` rows behind what is trimmed. All up to the last one that must go are due: of two messages, the earlier
    /// one has waited longer, though it may have become a row later.
    fn front(&self, limit: u32, retention: Retention) -> Result<Front, ApplyError> {
        let mut front = Front {
            rows: Vec::new(),
            due: 0,
        };
        let mut waiting_bytes = self.position.message_bytes - self.position.held_bytes;
        if waiting_bytes == 0 {
            return Ok(front);
        }
        let floor = self.floor();
        let Some(first) = self.position.trimmed_through.next() else {
            return Ok(front);
        };
        let (_, upper) = KeyKind::Message.range();
        // Rows of this kind are never hot.
        let view = self.layer.settled_view();
        let range = view.range(&message_key(first), Some(&upper), Direction::Ascending);
        let mut looked_bytes = 0;
        for row in range.take(limit as usize) {
            let (key, row) = row?;
            let position = message_of_key(&key)?;
            let waited_us = self.position.log_time_us.saturating_sub(Message::kept_at_us(&row)?);
            let must_go = position <= floor || waiting_bytes > retention.keep_bytes || waited_us >= retention.keep_us;
            waiting_bytes -= row.len() as u64;
            looked_bytes += row.len();
            front.rows.push((position, row));
            if must_go {
                front.due = front.rows.len();
            }
            if looked_bytes >= TRIM_CHUNK_BYTES_MAX {
                break;
            }
        }
        Ok(front)
    }
}
