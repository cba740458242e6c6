//! A client, a cluster and a driver around one connection: what has been asked and answered, and what must hold of it.

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

    fn client_sends(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        self.wire.extend(bytes);
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id += 1;
        self.last_packet_id
    }

    fn arrive(&mut self, bytes: usize) {
        let bytes = bytes.min(self.wire.len());
        self.arrived.extend(self.wire.drain(..bytes));
        self.read();
    }

    /// As a driver: hands over what has arrived for as long as the connection takes some.
    fn read(&mut self) {
        let mut out = Vec::new();
        self.connection.on_bytes(&mut self.arrived, self.now_ms, &mut out);
        self.carry_out(out);
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

    /// The client releases one of its messages.
    fn pubrel(&mut self, index: usize) {
        let is_received = |exchange: &Exchange| *exchange == Exchange::Received;
        if let Some(packet_id) = pick(&self.exchanges, index, is_received) {
            self.exchanges.insert(packet_id, Exchange::Released);
            self.client_sends(&Packet::PubRel(ack(packet_id, ReasonCode::Success)));
        }
    }

    /// The client takes the next step with one of the messages it has got.
    fn acknowledge(&mut self, index: usize, fails: bool) {
        let Some(packet_id) = pick(&self.inflight, index, |owed| *owed != Owed::Nothing) else {
            return;
        };
        let fails = fails && self.version == ProtocolVersion::V5;
        let reason = if fails {
            ReasonCode::QuotaExceeded
        } else {
            ReasonCode::Success
        };
        let packet = match self.inflight.remove(&packet_id) {
            Some(Owed::PubAck) => Packet::PubAck(ack(packet_id, reason)),
            Some(Owed::PubRec) => {
                if !fails {
                    self.inflight.insert(packet_id, Owed::Nothing);
                }
                Packet::PubRec(ack(packet_id, reason))
            }
            _ => Packet::PubComp(ack(packet_id, ReasonCode::Success)),
        };
        self.client_sends(&packet);
    }

    fn outcome(&mut self, token: Token, mut result: ProposeResult) {
        let Some(proposal) = self.proposals.remove(&token) else {
            return;
        };
        match (&mut result, proposal) {
            (ProposeResult::Outcome(Outcome::TooLate | Outcome::Fenced), _) => {}
            (ProposeResult::Outcome(outcome), Proposal::Release) => *outcome = Outcome::Released { known: true },
            (ProposeResult::Outcome(outcome @ Outcome::Duplicate), Proposal::Publish { qos: 0 | 1 }) => {
                *outcome = Outcome::NotFound;
            }
            _ => {}
        }
        self.answered += 1;
        let fenced = result == ProposeResult::Outcome(Outcome::Fenced);
        let lost = fenced || !matches!(&result, ProposeResult::Outcome(outcome) if *outcome != Outcome::TooLate);
        let mut out = Vec::new();
        self.connection.on_outcome(token, result, &mut out);
        let acknowledges = out.iter().any(|effect| {
            matches!(
                effect,
                Effect::Send(Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_))
            )
        });
        self.carry_out(out);
        if lost && (fenced || proposal != (Proposal::Publish { qos: 0 })) {
            assert!(
                self.closed && !acknowledges,
                "acknowledged although nothing is known to be applied"
            );
        }
        self.read();
    }

    fn subscribe_result(&mut self, token: Token, result: SubscribeResult) {
        let request = self.subscribe_requests.remove(&token).unwrap();
        if matches!(result, SubscribeResult::Subscribed { .. }) && !self.closed {
            self.subscribed
                .extend(request.subscriptions.into_iter().map(|new| new.filter));
        }
        let mut out = Vec::new();
        self.connection.on_subscribed(token, result, &mut out);
        self.carry_out(out);
        self.read();
    }

    fn unsubscribe_result(&mut self, token: Token, removed: bool) {
        let filters = self.unsubscribe_requests.remove(&token).unwrap();
        let mut result = UnsubscribeResult::Unavailable("no quorum".to_owned());
        if removed && !self.closed {
            result = UnsubscribeResult::Unsubscribed;
            for filter in filters {
                assert!(self.subscribed.remove(&filter));
            }
        }
        let mut out = Vec::new();
        self.connection.on_unsubscribed(token, result, &mut out);
        self.carry_out(out);
        self.read();
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

    fn deliver(&mut self, name: &str, qos: QoS) {
        let can_deliver = self.connection.can_deliver(qos);
        if self.is_replicated && qos != QoS::AtMostOnce {
            match self.connection.reserve(qos) {
                Some(packet_id) => {
                    assert!(can_deliver && self.open.insert(packet_id)); // [MQTT-2.2.1-4]
                    self.reserved.push(packet_id);
                }
                None => assert!(!can_deliver),
            }
            return;
        }
        let Ok(topic) = TopicName::parse(name) else { return };
        let mut out = BytesMut::new();
        let result = self.connection.deliver(&outgoing(&topic, qos), &mut out);
        match result {
            DeliverResult::Sent { packet_id } => {
                assert!(can_deliver);
                if let Some(packet_id) = packet_id {
                    assert!(self.open.insert(packet_id)); // [MQTT-2.2.1-4]
                }
            }
            DeliverResult::TooLarge => assert!(can_deliver),
            DeliverResult::WindowFull | DeliverResult::NotConnected => assert!(!can_deliver),
            DeliverResult::NotReserved => panic!("nothing was reserved"),
        }
        self.delivered(result, out);
    }

    /// The cluster knows a packet identifier.
    fn commit(&mut self, index: usize, sends: bool) {
        let Some(index) = index.checked_rem(self.reserved.len()) else {
            return;
        };
        let packet_id = self.reserved.remove(index);
        if !sends {
            self.connection.cancel(packet_id);
            if !self.closed {
                self.open.remove(&packet_id);
            }
            return;
        }
        let mut out = BytesMut::new();
        let topic = topic("a");
        let message = outgoing(&topic, QoS::AtLeastOnce);
        let result = self.connection.deliver_reserved(packet_id, &message, &mut out);
        match result {
            DeliverResult::Sent { packet_id: sent } => assert_eq!(sent, Some(packet_id)),
            DeliverResult::TooLarge => assert!(self.open.remove(&packet_id)),
            DeliverResult::WindowFull | DeliverResult::NotReserved => panic!("{result:?} of {packet_id}"),
            DeliverResult::NotConnected => assert!(self.closed),
        }
        self.delivered(result, out);
    }

    /// What was written is a PUBLISH, if it is sent, and nothing else.
    fn delivered(&mut self, result: DeliverResult, mut out: BytesMut) {
        assert!(out.len() <= self.packet_bytes_max); // [MQTT-3.1.2-24]
        let DeliverResult::Sent { packet_id } = result else {
            assert!(out.is_empty());
            return;
        };
        assert!(!self.closed);
        let Packet::Publish(publish) = self.client_reads(&mut out) else {
            panic!("no PUBLISH")
        };
        assert_eq!(publish.packet_id, packet_id);
        if let Some(packet_id) = packet_id {
            let owed = match publish.qos {
                QoS::ExactlyOnce => Owed::PubRec,
                _ => Owed::PubAck,
            };
            // Neither of a message in flight, nor again behind PUBREC [MQTT-4.3.3-6].
            assert_eq!(self.inflight.insert(packet_id, owed), None);
        }
        assert!(self.inflight.len() <= usize::from(CLIENT_RECEIVE_MAXIMUM)); // [MQTT-3.3.4-9]
    }

    /// The cluster knows that the client has received a message.
    fn release(&mut self, index: usize) {
        let Some(index) = index.checked_rem(self.received.len()) else {
            return;
        };
        let packet_id = self.received.remove(index);
        let mut out = Vec::new();
        self.connection.release(packet_id, &mut out);
        self.carry_out(out);
    }

    /// Everything that is sent can be read by a client.
    fn client_reads(&self, bytes: &mut BytesMut) -> Packet {
        let limits = DecodeLimits {
            packet_bytes_max: u32::MAX,
        };
        let packet = decode_as_client(bytes, self.version, &limits).unwrap().unwrap();
        assert!(bytes.is_empty());
        packet
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.closed, "{effect:?} after Close");
            match effect {
                Effect::Send(packet) => self.sent(&packet),
                Effect::Authenticated(_) => {
                    let result = RegisterResult::Registered(Registered {
                        fence: FENCE,
                        replicated: self.is_replicated,
                        resumed: self.is_replicated.then(resumed),
                    });
                    let mut out = Vec::new();
                    self.connection.on_registered(result, self.now_ms, &mut out);
                    self.carry_out(out);
                    self.read();
                }
                Effect::Propose { token, command } => {
                    let proposal = self.proposal(&command);
                    assert!(self.proposals.insert(token, proposal).is_none());
                }
                Effect::PublishEvent(event) => assert_eq!(event.qos, 0),
                Effect::Subscribe(request) => assert!(self.subscribe_requests.insert(request.token, request).is_none()),
                Effect::Unsubscribe { token, filters } => {
                    assert!(self.unsubscribe_requests.insert(token, filters).is_none());
                }
                Effect::Acknowledged { packet_id, kind } => match kind {
                    AckKind::Done => assert!(self.open.remove(&packet_id)),
                    AckKind::Received => {
                        assert!(self.is_replicated && !self.received.contains(&packet_id));
                        self.received.push(packet_id);
                    }
                },
                Effect::Close(_) => self.closed = true,
            }
        }
    }

    /// The sender is right, and no QoS 2 message is proposed twice.
    fn proposal(&mut self, command: &Command) -> Proposal {
        let sender = command.sender.unwrap();
        assert_eq!(sender.fence, FENCE);
        let (qos, payload) = match &command.operation {
            Operation::Put(put) => (put.qos, &put.payload),
            Operation::Event(event) => (event.qos, &event.payload),
            Operation::Release(_) => {
                assert!(self.is_replicated && sender.packet_id.is_none());
                return Proposal::Release;
            }
            other => panic!("no packet here asks for {other:?}"),
        };
        assert_eq!(sender.packet_id.is_some(), self.is_replicated && qos == 2);
        if qos == 2 {
            let packet_id = std::str::from_utf8(payload).unwrap().parse().unwrap();
            assert!(sender.packet_id.is_none_or(|sent| sent == packet_id));
            assert!(self.proposed.insert(packet_id), "{packet_id} twice"); // [MQTT-4.3.3-10]
        }
        Proposal::Publish { qos }
    }

    fn sent(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        assert!(bytes.len() <= self.packet_bytes_max); // [MQTT-3.1.2-24]
        self.client_reads(&mut bytes);
        match packet {
            Packet::PubAck(ack) => self.acknowledged(ack),
            Packet::PubRec(ack) => self.pubrec(ack),
            Packet::PubComp(ack) if ack.reason == ReasonCode::Success => {
                let exchange = self.exchanges.remove(&ack.packet_id);
                assert!(exchange.is_none_or(|exchange| exchange == Exchange::Released));
            }
            Packet::PubRel(ack) if self.open.contains(&ack.packet_id) => {
                assert!(
                    !self.received.contains(&ack.packet_id),
                    "PUBREL before PUBREC is committed"
                );
                self.inflight.insert(ack.packet_id, Owed::PubComp);
            }
            Packet::SubAck(suback) => assert!(self.unanswered.remove(&suback.packet_id)),
            Packet::UnsubAck(unsuback) => assert!(self.unanswered.remove(&unsuback.packet_id)),
            Packet::ConnAck(_) | Packet::PubComp(_) | Packet::PubRel(_) | Packet::PingResp => {}
            Packet::Disconnect(_) => assert_eq!(self.version, ProtocolVersion::V5),
            other => panic!("a server does not send {other:?}"),
        }
    }

    /// The first PUBREC of a message, or one of a PUBLISH sent again.
    fn pubrec(&mut self, ack: &Ack) {
        let packet_id = ack.packet_id;
        if self.unacknowledged.contains(&packet_id) {
            self.acknowledged(ack);
        } else {
            let repeats = self.repeats.get_mut(&packet_id).expect("a PUBREC of nothing");
            *repeats = repeats.checked_sub(1).expect("a PUBREC too many");
        }
        if ack.reason.is_failure() {
            // What is sent again under its identifier is another message [MQTT-4.3.3-9].
            self.proposed.remove(&packet_id);
            self.exchanges.remove(&packet_id);
        } else if let Some(exchange @ Exchange::Published) = self.exchanges.get_mut(&packet_id) {
            *exchange = Exchange::Received;
        } else if !self.exchanges.contains_key(&packet_id) {
            self.client_sends(&Packet::PubRel(super::ack(packet_id, ReasonCode::Success)));
        }
    }

    /// In the order of the PUBLISHes [MQTT-4.6.0-2], [MQTT-4.6.0-3]; what a local refusal answers was never proposed.
    fn acknowledged(&mut self, ack: &Ack) {
        assert_eq!(self.unacknowledged.pop_front(), Some(ack.packet_id));
        let refused_here = matches!(
            ack.reason,
            ReasonCode::NotAuthorized | ReasonCode::TopicNameInvalid | ReasonCode::ImplementationSpecificError
        );
        self.acknowledged += usize::from(!refused_here && self.version == ProtocolVersion::V5);
        assert!(self.acknowledged <= self.answered, "acknowledged before its outcome");
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
