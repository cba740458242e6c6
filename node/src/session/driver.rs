//! One connection of a persistent session: what it is sent is in flight in the replicated state before it leaves.
//!
//! ```text
//! outbox ──► gather ──► Progress{cursor, sent} ──► committed ──► PUBLISH
//! PUBACK, PUBCOMP ──► Progress{done}, with the next one or within 100 ms
//! PUBREC ──► Progress{received} at once ──► committed ──► PUBREL
//! ```
//!
//! One `Progress` is under way at a time: a later one must not move the cursor past what an earlier one, refused, did not put
//! in flight. What arrives meanwhile makes the next one larger. If one fails, the connection ends, and the state says where the
//! next one goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{Progress, ReplayFrom, Sent};
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::deliver::DeliverResult;
use banyan_core::mqtt::connection::effect::{AckKind, Effect};
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::StateView;
use banyan_core::store::StoreError;
use banyan_core::topic::{SubscriptionFilter, TopicFilter};
use bytes::BytesMut;
use tokio::time::Instant;

use super::pace::ReplayPace;
use super::resume::Resend;
use super::retained::{Marker, Next, Retained};
use crate::broker::{Broker, Delivery, Item, Message, Outbox, send_marker};

/// Messages put in flight at a time.
const BATCH_MESSAGES_MAX: usize = 1_024;
/// Bytes of messages put in flight at a time.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// How long an acknowledgement may wait for company.
const ACK_DELAY: Duration = Duration::from_millis(100);

/// What the driver needs to know of its node.
pub struct Node<'a> {
    /// Who fills the outbox.
    pub broker: &'a Broker,
    /// Log time now, microseconds since the epoch.
    pub log_time_us: &'a dyn Fn() -> u64,
    /// Takes a view of the state as applied here.
    pub take_view: &'a dyn Fn() -> StateView,
}

/// What is to be done after [`Driver::pump`].
#[derive(Debug, Default)]
pub struct Step {
    /// Propose this, and answer with [`Driver::committed`].
    pub propose: Option<Progress>,
    /// There is more to read: call again once others have run.
    pub yields: bool,
}

/// What is sent once it is committed.
enum Outgoing {
    Message(Delivery, Option<u16>),
    Retained {
        message: Box<Message>,
        qos: QoS,
        packet_id: Option<u16>,
        subscription_id: Option<u32>,
        reset: bool,
    },
    Marker(Marker, bool),
}

/// The outgoing half of a connection of a persistent session.
pub struct Driver {
    outbox: Arc<Outbox>,
    /// What the former connection had in flight, to be sent again before anything else.
    resends: VecDeque<Resend>,
    /// Replays whose place in the outbox has not come yet.
    replays: BTreeMap<u64, Box<Retained>>,
    replay_number: u64,
    /// The replay that is being sent; the outbox waits.
    replaying: Option<Box<Retained>>,
    pace: ReplayPace,
    /// What the `Progress` under way puts in flight, and whose PUBREL it allows.
    under_way: Option<(Vec<Outgoing>, Vec<u16>)>,
    /// Acknowledgements that the state does not know of, and since when.
    acknowledged: Progress,
    acknowledged_at: Option<Instant>,
}

impl Driver {
    /// A connection that first sends `resends` again. Retained messages go at `pace`.
    #[must_use]
    pub fn new(
        outbox: Arc<Outbox>,
        resends: VecDeque<Resend>,
        replays: BTreeMap<u64, Retained>,
        pace: ReplayPace,
    ) -> Self {
        Self {
            outbox,
            resends,
            replay_number: replays.last_key_value().map_or(0, |(replay, _)| *replay),
            replays: replays
                .into_iter()
                .map(|(replay, retained)| (replay, Box::new(retained)))
                .collect(),
            replaying: None,
            pace,
            under_way: None,
            acknowledged: Progress::default(),
            acknowledged_at: None,
        }
    }

    /// What is to be sent.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Names a replay.
    pub fn next_replay(&mut self) -> u64 {
        self.replay_number += 1;
        self.replay_number
    }

    /// Replays that are not finished.
    #[must_use]
    pub fn replay_count(&self) -> usize {
        self.replays.len() + usize::from(self.replaying.is_some())
    }

