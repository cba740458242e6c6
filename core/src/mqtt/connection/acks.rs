//! Acknowledgements in the order of the PUBLISHes they answer.
//!
//! Every PUBLISH that somebody has to decide about takes a slot; a slot leaves from the front once it is decided. So an
//! early outcome waits for the one before it, and a local refusal waits its turn among the outcomes [MQTT-4.6.0-2].
//! QoS 0 writes take slots too, without an acknowledgement, so that what waits for the driver is bounded whatever its QoS.

use std::collections::VecDeque;

use super::effect::Token;
use crate::mqtt::packet::Ack;

/// What a PUBLISH is waiting for.
#[derive(Debug)]
enum Slot {
    /// For the driver's answer. `packet_id` is `None` for QoS 0.
    Waiting { packet_id: Option<u16>, bytes: usize },
    /// For the slots before it.
    Decided(Option<Ack>),
}

/// The PUBLISHes of the client that are not acknowledged yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    slots: VecDeque<Slot>,
    /// Token of the next slot. Tokens are consecutive, so the front slot has `next_token - slots.len()`.
    next_token: Token,
    /// QoS 1 PUBLISHes in `slots`: what counts against Receive Maximum (§4.9).
    unacknowledged: usize,
    /// Slots that are `Waiting`.
    waiting: usize,
    /// Sum of the bytes of the slots that are `Waiting`.
    waiting_bytes: usize,
}

impl AckQueue {
    /// A slot that the driver will answer. `bytes` is what the driver holds for it meanwhile.
    pub(super) fn wait(&mut self, packet_id: Option<u16>, bytes: usize) -> Token {
        self.waiting += 1;
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        self.push(Slot::Waiting { packet_id, bytes }, packet_id.is_some())
    }

    /// A slot that is decided already, for an acknowledgement that must not overtake the ones before it.
    pub(super) fn decided(&mut self, ack: Ack) {
        self.push(Slot::Decided(Some(ack)), true);
    }

    fn push(&mut self, slot: Slot, acknowledged: bool) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.unacknowledged += usize::from(acknowledged);
        self.slots.push_back(slot);
        token
    }

    /// The packet identifier (`None` for QoS 0) of the PUBLISH that waits under this token. `None` if none does: the token
    /// was never handed out, or is answered already.
    pub(super) fn waiting(&self, token: Token) -> Option<Option<u16>> {
        match self.slots.get(self.index(token)?)? {
            Slot::Waiting { packet_id, .. } => Some(*packet_id),
            Slot::Decided(_) => None,
        }
    }

    /// Decides a waiting slot; no effect on others. `ack` is `None` for QoS 0.
    pub(super) fn decide(&mut self, token: Token, ack: Option<Ack>) {
        let Some(slot) = self.index(token).and_then(|index| self.slots.get_mut(index)) else {
            return;
        };
        let Slot::Waiting { packet_id, bytes } = *slot else {
            return;
        };
        debug_assert_eq!(packet_id, ack.as_ref().map(|ack| ack.packet_id));
        *slot = Slot::Decided(ack);
        self.waiting -= 1;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }

    fn index(&self, token: Token) -> Option<usize> {
        let front = self.next_token - self.slots.len() as Token;
        usize::try_from(token.checked_sub(front)?).ok()
    }

    /// The next acknowledgement whose turn has come.
    pub(super) fn pop(&mut self) -> Option<Ack> {
        while matches!(self.slots.front(), Some(Slot::Decided(_))) {
            if let Some(Slot::Decided(Some(ack))) = self.slots.pop_front() {
                self.unacknowledged -= 1;
                return Some(ack);
            }
        }
        None
    }

    /// QoS 1 PUBLISHes without an acknowledgement, refused ones that wait their turn included.
    pub(super) fn unacknowledged(&self) -> usize {
        self.unacknowledged
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

    fn drain(queue: &mut AckQueue) -> Vec<u16> {
        std::iter::from_fn(|| queue.pop()).map(|ack| ack.packet_id).collect()
    }

    /// [MQTT-4.6.0-2]: PUBACKs leave in the order of the PUBLISHes, whatever the order of the outcomes.
    #[test]
    fn leave_in_order() {
        let mut queue = AckQueue::default();
        let first = queue.wait(Some(7), 10);
        queue.decided(ack(8));
        let third = queue.wait(Some(9), 30);
        assert_eq!((queue.unacknowledged(), queue.waiting_bytes()), (3, 40));
        queue.decide(third, Some(ack(9)));
        assert_eq!(drain(&mut queue), []);
        queue.decide(first, Some(ack(7)));
        assert_eq!(drain(&mut queue), [7, 8, 9]);
        assert_eq!((queue.unacknowledged(), queue.waiting_bytes(), queue.len()), (0, 0, 0));
    }

    #[test]
    fn qos_0_takes_a_slot_but_sends_nothing() {
        let mut queue = AckQueue::default();
        let silent = queue.wait(None, 5);
        let loud = queue.wait(Some(1), 5);
        assert_eq!((queue.unacknowledged(), queue.len()), (1, 2));
        queue.decide(loud, Some(ack(1)));
        queue.decide(silent, None);
        assert_eq!(drain(&mut queue), [1]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_answer_counts_once() {
        let mut queue = AckQueue::default();
        assert_eq!(queue.waiting(0), None);
        let token = queue.wait(Some(1), 0);
        assert_eq!((queue.waiting(token), queue.waiting(token + 1)), (Some(Some(1)), None));
        for _ in 0..2 {
            queue.decide(token, Some(ack(1)));
            assert_eq!(queue.waiting(token), None);
        }
        assert_eq!(drain(&mut queue), [1]);
        queue.decide(token, Some(ack(1)));
        assert!(drain(&mut queue).is_empty() && !queue.is_waiting());
    }
}
