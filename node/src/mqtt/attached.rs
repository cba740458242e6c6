//! The outgoing half of a connection, of either kind of session.

use std::collections::BTreeSet;
use std::sync::Arc;

use banyan_core::command::Progress;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::effect::{AckKind, Effect};
use banyan_core::store::StoreError;
use banyan_core::topic::TopicFilter;
use bytes::BytesMut;
use tokio::time::Instant;

use super::live::Live;
use crate::broker::Outbox;
use crate::service::Service;
use crate::session::Driver;
use crate::session::driver::{Node, Step};

/// What sends to the client.
pub(super) enum Attached {
    /// The session ends with the connection: what is in flight is known here alone.
    Clean(Box<Live>),
    /// The session is in the cluster.
    Persistent(Box<Driver>),
}

impl Attached {
    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        match self {
            Self::Clean(live) => live.outbox(),
            Self::Persistent(driver) => driver.outbox(),
        }
    }

    /// Replays that are not finished.
    pub(super) fn replay_count(&self) -> usize {
        match self {
            Self::Clean(live) => live.replay_count(),
            Self::Persistent(driver) => driver.replay_count(),
        }
    }

    /// Names a replay.
    pub(super) fn next_replay(&mut self) -> u64 {
        match self {
            Self::Clean(live) => live.next_replay(),
            Self::Persistent(driver) => driver.next_replay(),
        }
    }

    /// Shared messages that are the session's in the state and being sent.
    pub(super) fn sending(&self) -> BTreeSet<MessagePosition> {
        match self {
            Self::Clean(live) => live.sending(),
            // In flight there too.
            Self::Persistent(_) => BTreeSet::new(),
        }
    }

    /// The next moment at which something is to be done without any other reason.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Clean(live) => live.deadline(),
            Self::Persistent(driver) => driver.deadline(),
        }
    }

    pub(super) fn end_leases(&mut self, now: Instant) {
        match self {
            Self::Clean(live) => live.end_leases(now),
            Self::Persistent(driver) => driver.end_leases(now),
        }
    }

    /// Sends no further retained messages of `filters`.
    pub(super) fn unsubscribe(&mut self, filters: &[TopicFilter]) {
        match self {
            Self::Clean(live) => live.unsubscribe(filters),
            Self::Persistent(driver) => filters.iter().for_each(|filter| driver.unsubscribe(filter)),
        }
    }

    /// The client has acknowledged a message.
    pub(super) fn acknowledge(&mut self, packet_id: u16, kind: AckKind) {
        match self {
            Self::Clean(live) => live.acknowledge(packet_id),
            Self::Persistent(driver) => driver.acknowledge(packet_id, kind),
        }
    }

    /// Moves what may be sent now into `out`.
    pub(super) fn pump(
        &mut self,
        connection: &mut Connection,
        service: &Service,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<Step, StoreError> {
        with_node(service, |node| match self {
            Self::Clean(live) => live.pump(connection, node, out, bytes_target),
            Self::Persistent(driver) => driver.pump(connection, node, out, bytes_target),
        })
    }

    /// What [`pump`](Self::pump) wanted proposed is in the state.
    pub(super) fn committed(
        &mut self,
        connection: &mut Connection,
        service: &Service,
        effects: &mut Vec<Effect>,
        out: &mut BytesMut,
    ) {
        with_node(service, |node| match self {
            Self::Clean(live) => live.committed(connection, node, out),
            Self::Persistent(driver) => driver.committed(connection, node, effects, out),
        });
    }

    /// What the state does not know yet, now that the connection has ended.
    pub(super) fn last_words(&mut self) -> Option<Progress> {
        match self {
            Self::Clean(live) => live.last_words(),
            Self::Persistent(driver) => driver.last_words(),
        }
    }
}

fn with_node<T>(service: &Service, call: impl FnOnce(&Node<'_>) -> T) -> T {
    call(&Node {
        broker: service.broker(),
        log_time_us: &|| service.log_time_us(),
        take_view: &|| service.local_view(),
    })
}
