//! Shared subscriptions: each message of a group goes to exactly one of its members (§4.8.2).
//!
//! The member is chosen here, so that all nodes agree without talking. What it is to send stands in its session
//! ([`Session::assigned`]) until it is in flight there or finished, and is told to the node that holds its connection
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
//! [`State::assign_to`]. Rows of groups are written once an entry, however many messages it brought.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::digest::RowSum;
use super::group::Group;
use super::interest::Wants;
use super::waiting::PositionReader;
use super::{ApplyError, Assigned, Change, OpenError, Session, State, StateView};
use crate::keyspace::group::{GroupKey, GroupRow, group_key, group_of_key, returned_key};
use crate::keyspace::{FormatError, KeyKind, MessagePosition};
use crate::limits::{ASSIGN_CHUNK_MESSAGES_MAX, GROUP_SERVE_BYTES_MAX, GROUP_SERVE_ROWS_MAX};
use crate::store::{Direction, StoreError};
use crate::topic::{SharedFilter, SubscriptionFilter, TopicName};

/// Groups that need attention, by the texts of their subscriptions.
#[derive(Debug, Default)]
pub(super) struct GroupMarks {
    /// Something waits: follows from the groups.
    behind: BTreeSet<Bytes>,
    /// Somebody may have room since this command.
    touched: BTreeSet<Bytes>,
    /// The row may be another since this entry.
    changed: BTreeSet<Bytes>,
}

