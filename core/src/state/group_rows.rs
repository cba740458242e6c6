//! The rows of groups: what of them does not follow from sessions.

use bytes::Bytes;

use super::digest::RowSum;
use super::{ApplyError, OpenError, Session, State};
use crate::keyspace::group::{GroupKey, GroupRow, group_key, group_of_key, returned_key};
use crate::keyspace::{FormatError, KeyKind, MessagePosition};
use crate::store::Direction;
use crate::topic::SubscriptionFilter;

impl State {
    /// Writes that the group with `text` has the message at `position`.
    pub(super) fn put_returned(&mut self, text: &Bytes, position: MessagePosition) {
        let key = returned_key(text, position);
        self.position.session_digest.replace_row(&key, None, Some(&[]));
        self.layer.put_new(key, Bytes::new());
    }

    /// Takes the message at `position` from the group with `text`.
    pub(super) fn take_returned(&mut self, text: &Bytes, position: MessagePosition) {
        if let Some(group) = self.groups.get_mut(text) {
            group.returned.remove(&position);
        }
        let key = returned_key(text, position);
        self.position.session_digest.replace_row(&key, Some(&[]), None);
        self.layer.delete(key);
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
            self.position
                .session_digest
                .replace_row(&key, old.as_deref(), new.as_deref());
            match (old, new) {
                (None, Some(new)) => self.layer.put_new(key, new),
                (Some(_), Some(new)) => self.layer.put(key, new),
                (_, None) => self.layer.delete(key),
            }
        }
        Ok(())
    }

    /// Builds the groups of a state that is being opened, from its sessions and the rows of groups.
    pub(super) fn open_groups(&mut self) -> Result<(), OpenError> {
        let sessions = self.sessions.by_client();
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
