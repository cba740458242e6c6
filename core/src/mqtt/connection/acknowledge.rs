//! Acknowledgements of the client: PUBACK, PUBREC and PUBCOMP of what it was sent, PUBREL of what it has sent (§4.3).

use super::Connection;
use super::acks::Answer;
use super::effect::{AckKind, Effect};
use super::inbound::Stage;
use super::inflight::{AckError, PubRec};
use crate::command::{Operation, Release};
use crate::mqtt::packet::{Ack, Packet};
use crate::mqtt::reason::ReasonCode;

/// Acknowledgements of unknown packet identifiers that are put up with; the next one closes.
const UNKNOWN_ACKS_MAX: u64 = 100;

impl Connection {
    /// PUBACK: its place in the window is free again, also after a failure. Nothing is sent again [MQTT-4.4.0-2].
    pub(super) fn on_puback(&mut self, ack: &Ack, out: &mut Vec<Effect>) {
        match self.inflight.puback(ack.packet_id) {
            Ok(()) => {
                self.counters.deliveries_refused += u64::from(ack.reason.is_failure());
                self.acknowledged(ack.packet_id, AckKind::Done, out);
            }
            Err(error) => self.on_ack_error(error, out),
        }
    }

    /// PUBREC: the client has the message and will not take it twice. PUBREL follows once that is replicated, and never
    /// another PUBLISH [MQTT-4.3.3-4], [MQTT-4.3.3-6].
    pub(super) fn on_pubrec(&mut self, ack: &Ack, out: &mut Vec<Effect>) {
        let packet_id = ack.packet_id;
        match self.inflight.pubrec(packet_id, ack.reason.is_failure()) {
            Ok(PubRec::First) if ack.reason.is_failure() => {
                self.counters.deliveries_refused += 1;
                self.acknowledged(packet_id, AckKind::Done, out);
            }
            Ok(PubRec::First) if self.session.replicated => self.acknowledged(packet_id, AckKind::Received, out),
            Ok(PubRec::First) => self.release(packet_id, out),
            Ok(PubRec::Repeated) => {}
            Ok(PubRec::AfterPubRel) => self.send_pubrel(packet_id, ReasonCode::Success, out),
            Err(AckError::Unknown) => {
                self.send_pubrel(packet_id, ReasonCode::PacketIdentifierNotFound, out);
                self.on_ack_error(AckError::Unknown, out);
            }
            Err(error) => self.on_ack_error(error, out),
        }
    }

    /// What the client has received, as [`Effect::Acknowledged`] said, is replicated: PUBREL leaves [MQTT-4.3.3-4]. No effect
    /// on other packet identifiers.
    pub fn release(&mut self, packet_id: u16, out: &mut Vec<Effect>) {
        if self.is_connected() && self.inflight.release(packet_id) {
            self.send_pubrel(packet_id, ReasonCode::Success, out);
        }
    }

    pub(super) fn send_pubrel(&mut self, packet_id: u16, reason: ReasonCode, out: &mut Vec<Effect>) {
        let pubrel = Packet::PubRel(self.plain_ack(packet_id, reason));
        self.send(pubrel, out);
    }

    /// PUBCOMP: the message is done.
    pub(super) fn on_pubcomp(&mut self, ack: &Ack, out: &mut Vec<Effect>) {
        match self.inflight.pubcomp(ack.packet_id) {
            Ok(()) => self.acknowledged(ack.packet_id, AckKind::Done, out),
            Err(error) => self.on_ack_error(error, out),
        }
    }

    /// PUBREL: the identifier is forgotten, where it is known to the cluster as well, then PUBCOMP leaves [MQTT-4.3.3-11].
    pub(super) fn on_pubrel(&mut self, ack: &Ack, out: &mut Vec<Effect>) {
        let packet_id = ack.packet_id;
        match self.inbound.stage(packet_id) {
            Some(Stage::Received { replicated: true }) => {
                self.inbound.advance(packet_id, Stage::Releasing);
                self.propose(
                    Answer::PubComp(packet_id),
                    Operation::Release(Release { packet_id }),
                    out,
                );
            }
            Some(Stage::Received { replicated: false }) => {
                self.inbound.remove(packet_id);
                let pubcomp = Packet::PubComp(self.plain_ack(packet_id, ReasonCode::Success));
                self.send(pubcomp, out);
            }
            Some(Stage::Releasing) => {} // PUBCOMP is to come.
            // [MQTT-4.3.3-4]
            Some(Stage::Deciding) => self.disconnect(ReasonCode::ProtocolError, "PUBREL before PUBREC", out),
            None => {
                // Legal after a failure that cost us the session, so answered.
                let pubcomp = Packet::PubComp(self.plain_ack(packet_id, ReasonCode::PacketIdentifierNotFound));
                self.send(pubcomp, out);
                self.on_ack_error(AckError::Unknown, out);
            }
        }
    }

    fn acknowledged(&mut self, packet_id: u16, kind: AckKind, out: &mut Vec<Effect>) {
        out.push(Effect::Acknowledged { packet_id, kind });
    }

    /// Nothing but identifier and code; towards 3.1.1 no code either.
    fn plain_ack(&self, packet_id: u16, reason: ReasonCode) -> Ack {
        Ack {
            packet_id,
            reason: self.for_version_5(reason),
            ..Ack::default()
        }
    }

    /// Unknown identifiers are ignored, but not for ever; what is not the next step of its message is an error.
    fn on_ack_error(&mut self, error: AckError, out: &mut Vec<Effect>) {
        self.counters.unknown_acks += 1;
        self.unknown_acks += 1;
        match error {
            AckError::Unexpected => {
                let detail = "an acknowledgement of another QoS, or before its turn";
                self.disconnect(ReasonCode::ProtocolError, detail, out);
            }
            AckError::Unknown if self.unknown_acks > UNKNOWN_ACKS_MAX => {
                let detail = "too many acknowledgements of packet identifiers not in flight";
                self.disconnect(ReasonCode::ProtocolError, detail, out);
            }
            AckError::Unknown => {}
        }
    }
}
