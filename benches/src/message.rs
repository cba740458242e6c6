//! PUBLISH packets that differ only in topic number, packet identifier and serial number: encoded once, copied and stamped.

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{Packet, ProtocolVersion, Publish, QoS};
use bytes::{Bytes, BytesMut};

/// Digits of the topic number: `PREFIX/0001234`.
const TOPIC_DIGITS: usize = 7;

/// Most topics.
pub(crate) const TOPICS_MAX: u32 = 10_u32.pow(TOPIC_DIGITS as u32);

/// Most digits of the serial number at the beginning of each payload; a shorter payload holds its last ones.
const SERIAL_DIGITS: usize = 16;

/// The packet to stamp.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    packet: Bytes,
    topic_at: usize,
    packet_id_at: usize,
    payload_at: usize,
    serial_digits: usize,
}

impl Message {
    /// A retained QoS 1 PUBLISH to a topic below `prefix`, with `payload_bytes` of payload.
    pub(crate) fn new(version: ProtocolVersion, prefix: &str, payload_bytes: usize) -> Self {
        let topic = format!("{prefix}/{:0TOPIC_DIGITS$}", 0);
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: Bytes::from(topic.clone()),
            packet_id: Some(1),
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: Vec::new(),
            metadata: Metadata::empty(),
            payload: vec![b'.'; payload_bytes].into(),
        };
        let mut packet = BytesMut::new();
        banyan_core::mqtt::encode(&Packet::Publish(Box::new(publish)), version, &mut packet);
        let properties_bytes = match version {
            ProtocolVersion::V3 => 0,
            ProtocolVersion::V5 => 1, // their length, 0
        };
        let payload_at = packet.len() - payload_bytes;
        let packet_id_at = payload_at - properties_bytes - 2;
        let topic_at = packet_id_at - TOPIC_DIGITS;
        debug_assert_eq!(&packet[packet_id_at - topic.len()..packet_id_at], topic.as_bytes());
        Self {
            packet: packet.freeze(),
            topic_at,
            packet_id_at,
            payload_at,
            serial_digits: payload_bytes.min(SERIAL_DIGITS),
        }
    }

    /// Appends the packet for topic number `topic`, below [`TOPICS_MAX`].
    pub(crate) fn write(&self, topic: u32, packet_id: u16, serial: u64, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.packet);
        let packet = &mut out[start..];
        write_digits(u64::from(topic), &mut packet[self.topic_at..self.packet_id_at]);
        packet[self.packet_id_at..self.packet_id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        write_digits(
            serial,
            &mut packet[self.payload_at..self.payload_at + self.serial_digits],
        );
    }
}

/// The last digits of `number`, with leading zeros.
fn write_digits(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::mqtt::{DecodeLimits, decode};

    use super::*;

    fn round_trip(version: ProtocolVersion, payload_bytes: usize) -> Publish {
        let mut out = BytesMut::from(&b""[..]);
        Message::new(version, "bench", payload_bytes).write(1234, 0x1234, 987_654, &mut out);
        match decode(&mut out, Some(version), &DecodeLimits::default())
            .unwrap()
            .unwrap()
        {
            Packet::Publish(publish) => *publish,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stamps_topic_packet_identifier_and_serial_number() {
        for version in [ProtocolVersion::V3, ProtocolVersion::V5] {
            let publish = round_trip(version, 20);
            assert_eq!(publish.topic, "bench/0001234");
            assert_eq!(publish.packet_id, Some(0x1234));
            assert_eq!(publish.payload, "0000000000987654....");
            assert!(publish.retain && publish.qos == QoS::AtLeastOnce && !publish.dup);
            assert_eq!(round_trip(version, 3).payload, "654");
            assert_eq!(round_trip(version, 200).payload.len(), 200);
        }
    }
}
