//! What a session that ends with its connection is sent: as it comes, in flight here alone.
//!
//! The cluster knows of its shared messages only: one of QoS 1 is settled when it is acknowledged, so that another member gets
//! it if this one is lost; one of QoS 2 before it is sent, so that no other member ever gets it too [MQTT-4.8.2-5].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::Progress;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::deliver::DeliverResult;
use banyan_core::mqtt::packet::QoS;
use banyan_core::store::StoreError;
use banyan_core::topic::TopicFilter;
use bytes::BytesMut;
use tokio::time::Instant;

use super::replay::{Progress as ReplayProgress, Replay};
use crate::broker::{Delivery, Item, Outbox};
use crate::session::driver::{Node, Step};
use crate::session::pace::ReplayPace;

/// How long the cluster may not know that a shared message is settled.
const SETTLE_DELAY: Duration = Duration::from_millis(100);

/// Messages under reserved packet identifiers.
type Reserved = Vec<(Delivery, u16)>;

/// The outgoing half of a connection whose session ends with it.
pub(super) struct Live {
    outbox: Arc<Outbox>,
    /// Replays whose place in the outbox has not come yet.
    replays: BTreeMap<u64, Box<Replay>>,
    replay_number: u64,
    /// The replay that is being sent; the outbox waits.
    replaying: Option<Box<Replay>>,
    pace: ReplayPace,
    /// Shared messages in flight, by packet identifier.
    shared: BTreeMap<u16, MessagePosition>,
    /// Shared messages that the cluster does not know to be settled, and since when.
    settled: Vec<MessagePosition>,
    settled_at: Option<Instant>,
    /// What the `Progress` under way settles, and shared messages of QoS 2 to be sent once it is committed.
    under_way: Option<(Vec<MessagePosition>, Reserved)>,
    /// Shared messages of QoS 2 for the next one.
    reserved: Reserved,
}

impl Live {
    /// Retained messages go at `pace`.
    pub(super) fn new(outbox: Arc<Outbox>, pace: ReplayPace) -> Self {
        Self {
            outbox,
            replays: BTreeMap::new(),
            replay_number: 0,
            replaying: None,
            pace,
            shared: BTreeMap::new(),
            settled: Vec::new(),
            settled_at: None,
            under_way: None,
            reserved: Vec::new(),
        }
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    pub(super) fn replay_count(&self) -> usize {
        self.replays.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let settle = self.settled_at.filter(|_| self.under_way.is_none());
        let leases = self
            .replays
            .values()
            .chain(&self.replaying)
            .filter_map(|replay| replay.lease_end());
        leases
            .chain(settle.map(|at| at + SETTLE_DELAY))
            .chain(self.pace.deadline())
            .min()
    }

    pub(super) fn end_leases(&mut self, now: Instant) {
        self.all_replays().for_each(|replay| replay.end_lease(now));
    }

    pub(super) fn unsubscribe(&mut self, filters: &[TopicFilter]) {
        self.all_replays().for_each(|replay| replay.unsubscribe(filters));
    }

    /// Names a replay.
    pub(super) fn next_replay(&mut self) -> u64 {
        self.replay_number += 1;
        self.replay_number
    }

    /// Replays `retained` at its place `replay`.
    pub(super) fn replay(&mut self, replay: u64, retained: Replay) {
        self.replays.insert(replay, Box::new(retained));
    }

    fn all_replays(&mut self) -> impl Iterator<Item = &mut Replay> {
        let all = self.replays.values_mut().chain(&mut self.replaying);
        all.map(|replay| &mut **replay)
    }

    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        if let Some(position) = self.shared.remove(&packet_id) {
            self.settle(position);
        }
    }

    /// Shared messages that are sent or about to be, and that the cluster does not know to be settled.
    pub(super) fn sending(&self) -> BTreeSet<MessagePosition> {
        let settling = self.under_way.iter().flat_map(|(settling, _)| settling);
        self.shared
            .values()
            .chain(&self.settled)
            .chain(settling)
            .copied()
            .collect()
    }

    fn settle(&mut self, position: MessagePosition) {
        self.settled.push(position);
        self.settled_at.get_or_insert_with(Instant::now);
    }

