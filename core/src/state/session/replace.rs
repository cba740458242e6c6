//! One session takes the place of another: rows, digest, and all that follows from them.
//!
//! Every change of a session goes through [`State::replace_session`], which looks at what is different and at nothing else.
//! So what is derived is right after each change, and after opening a store, where sessions take the place of nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::keyspace::session::session_key;
use crate::keyspace::subscription::subscription_key;
use crate::keyspace::{InFlight, MessagePosition, Session, SubscriptionRow};
use crate::state::digest::RowSum;
use crate::state::interest::{Interest, Wants};
use crate::state::{ApplyError, State};
use crate::topic::{SubscriptionFilter, TopicFilter};

impl State {
    /// Makes `new` what there is of a client instead of `old`.
    pub(super) fn replace_session(&mut self, old: Option<&Session>, new: Option<Session>) -> Result<(), ApplyError> {
        let new = new.map(Arc::new);
        let Some(client_id) = old.or(new.as_deref()).map(|session| session.client_id.clone()) else {
            return Ok(());
        };
        self.touch_session(&client_id);
        for_each_difference(old, new.as_deref(), |filter, old, new| {
            let (old, new) = (old.map(SubscriptionRow::encode), new.map(SubscriptionRow::encode));
            self.replace_row(subscription_key(&client_id, filter), old, new);
        });
        let returned = returned(old, new.as_deref());
        let let_go = self.index_session(old, new.as_ref());
        // What goes back to its group stays held, by the group.
        let mut kept: Vec<MessagePosition> = returned.iter().map(|(position, _)| *position).collect();
        for position in let_go {
            match kept.iter().position(|other| *other == position) {
                Some(at) => drop(kept.swap_remove(at)),
                None => self.release(position)?,
            }
        }
        self.replace_member(&client_id, old, new.as_deref(), returned)
    }

    /// What follows from the rows, which are what they are. Returns the positions of messages that are held no more, to be
    /// released.
    pub(super) fn index_session(&mut self, old: Option<&Session>, new: Option<&Arc<Session>>) -> Vec<MessagePosition> {
        self.sessions.replace(old, new);
        let new = new.map(Arc::as_ref);
        for_each_difference(old, new, |_, old, new| self.interest.replace_subscription(old, new));
        let cursor = |session: Option<&Session>| session.filter(|session| session.waits).map(|session| session.cursor);
        let (old_cursor, new_cursor) = (cursor(old), cursor(new));
        if old_cursor != new_cursor {
            if let Some(at) = new_cursor {
                self.interest.cursors.add(at);
            }
            if let Some(at) = old_cursor {
                self.interest.cursors.remove(at);
            }
        }
        // Held before let go: what is in both must not be dropped in between.
        let (held, let_go) = held_differences(old, new);
        held.into_iter().for_each(|position| self.hold(position));
        let_go
    }

    /// Tells the groups of shared subscriptions what has become of a member.
    fn replace_member(
        &mut self,
        client_id: &Bytes,
        old: Option<&Session>,
        new: Option<&Session>,
        returned: Vec<(MessagePosition, Bytes)>,
    ) -> Result<(), ApplyError> {
        let mut finished = finished(old, new);
        for (position, text) in returned {
            if let Some(count) = finished.get_mut(&text) {
                *count = count.saturating_sub(1);
            }
            self.group_return(&text, client_id, position)?;
        }
        for (text, count) in finished {
            (0..count).for_each(|_| self.group_acknowledged(&text, client_id));
        }
        let is_connected = |session: Option<&Session>| session.is_some_and(|session| session.connection.is_some());
        let connected = is_connected(new);
        let mut left = Vec::new();
        for_each_difference(old, new, |text, _, row| match row.map(|row| &row.subscription) {
            Some(subscription) => {
                if let (SubscriptionFilter::Shared(filter), Some(session)) = (&subscription.filter, new) {
                    let unacknowledged = session.unacknowledged_of(text);
                    self.group_join(filter, client_id, subscription.options.qos, connected, unacknowledged);
                }
            }
            None => left.push(text.clone()),
        });
        for text in left {
            self.group_leave(&text, client_id)?;
        }
        if connected != is_connected(old)
            && let Some(session) = new
        {
            for text in session.subscriptions.keys() {
                self.group_connected(text, client_id, connected);
            }
        }
        Ok(())
    }

    /// A message of a shared subscription is the session's now. Its group knows, and holds it for the session.
    pub(in crate::state) fn session_assigned(&mut self, client_id: &Bytes, message: (MessagePosition, Bytes), qos: u8) {
        self.touch_session(client_id);
        if let Some(session) = self.sessions.get_mut(client_id) {
            session.assigned.insert(message, qos);
        }
    }

    /// The session is about to change: its row is written when the entry ends, however often it changes until then.
    fn touch_session(&mut self, client_id: &Bytes) {
        if !self.touched.contains_key(client_id) {
            let row = self.sessions.get(client_id).map(|session| session.encode());
            self.touched.insert(client_id.clone(), row);
        }
    }

    /// Writes the rows of the sessions that this entry has changed.
    pub(in crate::state) fn settle_sessions(&mut self) {
        while let Some((client_id, old)) = self.touched.pop_first() {
            let new = self.sessions.get(&client_id).map(|session| session.encode());
            if old != new {
                self.replace_row(session_key(&client_id), old, new);
            }
        }
    }

