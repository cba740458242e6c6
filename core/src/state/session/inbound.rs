//! QoS 2 messages on their way from the client (§4.3.3).

use bytes::Bytes;

use crate::command::{Operation, Release};
use crate::keyspace::Session;
use crate::planted::{Bug, planted};
use crate::state::{Applied, ApplyError, Outcome, State};

impl State {
    /// Publishes a message under a packet identifier, once: until the identifier is released, the same one is the same
    /// message. What is refused leaves it free, since the client gets a failure for it and ends there [MQTT-4.3.3-9].
    pub(in crate::state) fn receive(
        &mut self,
        client_id: &Bytes,
        packet_id: u16,
        operation: Operation,
        applied: &mut Applied,
    ) -> Result<Outcome, ApplyError> {
        let session = self.sessions.get(client_id);
        if session.is_some_and(|session| session.inbound.contains(&packet_id)) {
            return Ok(Outcome::Duplicate);
        }
        let outcome = self.write(operation, applied)?;
        match outcome {
            Outcome::ConditionFailed { .. } | Outcome::TimestampAhead { .. } => Ok(outcome),
            _ if planted(Bug::P11) => Ok(outcome),
            _ => self.change_session(client_id, outcome, |session| {
                session.inbound.insert(packet_id);
                Ok(())
            }),
        }
    }

    /// Frees an identifier.
    pub(in crate::state) fn release_inbound(
        &mut self,
        client_id: &Bytes,
        release: Release,
    ) -> Result<Outcome, ApplyError> {
        let Some(old) = self.sessions.get(client_id) else {
            return Ok(Outcome::Fenced);
        };
        let mut session = Session::clone(&old);
        let known = session.inbound.remove(&release.packet_id);
        if known {
            self.replace_session(Some(&old), Some(session))?;
        }
        Ok(Outcome::Released { known })
    }
}