    /// What the cluster does not know to be settled, when the connection has ended.
    pub(super) fn last_words(&mut self) -> Option<Progress> {
        self.settled_at.take()?;
        Some(Progress {
            settled: std::mem::take(&mut self.settled),
            ..Progress::default()
        })
    }

    pub(super) fn pump(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<Step, StoreError> {
        self.pace.rest();
        let mut step = Step {
            yields: self.send(connection, node, out, bytes_target)?,
            ..Step::default()
        };
        let is_due = self.settled_at.is_some_and(|at| Instant::now() >= at + SETTLE_DELAY);
        if self.under_way.is_none() && (is_due || !self.reserved.is_empty()) {
            self.settled_at = None;
            let settled = std::mem::take(&mut self.settled);
            self.under_way = Some((settled.clone(), std::mem::take(&mut self.reserved)));
            step.propose = Some(Progress {
                settled,
                ..Progress::default()
            });
        }
        Ok(step)
    }

    /// The shared messages of QoS 2 are this connection's alone now.
    pub(super) fn committed(&mut self, connection: &mut Connection, node: &Node<'_>, out: &mut BytesMut) {
        let committed = self.under_way.take().map(|(_, committed)| committed);
        for (delivery, packet_id) in committed.into_iter().flatten() {
            let Delivery {
                message,
                qos,
                retain,
                subscription_ids,
                ..
            } = &delivery;
            match message.outgoing(*qos, *retain, subscription_ids, node.log_time_us) {
                Some(outgoing) => drop(connection.deliver_reserved(packet_id, &outgoing, out)),
                None => connection.cancel(packet_id),
            }
        }
    }

    /// Returns whether there is more to read.
    fn send(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<bool, StoreError> {
        loop {
            if let Some(replay) = &mut self.replaying {
                if !self.pace.may_send(Instant::now()) {
                    return Ok(false);
                }
                let before = out.len();
                let progress = replay.pump(connection, node.log_time_us, out, bytes_target)?;
                self.pace.sent(out.len() - before, Instant::now());
                match progress {
                    ReplayProgress::Blocked => return Ok(false),
                    ReplayProgress::Yield => return Ok(true),
                    ReplayProgress::Done => self.replaying = None,
                    ReplayProgress::Expired => self.start_over(node),
                }
                continue;
            }
            if out.len() >= bytes_target {
                return Ok(false);
            }
            match self.outbox.pop(|delivery| connection.can_deliver(delivery.qos)) {
                None => return Ok(false),
                Some(Item::Replay(replay)) => self.replaying = self.replays.remove(&replay),
                Some(Item::Message(delivery)) => self.deliver(delivery, connection, node, out),
            }
        }
    }

    /// The replay being sent goes on with a newer view, at a place of its own.
    fn start_over(&mut self, node: &Node<'_>) {
        if let Some(expired) = self.replaying.take() {
            let replay = self.next_replay();
            // The subscriptions are in place, maybe with newer options.
            let view = node.broker.subscribe(&self.outbox, replay, [], node.take_view);
            self.replays.insert(replay, Box::new(expired.restarted(view)));
        }
    }

    fn deliver(&mut self, delivery: Delivery, connection: &mut Connection, node: &Node<'_>, out: &mut BytesMut) {
        let Delivery {
            message,
            qos,
            retain,
            subscription_ids,
            shared,
        } = &delivery;
        let tracked = message.position().filter(|_| *shared && *qos > QoS::AtMostOnce);
        let outgoing = message.outgoing(*qos, *retain, subscription_ids, node.log_time_us);
        match (outgoing, tracked) {
            (None, position) => position.into_iter().for_each(|position| self.settle(position)),
            (Some(_), Some(position)) if *qos == QoS::ExactlyOnce => {
                let reserved = connection.reserve(*qos);
                self.settle(position);
                self.reserved.extend(reserved.map(|packet_id| (delivery, packet_id)));
            }
            (Some(outgoing), tracked) => {
                let result = connection.deliver(&outgoing, out);
                debug_assert_ne!(
                    result,
                    DeliverResult::WindowFull,
                    "taken although it could not be delivered"
                );
                match (result, tracked) {
                    (
                        DeliverResult::Sent {
                            packet_id: Some(packet_id),
                        },
                        Some(position),
                    ) => {
                        self.shared.insert(packet_id, position);
                    }
                    (_, Some(position)) => self.settle(position),
                    (_, None) => {}
                }
            }
        }
    }
}
