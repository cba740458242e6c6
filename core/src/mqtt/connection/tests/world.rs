//! A client, a cluster and a driver around one connection: what has been asked and answered, and what must hold of it.

mod client;
mod driver;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::fuzz::{CLIENT_RECEIVE_MAXIMUM, RECEIVE_MAXIMUM, RESTORED_ID, SUBSCRIPTIONS_MAX, Step, resumed, settings};
use super::*;
use crate::mqtt::codec::encode;
use crate::mqtt::packet::Unsubscribe;

/// A QoS 2 message of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// PUBLISH is sent.
    Published,
    /// PUBREC has come.
    Received,
    /// PUBREL is sent.
    Released,
}

/// How a message to the client has to be acknowledged next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    PubAck,
    PubRec,
    /// PUBREC is sent: nothing until PUBREL comes.
    Nothing,
    PubComp,
}

/// An open proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proposal {
    Publish { qos: u8 },
    Release,
}

pub(super) struct World {
    connection: Connection,
    version: ProtocolVersion,
    is_replicated: bool,
    packet_bytes_max: usize,
    now_ms: u64,
    /// Sent by the client, on its way.
    pub(super) wire: VecDeque<u8>,
    /// Arrived, not decoded.
    arrived: BytesMut,
    last_packet_id: u16,
    /// QoS 1 and 2 PUBLISHes that the client sent and has neither PUBACK nor PUBREC for, in order.
    unacknowledged: VecDeque<u16>,
    exchanges: BTreeMap<u16, Exchange>,
    /// How often a PUBLISH was sent again.
    repeats: BTreeMap<u16, usize>,
    /// QoS 2 messages that were proposed, and not refused.
    proposed: BTreeSet<u16>,
    proposals: BTreeMap<Token, Proposal>,
    /// Proposals answered, and acknowledgements of such as were not refused before they were proposed: never more.
    answered: usize,
    acknowledged: usize,
    subscribe_requests: BTreeMap<Token, SubscribeRequest>,
    unsubscribe_requests: BTreeMap<Token, Vec<SubscriptionFilter>>,
    /// SUBSCRIBEs and UNSUBSCRIBEs without an answer.
    unanswered: BTreeSet<u16>,
    subscribed: BTreeSet<SubscriptionFilter>,
    /// Packet identifiers that wait for the cluster, with what was reserved.
    reserved: Vec<u16>,
    /// Messages that the client has got and not acknowledged to the end.
    inflight: BTreeMap<u16, Owed>,
    /// Packet identifiers whose PUBREC waits for the cluster.
    received: Vec<u16>,
    /// Packet identifiers that are not done.
    open: BTreeSet<u16>,
    closed: bool,
}

