//! The client's part.

use super::*;

impl World {
    pub(super) fn client_sends(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        self.wire.extend(bytes);
    }

    pub(super) fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id += 1;
        self.last_packet_id
    }

    /// The client releases one of its messages.
    pub(super) fn pubrel(&mut self, index: usize) {
        let is_received = |exchange: &Exchange| *exchange == Exchange::Received;
        if let Some(packet_id) = pick(&self.exchanges, index, is_received) {
            self.exchanges.insert(packet_id, Exchange::Released);
            self.client_sends(&Packet::PubRel(ack(packet_id, ReasonCode::Success)));
        }
    }

    /// The client takes the next step with one of the messages it has got.
    pub(super) fn acknowledge(&mut self, index: usize, fails: bool) {
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

    /// Everything that is sent can be read by a client.
    pub(super) fn client_reads(&self, bytes: &mut BytesMut) -> Packet {
        let limits = DecodeLimits {
            packet_bytes_max: u32::MAX,
        };
        let packet = decode_as_client(bytes, self.version, &limits).unwrap().unwrap();
        assert!(bytes.is_empty());
        packet
    }

    pub(super) fn sent(&mut self, packet: &Packet) {
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
    pub(super) fn pubrec(&mut self, ack: &Ack) {
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
    pub(super) fn acknowledged(&mut self, ack: &Ack) {
        assert_eq!(self.unacknowledged.pop_front(), Some(ack.packet_id));
        let refused_here = matches!(
            ack.reason,
            ReasonCode::NotAuthorized | ReasonCode::TopicNameInvalid | ReasonCode::ImplementationSpecificError
        );
        self.acknowledged += usize::from(!refused_here && self.version == ProtocolVersion::V5);
        assert!(self.acknowledged <= self.answered, "acknowledged before its outcome");
    }
}
