//! The subscriber, and what must hold of all that it is sent.

use std::collections::{BTreeMap, VecDeque};

use banyan_core::mqtt::ReasonCode;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, QoS, RetainHandling, Subscribe, SubscribeFilter};
use bytes::Bytes;

use crate::{Name, PUBLISHERS, RECEIVE_MAXIMUM, Wire};

/// A message received under a packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    name: Name,
    qos: QoS,
    /// When it came first, among all.
    at: usize,
}

pub struct Subscriber {
    pub wire: Wire,
    is_subscribed: bool,
    /// Every message, how often as new, in the order of first times.
    received: Vec<Name>,
    times: BTreeMap<Name, usize>,
    /// The last message of each publisher, of QoS 0 and of the others.
    last: BTreeMap<(usize, bool), u32>,
    /// Not acknowledged: QoS 1 without PUBACK, QoS 2 without PUBREL. Kept over connections.
    unacknowledged: BTreeMap<u16, Held>,
    /// The last message under each packet identifier: acknowledged perhaps, but perhaps nobody has heard it.
    former: BTreeMap<u16, Held>,
    /// Sent on this connection and not acknowledged to the end.
    window: BTreeMap<u16, Name>,
    /// When the message came first that was sent again last on this connection.
    again_at: Option<usize>,
    /// Messages sent again under their packet identifiers.
    again_count: usize,
    /// Acknowledgements that the client has yet to send.
    owed: VecDeque<Packet>,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "received {:?}, not acknowledged {:?}",
            self.received, self.unacknowledged
        )
    }
}

impl Subscriber {
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            is_subscribed: false,
            received: Vec::new(),
            times: BTreeMap::new(),
            last: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            former: BTreeMap::new(),
            window: BTreeMap::new(),
            again_at: None,
            again_count: 0,
            owed: VecDeque::new(),
        }
    }

    /// A new connection begins.
    pub fn begin(&mut self) {
        self.window.clear();
        self.owed.clear();
        self.again_at = None;
    }

    /// Whether it is subscribed, and owes nothing.
    pub fn is_done(&self) -> bool {
        self.is_subscribed && self.owed.is_empty() && self.window.is_empty() && self.unacknowledged.is_empty()
    }

    /// Sends up to `count` acknowledgements, in the order of what they are about.
    pub fn acknowledge(&mut self, count: usize) -> Vec<Packet> {
        let packets: Vec<Packet> = self.owed.drain(..count.min(self.owed.len())).collect();
        for packet in &packets {
            match packet {
                Packet::PubAck(ack) => {
                    self.unacknowledged.remove(&ack.packet_id);
                    self.window.remove(&ack.packet_id);
                }
                Packet::PubComp(ack) => drop(self.window.remove(&ack.packet_id)),
                _ => {}
            }
        }
        packets
    }

    /// Handles what has come.
    pub fn read(&mut self, answers: &mut Vec<Packet>) {
        while let Some(packet) = self.wire.read() {
            match packet {
                Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => {
                    assert!(!std::mem::replace(&mut self.wire.is_connected, true));
                    assert!(connack.session_present || !self.wire.has_session, "the session is gone");
                    self.wire.has_session = true;
                    if !self.is_subscribed {
                        answers.push(subscribe());
                    }
                }
                // Too late for it: the client tries again.
                Packet::ConnAck(_) | Packet::Disconnect(_) => {
                    assert!(self.wire.inbox.is_empty(), "something behind the end");
                    return self.wire.forget();
                }
                Packet::SubAck(suback) => {
                    assert_eq!(suback.reasons, [ReasonCode::GrantedQoS2]);
                    self.is_subscribed = true;
                }
                Packet::Publish(publish) => self.publish(&publish),
                Packet::PubRel(ack) => {
                    let held = self.unacknowledged.remove(&ack.packet_id);
                    assert!(held.is_none_or(|held| held.qos == QoS::ExactlyOnce));
                    self.owed.push_back(Packet::PubComp(of(ack.packet_id)));
                }
                other => panic!("{other:?} for a subscriber"),
            }
        }
    }

    fn publish(&mut self, publish: &Publish) {
        let name = name_of(&publish.payload);
        let Some(packet_id) = publish.packet_id else {
            return self.note_new(name, QoS::AtMostOnce);
        };
        let twice = self.window.insert(packet_id, name);
        assert_eq!(twice, None, "{packet_id} twice on a connection");
        assert!(self.window.len() <= usize::from(RECEIVE_MAXIMUM), "{:?}", self.window);

        let is_it = |held: &&Held| held.name == name && held.qos == publish.qos;
        let unacknowledged = self.unacknowledged.get(&packet_id);
        if let Some(held) = unacknowledged {
            assert!(publish.dup && is_it(&held), "{publish:?} in place of {held:?}");
        }
        // Of QoS 2 nothing comes again that was released; of QoS 1 the acknowledgement may have been lost.
        let again = match publish.qos {
            QoS::ExactlyOnce => unacknowledged,
            _ => self.former.get(&packet_id).filter(|held| publish.dup && is_it(held)),
        };
        let at = match again.map(|held| held.at) {
            Some(at) => {
                assert!(
                    self.again_at.is_none_or(|last| last < at),
                    "{publish:?} again, but not in order"
                );
                self.again_at = Some(at);
                self.again_count += 1;
                at
            }
            None => {
                let at = self.received.len();
                self.note_new(name, publish.qos);
                at
            }
        };
        let qos = publish.qos;
        let held = Held { name, qos, at };
        self.unacknowledged.insert(packet_id, held);
        self.former.insert(packet_id, held);
        self.owed.push_back(match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(of(packet_id)),
            _ => Packet::PubAck(of(packet_id)),
        });
    }

    /// A message comes as one that was not there before.
    fn note_new(&mut self, name: Name, qos: QoS) {
        let (publisher, number) = name;
        let times = self.times.entry(name).or_default();
        *times += 1;
        self.received.push(name);
        if *times > 1 {
            // Of QoS 1 the publisher may have sent it again: then it is another message in the log.
            assert_eq!(qos, QoS::AtLeastOnce, "{name:?} twice");
            return;
        }
        let last = self.last.entry((publisher, qos == QoS::AtMostOnce)).or_default();
        assert!(*last < number, "{name:?} behind {last}");
        *last = number;
    }

    /// Messages that came as new.
    pub fn received_count(&self) -> usize {
        self.received.len()
    }

    /// Messages that came again.
    pub fn again_count(&self) -> usize {
        self.again_count
    }

    /// How often a message has come as new.
    pub fn times(&self, name: Name) -> usize {
        self.times.get(&name).copied().unwrap_or_default()
    }
}

fn subscribe() -> Packet {
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: 1,
        subscription_id: None,
        user_properties: Vec::new(),
        filters: vec![SubscribeFilter {
            filter: Bytes::from_static(b"t/+"),
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
        }],
    }))
}

fn of(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

fn name_of(payload: &[u8]) -> Name {
    let text = std::str::from_utf8(payload).expect("text");
    let (publisher, number) = text.split_once(' ').expect("two numbers");
    let publisher = publisher.parse().expect("a number");
    assert!(PUBLISHERS.contains(&publisher));
    (publisher, number.parse().expect("a number"))
}
