//! Acknowledgements in the order of what they answer.
//!
//! Every PUBLISH that somebody has to decide about, and every PUBREL that the cluster has to know of, takes a slot; a slot
//! leaves from the front once it is decided. So an early outcome waits for the one before it, and a local refusal waits its
//! turn among the outcomes [MQTT-4.6.0-2], [MQTT-4.6.0-3]. QoS 0 writes take slots too, without an acknowledgement, so that
//! what waits for the driver is bounded whatever its QoS.

use std::collections::VecDeque;

use super::effect::Token;
use crate::mqtt::packet::{Ack, Packet};

/// How something of the client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A PUBLISH of QoS 0: not at all.
    None,
    /// A PUBLISH of QoS 1 with this packet identifier.
    PubAck(u16),
    /// A PUBLISH of QoS 2.
    PubRec(u16),
    /// A PUBREL.
    PubComp(u16),
}

impl Answer {
    /// The packet with this content.
    pub(super) fn packet(self, ack: Ack) -> Option<Packet> {
        match self {
            Self::None => None,
            Self::PubAck(_) => Some(Packet::PubAck(ack)),
            Self::PubRec(_) => Some(Packet::PubRec(ack)),
            Self::PubComp(_) => Some(Packet::PubComp(ack)),
        }
    }

    /// The packet identifier; `None` for QoS 0.
    pub(super) fn packet_id(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::PubAck(packet_id) | Self::PubRec(packet_id) | Self::PubComp(packet_id) => Some(packet_id),
        }
    }
}

/// What has to be answered.
#[derive(Debug)]
struct Slot {
    answer: Answer,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for the driver's answer.
    Waiting { bytes: usize },
    /// Waits for the slots before it.
    Decided(Ack),
}

/// What the client has sent and is not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    slots: VecDeque<Slot>,
    /// Token of the next slot. Tokens are consecutive, so the front slot has `next_token - slots.len()`.
    next_token: Token,
    /// Slots that end in a packet.
    answers: usize,
    /// Slots that end in PUBACK.
    pubacks: usize,
    /// Slots that are `Waiting`.
    waiting: usize,
    /// Sum of the bytes of the slots that are `Waiting`.
    waiting_bytes: usize,
}

impl AckQueue {
    /// A slot that the driver will answer. `bytes` is what the driver holds for it meanwhile.
    pub(super) fn wait(&mut self, answer: Answer, bytes: usize) -> Token {
        self.waiting += 1;
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        self.push(answer, State::Waiting { bytes })
    }

    /// A slot that is decided already, for an acknowledgement that must not overtake the ones before it.
    pub(super) fn decided(&mut self, answer: Answer, ack: Ack) {
        self.push(answer, State::Decided(ack));
    }

    fn push(&mut self, answer: Answer, state: State) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.answers += usize::from(answer != Answer::None);
        self.pubacks += usize::from(matches!(answer, Answer::PubAck(_)));
        self.slots.push_back(Slot { answer, state });
        token
    }

    /// How what waits under this token is answered. `None` if nothing does: the token was never handed out, or is answered
    /// already.
    pub(super) fn waiting(&self, token: Token) -> Option<Answer> {
        let slot = self.slots.get(self.index(token)?)?;
        matches!(slot.state, State::Waiting { .. }).then_some(slot.answer)
    }

    /// Decides a waiting slot; no effect on others. Of QoS 0 the content goes nowhere.
    pub(super) fn decide(&mut self, token: Token, ack: Ack) {
        let Some(slot) = self.index(token).and_then(|index| self.slots.get_mut(index)) else {
            return;
        };
        let State::Waiting { bytes } = slot.state else {
            return;
        };
        slot.state = State::Decided(ack);
        self.waiting -= 1;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }

    fn index(&self, token: Token) -> Option<usize> {
        let front = self.next_token - self.slots.len() as Token;
        usize::try_from(token.checked_sub(front)?).ok()
    }

    /// The next acknowledgement whose turn has come.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        loop {
            let slot = self
                .slots
                .pop_front_if(|slot| matches!(slot.state, State::Decided(_)))?;
            let State::Decided(ack) = slot.state else {
                return None;
            };
            self.pubacks -= usize::from(matches!(slot.answer, Answer::PubAck(_)));
            if let Some(packet) = slot.answer.packet(ack) {
                self.answers -= 1;
                return Some(packet);
            }
        }
    }

    /// QoS 1 PUBLISHes without an acknowledgement, refused ones that wait their turn included: they count against Receive
    /// Maximum (§4.9).
    pub(super) fn pubacks(&self) -> usize {
        self.pubacks
    }

    /// Packets that the client waits for: none of them waits for the client.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Slots, decided or not.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that wait for the driver.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether the driver owes an answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(packet_id: u16) -> Ack {
        Ack {
            packet_id,
            ..Ack::default()
        }
    }

    fn drain(queue: &mut AckQueue) -> Vec<Packet> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    /// [MQTT-4.6.0-2], [MQTT-4.6.0-3]: acknowledgements leave in the order of the PUBLISHes, whatever the order of the
    /// outcomes.
    /// Shows 3.1.1 [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    #[test]
    fn leave_in_order() {
        let mut queue = AckQueue::default();
        let first = queue.wait(Answer::PubAck(7), 10);
        queue.decided(Answer::PubRec(8), ack(8));
        let third = queue.wait(Answer::PubComp(9), 30);
        assert_eq!((queue.pubacks(), queue.answers(), queue.waiting_bytes()), (1, 3, 40));
        queue.decide(third, ack(9));
        assert_eq!(drain(&mut queue), []);
        queue.decide(first, ack(7));
        let expected = [Packet::PubAck(ack(7)), Packet::PubRec(ack(8)), Packet::PubComp(ack(9))];
        assert_eq!(drain(&mut queue), expected);
        assert_eq!(
            (queue.pubacks(), queue.answers(), queue.waiting_bytes(), queue.len()),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn qos_0_takes_a_slot_but_sends_nothing() {
        let mut queue = AckQueue::default();
        let silent = queue.wait(Answer::None, 5);
        let loud = queue.wait(Answer::PubAck(1), 5);
        assert_eq!((queue.answers(), queue.len()), (1, 2));
        queue.decide(loud, ack(1));
        queue.decide(silent, Ack::default());
        assert_eq!(drain(&mut queue), [Packet::PubAck(ack(1))]);
        assert_eq!((queue.len(), queue.answers()), (0, 0));
    }

    #[test]
    fn an_answer_counts_once() {
        let mut queue = AckQueue::default();
        assert_eq!(queue.waiting(0), None);
        let answer = Answer::PubAck(1);
        let token = queue.wait(answer, 0);
        assert_eq!((queue.waiting(token), queue.waiting(token + 1)), (Some(answer), None));
        for _ in 0..2 {
            queue.decide(token, ack(1));
            assert_eq!(queue.waiting(token), None);
        }
        assert_eq!(drain(&mut queue), [Packet::PubAck(ack(1))]);
        queue.decide(token, ack(1));
        assert!(drain(&mut queue).is_empty() && !queue.is_waiting());
    }
}