impl World {
    pub(super) fn new(
        version: ProtocolVersion,
        annotate: bool,
        packet_bytes_max: Option<u32>,
        is_replicated: bool,
    ) -> Self {
        let user_properties = if annotate {
            vec![user_property("annotate", "on")]
        } else {
            Vec::new()
        };
        let maximum_packet_size = packet_bytes_max.filter(|_| version == ProtocolVersion::V5);
        let connect = Connect {
            user_properties,
            receive_maximum: Some(CLIENT_RECEIVE_MAXIMUM),
            topic_alias_maximum: Some(1),
            maximum_packet_size,
            ..connect(version)
        };
        let mut world = Self {
            connection: Connection::new(Arc::new(settings()), 7, 0),
            version,
            is_replicated,
            packet_bytes_max: maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize),
            now_ms: 0,
            wire: VecDeque::new(),
            arrived: BytesMut::new(),
            last_packet_id: 0,
            unacknowledged: VecDeque::new(),
            exchanges: BTreeMap::new(),
            repeats: BTreeMap::new(),
            proposed: BTreeSet::new(),
            proposals: BTreeMap::new(),
            answered: 0,
            acknowledged: 0,
            subscribe_requests: BTreeMap::new(),
            unsubscribe_requests: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            reserved: Vec::new(),
            inflight: BTreeMap::new(),
            received: Vec::new(),
            open: BTreeSet::new(),
            closed: false,
        };
        if is_replicated {
            let resumed = resumed();
            let unsent = resumed.in_flight.iter().filter(|message| !message.received);
            world.reserved = unsent.map(|message| message.packet_id).collect();
            world.open = resumed.in_flight.iter().map(|message| message.packet_id).collect();
            world.exchanges.insert(RESTORED_ID, Exchange::Received);
        }
        world.client_sends(&Packet::Connect(Box::new(connect)));
        world.arrive(usize::MAX);
        world
    }

    fn arrive(&mut self, bytes: usize) {
        let bytes = bytes.min(self.wire.len());
        self.arrived.extend(self.wire.drain(..bytes));
        self.read();
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Publish {
                topic,
                qos,
                retain,
                user_properties,
                alias,
            } => {
                // A client that keeps to Receive Maximum, or QoS 1 would hardly get anywhere.
                let restored = usize::from(self.exchanges.contains_key(&RESTORED_ID));
                let waiting = self.unacknowledged.iter().filter(|id| !self.exchanges.contains_key(id));
                let quota = waiting.count() + self.exchanges.len() - restored < usize::from(RECEIVE_MAXIMUM);
                let qos = if quota { qos } else { QoS::AtMostOnce };
                let packet_id = (qos != QoS::AtMostOnce).then(|| self.next_packet_id());
                self.unacknowledged.extend(packet_id);
                if let (QoS::ExactlyOnce, Some(packet_id)) = (qos, packet_id) {
                    self.exchanges.insert(packet_id, Exchange::Published);
                }
                let metadata = metadata(&user_properties);
                let publish = Publish {
                    qos,
                    retain,
                    topic_alias: alias,
                    metadata,
                    ..message(packet_id, topic)
                };
                self.client_sends(&Packet::Publish(Box::new(publish)));
            }
            Step::Repeat(index) => {
                let unreleased = |exchange: &Exchange| *exchange != Exchange::Released;
                if let Some(packet_id) = pick(&self.exchanges, index, unreleased) {
                    *self.repeats.entry(packet_id).or_default() += 1;
                    let publish = Publish {
                        qos: QoS::ExactlyOnce,
                        dup: true,
                        ..message(Some(packet_id), "a")
                    };
                    self.client_sends(&Packet::Publish(Box::new(publish)));
                }
            }
            Step::PubRel(index) => self.pubrel(index),
            Step::Subscribe {
                filters,
                user_property: property,
            } => {
                let packet_id = self.next_packet_id();
                self.unanswered.insert(packet_id);
                let user_properties = property
                    .map(|(name, value)| user_property(name, value))
                    .into_iter()
                    .collect();
                let packet = Subscribe {
                    user_properties,
                    ..subscribe(packet_id, &filters)
                };
                self.client_sends(&Packet::Subscribe(Box::new(packet)));
            }
            Step::Unsubscribe(filters) => {
                let packet_id = self.next_packet_id();
                self.unanswered.insert(packet_id);
                let filters = filters.into_iter().map(Bytes::from).collect();
                self.client_sends(&Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    user_properties: Vec::new(),
                    filters,
                }));
            }
            Step::Packet(packet) => self.client_sends(&packet),
            Step::Acknowledge(index, fails) => self.acknowledge(index, fails),
            Step::Outcome(index, result) => {
                if let Some(token) = pick(&self.proposals, index, |_| true) {
                    self.outcome(token, result);
                }
            }
            Step::Subscribed(index, result) => {
                if let Some(token) = pick(&self.subscribe_requests, index, |_| true) {
                    self.subscribe_result(token, result);
                }
            }
            Step::Unsubscribed(index, removed) => {
                if let Some(token) = pick(&self.unsubscribe_requests, index, |_| true) {
                    self.unsubscribe_result(token, removed);
                }
            }
            Step::Deliver(name, qos) => self.deliver(name, qos),
            Step::Commit(index, sends) => self.commit(index, sends),
            Step::Release(index) => self.release(index),
            Step::Tick(elapsed_ms) => {
                self.now_ms += elapsed_ms;
                let mut out = Vec::new();
                self.connection.on_tick(self.now_ms, &mut out);
                self.carry_out(out);
            }
            Step::Arrive(bytes) => self.arrive(bytes),
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.connection.acks.len() <= 2 * usize::from(RECEIVE_MAXIMUM));
        assert!(self.connection.inflight_count() <= usize::from(CLIENT_RECEIVE_MAXIMUM));
        assert!(self.connection.subscriptions().count() <= SUBSCRIPTIONS_MAX);
        assert_eq!(self.connection.is_closed(), self.closed);
        if !self.closed {
            let held: BTreeSet<_> = self
                .connection
                .subscriptions()
                .map(|(filter, _)| filter.clone())
                .collect();
            assert_eq!(held, self.subscribed);
            assert_eq!(self.connection.inflight_count(), self.open.len());
        }
    }

    /// Everything arrives and is answered: then nothing that either side asked for is left without an answer.
    pub(super) fn settle(&mut self) {
        loop {
            self.arrive(usize::MAX);
            let is_received = |exchange: &Exchange| *exchange == Exchange::Received;
            if self.closed {
                return;
            } else if let Some(&token) = self.proposals.keys().next() {
                self.outcome(token, ProposeResult::Outcome(applied(1)));
            } else if let Some(&token) = self.subscribe_requests.keys().next() {
                self.subscribe_result(token, SubscribeResult::Subscribed { revision: 1 });
            } else if let Some(&token) = self.unsubscribe_requests.keys().next() {
                self.unsubscribe_result(token, true);
            } else if self.exchanges.values().any(is_received) {
                self.pubrel(0);
            } else if !self.received.is_empty() {
                self.release(0);
            } else if self.inflight.values().any(|owed| *owed != Owed::Nothing) {
                self.acknowledge(0, false);
            } else if !self.reserved.is_empty() {
                self.commit(0, true);
            } else {
                break;
            }
            self.check();
        }
        assert!(self.connection.wants_read() && self.arrived.is_empty());
        assert!(self.unacknowledged.is_empty() && self.unanswered.is_empty());
        assert!(self.exchanges.is_empty() && self.inflight.is_empty() && self.open.is_empty());
        assert!(self.connection.subscriptions.is_settled() && self.connection.acks.waiting_bytes() == 0);
        assert_eq!(
            (self.connection.inflight_count(), self.connection.inbound.count()),
            (0, 0)
        );
    }
}

