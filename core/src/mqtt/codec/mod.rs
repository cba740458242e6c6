//! Wire bytes to [`Packet`] and back (§2, §3), for MQTT 5.0 and 3.1.1, as a server and as a client. A server
//! takes 3.1 as well, as 3.1.1.
//!
//! **Decoding** is strict: whatever the standard calls a Malformed Packet or a Protocol Error, and can be seen in the
//! packet alone, ends in a [`DecodeError`] with the code to answer. What needs more than the packet is left to the
//! connection: topic names and filters, topic aliases, limits that are settings, and whether a payload is the text it
//! claims to be. Nothing is copied but reason strings; names, payloads and properties are slices of the read buffer.
//!
//! **Encoding** writes what a packet says, leaving out what the version cannot carry. Messages that go to many
//! subscribers are encoded once by [`PublishTemplate`].
//!
//! | module | responsibility |
//! |---|---|
//! | `fixed_header` | packet types, their flags, who may send them (§2.1) |
//! | `varint`, `reader`, `sink` | the data types of §1.5, in and out |
//! | `properties` | property identifiers, which packet takes which, how often (§2.2.2) |
//! | `metadata` | the properties of a message as one slice in canonical order |
//! | `connect` … `auth` | one control packet each (§3) |
//! | `publish_template` | one message for many subscribers |

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod fixed_header;
mod metadata;
mod properties;
mod publish;
mod publish_template;
mod reader;
mod sink;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;
mod varint;

#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, BytesMut};

use super::packet::{Ack, Packet, ProtocolVersion};
use super::reason::ReasonCode;
use crate::limits::{CONNECT_BYTES_MAX, PACKET_BYTES_MAX};
use fixed_header::PacketType;
use reader::Reader;
use sink::{Length, Sink};

pub use publish_template::{PublishTemplate, TopicAlias};

/// What a driver makes room for before each read, bytes. [`decode`] reserves only for packets that need more.
pub const READ_BYTES: usize = 16 * 1024;

/// What [`decode`] accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest packet, bytes, fixed header included. The Maximum Packet Size that was advertised (§3.2.2.3.6).
    pub packet_bytes_max: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            packet_bytes_max: PACKET_BYTES_MAX,
        }
    }
}

/// The bytes are not a packet that may come now. The connection is over (§4.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct DecodeError {
    /// The code for DISCONNECT, or for CONNACK if it was the CONNECT.
    pub reason: ReasonCode,
    /// What is wrong, for log and reason string.
    pub detail: &'static str,
    /// The version to answer in: that of the connection, or what the refused CONNECT named. `None`: the sender has not
    /// shown that it speaks MQTT, close without an answer.
    pub answer_version: Option<ProtocolVersion>,
}

impl DecodeError {
    const fn new(reason: ReasonCode, detail: &'static str) -> Self {
        Self {
            reason,
            detail,
            answer_version: None,
        }
    }

    /// Cannot be parsed by the standard, 0x81 (§1.2).
    const fn malformed(detail: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, detail)
    }

    /// Can be parsed, but says what the standard forbids, 0x82 (§1.2).
    const fn protocol(detail: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, detail)
    }

    /// Legal, but more than Banyan takes, 0x97.
    const fn quota(detail: &'static str) -> Self {
        Self::new(ReasonCode::QuotaExceeded, detail)
    }

    const fn answered_in(self, version: ProtocolVersion) -> Self {
        Self {
            answer_version: Some(version),
            ..self
        }
    }
}

