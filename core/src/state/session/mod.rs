//! Sessions: who is connected where, subscribed to what, and how far along.

mod closed;
mod row;

pub use closed::{Assigned, CloseReason, Closed};
pub use row::{InFlight, LiveConnection, Session, SubscriptionRow};

use bytes::Bytes;
use std::sync::Arc;

use super::State;
use crate::keyspace::MessagePosition;

impl State {
    /// A message of a shared subscription is the session's now.
    pub(super) fn session_assigned(&mut self, client_id: &Bytes, message: (MessagePosition, Bytes), qos: u8) {
        if let Some(session) = self.sessions.get_mut(client_id) {
            Arc::make_mut(session).assigned.insert(message, qos);
        }
    }
}
