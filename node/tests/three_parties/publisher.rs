//! A publisher: keeps what is not acknowledged, and sends it again when it is back.

use std::collections::{BTreeMap, VecDeque};

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::ReasonCode;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, QoS};
use bytes::Bytes;

use crate::{ClientId, Name, RECEIVE_MAXIMUM, Wire};

/// Few, so that they are used again.
const PACKET_ID_MAX: u16 = 5;

#[derive(Debug)]
struct Sent {
    packet_id: u16,
    number: u32,
    qos: QoS,
    /// PUBREC has come.
    is_released: bool,
    /// PUBREL was sent again: then the server may know nothing of it any more (§3.7.2.1).
    is_recovered: bool,
}

pub struct Publisher {
    id: ClientId,
    pub wire: Wire,
    /// Messages published.
    count: u32,
    packet_id: u16,
    /// Not acknowledged to the end, in order.
    in_flight: Vec<Sent>,
    /// What the connection owes, in order each.
    pubacks: VecDeque<u16>,
    pubrecs: VecDeque<u16>,
    pubcomps: VecDeque<u16>,
    /// Messages of QoS 1 and 2, and how often each was sent.
    promised: BTreeMap<u32, usize>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "publisher {} awaits {:?}", self.id, self.in_flight)
    }
}

impl Publisher {
    pub fn new(id: ClientId, wire: Wire) -> Self {
        Self {
            id,
            wire,
            count: 0,
            packet_id: 0,
            in_flight: Vec::new(),
            pubacks: VecDeque::new(),
            pubrecs: VecDeque::new(),
            pubcomps: VecDeque::new(),
            promised: BTreeMap::new(),
        }
    }

    /// Whether everything is acknowledged to the end.
    pub fn is_done(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The messages that must arrive, and how often each was sent.
    pub fn promised(&self) -> impl Iterator<Item = (Name, usize)> {
        let promised = self.promised.iter();
        promised.map(|(number, times)| ((self.id, *number), *times))
    }

    /// A new connection begins.
    pub fn begin(&mut self) {
        self.pubacks.clear();
        self.pubrecs.clear();
        self.pubcomps.clear();
    }

    /// The next message, if the client is connected and may send one.
    pub fn publish(&mut self, qos: QoS) -> Option<Packet> {
        let has_quota = qos == QoS::AtMostOnce || self.in_flight.len() < usize::from(RECEIVE_MAXIMUM);
        if !self.wire.is_connected || !has_quota {
            return None;
        }
        self.count += 1;
        let number = self.count;
        if qos == QoS::AtMostOnce {
            return Some(self.packet(number, qos, None, false));
        }
        let is_free = |id: &u16| self.in_flight.iter().all(|sent| sent.packet_id != *id);
        let ids = (1..=PACKET_ID_MAX).cycle().skip(usize::from(self.packet_id));
        self.packet_id = ids
            .take(usize::from(PACKET_ID_MAX))
            .find(is_free)
            .expect("more than may be in flight");
        self.in_flight.push(Sent {
            packet_id: self.packet_id,
            number,
            qos,
            is_released: false,
            is_recovered: false,
        });
        Some(self.packet(number, qos, Some(self.packet_id), false))
    }

    fn packet(&mut self, number: u32, qos: QoS, packet_id: Option<u16>, dup: bool) -> Packet {
        if qos != QoS::AtMostOnce {
            *self.promised.entry(number).or_default() += 1;
        }
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.pubacks.extend(packet_id),
            QoS::ExactlyOnce => self.pubrecs.extend(packet_id),
        }
        Packet::Publish(Box::new(Publish {
            dup,
            qos,
            retain: false,
            topic: Bytes::from(format!("t/{}", number % 2)),
            packet_id,
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: Vec::new(),
            metadata: Metadata::empty(),
            payload: Bytes::from(format!("{} {number}", self.id)),
        }))
    }

    fn pubrel(&mut self, packet_id: u16) -> Packet {
        self.pubcomps.push_back(packet_id);
        Packet::PubRel(Ack {
            packet_id,
            ..Ack::default()
        })
    }

    /// Handles what has come.
    pub fn read(&mut self, answers: &mut Vec<Packet>) {
        while let Some(packet) = self.wire.read() {
            match packet {
                Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => {
                    assert!(!std::mem::replace(&mut self.wire.is_connected, true));
                    assert!(connack.session_present || !self.wire.has_session, "the session is gone");
                    self.wire.has_session = true;
                    self.send_again(answers);
                }
                // Too late for it: the client tries again.
                Packet::ConnAck(_) | Packet::Disconnect(_) => {
                    assert!(self.wire.inbox.is_empty(), "something behind the end");
                    return self.wire.forget();
                }
                Packet::PubAck(ack) => {
                    assert_eq!(self.pubacks.pop_front(), Some(ack.packet_id));
                    assert_eq!(ack.reason, ReasonCode::Success);
                    let sent = self.answered(&ack);
                    assert_eq!(self.in_flight.remove(sent).qos, QoS::AtLeastOnce);
                }
                Packet::PubRec(ack) => {
                    assert_eq!(self.pubrecs.pop_front(), Some(ack.packet_id));
                    assert_eq!(ack.reason, ReasonCode::Success);
                    let sent = self.answered(&ack);
                    let sent = &mut self.in_flight[sent];
                    assert!(sent.qos == QoS::ExactlyOnce && !sent.is_released);
                    sent.is_released = true;
                    answers.push(self.pubrel(ack.packet_id));
                }
                Packet::PubComp(ack) => {
                    assert_eq!(self.pubcomps.pop_front(), Some(ack.packet_id));
                    let sent = self.answered(&ack);
                    let sent = self.in_flight.remove(sent);
                    let is_known = ack.reason == ReasonCode::Success;
                    let is_recovered = sent.is_recovered && ack.reason == ReasonCode::PacketIdentifierNotFound;
                    assert!(sent.is_released && (is_known || is_recovered), "{ack:?} for {sent:?}");
                }
                other => panic!("{other:?} for a publisher"),
            }
        }
    }

    /// What an acknowledgement is about.
    fn answered(&self, ack: &Ack) -> usize {
        let is_it = |sent: &Sent| sent.packet_id == ack.packet_id;
        self.in_flight
            .iter()
            .position(is_it)
            .expect("an answer to what was sent")
    }

    /// Everything that is not acknowledged, in order, under its packet identifier [MQTT-4.4.0-1].
    fn send_again(&mut self, answers: &mut Vec<Packet>) {
        for mut sent in std::mem::take(&mut self.in_flight) {
            sent.is_recovered = sent.is_released;
            answers.push(match sent.is_released {
                true => self.pubrel(sent.packet_id),
                false => self.packet(sent.number, sent.qos, Some(sent.packet_id), true),
            });
            self.in_flight.push(sent);
        }
    }
}