/// Which end of the connection decodes. It fixes the packet types and properties that may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// Takes one packet that a client sent off the front of `buf`.
///
/// `version` is what CONNECT fixed; before it (`None`) only CONNECT is legal, with at most
/// [`CONNECT_BYTES_MAX`] bytes.
///
/// `Ok(None)`: the packet is not complete, read more. If the rest is more than [`READ_BYTES`], `buf` has grown, to
/// [`READ_BYTES`] or double of what has arrived and never beyond the packet: announcing a size does not make us
/// allocate it. The result depends on the bytes only, not on how they were cut into reads.
///
/// # Errors
/// The code to answer, always followed by a close [MQTT-4.13.1-1]. What `buf` holds then is of no use.
///
/// | code | for |
/// |---|---|
/// | 0x81 | a Malformed Packet: does not parse |
/// | 0x82 | a Protocol Error: parses, but the standard forbids it here |
/// | 0x84 | CONNECT of another protocol or version |
/// | 0x85 | CONNECT of MQTT 3.1 without a client identifier |
/// | 0x94 | a topic alias of 0 |
/// | 0x95 | longer than the limit; refused as soon as the length is known |
/// | 0x97 | too many user properties or too much metadata |
pub fn decode(
    buf: &mut BytesMut,
    version: Option<ProtocolVersion>,
    limits: &DecodeLimits,
) -> Result<Option<Packet>, DecodeError> {
    decode_as(Role::Server, buf, version, limits)
}

/// Takes one packet that a server sent off the front of `buf`: [`decode`] for load generators and tests.
///
/// # Errors
/// As [`decode`], with two exceptions. Banyan's own bounds on a packet's user properties do not hold here, since a
/// server may add some; and code 0x84 does not occur.
pub fn decode_as_client(
    buf: &mut BytesMut,
    version: ProtocolVersion,
    limits: &DecodeLimits,
) -> Result<Option<Packet>, DecodeError> {
    decode_as(Role::Client, buf, Some(version), limits)
}

fn decode_as(
    role: Role,
    buf: &mut BytesMut,
    version: Option<ProtocolVersion>,
    limits: &DecodeLimits,
) -> Result<Option<Packet>, DecodeError> {
    take_packet(role, buf, version, limits).map_err(|error| match version {
        Some(version) => error.answered_in(version),
        None => error,
    })
}

fn take_packet(
    role: Role,
    buf: &mut BytesMut,
    version: Option<ProtocolVersion>,
    limits: &DecodeLimits,
) -> Result<Option<Packet>, DecodeError> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    let packet_type = PacketType::from_first_byte(first, role, version)?;
    let Some((remaining, varint_len)) = varint::decode(rest)? else {
        return Ok(None);
    };
    let header_len = 1 + varint_len;
    let packet_len = header_len + remaining as usize;
    let packet_len_max = match version {
        Some(_) => limits.packet_bytes_max,
        None => limits.packet_bytes_max.min(CONNECT_BYTES_MAX),
    };
    if packet_len > packet_len_max as usize {
        return Err(DecodeError::new(
            ReasonCode::PacketTooLarge,
            "packet is larger than the maximum packet size",
        ));
    }
    if buf.len() < packet_len {
        reserve(buf, packet_len);
        return Ok(None);
    }

    // Most packets of a busy connection are acknowledgements of four bytes: nothing to slice, nothing to keep.
    if remaining == 2
        && let Some(make) = ack::constructor(packet_type)
    {
        let mut packet = buf.split_to(packet_len);
        packet.advance(header_len);
        return Ok(Some(make(Ack {
            packet_id: reader::packet_id(packet.get_u16())?,
            ..Ack::default()
        })));
    }

    let reader = Reader::new(buf.split_to(packet_len).freeze(), header_len);
    decode_body(role, packet_type, first, reader, version).map(Some)
}

/// Makes room for the rest of a packet that one read does not bring.
fn reserve(buf: &mut BytesMut, packet_len: usize) {
    if packet_len - buf.len() <= READ_BYTES {
        return;
    }
    let capacity = packet_len.min((2 * buf.len()).max(READ_BYTES));
    if capacity <= buf.capacity() || buf.try_reclaim(capacity - buf.len()) {
        return;
    }
    // Not `reserve`, which rounds up: the capacity shall stay within what is said above.
    let mut grown = BytesMut::with_capacity(capacity);
    grown.extend_from_slice(buf);
    *buf = grown;
}

