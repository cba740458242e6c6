//! Sessions: which connection of a client is in force, and what its end brings.
//!
//! Which messages a session is owed is not decided here, only what changes topics: commands of connections that are not in
//! force any more, messages that come twice under one packet identifier, and wills.

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::command::{BatchId, Condition, Connect, Delete, Disconnect, Event, Operation, Put, Sender, Will};
use banyan_core::limits;
use bytes::Bytes;

use super::{Outcome, Replay};
use crate::history::Serial;

/// Session Expiry Interval of a session that never ends.
const NEVER: u32 = u32::MAX;

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStep {
    /// Log index of the entry.
    pub index: u64,
    /// Revision of the state just before.
    pub revision_before: u64,
    /// Client identifier.
    pub client_id: String,
    /// What happened.
    pub what: SessionWhat,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionWhat {
    /// Its client connected.
    Connected {
        /// The connection.
        fence: u64,
        /// The node that holds it.
        node: u64,
        /// Whether there was a session that goes on.
        session_present: bool,
        /// Session Expiry Interval, seconds.
        expiry_s: u32,
        /// What stands in the payload of its will.
        will: Option<Serial>,
    },
    /// A message was put in flight: only then is it sent.
    Sent {
        /// By which connection.
        fence: u64,
        /// The revision of the message.
        revision: u64,
    },
    /// Its connection ended.
    Disconnected {
        /// The connection.
        fence: u64,
    },
    /// It ended, with all it had.
    Ended,
    /// It subscribed.
    Subscribed {
        /// The whole filter, `$share` included.
        filter: String,
        /// Greatest QoS of its messages.
        qos: u8,
    },
    /// It took a subscription back.
    Unsubscribed {
        /// The whole filter.
        filter: String,
    },
    /// A will was published.
    Will {
        /// What stands in the payload.
        serial: Option<Serial>,
    },
}

/// What the end of the log leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// A connection that no entry has ended.
    Connected {
        /// Client identifier.
        client_id: String,
        /// The node that held it.
        node: u64,
    },
    /// A will that was not published.
    Will {
        /// Client identifier.
        client_id: String,
    },
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    fence: u64,
    node: u64,
    incarnation: u64,
    /// A command of it came too late: nothing more is taken from it but its end.
    is_late: bool,
}

/// A client that is connected, or may come back to what it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    connection: Option<Connection>,
    expiry_s: u32,
    disconnected_at_us: Option<u64>,
    will: Option<Will>,
    will_due_us: Option<u64>,
    filters: BTreeSet<String>,
    received: BTreeSet<u16>,
}

impl Session {
    fn expires_at_us(&self) -> Option<u64> {
        let since = self.disconnected_at_us?;
        (self.expiry_s != NEVER).then(|| since.saturating_add(u64::from(self.expiry_s) * 1_000_000))
    }

    fn due_us(&self) -> Option<u64> {
        self.will_due_us.into_iter().chain(self.expires_at_us()).min()
    }

    /// What it counts for in the leader's housekeeping.
    fn rows(&self) -> u32 {
        1 + u32::try_from(self.filters.len()).unwrap_or(u32::MAX - 1)
    }
}

/// All sessions by client identifier, and the fence given last.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    by_client: BTreeMap<Bytes, Session>,
    fence: u64,
}

impl Sessions {
    fn client_of(&self, fence: u64) -> Option<&Bytes> {
        let mut sessions = self.by_client.iter();
        let found =
            sessions.find(|(_, session)| session.connection.is_some_and(|connection| connection.fence == fence));
        found.map(|(client, _)| client)
    }

    fn is_late(&self, client: &Bytes) -> bool {
        let session = self.by_client.get(client);
        session
            .and_then(|session| session.connection)
            .is_some_and(|connection| connection.is_late)
    }

    /// A command of that connection came too late: what follows must not overtake it.
    pub(super) fn take_no_more(&mut self, fence: u64) {
        if let Some(client) = self.client_of(fence).cloned()
            && let Some(session) = self.by_client.get_mut(&client)
            && let Some(connection) = &mut session.connection
        {
            connection.is_late = true;
        }
    }

    /// Whether the node holds a connection.
    pub(super) fn has_connections_of(&self, node: u64) -> bool {
        self.oldest_of(node).is_some()
    }

    /// The oldest connection of a node.
    fn oldest_of(&self, node: u64) -> Option<(Connection, Bytes)> {
        let connections = self
            .by_client
            .iter()
            .filter_map(|(client, session)| Some((session.connection?, client.clone())));
        connections
            .filter(|(connection, _)| connection.node == node)
            .min_by_key(|(connection, _)| connection.fence)
    }
}

