//! A client connects (§3.1.4).

use bytes::Bytes;

use super::{CloseReason, Closed};
use crate::command::{BatchId, Connect, Will};
use crate::keyspace::session::session_key;
use crate::keyspace::{LiveConnection, MessagePosition, Session};
use crate::planted::{Bug, planted};
use crate::state::{Applied, ApplyError, Outcome, State};

impl State {
    /// Connects a client to the node that sends the batch. An older connection is closed wherever it is; its will is
    /// published unless the session goes on and the will has a delay.
    pub(in crate::state) fn connect(
        &mut self,
        connect: &Connect,
        batch: BatchId,
        applied: &mut Applied,
    ) -> Result<Outcome, ApplyError> {
        self.position.fence += 1;
        let fence = self.position.fence;
        let former = self.sessions.get(&connect.client_id);
        if let Some(former) = &former
            && !planted(Bug::P13)
        {
            applied.closed.extend(closed(former, CloseReason::TakenOver));
        }
        let resumed = former
            .as_ref()
            .filter(|former| !connect.clean_start && self.is_resumable(former));
        let session_present = resumed.is_some();
        let mut due_will = None;
        let mut session = match (resumed, &former) {
            (Some(resumed), _) => {
                due_will = self.settle_will(resumed)?;
                Session::clone(resumed)
            }
            (None, former) => {
                if let Some(former) = former {
                    self.end_session(former, applied)?;
                }
                // A copy, which does not hold on to the log entry.
                let client_id = session_key(&connect.client_id).slice(1..);
                Session::new(client_id, MessagePosition::end_of(self.position.revision))
            }
        };
        session.connection = Some(LiveConnection {
            fence,
            node_id: batch.node_id,
            incarnation: batch.incarnation,
            since_us: self.position.log_time_us,
            is_late: false,
        });
        session.expiry_s = connect.expiry_s;
        session.disconnected_at_us = None;
        session.will_due_us = None;
        session.has_will = connect.will.is_some();
        if let Some(will) = &connect.will {
            self.put_will(&session.client_id, will);
        }
        let former = former.filter(|_| session_present);
        let client_id = session.client_id.clone();
        self.replace_session(former.as_deref(), Some(session))?;
        // Last, since the session may be among those that get it.
        if let Some(will) = due_will {
            self.publish_will(client_id, will, applied)?;
        }
        Ok(Outcome::Connected { fence, session_present })
    }

    /// Whether a client that connects now finds the session: a connection that ends only by being taken over takes a session
    /// without expiry with it, and one that has expired is gone though nobody has looked yet.
    fn is_resumable(&self, session: &Session) -> bool {
        match session.expires_at_us() {
            Some(expires_at_us) => expires_at_us > self.position.log_time_us,
            None => session.expiry_s > 0,
        }
    }

    /// The client has come back: its will is due if the delay has passed or there was none, and is forgotten otherwise
    /// [MQTT-3.1.3-9]. Returns the will if it is to be published.
    fn settle_will(&mut self, session: &Session) -> Result<Option<Will>, ApplyError> {
        if !session.has_will {
            return Ok(None);
        }
        let will = self.take_will(&session.client_id)?;
        let now_us = self.position.log_time_us;
        let is_due = match session.will_due_us {
            Some(due_us) => due_us <= now_us,
            None => will.delay_s == 0,
        };
        Ok(Some(will).filter(|_| is_due || planted(Bug::P23)))
    }
}

/// The connection in force of a session, which is about to be closed.
pub(super) fn closed(session: &Session, reason: CloseReason) -> Option<Closed> {
    let LiveConnection { fence, node_id, .. } = session.connection?;
    Some(Closed {
        node_id,
        fence,
        client_id: Bytes::clone(&session.client_id),
        reason,
    })
}
