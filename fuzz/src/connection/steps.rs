//! Steps of a client, the cluster and time.

mod client;

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::command::{Command, Operation};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::mqtt::codec::decode_as_client;
use banyan_core::mqtt::connection::{
    AckKind, Annotations, Connection, DeliverResult, Effect, MessageTemplates, OutgoingMessage, ProposeResult,
    RegisterResult, SubscribeRequest, SubscribeResult, Token, UnsubscribeResult,
};
use banyan_core::mqtt::packet::{
    Ack, Connect, Packet, ProtocolVersion, Publish, QoS, RetainHandling, Subscribe, SubscribeFilter, Unsubscribe,
};
use banyan_core::mqtt::{DecodeLimits, ReasonCode, decode, encode};
use banyan_core::state::Outcome;
use banyan_core::topic::{SubscriptionFilter, TopicName};
use bytes::{Bytes, BytesMut};

use super::{
    FENCE, INFLIGHT_MAX, RECEIVE_MAXIMUM, SUBSCRIPTIONS_MAX, connect_bytes, registered, settings, user_properties,
};
use crate::choices::Choices;

/// More than any packet takes whose size the client does not decide.
const PACKET_BYTES_EXPECTED: usize = 1024;

const QOS: [QoS; 3] = [QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce];
const NAMES: [&str; 6] = ["a", "a/b", "$SYS/x", "a\u{1}", "a/+", ""];
const FILTERS: [&str; 9] = ["a", "a/b", "a/#", "+", "#", "b", "a+", "$share/g/a", "$SYS/#"];

/// An open proposal.
struct Proposal {
    bytes: usize,
    /// Of a QoS 2 PUBLISH, where the command tells.
    packet_id: Option<u16>,
    releases: bool,
}

/// What is asked and not answered, seen from the driver.
struct Driver {
    connection: Connection,
    now_ms: u64,
    /// All that the client has sent, for its CONNECT.
    sent: BytesMut,
    /// What of it the connection has not taken.
    arrived: BytesMut,
    terms: Option<Connect>,
    registering: bool,
    proposals: BTreeMap<Token, Proposal>,
    requests: BTreeMap<Token, SubscribeRequest>,
    leaving: BTreeMap<Token, Vec<SubscriptionFilter>>,
    packet_id: u16,
    /// Packet identifiers of the client's QoS 2 messages that were proposed, and neither released nor refused.
    exchanges: BTreeSet<u16>,
    /// Packet identifiers that are reserved or restored, and nothing was sent under.
    reserved: Vec<u16>,
    /// Packet identifiers that the client has acknowledged with PUBREC, before the cluster knows it.
    received: Vec<u16>,
    /// Messages of QoS 1 and 2 that the client has got: whether it has sent PUBREC.
    inflight: BTreeMap<u16, bool>,
    closed: bool,
}

/// Takes steps to the end of the input.
pub(super) fn run(choices: &mut Choices<'_>) {
    let mut driver = Driver {
        connection: Connection::new(settings(), 7, 0),
        now_ms: 0,
        sent: BytesMut::new(),
        arrived: BytesMut::new(),
        terms: None,
        registering: false,
        proposals: BTreeMap::new(),
        requests: BTreeMap::new(),
        leaving: BTreeMap::new(),
        packet_id: 0,
        exchanges: BTreeSet::new(),
        reserved: Vec::new(),
        received: Vec::new(),
        inflight: BTreeMap::new(),
        closed: false,
    };
    let connect = connect_bytes(choices);
    driver.arrive(&connect);
    if choices.bool() {
        driver.register(registered(choices.u8()));
    }
    while !choices.is_empty() {
        driver.step(choices);
        driver.check();
    }
}