impl Replay {
    /// A write or an event of a connection, if it came by one.
    pub(super) fn received(
        &mut self,
        index: u64,
        sender: Option<Sender>,
        operation: Operation,
    ) -> (Outcome, Option<u64>) {
        let Some(sender) = sender else {
            return self.operation(index, operation);
        };
        let Some(client) = self.sessions.client_of(sender.fence).cloned() else {
            return (Outcome::Fenced, None);
        };
        if self.sessions.is_late(&client) {
            return (Outcome::TooLate, None);
        }
        let Some(packet_id) = sender.packet_id else {
            return self.operation(index, operation);
        };
        if self.sessions.by_client[&client].received.contains(&packet_id) {
            return (Outcome::Duplicate, None);
        }
        let (outcome, timestamp_us) = self.operation(index, operation);
        // A refusal frees the identifier.
        if !matches!(outcome, Outcome::ConditionFailed { .. } | Outcome::TimestampAhead)
            && let Some(session) = self.sessions.by_client.get_mut(&client)
        {
            session.received.insert(packet_id);
        }
        (outcome, timestamp_us)
    }

    /// What sessions ask for.
    pub(super) fn session_operation(
        &mut self,
        index: u64,
        batch: BatchId,
        sender: Option<Sender>,
        operation: Operation,
    ) {
        match (sender, operation) {
            (None, Operation::Connect(connect)) => self.connect(index, batch, connect),
            (None, Operation::Kick(kick)) => self.end_session(index, &kick.client_id),
            (Some(sender), operation) => {
                if let Some(client) = self.sessions.client_of(sender.fence).cloned()
                    && (matches!(operation, Operation::Disconnect(_)) || !self.sessions.is_late(&client))
                {
                    self.session_command(index, sender.fence, &client, operation);
                }
            }
            (None, _) => {}
        }
    }

