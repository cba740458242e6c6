//! Applying log entries.

use bytes::Bytes;

use super::{AppliedId, BatchOutcome, Change, Disposition, OriginOpened, Outcome, State};
use crate::command::{Batch, DecodeError, Entry, Item, Operation};
use crate::keyspace::FormatError;
use crate::planted::{Bug, planted};
use crate::store::StoreError;

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Changes and events, in the order of (revision, ordinal).
    pub changes: Vec<Change>,
    /// What became of each batch, in their order.
    pub batches: Vec<BatchOutcome>,
    /// Origins that were opened, in their order.
    pub origins: Vec<OriginOpened>,
}

/// A committed entry cannot be applied. The node must stop: its state is between two entries now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The entry is malformed. Every node finds the same, since leaders refuse such commands before the log.
    #[error("committed entry is corrupt: {0}")]
    Corrupt(#[from] DecodeError),
    /// What is stored is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// Applies a committed entry. Log time becomes the greater of itself and the entry's.
    ///
    /// What the changes carry are slices of `entry`, except records, which are copies.
    ///
    /// # Errors
    /// Any error is final: the state must not be used any more.
    ///
    /// # Panics
    /// If `id` is not the log index after the last applied one (0 for the first).
    pub fn apply(&mut self, id: AppliedId, entry: &Bytes) -> Result<Applied, ApplyError> {
        self.advance(id);
        let entry = Entry::parse(entry.clone())?;
        self.position.log_time_us = self.position.log_time_us.max(entry.time_us());
        let mut applied = Applied::default();
        for item in entry.items() {
            match item? {
                Item::Batch(bytes) => self.apply_batch(&Batch::parse(bytes)?, &mut applied)?,
                Item::OpenOrigin { node_id, nonce } => applied.origins.push(self.open_origin(node_id, nonce)),
                Item::Expire { limit } => self.expire(limit, &mut applied.changes)?,
                Item::Compact { limit } => self.compact(limit)?,
            }
        }
        Ok(applied)
    }

    /// Steps over an entry that is Raft's own and carries nothing.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn apply_blank(&mut self, id: AppliedId) {
        self.advance(id);
    }

    /// Applies an entry that sets the membership, in the encoding of the consensus library's adapter.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn set_membership(&mut self, id: AppliedId, encoded: Bytes) {
        self.advance(id);
        self.membership = Some(encoded);
        self.changed.membership = true;
    }

    fn advance(&mut self, id: AppliedId) {
        let expected = self.position.applied.map_or(0, |applied| applied.index + 1);
        assert!(
            id.index == expected,
            "log index {} applied where {expected} is next",
            id.index
        );
        self.position.applied = Some(id);
    }

    fn apply_batch(&mut self, batch: &Batch, applied: &mut Applied) -> Result<(), ApplyError> {
        let disposition = match self.take_batch(batch.id()) {
            Err(Disposition::Duplicate) if planted(Bug::P25) => {
                for operation in batch.operations() {
                    self.apply_operation(operation?, &mut applied.changes)?;
                }
                Disposition::Duplicate
            }
            Err(disposition) => disposition,
            // The sequence has moved on, so that the batches after this one are taken.
            Ok(()) if self.position.log_time_us > batch.deadline_us() && !planted(Bug::Late) => {
                Disposition::Taken(vec![Outcome::TooLate; batch.count()])
            }
            // Where checkpoints fall is a replica's own affair.
            Ok(()) if planted(Bug::P07) && self.is_frozen() => {
                let operations = batch.operations().collect::<Result<Vec<_>, _>>()?;
                let mut outcomes = Vec::with_capacity(batch.count());
                for operation in operations.into_iter().rev() {
                    outcomes.push(self.apply_operation(operation, &mut applied.changes)?);
                }
                outcomes.reverse();
                Disposition::Taken(outcomes)
            }
            Ok(()) => {
                let mut outcomes = Vec::with_capacity(batch.count());
                applied.changes.reserve(batch.count());
                for operation in batch.operations() {
                    outcomes.push(self.apply_operation(operation?, &mut applied.changes)?);
                }
                Disposition::Taken(outcomes)
            }
        };
        applied.batches.push(BatchOutcome {
            id: batch.id(),
            disposition,
        });
        Ok(())
    }

    fn apply_operation(&mut self, operation: Operation, changes: &mut Vec<Change>) -> Result<Outcome, ApplyError> {
        match operation {
            Operation::Put(put) => self.put(put, changes),
            Operation::Delete(delete) => self.delete(delete, changes),
            Operation::DeleteFilter(delete_filter) => self.delete_filter(delete_filter, changes),
            Operation::Event(event) => Ok(self.event(event, changes)),
        }
    }

    /// Takes the revision of an operation that changes something or is an event.
    pub(super) const fn next_revision(&mut self) -> u64 {
        self.position.revision += 1;
        self.position.revision
    }
}
