//! Shared subscriptions: each message of a group goes to exactly one of its members (§4.8.2).
//!
//! The member is chosen here, so that all nodes agree without talking. What it is to send stands in its session
//! ([`Session::assigned`](super::Session::assigned)) until it is in flight there or finished, and is told to the node that holds its connection
//! ([`Assigned`]).
//!
//! - Nothing waits and a member has room: the message is its.
//! - Otherwise it waits behind the group's cursor, as for a session that is away, until somebody has room: an
//!   acknowledgement, a new member, or the leader's `Assign` where one command could not serve it all.
//! - A member is lost: what it had not acknowledged comes back and goes to others first, except what may have arrived and
//!   must not arrive twice: QoS 2 in flight stays with its session [MQTT-4.8.2-4] and ends with it [MQTT-4.8.2-5].
//! - What the member gets with QoS 0 is not tracked: with nobody connected it is lost.
//!
//! Whoever changes a session says here what that means for its groups; nothing here changes a session but
//! [`State::assign_to`]. Rows of groups are written once an entry, however many messages it brought ([`super::group_rows`]).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::group::Group;
use super::interest::Wants;
use super::receiver::receiver;
use super::waiting::{PositionReader, Waiting};
use super::{ApplyError, Assigned, Change, State};
use crate::feature::SERVES_GROUPS_ALIKE;
use crate::keyspace::{FormatError, MessagePosition};
use crate::limits::{ASSIGN_CHUNK_MESSAGES_MAX, GROUP_SERVE_BYTES_MAX, GROUP_SERVE_REVISIONS, GROUP_SERVE_ROWS_MAX};
use crate::store::StoreError;
use crate::topic::SharedFilter;

/// Groups that need attention, by the texts of their subscriptions.
#[derive(Debug, Default)]
pub(super) struct GroupMarks {
    /// Something waits: follows from the groups.
    behind: BTreeSet<Bytes>,
    /// Somebody may have room since this command.
    pub(super) touched: BTreeSet<Bytes>,
    /// The row may be another since this entry.
    pub(super) changed: BTreeSet<Bytes>,
}

impl State {
    /// A session subscribes, or subscribes again with another QoS. `unacknowledged`: messages of this group that are
    /// assigned to it or in flight.
    pub(super) fn group_join(
        &mut self,
        filter: &SharedFilter,
        client_id: &Bytes,
        qos: u8,
        is_connected: bool,
        unacknowledged: u32,
    ) {
        let group = self.groups.open(filter);
        group.join(client_id, qos, is_connected, unacknowledged);
        self.touch_group(filter.as_bytes());
    }

    /// A session has the subscription no more. What it had was returned before.
    pub(super) fn group_leave(&mut self, text: &Bytes, client_id: &Bytes) -> Result<(), ApplyError> {
        if let Some(group) = self.groups.get_mut(text) {
            group.leave(client_id);
            if group.is_empty() {
                self.end_group(text)?;
            }
        }
        Ok(())
    }

    /// The connection of a member begins or ends.
    pub(super) fn group_connected(&mut self, text: &Bytes, client_id: &Bytes, is_connected: bool) {
        if let Some(group) = self.groups.get_mut(text) {
            group.set_connected(client_id, is_connected);
            self.touch_group(text);
        }
    }

    /// A message of the group, assigned or in flight, is finished. The session has let go of it.
    pub(super) fn group_acknowledged(&mut self, text: &Bytes, client_id: &Bytes) {
        if let Some(group) = self.groups.get_mut(text) {
            group.finished(client_id);
            self.touch_group(text);
        }
    }

    /// The member will not finish the message at `position`, and the session has forgotten it: it goes to another. The group
    /// holds it from now on instead of the session.
    pub(super) fn group_return(
        &mut self,
        text: &Bytes,
        client_id: &Bytes,
        position: MessagePosition,
    ) -> Result<(), ApplyError> {
        let Some(group) = self.groups.get_mut(text) else {
            // The group ended while the message was in flight.
            return self.release(position);
        };
        group.finished(client_id);
        if group.returned.insert(position).is_some() {
            // Of a member that left and had it in flight, and of one that got it then: one is enough.
            self.release(position)?;
        } else {
            self.put_returned(text, position);
        }
        self.touch_group(text);
        self.note_behind(text);
        Ok(())
    }

    fn touch_group(&mut self, text: &Bytes) {
        self.group_marks.touched.insert(text.clone());
        self.group_marks.changed.insert(text.clone());
    }

