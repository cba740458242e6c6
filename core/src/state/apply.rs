//! Applying log entries.

use bytes::Bytes;

use super::{AppliedId, Assigned, BatchOutcome, Change, Closed, Disposition, OriginOpened, Outcome, Retention, State};
use crate::command::{Batch, BatchId, Command, DecodeError, Entry, Item, Operation, Sender};
use crate::feature::{FeatureLevel, UnknownLevel};
use crate::keyspace::FormatError;
use crate::limits::SESSION_CHUNK_MAX;
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
    /// Connections that were ended, in their order.
    pub closed: Vec<Closed>,
    /// Messages of shared subscriptions and who is to send them, in their order.
    pub assigned: Vec<Assigned>,
}

/// A committed entry cannot be applied. The node must stop: its state is between two entries now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The entry is malformed. Every node finds the same, since leaders refuse such commands before the log.
    #[error("committed entry is corrupt: {0}")]
    Corrupt(#[from] DecodeError),
    /// The cluster has a level that this program does not know.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
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
                Item::OpenOrigin { node_id, nonce } => {
                    // A node that has left and does not know it yet.
                    if self.members().is_gone(node_id) {
                        continue;
                    }
                    let opened = self.open_origin(node_id, nonce);
                    applied.origins.push(opened);
                    // The rest, if they are more, is for `EndDue`.
                    self.end_former_life(node_id, SESSION_CHUNK_MAX, &mut applied)?;
                }
                Item::Expire { limit } => {
                    let from = applied.changes.len();
                    self.expire(limit, &mut applied.changes)?;
                    self.published(&applied.changes[from..], &mut applied.assigned)?;
                }
                Item::Compact { limit } => self.compact(limit)?,
                Item::Trim {
                    limit,
                    keep_bytes,
                    keep_us,
                } => self.trim(limit, Retention { keep_bytes, keep_us })?,
                Item::EndDue { limit } => self.end_due(limit, &mut applied)?,
                Item::LoseNode {
                    node_id,
                    through_fence,
                    limit,
                } => self.lose_node(node_id, through_fence, limit, &mut applied)?,
                Item::Assign { limit } => self.assign(limit, &mut applied.assigned)?,
                Item::RaiseLevel(level) => {
                    level.check(FeatureLevel::KNOWN)?;
                    self.position.feature_level = self.position.feature_level.max(level);
                }
                Item::MemberChange(change) => self.change_members(&change, &mut applied)?,
            }
            self.serve_groups(&mut applied.assigned)?;
        }
        self.settle_groups()?;
        self.settle_sessions();
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
                for command in batch.commands() {
                    self.apply_command(command?, batch.id(), applied)?;
                }
                Disposition::Duplicate
            }
            Err(disposition) => disposition,
            // The sequence has moved on, so that the batches after this one are taken.
            Ok(()) if self.position.log_time_us > batch.deadline_us() && !planted(Bug::Late) => {
                Disposition::Taken(self.refuse_late(batch, applied)?)
            }
            // Where checkpoints fall is a replica's own affair.
            Ok(()) if planted(Bug::P07) && self.is_frozen() => {
                let commands = batch.commands().collect::<Result<Vec<_>, _>>()?;
                let mut outcomes = Vec::with_capacity(batch.count());
                for command in commands.into_iter().rev() {
                    outcomes.push(self.apply_command(command, batch.id(), applied)?);
                }
                outcomes.reverse();
                Disposition::Taken(outcomes)
            }
            Ok(()) => {
                let mut outcomes = Vec::with_capacity(batch.count());
                applied.changes.reserve(batch.count());
                for command in batch.commands() {
                    outcomes.push(self.apply_command(command?, batch.id(), applied)?);
                    self.serve_groups(&mut applied.assigned)?;
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

    /// Refuses the commands of a batch that came too late. What their clients have sent since may be in time but must not
    /// overtake them: nothing more is taken from those connections than that they have ended, which is never too late.
    fn refuse_late(&mut self, batch: &Batch, applied: &mut Applied) -> Result<Vec<Outcome>, ApplyError> {
        let mut outcomes = Vec::with_capacity(batch.count());
        for command in batch.commands() {
            let command = command?;
            if matches!(command.operation, Operation::Disconnect(_)) {
                outcomes.push(self.apply_command(command, batch.id(), applied)?);
                continue;
            }
            if let Some(Sender { fence, .. }) = command.sender {
                self.take_no_more(fence, applied)?;
            }
            outcomes.push(Outcome::TooLate);
        }
        Ok(outcomes)
    }

    fn apply_command(
        &mut self,
        command: Command,
        batch: BatchId,
        applied: &mut Applied,
    ) -> Result<Outcome, ApplyError> {
        let Command { sender, operation } = command;
        let Some(Sender { fence, packet_id }) = sender else {
            return match operation {
                Operation::Connect(connect) => self.connect(&connect, batch, applied),
                Operation::CaughtUp(caught_up) => self.caught_up(&caught_up),
                Operation::Kick(kick) => self.kick(&kick, applied),
                write => self.write(write, applied),
            };
        };
        let Some(client_id) = self.sessions.client_of(fence) else {
            return Ok(Outcome::Fenced);
        };
        let client_id = client_id.clone();
        if self.sessions.is_late(fence) && !matches!(operation, Operation::Disconnect(_)) {
            return Ok(Outcome::TooLate);
        }
        match (operation, packet_id) {
            (Operation::Disconnect(disconnect), _) => self.disconnect(&client_id, disconnect, applied),
            (Operation::Subscribe(subscribe), _) => self.subscribe(&client_id, &subscribe),
            (Operation::Unsubscribe(unsubscribe), _) => self.unsubscribe(&client_id, &unsubscribe),
            (Operation::Release(release), _) => self.release_inbound(&client_id, release),
            (Operation::Progress(progress), _) => self.progress(&client_id, &progress),
            (write, Some(packet_id)) => self.receive(&client_id, packet_id, write, applied),
            (write, None) => self.write(write, applied),
        }
    }

    /// Applies a write or an event, whoever asks for it: a client, or a will.
    ///
    /// # Panics
    /// If it is an operation of a session: decoding lets none through here.
    pub(super) fn write(&mut self, operation: Operation, applied: &mut Applied) -> Result<Outcome, ApplyError> {
        let from = applied.changes.len();
        let changes = &mut applied.changes;
        let outcome = match operation {
            Operation::Put(put) => self.put(put, changes)?,
            Operation::Delete(delete) => self.delete(delete, changes)?,
            Operation::DeleteFilter(delete_filter) => self.delete_filter(delete_filter, changes)?,
            Operation::Event(event) => self.event(event, changes),
            other => unreachable!("decoded with a sender that it does not allow: {other:?}"),
        };
        self.published(&applied.changes[from..], &mut applied.assigned)?;
        Ok(outcome)
    }

    /// What follows from changes and events that an operation has just brought.
    fn published(&mut self, changes: &[Change], assigned: &mut Vec<Assigned>) -> Result<(), ApplyError> {
        for change in changes {
            let mut is_needed = change.qos() > 0 && self.interest.wants(&change.topic);
            for text in self.groups.matching(&change.topic) {
                is_needed |= self.offer(&text, change, assigned)?;
            }
            if is_needed {
                self.keep(change);
            }
        }
        Ok(())
    }

    /// Takes the revision of an operation that changes something or is an event.
    pub(super) const fn next_revision(&mut self) -> u64 {
        self.position.revision += 1;
        self.position.revision
    }
}