fn decode_body(
    role: Role,
    packet_type: PacketType,
    first: u8,
    mut reader: Reader,
    version: Option<ProtocolVersion>,
) -> Result<Packet, DecodeError> {
    let Some(version) = version else {
        // `PacketType::from_first_byte` lets nothing else pass before CONNECT [MQTT-3.1.0-1].
        return connect::decode(reader).map(|connect| Packet::Connect(Box::new(connect)));
    };
    let r = &mut reader;
    let packet = match packet_type {
        PacketType::Connect => return Err(DecodeError::protocol("second CONNECT")), // [MQTT-3.1.0-2]
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::decode(r, version)?)),
        PacketType::Publish => Packet::Publish(Box::new(publish::decode(r, first, role, version)?)),
        PacketType::PubAck => Packet::PubAck(ack::decode(r, packet_type, role, version)?),
        PacketType::PubRec => Packet::PubRec(ack::decode(r, packet_type, role, version)?),
        PacketType::PubRel => Packet::PubRel(ack::decode(r, packet_type, role, version)?),
        PacketType::PubComp => Packet::PubComp(ack::decode(r, packet_type, role, version)?),
        PacketType::Subscribe => Packet::Subscribe(Box::new(subscribe::decode(r, version)?)),
        PacketType::SubAck => Packet::SubAck(suback::decode(r, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode(r, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsuback::decode(r, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(disconnect::decode(r, role, version)?),
        PacketType::Auth => Packet::Auth(auth::decode(r, role)?),
    };
    reader.finish()?;
    Ok(packet)
}

/// Appends `packet` to `out`, in either direction.
///
/// What 3.1.1 has no place for (properties, reason codes) is left out; AUTH does not exist there, nothing is written.
/// Text and binary fields end at 65,535 bytes, text at a character: only a reason string made up here could be longer,
/// as decoding yields none.
///
/// # Panics
/// The packet is longer than the 256 MiB that MQTT can express. No decoded packet is.
pub fn encode(packet: &Packet, version: ProtocolVersion, out: &mut BytesMut) {
    let Some(first) = fixed_header::first_byte(packet, version) else {
        return;
    };
    if let Some(ack) = ack::short_form(packet, version) {
        let [high, low] = ack.packet_id.to_be_bytes();
        return out.put_slice(&[first, 2, high, low]);
    }
    let remaining = body_len(packet, version);
    assert!(
        remaining <= varint::MAX as usize,
        "a packet of {remaining} bytes cannot be encoded"
    );
    out.reserve(1 + varint::len(remaining as u32) + remaining);
    out.put_u8(first);
    Sink::varint(out, remaining as u32);
    let end = out.len() + remaining;
    encode_body(packet, version, out);
    debug_assert_eq!(out.len(), end, "the length written before the body of {packet:?}");
}

/// Bytes that [`encode`] appends, for comparison with the receiver's Maximum Packet Size (§3.1.2.11.4).
#[must_use]
pub fn encoded_len(packet: &Packet, version: ProtocolVersion) -> usize {
    if fixed_header::first_byte(packet, version).is_none() {
        return 0;
    }
    let remaining = body_len(packet, version);
    1 + varint::len(remaining as u32) + remaining
}

fn body_len(packet: &Packet, version: ProtocolVersion) -> usize {
    let mut length = Length::default();
    encode_body(packet, version, &mut length);
    length.0
}

fn encode_body(packet: &Packet, version: ProtocolVersion, out: &mut dyn Sink) {
    match packet {
        Packet::Connect(connect) => connect::encode(connect, version, out),
        Packet::ConnAck(connack) => connack::encode(connack, version, out),
        Packet::Publish(publish) => publish::encode(publish, version, out),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack::encode(ack, version, out);
        }
        Packet::Subscribe(subscribe) => subscribe::encode(subscribe, version, out),
        Packet::SubAck(suback) => suback::encode(suback, version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe::encode(unsubscribe, version, out),
        Packet::UnsubAck(unsuback) => unsuback::encode(unsuback, version, out),
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => disconnect::encode(disconnect, version, out),
        Packet::Auth(auth) => auth::encode(auth, out),
    }
}
