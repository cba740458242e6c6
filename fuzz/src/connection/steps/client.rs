//! What the client does.

use super::*;

impl Driver {
    pub(super) fn publish(&mut self, choices: &mut Choices<'_>) -> Publish {
        let qos = choices.one_of(&[QOS[0], QOS[0], QOS[0], QOS[1], QOS[1], QOS[2]]);
        let mut metadata = MetadataBuilder::new();
        for (name, value) in user_properties(choices) {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            metadata.user_property(&text(&name), &text(&value));
        }
        let form = choices.u8();
        let flag = |bit: u8| form & 1 << bit != 0;
        if flag(4) {
            metadata.payload_format(1);
        }
        Publish {
            dup: flag(0) && qos != QoS::AtMostOnce,
            qos,
            retain: flag(1),
            topic: Bytes::from(choices.one_of(&NAMES)),
            packet_id: (qos != QoS::AtMostOnce).then(|| self.next_packet_id()),
            message_expiry_s: flag(2).then(|| u32::from(choices.u8())),
            topic_alias: flag(3).then(|| 1 + u16::from(choices.u8() & 0x1F)),
            subscription_ids: Vec::new(),
            metadata: metadata.build().unwrap_or_default(),
            payload: Bytes::copy_from_slice(choices.bytes()),
        }
    }

    pub(super) fn subscribe(&mut self, choices: &mut Choices<'_>) -> Subscribe {
        let packet_id = self.next_packet_id();
        let user_properties = user_properties(choices);
        let mut filter = || {
            let filter = Bytes::from(choices.one_of(&FILTERS));
            let form = choices.u8();
            SubscribeFilter {
                filter,
                qos: QOS[usize::from(form) % 3],
                no_local: form & 4 != 0,
                retain_as_published: form & 8 != 0,
                retain_handling: if form & 16 != 0 {
                    RetainHandling::SendIfNew
                } else {
                    RetainHandling::Send
                },
            }
        };
        let first = filter();
        let filters = match first.no_local {
            true => vec![first],
            false => vec![first, filter()],
        };
        Subscribe {
            packet_id,
            subscription_id: choices.bool().then_some(5),
            user_properties,
            filters,
        }
    }

    pub(super) fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }

    pub(super) fn client_sends(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version(), &mut bytes);
        self.arrive(&bytes);
    }

    pub(super) fn version(&self) -> ProtocolVersion {
        self.terms
            .as_ref()
            .map_or(ProtocolVersion::V5, |connect| connect.version)
    }

    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
        if self.terms.is_none() {
            self.sent.extend_from_slice(bytes);
            self.terms = terms(&self.sent);
        }
        self.read();
    }

    /// The client takes the next step with a message it has got, or acknowledges one it has not.
    pub(super) fn acknowledge(&mut self, choices: &mut Choices<'_>) {
        let number = choices.u8();
        let ids: Vec<u16> = self.inflight.keys().copied().collect();
        let packet_id = match usize::from(number).checked_rem(ids.len()) {
            Some(index) => ids[index],
            None => 1 + u16::from(number),
        };
        let ack = Ack {
            packet_id,
            ..Ack::default()
        };
        let packet = match (choices.below(3), self.inflight.get(&packet_id)) {
            (0, Some(false)) => Packet::PubRec(ack),
            (_, Some(true)) => Packet::PubComp(ack),
            _ => Packet::PubAck(ack),
        };
        if let Packet::PubRec(_) = packet {
            self.inflight.insert(packet_id, true);
        }
        self.client_sends(&packet);
    }

    /// What a client makes of `bytes`: one whole packet, not larger than it takes [MQTT-3.1.2-24].
    pub(super) fn client_reads(&self, mut bytes: BytesMut) -> Packet {
        let maximum = self.terms.as_ref().and_then(|connect| connect.maximum_packet_size);
        let limits = DecodeLimits {
            packet_bytes_max: maximum.unwrap_or(u32::MAX),
        };
        let sent = bytes.clone().freeze();
        match decode_as_client(&mut bytes, self.connection.version(), &limits) {
            Ok(Some(packet)) if bytes.is_empty() => packet,
            other => panic!("{sent:?} is read as {other:?}"),
        }
    }
}
