//! Packets of the server on their way out, and the ways a connection ends.

use super::effect::{Effect, HandOver};
use super::{Connection, Phase};
use crate::command;
use crate::mqtt::codec::encoded_len;
use crate::mqtt::packet::{ConnAck, Disconnect, Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

impl Connection {
    /// The code, or success towards 3.1.1, whose packet has no place for one.
    pub(super) fn for_version_5(&self, reason: ReasonCode) -> ReasonCode {
        match self.client.version {
            ProtocolVersion::V5 => reason,
            ProtocolVersion::V3 => ReasonCode::Success,
        }
    }

    /// Whether acknowledgements may carry reason strings and user properties [MQTT-3.1.2-29].
    pub(super) fn may_explain(&self) -> bool {
        self.client.version == ProtocolVersion::V5 && self.client.problem_information
    }

    /// Sends a packet that is no larger than the client takes [MQTT-3.1.2-24], if need be without what explains it: reason
    /// string and user properties yield first. What is too large even then ends the connection, as it cannot go on
    /// without it.
    pub(super) fn send(&mut self, mut packet: Packet, out: &mut Vec<Effect>) {
        if self.is_closed() {
            return;
        }
        let bytes_max = self.client.packet_bytes_max as usize;
        if bytes_max < u32::MAX as usize && encoded_len(&packet, self.client.version) > bytes_max {
            leave_out_explanation(&mut packet);
            if encoded_len(&packet, self.client.version) > bytes_max {
                return self.close(out);
            }
        }
        self.counters.packets_sent += 1;
        out.push(Effect::Send(packet));
    }

    /// DISCONNECT with this code and text, to a client that knows it, and close [MQTT-4.13.1-1].
    pub(super) fn disconnect(&mut self, reason: ReasonCode, reason_string: &str, out: &mut Vec<Effect>) {
        self.disconnect_to(
            HandOver {
                reason,
                detail: reason_string.to_owned(),
                server_reference: None,
            },
            out,
        );
    }

    /// As [`disconnect`](Self::disconnect), with the server to connect to if the code speaks of one (§4.11).
    pub(super) fn disconnect_to(&mut self, hand_over: HandOver, out: &mut Vec<Effect>) {
        if self.is_connected() && self.client.version == ProtocolVersion::V5 {
            let server_reference = self.server_reference(&hand_over);
            let HandOver { reason, detail, .. } = hand_over;
            let disconnect = Disconnect {
                reason,
                reason_string: Some(detail).filter(|detail| !detail.is_empty()),
                server_reference,
                ..Disconnect::default()
            };
            self.send(Packet::Disconnect(disconnect), out);
        }
        self.close(out);
    }

    /// Server Reference of a packet that sends the client elsewhere (§3.2.2.3.16, §3.14.2.2.5).
    fn server_reference(&self, hand_over: &HandOver) -> Option<String> {
        let names_another = matches!(hand_over.reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved);
        let given = hand_over.server_reference.as_ref();
        let reference = given.or(self.settings.server_reference.as_ref());
        reference.cloned().filter(|_| names_another)
    }

    /// CONNACK with this code and text, and close [MQTT-3.2.2-7].
    pub(super) fn refuse_connect(&mut self, reason: ReasonCode, reason_string: &str, out: &mut Vec<Effect>) {
        self.refuse_to(
            HandOver {
                reason,
                detail: reason_string.to_owned(),
                server_reference: None,
            },
            out,
        );
    }

    /// As [`refuse_connect`](Self::refuse_connect), with the server to connect to if the code speaks of one (§4.11).
    pub(super) fn refuse_to(&mut self, hand_over: HandOver, out: &mut Vec<Effect>) {
        let is_5 = self.client.version == ProtocolVersion::V5;
        let server_reference = self.server_reference(&hand_over).filter(|_| is_5);
        let HandOver { reason, detail, .. } = hand_over;
        let connack = ConnAck {
            reason,
            reason_string: is_5.then_some(detail),
            server_reference,
            ..ConnAck::default()
        };
        self.send(Packet::ConnAck(Box::new(connack)), out);
        self.close(out);
    }

    /// Ends the connection without a DISCONNECT of the client: the will is published [MQTT-3.1.2-8].
    pub(super) fn close(&mut self, out: &mut Vec<Effect>) {
        self.end(
            command::Disconnect {
                expiry_s: None,
                publishes_will: true,
            },
            out,
        );
    }

    /// Ends the connection, and maybe the session with it.
    pub(super) fn end(&mut self, disconnect: command::Disconnect, out: &mut Vec<Effect>) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.held = None;
            out.push(Effect::Close(disconnect));
        }
    }
}

/// Takes reason string and user properties out of a packet of the server.
fn leave_out_explanation(packet: &mut Packet) {
    let (reason_string, user_properties) = match packet {
        Packet::ConnAck(connack) => (&mut connack.reason_string, &mut connack.user_properties),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            (&mut ack.reason_string, &mut ack.user_properties)
        }
        Packet::SubAck(suback) => (&mut suback.reason_string, &mut suback.user_properties),
        Packet::UnsubAck(unsuback) => (&mut unsuback.reason_string, &mut unsuback.user_properties),
        Packet::Disconnect(disconnect) => (&mut disconnect.reason_string, &mut disconnect.user_properties),
        _ => return,
    };
    *reason_string = None;
    user_properties.clear();
}
