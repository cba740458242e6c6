//! Tests of the codec as a whole; the parts are tested in their files.

mod framing;
mod malformed;
mod metadata;
mod packets;
mod properties;
mod reasons;
mod round_trip;
mod template;

use bytes::BytesMut;

use super::{DecodeError, DecodeLimits, Role, decode, decode_as_client, encode};
use crate::mqtt::packet::{Packet, ProtocolVersion};

/// A packet from its first byte and body, with the Remaining Length between them.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let (len, used) = super::varint::encode(body.len() as u32);
    [&[first][..], &len[..used], body].concat()
}

/// Bytes of a text field: its length and itself.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// The first packet of `bytes` as `role` sees it on a connection of `version` (`None`: before CONNECT).
fn decode_first(role: Role, version: Option<ProtocolVersion>, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    decode_next(role, version, &mut BytesMut::from(bytes))
}

fn decode_next(
    role: Role,
    version: Option<ProtocolVersion>,
    buf: &mut BytesMut,
) -> Result<Option<Packet>, DecodeError> {
    let limits = DecodeLimits::default();
    match (role, version) {
        (Role::Server, _) => decode(buf, version, &limits),
        (Role::Client, Some(version)) => decode_as_client(buf, version, &limits),
        (Role::Client, None) => panic!("a client knows its version"),
    }
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out);
    out
}
