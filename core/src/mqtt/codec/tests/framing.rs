//! Packets within a stream: any bytes, in any pieces, in bounded memory.

use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::packets::{any_packet, reduced};
use super::{Role, decode_next, encoded};
use crate::limits::{CONNECT_BYTES_MAX, PACKET_BYTES_MAX};
use crate::mqtt::codec::{DecodeLimits, READ_BYTES, decode, decode_as_client, varint};
use crate::mqtt::packet::{Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

/// Everything a connection sees of a stream: the packets up to the first error, that error, and what is left over.
#[derive(Debug, PartialEq)]
struct Seen {
    packets: Vec<Packet>,
    error: Option<super::DecodeError>,
    left: usize,
}

/// Decodes `pieces` as they arrive; the version is what the first CONNECT names, unless given.
fn see(role: Role, mut version: Option<ProtocolVersion>, pieces: &[&[u8]]) -> Seen {
    let mut buf = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match decode_next(role, version, &mut buf) {
                Ok(Some(packet)) => {
                    if let Packet::Connect(connect) = &packet {
                        version = Some(connect.version);
                    }
                    packets.push(packet);
                }
                Ok(None) => break,
                Err(error) => {
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

/// `bytes` in pieces of the given lengths, over and over.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut lengths = lengths.iter().cycle();
    while !bytes.is_empty() {
        let length = lengths.next().copied().unwrap_or(1).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn side() -> impl Strategy<Value = (Role, Option<ProtocolVersion>)> {
    prop_oneof![
        Just((Role::Server, None)),
        Just((Role::Server, Some(ProtocolVersion::V5))),
        Just((Role::Server, Some(ProtocolVersion::V3))),
        Just((Role::Client, Some(ProtocolVersion::V5))),
        Just((Role::Client, Some(ProtocolVersion::V3))),
    ]
}

/// Bytes that begin like a packet, since others are refused at once.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let packet = (
        1..16_u8,
        prop_oneof![4 => Just(0_u8), 1 => 0..16_u8],
        vec(any::<u8>(), 0..60),
        any::<bool>(),
    );
    let packet = packet.prop_map(|(packet_type, flags, body, is_text)| {
        // Small numbers make lengths that fit.
        let body: Vec<u8> = body
            .iter()
            .map(|&byte| if is_text { byte % 40 } else { byte })
            .collect();
        let fixed = if matches!(packet_type, 6 | 8 | 10) { 2 } else { 0 };
        super::framed(packet_type << 4 | (flags ^ fixed), &body)
    });
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(packet, 1..5).prop_map(|packets| packets.concat())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// [MQTT-6.0.0-2] and plain TCP alike: where the stream is cut does not matter, and no bytes make the codec panic.
    #[test]
    fn arbitrary_bytes_in_arbitrary_pieces(
        (role, version) in side(),
        bytes in likely_bytes(),
        lengths in vec(1..20_usize, 1..6),
    ) {
        let whole = see(role, version, &[&bytes]);
        prop_assert_eq!(&see(role, version, &pieces(&bytes, &lengths)), &whole);
        prop_assert_eq!(&see(role, version, &pieces(&bytes, &[1])), &whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn packets_in_arbitrary_pieces(
        received in vec(any_packet(), 1..6),
        version in prop_oneof![Just(ProtocolVersion::V5), Just(ProtocolVersion::V3)],
        lengths in vec(1..600_usize, 1..6),
    ) {
        let role = received[0].0;
        let packets: Vec<Packet> = received
            .into_iter()
            .filter(|(receiver, packet)| *receiver == role && !matches!(packet, Packet::Connect(_)))
            .filter_map(|(_, packet)| reduced(role, packet, version))
            .collect();
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, version)).collect();
        let expected = Seen { packets, error: None, left: 0 };
        prop_assert_eq!(&see(role, Some(version), &pieces(&bytes, &lengths)), &expected);
    }
}

/// A length of `remaining` bytes, and nothing of them yet.
fn announced(first: u8, remaining: u32) -> BytesMut {
    let (len, used) = varint::encode(remaining);
    let mut buf = BytesMut::with_capacity(1 + used);
    buf.put_u8(first);
    buf.put_slice(&len[..used]);
    buf
}

/// A packet's announced size costs nothing before its bytes arrive, and never more than the packet.
#[test]
fn capacity_follows_what_arrived() {
    let limits = DecodeLimits::default();
    let mut buf = announced(0x30, PACKET_BYTES_MAX - 5 + 1);
    let packet_len = PACKET_BYTES_MAX as usize;
    assert_eq!(decode(&mut buf, Some(ProtocolVersion::V5), &limits), Ok(None));
    let mut largest = buf.capacity();
    assert!(largest <= READ_BYTES, "{largest} bytes for the fixed header alone");
    buf.extend_from_slice(&[0, 1, b't', 0]);
    while buf.len() + 1000 < packet_len {
        let piece = (buf.capacity() - buf.len()).min(1000);
        buf.put_bytes(b'p', if piece == 0 { 1000 } else { piece });
        assert_eq!(decode(&mut buf, Some(ProtocolVersion::V5), &limits), Ok(None));
        largest = largest.max(buf.capacity());
        assert!(
            buf.capacity() <= packet_len.min(2 * buf.len().max(READ_BYTES)),
            "{} of {}",
            buf.capacity(),
            buf.len()
        );
    }
    assert!(largest <= packet_len);
    buf.put_bytes(b'p', packet_len - buf.len());
    let packet = decode(&mut buf, Some(ProtocolVersion::V5), &limits);
    assert!(matches!(packet, Ok(Some(Packet::Publish(publish))) if publish.payload.len() > packet_len - 20));
    assert!(buf.is_empty());
}

/// What one read brings anyway is left to the driver: nothing is reserved for it.
#[test]
fn small_packets_reserve_nothing() {
    let mut buf = announced(0x30, 500);
    let capacity = buf.capacity();
    assert_eq!(
        decode(&mut buf, Some(ProtocolVersion::V3), &DecodeLimits::default()),
        Ok(None)
    );
    assert_eq!(buf.capacity(), capacity);
}

/// [MQTT-3.1.2-24], §3.2.2.3.6: the limit counts the fixed header, holds for its exact value, and for both sides.
#[test]
fn limit_is_the_whole_packet() {
    let limits = DecodeLimits { packet_bytes_max: 100 };
    for (remaining, is_accepted) in [(97, true), (98, true), (99, false)] {
        let server = decode(&mut announced(0x30, remaining), Some(ProtocolVersion::V5), &limits);
        let client = decode_as_client(&mut announced(0x30, remaining), ProtocolVersion::V5, &limits);
        for result in [server, client] {
            match result {
                Ok(packet) => assert!(is_accepted && packet.is_none()),
                Err(error) => assert!(!is_accepted && error.reason == ReasonCode::PacketTooLarge),
            }
        }
    }
}

/// CONNECT has a smaller limit, as nothing is known of the client; a smaller setting counts for it too.
#[test]
fn connect_has_its_own_limit() {
    let reason = |packet_bytes_max, packet_len: u32| {
        let header = if packet_len < 130 { 2 } else { 4 };
        let mut buf = announced(0x10, packet_len - header);
        decode(&mut buf, None, &DecodeLimits { packet_bytes_max }).map_err(|error| error.reason)
    };
    assert_eq!(reason(PACKET_BYTES_MAX, CONNECT_BYTES_MAX), Ok(None));
    assert_eq!(
        reason(PACKET_BYTES_MAX, CONNECT_BYTES_MAX + 1),
        Err(ReasonCode::PacketTooLarge)
    );
    assert_eq!(reason(100, 101), Err(ReasonCode::PacketTooLarge));
}
