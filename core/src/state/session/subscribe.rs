//! Subscriptions.

use bytes::Bytes;

use super::replace::waits_for;
use crate::command::{SessionSubscription, Subscribe, Unsubscribe};
use crate::keyspace::subscription::subscription_key;
use crate::keyspace::{MessagePosition, Session, SubscriptionRow};
use crate::state::{ApplyError, Outcome, State};

impl State {
    /// Adds subscriptions, or replaces those with the same filter: for these, no message is lost [MQTT-3.8.4-4].
    pub(in crate::state) fn subscribe(
        &mut self,
        client_id: &Bytes,
        subscribe: &Subscribe,
    ) -> Result<Outcome, ApplyError> {
        let revision = self.position.revision;
        self.change_session(client_id, Outcome::Subscribed { revision }, |session| {
            let waited = session.waits;
            for subscription in &subscribe.subscriptions {
                add_subscription(session, subscription, revision)?;
            }
            session.waits = session.subscriptions.values().any(|row| waits_for(row).is_some());
            if session.waits && !waited {
                // Nothing up to now was for it: it must not hold back what is older.
                session.cursor = session.cursor.max(MessagePosition::end_of(revision));
            }
            Ok(())
        })
    }

    /// Takes subscriptions away. Messages that are in flight stay so (§3.10.4).
    pub(in crate::state) fn unsubscribe(
        &mut self,
        client_id: &Bytes,
        unsubscribe: &Unsubscribe,
    ) -> Result<Outcome, ApplyError> {
        self.change_session(client_id, Outcome::SessionChanged, |session| {
            for filter in &unsubscribe.filters {
                let filter = filter.as_str().as_bytes();
                session.subscriptions.remove(filter);
                session.assigned.retain(|(_, text), _| text != filter);
            }
            session.waits = session.subscriptions.values().any(|row| waits_for(row).is_some());
            Ok(())
        })
    }

    /// Changes the session of a client whose connection is in force.
    pub(super) fn change_session(
        &mut self,
        client_id: &Bytes,
        outcome: Outcome,
        change: impl FnOnce(&mut Session) -> Result<(), ApplyError>,
    ) -> Result<Outcome, ApplyError> {
        let Some(old) = self.sessions.get(client_id) else {
            return Ok(Outcome::Fenced);
        };
        let mut session = Session::clone(&old);
        change(&mut session)?;
        self.replace_session(Some(&old), Some(session))?;
        Ok(outcome)
    }
}

fn add_subscription(
    session: &mut Session,
    subscription: &SessionSubscription,
    revision: u64,
) -> Result<(), ApplyError> {
    let filter = subscription.filter.as_str().as_bytes();
    let since = session
        .subscriptions
        .get(filter)
        .map_or(revision, |former| former.since);
    let row = SubscriptionRow {
        subscription: subscription.clone(),
        since,
    };
    let row = copied(&row)?;
    let key = subscription_key(&session.client_id, filter);
    let text = key.slice(key.len() - filter.len()..);
    session.subscriptions.insert(text, row);
    Ok(())
}

/// A copy of exact size: what is kept must not hold on to the log entry.
pub(super) fn copied(row: &SubscriptionRow) -> Result<SubscriptionRow, ApplyError> {
    Ok(SubscriptionRow::parse(&row.encode())?)
}
