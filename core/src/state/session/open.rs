//! Sessions of a store that is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::replace::waits_for;
use crate::keyspace::session::session_of_key;
use crate::keyspace::subscription::subscription_of_key;
use crate::keyspace::{FormatError, KeyKind, Session, SubscriptionRow};
use crate::planted::{Bug, planted};
use crate::state::{OpenError, State};
use crate::store::{Direction, ReadView};

impl State {
    /// Takes the sessions over that the rows in `view` tell of.
    pub(in crate::state) fn open_sessions(&mut self, view: &dyn ReadView) -> Result<(), OpenError> {
        let rows_of = |kind: KeyKind| {
            let (lower, upper) = kind.range();
            view.range(&lower, Some(&upper), Direction::Ascending)
        };
        let mut sessions = BTreeMap::new();
        for row in rows_of(KeyKind::Session) {
            let (key, row) = row?;
            let client_id = session_of_key(&key)?;
            let mut session = Session::parse(client_id.clone(), &row)?;
            if planted(Bug::P09) {
                session.inbound.clear();
                session.in_flight.clear();
            }
            sessions.insert(client_id, session);
        }
        for row in rows_of(KeyKind::Subscription) {
            let (key, row) = row?;
            let (client_id, filter) = subscription_of_key(&key)?;
            let row = SubscriptionRow::parse(&row)?;
            let Some(session) = sessions.get_mut(&client_id) else {
                return Err(FormatError::new("subscription", "belongs to no session").into());
            };
            session.waits |= waits_for(&row).is_some();
            session.subscriptions.insert(filter, row);
        }
        for session in sessions.into_values() {
            let let_go = self.index_session(None, Some(&Arc::new(session)));
            debug_assert!(let_go.is_empty(), "nothing was held before");
        }
        Ok(())
    }
}
