//! The leader's housekeeping: time has passed, or a node is gone.

use std::sync::Arc;

use super::CloseReason;
use crate::keyspace::Session;
use crate::limits::SESSION_CHUNK_MAX;
use crate::state::{Applied, ApplyError, State};

impl State {
    /// When there is something to do for an [`EndDue`](crate::command::Item::EndDue), microseconds of log time; it may have
    /// passed.
    #[must_use]
    pub fn next_due_us(&self) -> Option<u64> {
        let due_us = self.sessions.first_due().map(|(due_us, _)| due_us);
        match self
            .origins
            .keys()
            .any(|node_id| self.stale_session(*node_id).is_some())
        {
            true => Some(0),
            false => due_us,
        }
    }

    /// Publishes wills whose delay has passed and ends sessions that have expired, up to `limit`, earliest first; before
    /// them, ends what is left of the connections of nodes' former lives. A session with many subscriptions counts for more.
    pub(in crate::state) fn end_due(&mut self, limit: u32, applied: &mut Applied) -> Result<(), ApplyError> {
        let mut left = limit.min(SESSION_CHUNK_MAX);
        let nodes: Vec<u64> = self.origins.keys().copied().collect();
        for node_id in nodes {
            left = self.end_former_life(node_id, left, applied)?;
        }
        let now_us = self.position.log_time_us;
        while left > 0 {
            let due = self.sessions.first_due().filter(|(due_us, _)| *due_us <= now_us);
            let Some(session) = due.and_then(|(_, client_id)| self.sessions.get(client_id)) else {
                break;
            };
            left = left.saturating_sub(cost(&session));
            if session
                .expires_at_us()
                .is_some_and(|expires_at_us| expires_at_us <= now_us)
            {
                self.end_session(&session, applied)?;
            } else {
                let will = self.take_will(&session.client_id)?;
                let without_will = Session {
                    has_will: false,
                    will_due_us: None,
                    ..Session::clone(&session)
                };
                self.replace_session(Some(&session), Some(without_will))?;
                self.publish_will(session.client_id.clone(), will, applied)?;
            }
        }
        Ok(())
    }

    /// Ends the connections of a node up to a fence, up to `limit`, oldest first.
    pub(in crate::state) fn lose_node(
        &mut self,
        node_id: u64,
        through_fence: u64,
        limit: u32,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let mut left = limit.min(SESSION_CHUNK_MAX);
        while left > 0 {
            let Some(session) = self
                .oldest_connection(node_id)
                .filter(|(fence, _)| *fence <= through_fence)
            else {
                break;
            };
            left = left.saturating_sub(cost(&session.1));
            self.close_connection(&session.1, CloseReason::NodeLost, applied)?;
        }
        Ok(())
    }

    /// Ends connections of a node that are not of its present life, up to `limit`; returns how many more it may be. Nothing
    /// comes from those connections any more, since the batches of that life are refused.
    pub(in crate::state) fn end_former_life(
        &mut self,
        node_id: u64,
        limit: u32,
        applied: &mut Applied,
    ) -> Result<u32, ApplyError> {
        let mut left = limit;
        while left > 0 {
            let Some(session) = self.stale_session(node_id) else {
                break;
            };
            left = left.saturating_sub(cost(&session));
            self.close_connection(&session, CloseReason::NodeLost, applied)?;
        }
        Ok(left)
    }

    /// A session whose connection is of a former life of the node. Fences grow with lives, so it is the oldest if any is.
    fn stale_session(&self, node_id: u64) -> Option<Arc<Session>> {
        let (_, session) = self.oldest_connection(node_id)?;
        let incarnation = self.origins.get(&node_id)?.incarnation;
        let connection = session.connection?;
        (connection.incarnation != incarnation).then_some(session)
    }

    fn oldest_connection(&self, node_id: u64) -> Option<(u64, Arc<Session>)> {
        let fence = self.sessions.fences_of(node_id).next()?;
        let session = self.sessions.get(self.sessions.client_of(fence)?)?;
        Some((fence, session))
    }

    /// Nodes that hold connections, with the greatest fence of each: what a
    /// [`LoseNode`](crate::command::Item::LoseNode) that is decided now may end.
    #[must_use]
    pub fn holders(&self) -> Vec<(u64, u64)> {
        let nodes = self.origins.keys();
        nodes
            .filter_map(|node_id| Some((*node_id, self.sessions.fences_of(*node_id).next_back()?)))
            .collect()
    }

    /// The fence given last; 0 before the first.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.position.fence
    }
}

/// What ending a session or its connection costs, in rows.
fn cost(session: &Session) -> u32 {
    u32::try_from(session.subscriptions.len()).map_or(u32::MAX, |count| count.saturating_add(1))
}