impl Driver {
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(18) {
            0 => self.arrive(choices.bytes()),
            1 => {
                // The fixed header is right, the rest is not ours.
                let first = choices.u8();
                let body = choices.bytes();
                let mut packet = vec![first];
                match body.len() {
                    len @ ..=127 => packet.push(len as u8),
                    len => packet.extend([len as u8 | 0x80, 1]),
                }
                packet.extend_from_slice(body);
                self.arrive(&packet);
            }
            2 | 3 => {
                let packet = self.publish(choices);
                self.client_sends(&Packet::Publish(Box::new(packet)));
            }
            4 => {
                let packet = self.subscribe(choices);
                self.client_sends(&Packet::Subscribe(Box::new(packet)));
            }
            5 => {
                let packet_id = self.next_packet_id();
                let filters = (0..=choices.below(4))
                    .map(|_| Bytes::from(choices.one_of(&FILTERS)))
                    .collect();
                self.client_sends(&Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    user_properties: Vec::new(),
                    filters,
                }));
            }
            6 => self.acknowledge(choices),
            7 => {
                if let Some(token) = pick(&self.proposals, choices) {
                    self.outcome(token, choices);
                }
            }
            8 => {
                if let Some(token) = pick(&self.requests, choices) {
                    let result = match choices.below(4) {
                        0 => SubscribeResult::Unavailable(long_text(choices)),
                        _ => SubscribeResult::Subscribed {
                            revision: choices.u64(),
                        },
                    };
                    self.requests.remove(&token);
                    self.call(|connection, _, out| connection.on_subscribed(token, result, out));
                    self.read();
                }
            }
            9 => self.deliver(choices),
            10 => {
                self.now_ms += u64::from(choices.u16());
                self.call(|connection, now_ms, out| connection.on_tick(now_ms, out));
            }
            11 => {
                let result = match choices.below(3) {
                    0 => registered(choices.u8()),
                    1 => RegisterResult::Unavailable(long_text(choices)),
                    _ => RegisterResult::Refused(ReasonCode::QuotaExceeded, long_text(choices)),
                };
                self.register(result);
            }
            12 => {
                // Once more, or a step of QoS 2 with any identifier.
                let packet_id = 1 + u16::from(choices.u8() & 0x0F);
                let ack = Ack {
                    packet_id,
                    ..Ack::default()
                };
                let packet = match choices.below(4) {
                    0 => Packet::PubRec(ack),
                    1 => Packet::PubComp(ack),
                    _ => Packet::PubRel(ack),
                };
                self.client_sends(&packet);
            }
            13 => {
                let packet = Publish {
                    packet_id: Some(1 + u16::from(choices.u8() & 0x0F)),
                    qos: QoS::ExactlyOnce,
                    dup: true,
                    ..self.publish(choices)
                };
                self.client_sends(&Packet::Publish(Box::new(packet)));
            }
            14 => {
                if let Some(packet_id) = self.connection.reserve(choices.one_of(&QOS)) {
                    assert!(!self.reserved.contains(&packet_id) && !self.closed);
                    self.reserved.push(packet_id);
                }
            }
            15 => {
                if let Some(index) = usize::from(choices.u8()).checked_rem(self.received.len()) {
                    let packet_id = self.received.remove(index);
                    self.call(|connection, _, out| connection.release(packet_id, out));
                }
            }
            16 => {
                if let Some(token) = pick(&self.leaving, choices) {
                    let result = match choices.below(4) {
                        0 => UnsubscribeResult::Unavailable(long_text(choices)),
                        _ => UnsubscribeResult::Unsubscribed,
                    };
                    self.leaving.remove(&token);
                    self.call(|connection, _, out| connection.on_unsubscribed(token, result, out));
                    self.read();
                }
            }
            _ => {
                if choices.below(8) == 0 {
                    let text = long_text(choices);
                    self.call(|connection, _, out| connection.on_shutdown(ReasonCode::ServerShuttingDown, &text, out));
                } else {
                    // Answers to what was never asked have no effect.
                    let token = choices.u64();
                    if !self.proposals.contains_key(&token) {
                        let result = ProposeResult::Unknown(String::new());
                        self.call(|connection, _, out| {
                            connection.on_outcome(token, result, out);
                            assert!(out.is_empty(), "{out:?}");
                        });
                    }
                }
            }
        }
    }

    /// As a driver: hands over what has arrived for as long as the connection takes some.
    fn read(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.call(|connection, now_ms, out| {
            let (before, unacknowledged) = (arrived.len(), 4 * usize::from(RECEIVE_MAXIMUM));
            connection.on_bytes(&mut arrived, now_ms, out);
            // No packet is shorter than two bytes, and none has more than two effects, but for what it sets free.
            assert!(
                out.len() <= before + unacknowledged,
                "{} effects of {before} bytes",
                out.len()
            );
        });
        self.arrived.unsplit(arrived);
    }

    fn register(&mut self, result: RegisterResult) {
        if std::mem::take(&mut self.registering) {
            if let RegisterResult::Registered(registered) = &result
                && let Some(resumed) = &registered.resumed
            {
                self.exchanges.extend(&resumed.inbound);
                let unsent = resumed.in_flight.iter().filter(|message| !message.received);
                self.reserved.extend(unsent.map(|message| message.packet_id));
            }
            self.call(|connection, now_ms, out| connection.on_registered(result, now_ms, out));
            self.read();
        }
    }

    fn outcome(&mut self, token: Token, choices: &mut Choices<'_>) {
        let number = choices.u64();
        let releases = self.proposals.get(&token).is_some_and(|proposal| proposal.releases);
        let outcome = match choices.below(16) {
            0..10 if releases => Outcome::Released { known: number & 1 == 0 },
            14 => Outcome::Duplicate,
            15 => Outcome::Fenced,
            0..4 => Outcome::Applied {
                revision: number,
                created: true,
            },
            4 => Outcome::Deleted { revision: number },
            5 => Outcome::Unchanged { revision: number },
            6 => Outcome::Superseded { winner: number },
            7 => Outcome::ConditionFailed { current: number },
            8 => Outcome::TimestampAhead { ahead_us: number },
            9 => Outcome::NotFound,
            10 => Outcome::Published { revision: number },
            11 => Outcome::TooLate,
            12 => {
                let result = ProposeResult::Unavailable(long_text(choices));
                return self.proposed(token, result);
            }
            _ => {
                let result = ProposeResult::Unknown(long_text(choices));
                return self.proposed(token, result);
            }
        };
        self.proposed(token, ProposeResult::Outcome(outcome));
    }

    fn proposed(&mut self, token: Token, result: ProposeResult) {
        let proposal = self.proposals.remove(&token);
        let is_refused = matches!(
            result,
            ProposeResult::Outcome(Outcome::ConditionFailed { .. } | Outcome::TimestampAhead { .. })
        );
        if let Some(packet_id) = proposal.and_then(|proposal| proposal.packet_id)
            && is_refused
        {
            self.exchanges.remove(&packet_id);
        }
        self.call(|connection, _, out| connection.on_outcome(token, result, out));
        self.read();
    }

    fn deliver(&mut self, choices: &mut Choices<'_>) {
        let Ok(topic) = TopicName::parse(choices.one_of(&NAMES)) else {
            return;
        };
        let qos = choices.one_of(&QOS);
        let form = choices.u8();
        let flag = |bit: u8| form & 1 << bit != 0;
        let payload = Bytes::from(vec![b'x'; usize::from(form)]);
        let templates = MessageTemplates::new();
        let message = OutgoingMessage {
            topic: &topic,
            payload: &payload,
            metadata: &Metadata::empty(),
            qos,
            retain: flag(0),
            subscription_ids: if flag(1) { &[5, 268_435_455] } else { &[] },
            message_expiry_s: flag(2).then_some(9),
            annotations: flag(3).then_some(Annotations {
                revision: 1,
                timestamp_us: u64::MAX,
            }),
            user_properties: if flag(4) {
                &[("reset", "on"), ("revision", "7")]
            } else {
                &[]
            },
            templates: flag(5).then_some(&templates),
        };
        let can_deliver = self.connection.can_deliver(qos);
        let mut out = BytesMut::new();
        let reserved = usize::from(choices.u8()).checked_rem(self.reserved.len());
        let result = match reserved.filter(|_| flag(6)) {
            Some(index) => {
                let packet_id = self.reserved[index];
                if flag(7) && flag(5) {
                    self.connection.cancel(packet_id);
                    self.reserved.remove(index);
                    return;
                }
                let result = self.connection.deliver_reserved(packet_id, &message, &mut out);
                if result != DeliverResult::WindowFull {
                    self.reserved.remove(index);
                }
                result
            }
            None => {
                let result = self.connection.deliver(&message, &mut out);
                match result {
                    DeliverResult::Sent { .. } | DeliverResult::TooLarge => assert!(can_deliver),
                    _ => assert!(!can_deliver),
                }
                result
            }
        };
        match result {
            DeliverResult::Sent { packet_id } => {
                assert!(!self.closed);
                let Packet::Publish(publish) = self.client_reads(out) else {
                    panic!("no PUBLISH")
                };
                assert_eq!((publish.packet_id, &publish.payload), (packet_id, &payload));
                if let Some(packet_id) = packet_id {
                    // Neither in flight [MQTT-2.2.1-4], nor behind its PUBREC [MQTT-4.3.3-6].
                    let twice = self.inflight.insert(packet_id, false);
                    assert_eq!(twice, None, "{packet_id} twice in flight");
                }
            }
            _ => assert!(out.is_empty()),
        }
    }

    /// The sender is right, and a QoS 2 message is proposed once.
    fn proposal(&mut self, command: &Command) -> Proposal {
        let sender = command.sender.expect("every command of a client has a sender");
        assert_eq!(sender.fence, FENCE);
        if let Some(packet_id) = sender.packet_id {
            assert!(self.exchanges.insert(packet_id), "{packet_id} twice"); // [MQTT-4.3.3-10]
        }
        let (bytes, releases) = match &command.operation {
            Operation::Put(put) => (put.payload.len(), false),
            Operation::Delete(_) => (0, false),
            Operation::Event(event) => (event.payload.len(), false),
            Operation::Release(release) => {
                assert!(self.exchanges.remove(&release.packet_id), "{release:?} of nothing");
                (0, true)
            }
            other => panic!("no packet asks for {other:?}"),
        };
        Proposal {
            bytes,
            packet_id: sender.packet_id,
            releases,
        }
    }

    /// Calls the connection and carries out what it wants.
    fn call(&mut self, act: impl FnOnce(&mut Connection, u64, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(&mut self.connection, self.now_ms, &mut out);
        for effect in out {
            assert!(!self.closed, "{effect:?} after Close");
            match effect {
                Effect::Send(packet) => {
                    let mut bytes = BytesMut::new();
                    encode(&packet, self.connection.version(), &mut bytes);
                    assert!(bytes.len() <= PACKET_BYTES_EXPECTED, "{packet:?}");
                    self.client_reads(bytes);
                }
                Effect::Authenticated(authenticated) => {
                    assert!(!std::mem::replace(&mut self.registering, true));
                    assert!(!authenticated.client_id.is_empty());
                }
                Effect::Propose { token, command } => {
                    let proposal = self.proposal(&command);
                    assert!(self.proposals.insert(token, proposal).is_none());
                }
                Effect::PublishEvent(event) => assert_eq!(event.qos, 0),
                Effect::Subscribe(request) => {
                    assert!(!request.subscriptions.is_empty());
                    assert!(self.requests.insert(request.token, request).is_none());
                }
                Effect::Unsubscribe { token, filters } => {
                    assert!(!filters.is_empty());
                    assert!(self.leaving.insert(token, filters).is_none());
                }
                Effect::Acknowledged { packet_id, kind } => match kind {
                    AckKind::Done => {
                        self.inflight.remove(&packet_id);
                        self.received.retain(|received| *received != packet_id);
                    }
                    AckKind::Received => self.received.push(packet_id),
                },
                Effect::Close(_) => self.closed = true,
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.connection.is_closed(), self.closed);
        assert!(self.connection.inflight_count() <= usize::from(INFLIGHT_MAX));
        assert!(self.connection.subscriptions().count() <= SUBSCRIPTIONS_MAX);
        if self.closed {
            assert!(!self.connection.wants_read() && self.connection.deadline_ms().is_none());
        } else {
            // QoS 1 and 2 are bounded by Receive Maximum, QoS 0 by the bytes that wait.
            let bytes: usize = self.proposals.values().map(|proposal| proposal.bytes).sum();
            assert!(
                self.proposals.len() <= 64 + usize::from(RECEIVE_MAXIMUM),
                "{} proposals",
                self.proposals.len()
            );
            assert!(bytes <= 64 + 1024 + 256, "{bytes} bytes of proposals");
        }
    }
}

/// One of the open tokens.
fn pick<T>(open: &BTreeMap<Token, T>, choices: &mut Choices<'_>) -> Option<Token> {
    let number = choices.u8();
    open.keys().nth(usize::from(number).checked_rem(open.len())?).copied()
}

fn long_text(choices: &mut Choices<'_>) -> String {
    "why ".repeat(choices.below(64))
}

/// The terms of the CONNECT that `sent` begins with.
fn terms(sent: &[u8]) -> Option<Connect> {
    match decode(&mut BytesMut::from(sent), None, &DecodeLimits::default()) {
        Ok(Some(Packet::Connect(connect))) => Some(*connect),
        _ => None,
    }
}
