//! One session takes the place of another: rows, digest, and all that follows from them.
//!
//! Every change of a session goes through [`State::replace_session`], which looks at what is different and at nothing else.
//! So what is derived is right after each change, and after opening a store, where sessions take the place of nothing.

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
        let (old_row, new_row) = (old.map(Session::encode), new.as_deref().map(Session::encode));
        if old_row != new_row {
            self.replace_row(session_key(&client_id), old_row, new_row);
        }
        for_each_difference(old, new.as_deref(), |filter, old, new| {
            let (old, new) = (old.map(SubscriptionRow::encode), new.map(SubscriptionRow::encode));
            self.replace_row(subscription_key(&client_id, filter), old, new);
        });
        let let_go = self.index_session(old, new.as_ref());
        let_go.into_iter().try_for_each(|position| self.release(position))
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

    /// Replaces a row in the layer and in the digest.
    pub(super) fn replace_row(&mut self, key: Bytes, old: Option<Bytes>, new: Option<Bytes>) {
        self.position.digest.replace_row(&key, old.as_deref(), new.as_deref());
        match (old, new) {
            (None, Some(new)) => self.layer.put_new(key, new),
            (Some(_), Some(new)) => self.layer.put(key, new),
            (_, None) => self.layer.delete(key),
        }
    }
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
