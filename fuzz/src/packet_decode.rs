//! The codec: any bytes, in any pieces, from either side and in both versions.
//!
//! Input: side u8 | how the rest is cut u8 | the stream.
//!
//! What must hold:
//!
//! - No panic.
//! - The pieces in which bytes arrive do not matter: the same packets, the same error, the same rest.
//! - A buffer never grows for what was only announced.
//! - What is decoded can be encoded and decodes to the same again; [`encoded_len`] tells its length.
//! - A PUBLISH encoded once for many is the same as encoded alone.

use banyan_core::mqtt::codec::READ_BYTES;
use banyan_core::mqtt::packet::Publish;
use banyan_core::mqtt::{
    DecodeError, DecodeLimits, Packet, ProtocolVersion, PublishTemplate, TopicAlias, decode, decode_as_client, encode,
    encoded_len,
};
use banyan_core::topic::TopicName;
use bytes::BytesMut;

use crate::choices::Choices;

/// Who decodes, and what it knows of the version.
#[derive(Clone, Copy)]
enum Side {
    /// `None` before CONNECT.
    Server(Option<ProtocolVersion>),
    Client(ProtocolVersion),
}

const SIDES: [Side; 5] = [
    Side::Server(None),
    Side::Server(Some(ProtocolVersion::V5)),
    Side::Server(Some(ProtocolVersion::V3)),
    Side::Client(ProtocolVersion::V5),
    Side::Client(ProtocolVersion::V3),
];

impl Side {
    fn decode(self, buf: &mut BytesMut, limits: &DecodeLimits) -> Result<Option<Packet>, DecodeError> {
        match self {
            Self::Server(version) => decode(buf, version, limits),
            Self::Client(version) => decode_as_client(buf, version, limits),
        }
    }

    /// The side after `packet`: CONNECT fixes the version.
    fn after(self, packet: &Packet) -> Self {
        match (self, packet) {
            (Self::Server(None), Packet::Connect(connect)) => Self::Server(Some(connect.version)),
            _ => self,
        }
    }

    /// The version to encode `packet` for.
    fn version(self, packet: &Packet) -> ProtocolVersion {
        match (self, packet) {
            (_, Packet::Connect(connect)) => connect.version,
            (Self::Server(Some(version)) | Self::Client(version), _) => version,
            (Self::Server(None), _) => panic!("{packet:?} before CONNECT"),
        }
    }
}

/// All that a receiver sees of a stream.
#[derive(Debug, PartialEq)]
struct Seen {
    packets: Vec<Packet>,
    error: Option<DecodeError>,
    /// Bytes of a packet that is not complete; 0 after an error.
    left: usize,
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let side = choices.u8();
    let limits = DecodeLimits {
        packet_bytes_max: if side & 0x80 == 0 { 1024 * 1024 } else { 64 },
    };
    let side = SIDES[usize::from(side & 0x7F) % SIDES.len()];
    let cut = choices.u8();
    let stream = choices.rest();

    let whole = see(side, &limits, [stream].into_iter());
    let lengths = [1 + usize::from(cut & 0x0F), 1 + usize::from(cut >> 4)];
    let cut = see(side, &limits, pieces(stream, lengths));
    assert_eq!(whole, cut, "the pieces matter");

    let mut side = side;
    for packet in &whole.packets {
        check_round_trip(side, packet);
        side = side.after(packet);
    }
}

fn see<'a>(mut side: Side, limits: &DecodeLimits, pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut buf = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let capacity = buf.capacity();
            match side.decode(&mut buf, limits) {
                Ok(Some(packet)) => {
                    side = side.after(&packet);
                    packets.push(packet);
                }
                Ok(None) => {
                    let allowed = capacity.max(READ_BYTES).max(2 * buf.len());
                    assert!(
                        buf.capacity() <= allowed,
                        "{} reserved for {}",
                        buf.capacity(),
                        buf.len()
                    );
                    break;
                }
                Err(error) => {
                    assert!(error.reason.is_failure(), "{error:?}");
                    return Seen {
                        packets,
                        error: Some(error),
                        left: 0,
                    };
                }
            }
        }
    }
    Seen {
        packets,
        error: None,
        left: buf.len(),
    }
}

/// `bytes` in pieces of the two `lengths` by turns.
fn pieces(mut bytes: &[u8], lengths: [usize; 2]) -> impl Iterator<Item = &[u8]> {
    let mut lengths = lengths.into_iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next()?.min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (length > 0).then_some(piece)
    })
}

fn check_round_trip(side: Side, packet: &Packet) {
    let version = side.version(packet);
    let mut encoded = BytesMut::new();
    encode(packet, version, &mut encoded);
    assert_eq!(encoded.len(), encoded_len(packet, version), "{packet:?}");
    let bytes = encoded.clone().freeze();
    let limits = DecodeLimits {
        packet_bytes_max: u32::MAX,
    };
    let decoded = side.decode(&mut encoded, &limits);
    assert_eq!(decoded.as_ref(), Ok(&Some(packet.clone())), "encoded as {bytes:?}");
    assert!(encoded.is_empty(), "{packet:?}");
    if let Packet::Publish(publish) = packet {
        check_template(publish, version, &bytes);
    }
}

/// A template writes what `encode` has written.
fn check_template(publish: &Publish, version: ProtocolVersion, encoded: &[u8]) {
    let Ok(topic) = TopicName::from_utf8(publish.topic.clone()) else {
        return;
    };
    let Publish {
        qos,
        retain,
        message_expiry_s,
        ref metadata,
        ref payload,
        ..
    } = *publish;
    let template = PublishTemplate::new(version, qos, retain, &topic, metadata, &[], message_expiry_s, payload);
    let alias = publish.topic_alias.map(TopicAlias::Define);
    let ids = &publish.subscription_ids;
    let mut out = BytesMut::new();
    template.write(publish.packet_id, publish.dup, ids, alias, &mut out);
    assert_eq!(out.len(), template.packet_len_with(ids, alias), "{publish:?}");
    if alias.is_none() && ids.is_empty() {
        assert_eq!(out, encoded, "{publish:?}");
    }
    // The order of properties may differ.
    let limits = DecodeLimits {
        packet_bytes_max: u32::MAX,
    };
    let decoded = decode_as_client(&mut out, version, &limits);
    assert_eq!(decoded, Ok(Some(Packet::Publish(Box::new(publish.clone())))));
}