    /// Replaces a row in the layer and in the digest.
    pub(super) fn replace_row(&mut self, key: Bytes, old: Option<Bytes>, new: Option<Bytes>) {
        self.position
            .session_digest
            .replace_row(&key, old.as_deref(), new.as_deref());
        match (old, new) {
            (None, Some(new)) => self.layer.put_new(key, new),
            (Some(_), Some(new)) => self.layer.put(key, new),
            (_, None) => self.layer.delete(key),
        }
    }
}

/// Messages of shared subscriptions that the session will not finish: they go to another member. What is in flight stays
/// while the connection lives, and with QoS 2 longer: until it is finished [MQTT-4.8.2-4] or ends with its session
/// [MQTT-4.8.2-5].
fn returned(old: Option<&Session>, new: Option<&Session>) -> Vec<(MessagePosition, Bytes)> {
    let Some(old) = old else { return Vec::new() };
    let connected = new.filter(|session| session.connection.is_some());
    let assigned = old.assigned.keys().filter(|(_, text)| {
        let stays = connected.is_some_and(|session| session.subscriptions.contains_key(text));
        !stays
    });
    let in_flight = old
        .in_flight
        .iter()
        .filter(|message| connected.is_none() && message.qos == 1);
    let in_flight = in_flight.filter_map(|message| Some((message.position, message.shared.clone()?)));
    assigned.cloned().chain(in_flight).collect()
}

/// How many messages less of each shared subscription are the session's to finish.
fn finished(old: Option<&Session>, new: Option<&Session>) -> BTreeMap<Bytes, u32> {
    let mut counts = unacknowledged(old);
    for (text, now) in unacknowledged(new) {
        if let Some(count) = counts.get_mut(&text) {
            *count = count.saturating_sub(now);
        }
    }
    counts
}

fn unacknowledged(session: Option<&Session>) -> BTreeMap<Bytes, u32> {
    let mut counts = BTreeMap::new();
    if let Some(session) = session {
        let in_flight = session.in_flight.iter().filter_map(|message| message.shared.as_ref());
        for text in session.assigned.keys().map(|(_, text)| text).chain(in_flight) {
            *counts.entry(text.clone()).or_insert(0) += 1;
        }
    }
    counts
}

/// Calls `visit` with the text of each filter whose subscription is not the same in both, and with the subscriptions.
fn for_each_difference(
    old: Option<&Session>,
    new: Option<&Session>,
    mut visit: impl FnMut(&Bytes, Option<&SubscriptionRow>, Option<&SubscriptionRow>),
) {
    let none = OrdMap::new();
    let old = old.map_or(&none, |session| &session.subscriptions);
    let new = new.map_or(&none, |session| &session.subscriptions);
    if old.ptr_eq(new) {
        return;
    }
    for difference in old.diff(new) {
        match difference {
            DiffItem::Add(filter, new) => visit(filter, None, Some(new)),
            DiffItem::Update {
                old: (filter, old),
                new: (_, new),
            } => visit(filter, Some(old), Some(new)),
            DiffItem::Remove(filter, old) => visit(filter, Some(old), None),
        }
    }
}

/// Positions that the new session holds and the old one does not, and the other way round; several times if they are held
/// several times.
fn held_differences(old: Option<&Session>, new: Option<&Session>) -> (Vec<MessagePosition>, Vec<MessagePosition>) {
    let in_flight = |session: Option<&Session>| -> Vec<MessagePosition> {
        let messages = session.into_iter().flat_map(|session| &session.in_flight);
        // Of what was received only the identifier is needed.
        let held = messages.filter(|message| !message.received);
        held.map(|message: &InFlight| message.position).collect()
    };
    let assigned = |session: Option<&Session>| -> Vec<MessagePosition> {
        let messages = session.into_iter().flat_map(|session| session.assigned.keys());
        messages.map(|(position, _)| *position).collect()
    };
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (old, new) in [(in_flight(old), in_flight(new)), (assigned(old), assigned(new))] {
        // Both keep their order and mostly grow at the end: what is not met on one walk counts as new, and what it passed
        // over as gone. That is right in any order, and short in this one.
        let mut rest = new.into_iter().peekable();
        for position in old {
            if rest.next_if_eq(&position).is_none() {
                removed.push(position);
            }
        }
        added.extend(rest);
    }
    (added, removed)
}

/// The filter that a session waits for with this subscription, and what of it.
pub(super) fn waits_for(row: &SubscriptionRow) -> Option<(&TopicFilter, Wants)> {
    let subscription = &row.subscription;
    match &subscription.filter {
        SubscriptionFilter::Plain(filter) if subscription.options.qos > 0 => {
            let wants = if subscription.latest {
                Wants::Latest
            } else {
                Wants::Every
            };
            Some((filter, wants))
        }
        SubscriptionFilter::Plain(_) | SubscriptionFilter::Shared(_) => None,
    }
}

impl Interest {
    fn replace_subscription(&mut self, old: Option<&SubscriptionRow>, new: Option<&SubscriptionRow>) {
        let (old, new) = (old.and_then(waits_for), new.and_then(waits_for));
        if old == new {
            return;
        }
        if let Some((filter, wants)) = new {
            self.subscribe(filter, wants);
        }
        if let Some((filter, wants)) = old {
            self.unsubscribe(filter, wants);
        }
    }
}
