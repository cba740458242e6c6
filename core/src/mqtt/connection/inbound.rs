//! QoS 2 messages of the client between PUBLISH and PUBCOMP, by packet identifier (§4.3.3).
//!
//! An identifier is known from its PUBLISH on, so that a second PUBLISH of it is no second message, until its PUBREL is
//! answered, or until a PUBREC that refuses it leaves.

use std::collections::{BTreeMap, BTreeSet};

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its outcome decides between PUBREC and refusal; or it is refused, and that waits its turn.
    Deciding,
    /// PUBREC is sent or about to be; PUBREL has yet to come.
    Received {
        /// The cluster knows the identifier, and has to forget it before PUBCOMP.
        replicated: bool,
    },
    /// PUBREL has come; PUBCOMP waits for its outcome.
    Releasing,
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    stage: Stage,
    /// It came on this connection, and counts against Receive Maximum.
    counts: bool,
}

/// At most one entry for each of the 65,535 identifiers.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    exchanges: BTreeMap<u16, Exchange>,
    count: usize,
}

impl Inbound {
    /// Identifiers that the session's former connections have received. A client may send as many as Receive Maximum beside
    /// them: its quota is that of the connection (§4.9).
    pub(super) fn restore(&mut self, packet_ids: &BTreeSet<u16>) {
        let stage = Stage::Received { replicated: true };
        let exchange = Exchange { stage, counts: false };
        self.exchanges = packet_ids.iter().map(|packet_id| (*packet_id, exchange)).collect();
    }

    /// How far the message of this identifier has come; `None` if there is none.
    pub(super) fn stage(&self, packet_id: u16) -> Option<Stage> {
        self.exchanges.get(&packet_id).map(|exchange| exchange.stage)
    }

    /// A PUBLISH came on this connection, under an identifier that is not known.
    pub(super) fn insert(&mut self, packet_id: u16, stage: Stage) {
        self.remove(packet_id);
        self.exchanges.insert(packet_id, Exchange { stage, counts: true });
        self.count += 1;
    }

    /// The message has come further. No effect on an unknown identifier.
    pub(super) fn advance(&mut self, packet_id: u16, stage: Stage) {
        if let Some(exchange) = self.exchanges.get_mut(&packet_id) {
            exchange.stage = stage;
        }
    }

    /// The identifier is free again.
    pub(super) fn remove(&mut self, packet_id: u16) {
        let exchange = self.exchanges.remove(&packet_id);
        self.count -= usize::from(exchange.is_some_and(|exchange| exchange.counts));
    }

    /// Messages that count against Receive Maximum [MQTT-3.3.4-7].
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_on_this_connection_counts() {
        let mut inbound = Inbound::default();
        inbound.restore(&[3, 5].into());
        assert_eq!(inbound.stage(3), Some(Stage::Received { replicated: true }));
        inbound.insert(4, Stage::Deciding);
        assert_eq!((inbound.stage(4), inbound.count()), (Some(Stage::Deciding), 1));
        inbound.advance(4, Stage::Releasing);
        inbound.advance(6, Stage::Releasing);
        assert_eq!((inbound.stage(4), inbound.stage(6)), (Some(Stage::Releasing), None));
        for packet_id in [3, 4, 4] {
            inbound.remove(packet_id);
        }
        assert_eq!((inbound.stage(4), inbound.count()), (None, 0));
        assert!(inbound.stage(5).is_some());
    }
}