    fn session_command(&mut self, index: u64, fence: u64, client: &Bytes, operation: Operation) {
        let Some(session) = self.sessions.by_client.get_mut(client) else {
            return;
        };
        match operation {
            Operation::Disconnect(Disconnect {
                expiry_s,
                publishes_will,
            }) => {
                if session.expiry_s > 0 {
                    session.expiry_s = expiry_s.unwrap_or(session.expiry_s);
                }
                if !publishes_will {
                    session.will = None;
                }
                self.end_connection(index, client);
            }
            Operation::Release(release) => drop(session.received.remove(&release.packet_id)),
            Operation::Subscribe(subscribe) => {
                for one in subscribe.subscriptions {
                    let filter = one.filter.as_str().to_owned();
                    session.filters.insert(filter.clone());
                    self.session_steps.push(SessionStep {
                        index,
                        revision_before: self.revision,
                        client_id: text(client),
                        what: SessionWhat::Subscribed {
                            filter,
                            qos: one.options.qos,
                        },
                    });
                }
            }
            Operation::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters {
                    let filter = filter.as_str().to_owned();
                    session.filters.remove(&filter);
                    self.session_steps.push(SessionStep {
                        index,
                        revision_before: self.revision,
                        client_id: text(client),
                        what: SessionWhat::Unsubscribed { filter },
                    });
                }
            }
            Operation::Progress(progress) => {
                for one in progress.sent {
                    let revision = one.position.revision;
                    self.step(index, client, SessionWhat::Sent { fence, revision });
                }
            }
            _ => {}
        }
    }

    fn connect(&mut self, index: u64, batch: BatchId, connect: Connect) {
        self.sessions.fence += 1;
        let fence = self.sessions.fence;
        let client = connect.client_id;
        let now_us = self.log_time_us;
        let resumed = self.sessions.by_client.get(&client).is_some_and(|former| {
            let is_there = match former.connection {
                Some(_) => former.expiry_s > 0,
                None => former.expires_at_us().is_none_or(|at| at > now_us),
            };
            is_there && !connect.clean_start
        });
        if resumed {
            // The will waits for its delay, and is forgotten with a client that comes back before.
            let former = self.sessions.by_client.get_mut(&client);
            let due = former.and_then(|former| {
                let will = former.will.take()?;
                let is_due = match former.will_due_us {
                    Some(due_us) => due_us <= now_us,
                    None => will.delay_s == 0,
                };
                is_due.then_some(will)
            });
            if let Some(will) = due {
                self.publish_will(index, &client, will);
            }
        } else {
            self.end_session(index, &client);
        }
        let session = self.sessions.by_client.entry(client.clone()).or_default();
        session.connection = Some(Connection {
            fence,
            node: batch.node_id,
            incarnation: batch.incarnation,
            is_late: false,
        });
        session.expiry_s = connect.expiry_s;
        session.disconnected_at_us = None;
        session.will_due_us = None;
        let will = connect.will.as_ref().and_then(|will| Serial::of_payload(&will.payload));
        session.will = connect.will;
        let what = SessionWhat::Connected {
            fence,
            node: batch.node_id,
            session_present: resumed,
            expiry_s: connect.expiry_s,
            will,
        };
        self.step(index, &client, what);
    }

    /// The connection is gone; the session with it, or it begins to expire. The will goes out, or its delay begins.
    fn end_connection(&mut self, index: u64, client: &Bytes) {
        let now_us = self.log_time_us;
        let Some(session) = self.sessions.by_client.get_mut(client) else {
            return;
        };
        if session.expiry_s == 0 {
            return self.end_session(index, client);
        }
        let ended = session.connection.take();
        session.disconnected_at_us = Some(now_us);
        let will = match &session.will {
            Some(will) if will.delay_s > 0 => {
                let delay_s = will.delay_s.min(session.expiry_s);
                session.will_due_us = Some(now_us.saturating_add(u64::from(delay_s) * 1_000_000));
                None
            }
            _ => session.will.take(),
        };
        if let Some(Connection { fence, .. }) = ended {
            self.step(index, client, SessionWhat::Disconnected { fence });
        }
        if let Some(will) = will {
            self.publish_will(index, client, will);
        }
    }

    fn end_session(&mut self, index: u64, client: &Bytes) {
        let Some(session) = self.sessions.by_client.remove(client) else {
            return;
        };
        if let Some(Connection { fence, .. }) = session.connection {
            self.step(index, client, SessionWhat::Disconnected { fence });
        }
        self.step(index, client, SessionWhat::Ended);
        if let Some(will) = session.will {
            self.publish_will(index, client, will);
        }
    }

    fn publish_will(&mut self, index: u64, client: &Bytes, will: Will) {
        let serial = Serial::of_payload(&will.payload);
        self.step(index, client, SessionWhat::Will { serial });
        let publisher = client.clone();
        let operation = if !will.retain {
            Operation::Event(Event {
                topic: will.topic,
                payload: will.payload,
                metadata: will.metadata,
                publisher,
                qos: will.qos,
                expiry_s: will.expiry_s,
            })
        } else if will.payload.is_empty() {
            Operation::Delete(Delete {
                topic: will.topic,
                publisher,
                timestamp_us: None,
                condition: Condition::None,
                metadata: will.metadata,
                qos: will.qos,
            })
        } else {
            Operation::Put(Put {
                topic: will.topic,
                payload: will.payload,
                metadata: will.metadata,
                publisher,
                timestamp_us: None,
                expiry_s: will.expiry_s,
                condition: Condition::None,
                qos: will.qos,
            })
        };
        self.operation(index, operation);
    }

    /// Ends connections that a node's former lives have left, oldest first; returns how many rows more may be touched.
    pub(super) fn end_former_life(&mut self, index: u64, node: u64, mut limit: u32) -> u32 {
        let incarnation = self.origins.get(&node).map(|row| row.incarnation);
        while limit > 0
            && let Some((connection, client)) = self.sessions.oldest_of(node)
            && Some(connection.incarnation) != incarnation
        {
            limit = limit.saturating_sub(self.sessions.by_client[&client].rows());
            self.end_connection(index, &client);
        }
        limit
    }

    /// Ends connections of a node up to a fence, oldest first.
    pub(super) fn lose_node(&mut self, index: u64, node: u64, through_fence: u64, limit: u32) {
        let mut limit = limit.min(limits::SESSION_CHUNK_MAX);
        while limit > 0
            && let Some((connection, client)) = self.sessions.oldest_of(node)
            && connection.fence <= through_fence
        {
            limit = limit.saturating_sub(self.sessions.by_client[&client].rows());
            self.end_connection(index, &client);
        }
    }

    /// Wills whose delay has passed, and sessions that have expired, earliest first.
    pub(super) fn end_due(&mut self, index: u64, limit: u32) {
        let mut limit = limit.min(limits::SESSION_CHUNK_MAX);
        let nodes: Vec<u64> = self.origins.keys().copied().collect();
        for node in nodes {
            limit = self.end_former_life(index, node, limit);
        }
        while limit > 0 {
            let sessions = self.sessions.by_client.iter();
            let due = sessions.filter_map(|(client, session)| Some((session.due_us()?, client.clone())));
            let Some((_, client)) = due.min().filter(|(due_us, _)| *due_us <= self.log_time_us) else {
                return;
            };
            let now_us = self.log_time_us;
            let Some(session) = self.sessions.by_client.get_mut(&client) else {
                return;
            };
            limit = limit.saturating_sub(session.rows());
            if session.expires_at_us().is_some_and(|at| at <= now_us) {
                self.end_session(index, &client);
                continue;
            }
            session.will_due_us = None;
            if let Some(will) = session.will.take() {
                self.publish_will(index, &client, will);
            }
        }
    }

    /// What should not be there in the end: clients with a connection in force, and those whose wills were due before `us`.
    pub(crate) fn unfinished(&self, us: u64) -> Vec<Unfinished> {
        let sessions = self.sessions.by_client.iter();
        let unfinished = sessions.flat_map(|(client, session)| {
            let connection = session.connection.map(|connection| Unfinished::Connected {
                client_id: text(client),
                node: connection.node,
            });
            let will = session.will_due_us.filter(|at| *at < us && session.will.is_some());
            let will = will.map(|_| Unfinished::Will {
                client_id: text(client),
            });
            connection.into_iter().chain(will)
        });
        unfinished.collect()
    }

    fn step(&mut self, index: u64, client: &Bytes, what: SessionWhat) {
        self.session_steps.push(SessionStep {
            index,
            revision_before: self.revision,
            client_id: text(client),
            what,
        });
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