/// The connection that is to send a message of QoS 0 to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// The node that holds the connection.
    pub node_id: u64,
    /// Which connection.
    pub fence: u64,
    /// Identifier of the subscription.
    pub subscription_id: Option<u32>,
    /// The RETAIN flag is delivered as it was published.
    pub retain_as_published: bool,
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
            let key = returned_key(text, position);
            self.position.digest.replace_row(&key, None, Some(&[]));
            self.layer.put_new(key, Bytes::new());
        }
        self.touch_group(text);
        self.note_behind(text);
        Ok(())
    }

    fn touch_group(&mut self, text: &Bytes) {
        self.group_marks.touched.insert(text.clone());
        self.group_marks.changed.insert(text.clone());
    }

    fn note_behind(&mut self, text: &Bytes) {
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

    fn take_returned(&mut self, text: &Bytes, position: MessagePosition) {
        if let Some(group) = self.groups.get_mut(text) {
            group.returned.remove(&position);
        }
        let key = returned_key(text, position);
        self.position.digest.replace_row(&key, Some(&[]), None);
        self.layer.delete(key);
    }

    fn serve_waiting(
        &mut self,
        text: &Bytes,
        cursor: MessagePosition,
        rows_max: usize,
        assigned: &mut Vec<Assigned>,
    ) -> Result<(), ApplyError> {
        let waiting = self.read_positions(|reader| reader.waiting_after(cursor, rows_max, GROUP_SERVE_BYTES_MAX))?;
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

    /// Gives a message to a connected member. Returns whether its session has it now, until it is acknowledged: then it is
    /// to be held for it.
    fn assign_to(
        &mut self,
        text: &Bytes,
        client_id: &Bytes,
        change: &Change,
        assigned: &mut Vec<Assigned>,
    ) -> Result<bool, ApplyError> {
        let (Some(group), Some(session)) = (self.groups.get_mut(text), self.sessions.get(client_id)) else {
            return Err(contradiction("has a member without a session"));
        };
        let Some(Receiver {
            node_id,
            fence,
            subscription_id,
            retain_as_published,
        }) = receiver(session, text)
        else {
            return Err(contradiction("has a member that is not connected"));
        };
        let qos = change.qos().min(group.qos_of(client_id).unwrap_or(0));
        group.latest = client_id.clone();
        self.group_marks.changed.insert(text.clone());
        if qos > 0 {
            group.assigned(client_id);
            self.session_assigned(client_id, (change.position(), text.clone()), qos);
        }
        assigned.push(Assigned {
            node_id,
            fence,
            change: change.clone(),
            qos,
            subscription_id,
            retain_as_published,
        });
        Ok(qos > 0)
    }

    fn is_expired(&self, change: &Change) -> bool {
        change
            .expires_at_us()
            .is_some_and(|time| time <= self.position.log_time_us)
    }

    /// Moves what the group waits for. While it waits it counts as a session that is away.
    fn set_group_cursor(&mut self, text: &Bytes, cursor: Option<MessagePosition>) {
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

    /// Writes the rows of the groups that this entry has changed.
    pub(super) fn settle_groups(&mut self) -> Result<(), ApplyError> {
        while let Some(text) = self.group_marks.changed.pop_first() {
            let key = group_key(&text);
            let old = self.layer.get(&key)?;
            let new = self.groups.get(&text).map(|group| {
                let row = GroupRow {
                    cursor: group.cursor,
                    latest: group.latest.clone(),
                };
                row.encode()
            });
            if old == new {
                continue;
            }
            self.position.digest.replace_row(&key, old.as_deref(), new.as_deref());
            match (old, new) {
                (None, Some(new)) => self.layer.put_new(key, new),
                (Some(_), Some(new)) => self.layer.put(key, new),
                (_, None) => self.layer.delete(key),
            }
        }
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

    /// Builds the groups of a state that is being opened, from its sessions and the rows of groups.
    pub(super) fn open_groups(&mut self) -> Result<(), OpenError> {
        let sessions = self.sessions.clone();
        for session in sessions.values() {
            for (text, row) in &session.subscriptions {
                if let SubscriptionFilter::Shared(filter) = &row.subscription.filter {
                    let qos = row.subscription.options.qos;
                    let unacknowledged = session.unacknowledged_of(text);
                    self.group_join(
                        filter,
                        &session.client_id,
                        qos,
                        session.connection.is_some(),
                        unacknowledged,
                    );
                }
            }
        }
        let (lower, upper) = KeyKind::Group.range();
        let base = self.layer.base_view().clone();
        for row in base.range(&lower, Some(&upper), Direction::Ascending) {
            let (key, value) = row?;
            let (text, kind) = group_of_key(&key)?;
            let Some(group) = self.groups.get_mut(&text) else {
                return Err(FormatError::new("shared group", "has no members").into());
            };
            match kind {
                GroupKey::Group => {
                    let GroupRow { cursor, latest } = GroupRow::parse(&value)?;
                    group.latest = latest;
                    self.set_group_cursor(&text, cursor);
                }
                GroupKey::Returned(position) => {
                    group.returned.insert(position);
                    self.hold(position);
                    self.note_behind(&text);
                }
            }
        }
        // Opening is no command: other nodes have served nobody at this point.
        self.group_marks.touched.clear();
        self.group_marks.changed.clear();
        Ok(())
    }
}

impl Session {
    /// Messages of the shared subscription with this text that are assigned to it or in flight.
    #[must_use]
    pub fn unacknowledged_of(&self, text: &Bytes) -> u32 {
        let assigned = self.assigned.keys().filter(|(_, group)| group == text).count();
        let in_flight = self
            .in_flight
            .iter()
            .filter(|message| message.shared.as_ref() == Some(text));
        u32::try_from(assigned + in_flight.count()).unwrap_or(u32::MAX)
    }
}

impl StateView {
    /// Who gets a message of `topic` with QoS 0 that did not go through the log: of each group one connected member.
    /// `latest` is whose turn it was, by group, as the caller keeps it: turns go round in each node by themselves.
    #[must_use]
    pub fn shared_receivers(&self, topic: &TopicName, latest: &mut BTreeMap<Bytes, Bytes>) -> Vec<Receiver> {
        let mut receivers = Vec::new();
        for text in self.groups.matching(topic) {
            let former = latest.get(&text).cloned().unwrap_or_default();
            let next = self.groups.get(&text).and_then(|group| group.next_connected(&former));
            let Some(client_id) = next else {
                latest.remove(&text);
                continue;
            };
            let session = self.sessions.get(client_id);
            receivers.extend(session.and_then(|session| receiver(session, &text)));
            latest.insert(text, client_id.clone());
        }
        receivers
    }

    /// The group of the shared subscription with this text, `$share/GROUP/FILTER`.
    #[must_use]
    pub fn group(&self, text: &str) -> Option<&Group> {
        self.groups.get(text.as_bytes())
    }
}

/// How a member of the group with `text` gets its messages; `None` while it is not connected.
fn receiver(session: &Session, text: &Bytes) -> Option<Receiver> {
    let connection = session.connection.as_ref()?;
    let subscription = &session.subscriptions.get(text)?.subscription;
    Some(Receiver {
        node_id: connection.node_id,
        fence: connection.fence,
        subscription_id: subscription.subscription_id,
        retain_as_published: subscription.options.retain_as_published,
    })
}

const fn contradiction(why: &'static str) -> ApplyError {
    ApplyError::Format(FormatError::new("shared group", why))
}