    pub(super) fn note_behind(&mut self, text: &Bytes) {
        if self.groups.get(text).is_some_and(Group::is_behind) {
            self.group_marks.behind.insert(text.clone());
        } else {
            self.group_marks.behind.remove(text);
        }
    }

    /// What follows from a message for the group with `text`. Returns whether it must be kept.
    pub(super) fn offer(
        &mut self,
        text: &Bytes,
        change: &Change,
        assigned: &mut Vec<Assigned>,
    ) -> Result<bool, ApplyError> {
        let Some(group) = self.groups.get(text) else {
            return Ok(false);
        };
        let next = if change.qos() == 0 {
            group.next_connected(&group.latest)
        } else if group.is_behind() {
            None
        } else {
            group.next_ready()
        };
        if let Some(client_id) = next.cloned() {
            let is_tracked = self.assign_to(text, &client_id, change, assigned)?;
            if is_tracked {
                self.hold(change.position());
            }
            return Ok(is_tracked);
        }
        let waits = change.qos() > 0 && (group.is_behind() || group.is_patient());
        if waits && group.cursor.is_none() {
            self.set_group_cursor(text, Some(change.position().previous()));
        }
        Ok(waits)
    }

    /// Serves the groups that this command has touched.
    pub(super) fn serve_groups(&mut self, assigned: &mut Vec<Assigned>) -> Result<(), ApplyError> {
        while let Some(text) = self.group_marks.touched.pop_first() {
            self.serve(&text, GROUP_SERVE_ROWS_MAX, assigned)?;
        }
        Ok(())
    }

    /// Serves groups that have members with room for what waits, looking at up to `limit` messages.
    pub(super) fn assign(&mut self, limit: u32, assigned: &mut Vec<Assigned>) -> Result<(), ApplyError> {
        let mut left = limit.min(ASSIGN_CHUNK_MESSAGES_MAX) as usize;
        let behind: Vec<_> = self.group_marks.behind.iter().cloned().collect();
        for text in behind {
            left -= self.serve(&text, left, assigned)?;
        }
        Ok(())
    }

    /// Whether there are shared subscriptions.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether an `Assign` would find a member with room for something that waits.
    #[must_use]
    pub fn assign_due(&self) -> bool {
        let mut behind = self.group_marks.behind.iter();
        behind.any(|text| self.groups.get(text).is_some_and(Group::is_due))
    }

    /// Assigns what waits while somebody has room, looking at up to `rows_max` messages. Returns at how many it looked, or
    /// more.
    fn serve(&mut self, text: &Bytes, rows_max: usize, assigned: &mut Vec<Assigned>) -> Result<usize, ApplyError> {
        let mut rows = 0;
        while rows < rows_max {
            let Some(group) = self.groups.get(text).filter(|group| group.is_due()) else {
                return Ok(rows);
            };
            match (group.returned.get_min().copied(), group.cursor) {
                (Some(position), _) => {
                    self.serve_returned(text, position, assigned)?;
                    rows += 1;
                }
                (None, Some(cursor)) => {
                    self.serve_waiting(text, cursor, rows_max - rows, assigned)?;
                    return Ok(rows_max);
                }
                (None, None) => return Ok(rows),
            }
        }
        Ok(rows)
    }

    fn serve_returned(
        &mut self,
        text: &Bytes,
        position: MessagePosition,
        assigned: &mut Vec<Assigned>,
    ) -> Result<(), ApplyError> {
        self.take_returned(text, position);
        self.note_behind(text);
        let change = self.read_positions(|reader| reader.message_at(position))?;
        let next = self.groups.get(text).and_then(Group::next_ready).cloned();
        let is_tracked = match (change, next) {
            (Some(change), Some(client_id)) if !self.is_expired(&change) => {
                self.assign_to(text, &client_id, &change, assigned)?
            }
            _ => false,
        };
        // The session holds it now instead of the group, or nobody.
        if is_tracked { Ok(()) } else { self.release(position) }
    }

