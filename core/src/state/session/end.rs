//! A connection ends, or the session with it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::CloseReason;
use super::connect::closed;
use crate::command::{Disconnect, Kick};
use crate::keyspace::Session;
use crate::keyspace::session::seconds_after;
use crate::planted::{Bug, planted};
use crate::state::{Applied, ApplyError, Outcome, State};

impl State {
    /// The connection of a client has ended, as its node says.
    pub(in crate::state) fn disconnect(
        &mut self,
        client_id: &Bytes,
        disconnect: Disconnect,
        applied: &mut Applied,
    ) -> Result<Outcome, ApplyError> {
        let Some(old) = self.sessions.get(client_id) else {
            return Ok(Outcome::Fenced);
        };
        let mut session = Session::clone(&old);
        // A session that was to end with its connection cannot be kept after all [MQTT-3.14.2-2].
        if let Some(expiry_s) = disconnect.expiry_s
            && session.expiry_s > 0
        {
            session.expiry_s = expiry_s;
        }
        if session.has_will && !disconnect.publishes_will && !planted(Bug::P23) {
            self.take_will(client_id)?;
            session.has_will = false;
        }
        self.end_connection(&old, session, applied)?;
        Ok(Outcome::SessionChanged)
    }

    /// Ends a session, connected or not.
    pub(in crate::state) fn kick(&mut self, kick: &Kick, applied: &mut Applied) -> Result<Outcome, ApplyError> {
        let Some(session) = self.sessions.get(&kick.client_id) else {
            return Ok(Outcome::NotFound);
        };
        applied.closed.extend(closed(&session, CloseReason::Kicked));
        self.end_session(&session, applied)?;
        Ok(Outcome::SessionChanged)
    }

    /// From now on takes nothing from a connection but its end; without effect if it is not in force.
    pub(in crate::state) fn take_no_more(&mut self, fence: u64, applied: &mut Applied) -> Result<(), ApplyError> {
        let Some(old) = self
            .sessions
            .client_of(fence)
            .and_then(|client_id| self.sessions.get(client_id))
        else {
            return Ok(());
        };
        let mut session = Session::clone(&old);
        if let Some(connection) = session.connection.as_mut().filter(|connection| !connection.is_late) {
            connection.is_late = true;
            applied.closed.extend(closed(&old, CloseReason::TooLate));
            self.replace_session(Some(&old), Some(session))?;
        }
        Ok(())
    }

    /// Ends a connection that its node has not ended.
    pub(super) fn close_connection(
        &mut self,
        session: &Session,
        reason: CloseReason,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        applied.closed.extend(closed(session, reason));
        self.end_connection(session, session.clone(), applied)
    }

    /// The connection of `session` has ended; `old` is how the session was before. The session goes with it, or begins to
    /// expire; the will goes out, or its delay begins.
    fn end_connection(&mut self, old: &Session, session: Session, applied: &mut Applied) -> Result<(), ApplyError> {
        if session.expiry_s == 0 {
            // With its will or without: as of now.
            return self.end_session_as(old, session.has_will, applied);
        }
        let now_us = self.position.log_time_us;
        let mut session = Session {
            connection: None,
            disconnected_at_us: Some(now_us),
            assigned: BTreeMap::new(),
            ..session
        };
        // They go to other members of their groups.
        session
            .in_flight
            .retain(|message| message.shared.is_none() || message.qos == 2);
        let mut published = None;
        if session.has_will {
            let will = self.will(&session.client_id)?;
            if will.delay_s == 0 {
                published = Some(self.take_will(&session.client_id)?);
                session.has_will = false;
            } else {
                session.will_due_us = Some(seconds_after(now_us, will.delay_s.min(session.expiry_s)));
            }
        }
        let client_id = session.client_id.clone();
        self.replace_session(Some(old), Some(session))?;
        match published {
            Some(will) => self.publish_will(client_id, will, applied),
            None => Ok(()),
        }
    }

    /// Ends a session with everything that belongs to it; a will that is left is published [MQTT-3.1.2-8].
    pub(super) fn end_session(&mut self, session: &Session, applied: &mut Applied) -> Result<(), ApplyError> {
        self.end_session_as(session, session.has_will, applied)
    }

    fn end_session_as(&mut self, session: &Session, has_will: bool, applied: &mut Applied) -> Result<(), ApplyError> {
        let will = if has_will {
            Some(self.take_will(&session.client_id)?)
        } else {
            None
        };
        self.replace_session(Some(session), None)?;
        match will {
            Some(will) => self.publish_will(session.client_id.clone(), will, applied),
            None => Ok(()),
        }
    }
}
