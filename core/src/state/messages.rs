//! Messages that wait for sessions.

use super::{Change, StateView};
use crate::command::MessagePosition;
use crate::store::StoreError;

/// A part of the messages that wait, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// The messages, of all topics.
    pub rows: Vec<WaitingRow>,
    /// From where to go on; none at the end.
    pub next: Option<MessagePosition>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// The message.
    pub change: Change,
    /// Whether the topic has not changed since.
    pub is_latest: bool,
}

impl StateView {
    /// Messages behind `position`, at most `rows_max` and about `bytes_max` bytes.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn waiting_after(
        &self,
        _position: MessagePosition,
        _rows_max: usize,
        _bytes_max: usize,
    ) -> Result<Waiting, StoreError> {
        Ok(Waiting::default())
    }

    /// The message at `position`, if it is still there.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn message_at(&self, _position: MessagePosition) -> Result<Option<Change>, StoreError> {
        Ok(None)
    }
}