    /// The next moment at which [`pump`](Self::pump) has something to do of itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let acks = self.acknowledged_at.filter(|_| self.under_way.is_none());
        let leases = self
            .replays
            .values()
            .chain(&self.replaying)
            .filter_map(|replay| replay.lease_end());
        leases
            .chain(acks.map(|at| at + ACK_DELAY))
            .chain(self.pace.deadline())
            .min()
    }

    /// Gives views up that have not been read for too long.
    pub fn end_leases(&mut self, now: Instant) {
        self.replays
            .values_mut()
            .chain(&mut self.replaying)
            .for_each(|replay| replay.end_lease(now));
    }

    /// Replays `retained` at its place `replay`.
    pub fn replay(&mut self, replay: u64, retained: Retained) {
        self.replays.insert(replay, Box::new(retained));
    }

    /// Sends no further retained messages of `filter`.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        self.replays
            .values_mut()
            .chain(&mut self.replaying)
            .for_each(|replay| replay.unsubscribe(filter));
    }

    /// The client has acknowledged `packet_id`.
    pub fn acknowledge(&mut self, packet_id: u16, kind: AckKind) {
        match kind {
            AckKind::Done => self.acknowledged.done.push(packet_id),
            AckKind::Received => self.acknowledged.received.push(packet_id),
        }
        self.acknowledged_at.get_or_insert_with(Instant::now);
    }

    /// Acknowledgements that the state does not know of, when the connection has ended.
    pub fn last_words(&mut self) -> Option<Progress> {
        self.acknowledged_at.take()?;
        Some(std::mem::take(&mut self.acknowledged))
    }

    /// Whether the state owes an answer.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.under_way.is_some()
    }

    /// Sends again what must be, and gathers what may be put in flight now.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn pump(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<Step, StoreError> {
        let mut step = Step::default();
        self.pace.rest();
        let is_sent_again = self.send_again(connection, node, out, bytes_target)?;
        if self.under_way.is_some() {
            return Ok(step);
        }
        let mut progress = Progress::default();
        let mut batch = Vec::new();
        // What the client acknowledges meanwhile goes to the state all the same: it may be what the window waits for.
        if is_sent_again && out.len() < bytes_target {
            step.yields = self.gather(connection, node, &mut progress, &mut batch)?;
        }
        let is_urgent = !self.acknowledged.received.is_empty()
            || self.acknowledged_at.is_some_and(|at| Instant::now() >= at + ACK_DELAY);
        if is_nothing(&progress) && !is_urgent {
            // Only what is not in the log can be in the batch.
            self.send(batch, connection, node, out);
            if self.resends.is_empty() && self.replay_count() == 0 {
                self.outbox.settle();
            }
            return Ok(step);
        }
        if let Some(Progress {
            done,
            received,
            mut settled,
            ..
        }) = self.last_words()
        {
            (progress.done, progress.received) = (done, received);
            progress.settled.append(&mut settled);
        }
        self.under_way = Some((batch, progress.received.clone()));
        step.propose = Some(progress);
        Ok(step)
    }

    /// The `Progress` under way is in the state: sends what it has put in flight.
    pub fn committed(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        effects: &mut Vec<Effect>,
        out: &mut BytesMut,
    ) {
        let Some((batch, received)) = self.under_way.take() else {
            return;
        };
        self.send(batch, connection, node, out);
        for packet_id in received {
            connection.release(packet_id, effects);
        }
    }

    /// Returns whether everything has been sent again.
    fn send_again(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<bool, StoreError> {
        if self.resends.is_empty() {
            return Ok(true);
        }
        let view = (node.take_view)();
        while let Some(resend) = self.resends.front() {
            if out.len() >= bytes_target {
                return Ok(false);
            }
            let packet_id = resend.packet_id;
            let is_gone = match view.message_at(resend.position)? {
                Some(change) => {
                    let message = Message::of_change(&change, view.log_time_us);
                    let (retain, subscription_ids) = resend.options_for(&message);
                    let outgoing = message.resent(resend.qos, retain, &subscription_ids, (node.log_time_us)());
                    match connection.deliver_reserved(packet_id, &outgoing, out) {
                        // More was in flight than this connection takes at a time.
                        DeliverResult::WindowFull => return Ok(false),
                        result => result == DeliverResult::TooLarge,
                    }
                }
                None => {
                    connection.cancel(packet_id);
                    true
                }
            };
            if is_gone {
                self.acknowledge(packet_id, AckKind::Done);
            }
            self.resends.pop_front();
        }
        Ok(true)
    }

    /// Takes what the client's window has room for; returns whether there is more to read.
    fn gather(
        &mut self,
        connection: &mut Connection,
        node: &Node<'_>,
        progress: &mut Progress,
        batch: &mut Vec<Outgoing>,
    ) -> Result<bool, StoreError> {
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            if let Some(replay) = &mut self.replaying {
                if !self.pace.may_send(Instant::now()) {
                    return Ok(false);
                }
                match replay.next(connection.client_id(), node.take_view)? {
                    Next::Message(message, filter) => {
                        let qos = message.qos().min(filter.qos);
                        let subscription_id = filter.subscription_id;
                        if !connection.can_deliver(qos) {
                            return Ok(false);
                        }
                        let reset = replay.reset;
                        let Some((message, filter, from)) = replay.take() else {
                            return Ok(false);
                        };
                        note_replayed(progress, filter, Some(from));
                        let is_expired = message.outgoing(qos, true, &[], node.log_time_us).is_none();
                        if is_expired {
                            continue;
                        }
                        let packet_id = reserve(connection, progress, &message, qos, false);
                        bytes += message.bytes();
                        self.pace.sent(message.bytes(), Instant::now());
                        batch.push(Outgoing::Retained {
                            message: Box::new(message),
                            qos,
                            packet_id,
                            subscription_id,
                            reset,
                        });
                    }
                    Next::Finished(filter) => note_replayed(progress, filter, None),
                    Next::Yield => return Ok(true),
                    Next::Done => {
                        batch.extend(replay.marker.map(|marker| Outgoing::Marker(marker, replay.reset)));
                        self.replaying = None;
                    }
                }
                continue;
            }
            match self.outbox.pop(|delivery| connection.can_deliver(delivery.qos)) {
                None => return Ok(false),
                Some(Item::Replay(replay)) => {
                    self.replaying = self.replays.remove(&replay);
                    if let Some(replay) = &self.replaying {
                        pass(progress, replay.moment());
                    }
                }
                Some(Item::Message(delivery)) => {
                    let Delivery {
                        message, qos, shared, ..
                    } = &delivery;
                    let position = message.position();
                    if let Some(position) = position
                        && !shared
                    {
                        pass(progress, position);
                    }
                    if message.outgoing(*qos, false, &[], node.log_time_us).is_none() {
                        if *shared && *qos > QoS::AtMostOnce {
                            progress.settled.extend(position);
                        }
                        continue;
                    }
                    bytes += message.bytes();
                    let packet_id = reserve(connection, progress, message, *qos, *shared);
                    batch.push(Outgoing::Message(delivery, packet_id));
                }
            }
        }
        Ok(false)
    }

    fn send(&mut self, batch: Vec<Outgoing>, connection: &mut Connection, node: &Node<'_>, out: &mut BytesMut) {
        for outgoing in batch {
            let (message, packet_id, qos, retain, subscription_ids, reset) = match &outgoing {
                Outgoing::Message(delivery, packet_id) => (
                    &*delivery.message,
                    *packet_id,
                    delivery.qos,
                    delivery.retain,
                    &*delivery.subscription_ids,
                    false,
                ),
                Outgoing::Retained {
                    message,
                    qos,
                    packet_id,
                    subscription_id,
                    reset,
                } => (&**message, *packet_id, *qos, true, subscription_id.as_slice(), *reset),
                Outgoing::Marker(
                    Marker {
                        revision,
                        subscription_id,
                    },
                    reset,
                ) => {
                    send_marker(*revision, *subscription_id, *reset, |marker| {
                        // Too large for a client that takes less than its own marker: counted by the connection.
                        let _ = connection.deliver(marker, out);
                    });
                    continue;
                }
            };
            let encoded = message.outgoing(qos, retain, subscription_ids, node.log_time_us);
            let result = match (encoded, packet_id) {
                (Some(mut encoded), packet_id) => {
                    if reset {
                        encoded.user_properties = &[("reset", "on")];
                        encoded.templates = None;
                    }
                    match packet_id {
                        Some(packet_id) => connection.deliver_reserved(packet_id, &encoded, out),
                        None => connection.deliver(&encoded, out),
                    }
                }
                // It has expired since.
                (None, Some(packet_id)) => {
                    connection.cancel(packet_id);
                    DeliverResult::TooLarge
                }
                (None, None) => continue,
            };
            if let Some(packet_id) = packet_id.filter(|_| result == DeliverResult::TooLarge) {
                self.acknowledge(packet_id, AckKind::Done);
            }
        }
    }
}

/// Takes a packet identifier for a message of QoS 1 or 2, and puts it in flight.
fn reserve(
    connection: &mut Connection,
    progress: &mut Progress,
    message: &Message,
    qos: QoS,
    shared: bool,
) -> Option<u16> {
    let position = message.position()?;
    if qos == QoS::AtMostOnce {
        return None;
    }
    let packet_id = connection.reserve(qos)?;
    progress.sent.push(Sent {
        position,
        packet_id,
        qos: qos as u8,
        shared,
    });
    Some(packet_id)
}

fn pass(progress: &mut Progress, position: MessagePosition) {
    progress.cursor = progress.cursor.max(Some(position));
}

/// Of one subscription, only how far it came last counts.
fn note_replayed(progress: &mut Progress, filter: SubscriptionFilter, from: Option<ReplayFrom>) {
    match progress.replayed.iter_mut().find(|(known, _)| *known == filter) {
        Some((_, known)) => *known = from,
        None => progress.replayed.push((filter, from)),
    }
}

fn is_nothing(progress: &Progress) -> bool {
    *progress == Progress::default()
}