    fn serve_waiting(
        &mut self,
        text: &Bytes,
        cursor: MessagePosition,
        rows_max: usize,
        assigned: &mut Vec<Assigned>,
    ) -> Result<(), ApplyError> {
        let waiting = self.waiting_for_group(cursor, rows_max)?;
        for row in waiting.rows {
            let change = row.change;
            let Some(group) = self.groups.get(text) else {
                return Ok(());
            };
            if change.qos() == 0 || self.is_expired(&change) || !group.filter.filter().matches(&change.topic) {
                continue;
            }
            let Some(client_id) = group.next_ready().cloned() else {
                self.set_group_cursor(text, Some(change.position().previous()));
                return Ok(());
            };
            if self.assign_to(text, &client_id, &change, assigned)? {
                self.hold(change.position());
            }
        }
        self.set_group_cursor(text, waiting.next);
        Ok(())
    }

    /// What a group may have to get next, and where its cursor is to go then.
    fn waiting_for_group(&self, cursor: MessagePosition, rows_max: usize) -> Result<Waiting, StoreError> {
        if self.position.feature_level < SERVES_GROUPS_ALIKE {
            // Where this ends depends on where the replica's checkpoints fell. Members of the first level know nothing else.
            return self.read_positions(|reader| reader.waiting_after(cursor, rows_max, GROUP_SERVE_BYTES_MAX));
        }
        let revisions = rows_max as u64 * GROUP_SERVE_REVISIONS;
        let through = MessagePosition::end_of(cursor.revision.saturating_add(revisions));
        let mut waiting =
            self.read_positions(|reader| reader.waiting_through(cursor, through, rows_max, GROUP_SERVE_BYTES_MAX))?;
        if through.revision < self.position.revision {
            waiting.next = waiting.next.or(Some(through));
        }
        Ok(waiting)
    }

    /// Gives a message to a connected member. Returns whether its session has it now, until it is acknowledged: then it is
    /// to be held for it.
    fn assign_to(
        &mut self,
        text: &Bytes,
        client_id: &Bytes,
        change: &Change,
        assigned: &mut Vec<Assigned>,
    ) -> Result<bool, ApplyError> {
        let session = self.sessions.get(client_id);
        let receiver = session.and_then(|session| receiver(&session, text));
        let (Some(group), Some(receiver)) = (self.groups.get_mut(text), receiver) else {
            return Err(FormatError::new("shared group", "has a member that is not connected").into());
        };
        let qos = change.qos().min(group.qos_of(client_id).unwrap_or(0));
        group.latest = client_id.clone();
        self.group_marks.changed.insert(text.clone());
        if qos > 0 {
            group.assigned(client_id);
            self.session_assigned(client_id, (change.position(), text.clone()), qos);
        }
        assigned.push(Assigned {
            node_id: receiver.node_id,
            fence: receiver.fence,
            change: change.clone(),
            qos,
            subscription_id: receiver.subscription_id,
            retain_as_published: receiver.retain_as_published,
        });
        Ok(qos > 0)
    }

    fn is_expired(&self, change: &Change) -> bool {
        change
            .expires_at_us()
            .is_some_and(|time| time <= self.position.log_time_us)
    }

    /// Moves what the group waits for. While it waits it counts as a session that is away.
    pub(super) fn set_group_cursor(&mut self, text: &Bytes, cursor: Option<MessagePosition>) {
        let Some(group) = self.groups.get_mut(text) else {
            return;
        };
        let former = std::mem::replace(&mut group.cursor, cursor);
        match (former, cursor) {
            (None, Some(_)) => self.interest.subscribe(group.filter.filter(), Wants::Every),
            (Some(_), None) => self.interest.unsubscribe(group.filter.filter(), Wants::Every),
            _ => {}
        }
        if let Some(former) = former {
            self.interest.cursors.remove(former);
        }
        if let Some(cursor) = cursor {
            self.interest.cursors.add(cursor);
        }
        self.group_marks.changed.insert(text.clone());
        self.note_behind(text);
    }

    /// The last member has left: nobody waits any more.
    fn end_group(&mut self, text: &Bytes) -> Result<(), ApplyError> {
        self.set_group_cursor(text, None);
        let returned = self.groups.get(text).map(|group| group.returned.clone());
        for position in returned.unwrap_or_default() {
            self.take_returned(text, position);
            self.release(position)?;
        }
        self.groups.remove(text);
        self.group_marks.changed.insert(text.clone());
        self.note_behind(text);
        Ok(())
    }

    /// Reads by position in the present state, hot rows included.
    fn read_positions<R>(
        &self,
        read: impl FnOnce(&PositionReader<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        read(&PositionReader {
            view: &self.layer.settled_view(),
            recent: &self.recent.changes(),
            get: &|key| self.layer.get(key),
            compacted_revision: self.position.compacted_revision,
        })
    }
}