/// A PUBLISH of the client whose payload is its packet identifier.
fn message(packet_id: Option<u16>, topic: &'static str) -> Publish {
    Publish {
        packet_id,
        payload: Bytes::from(packet_id.unwrap_or_default().to_string()),
        ..put(topic, 1)
    }
}

/// A message to the client.
fn outgoing(topic: &TopicName, qos: QoS) -> OutgoingMessage<'_> {
    static PAYLOAD: Bytes = Bytes::from_static(b"some payload");
    static METADATA: std::sync::LazyLock<Metadata> = std::sync::LazyLock::new(Metadata::empty);
    OutgoingMessage {
        topic,
        payload: &PAYLOAD,
        metadata: &METADATA,
        qos,
        retain: false,
        subscription_ids: &[5],
        message_expiry_s: None,
        annotations: Some(Annotations {
            revision: 1,
            timestamp_us: 2,
        }),
        user_properties: &[],
        templates: None,
    }
}

/// One of those that are wanted, by number.
fn pick<K: Copy, V>(open: &BTreeMap<K, V>, index: usize, is_wanted: impl Fn(&V) -> bool) -> Option<K> {
    let wanted: Vec<K> = open
        .iter()
        .filter(|(_, value)| is_wanted(value))
        .map(|(key, _)| *key)
        .collect();
    Some(wanted[index.checked_rem(wanted.len())?])
}
