//! What is encoded is decoded again, whole, from both sides and in both versions.

use bytes::Bytes;
use proptest::prelude::*;

use super::packets::{any_packet, reduced};
use super::{Role, decode_next, encoded};
use crate::mqtt::codec::encoded_len;
use crate::mqtt::packet::Ack;
use crate::mqtt::packet::{Disconnect, Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3];

/// The version that the receiver of `packet` knows of.
fn known(packet: &Packet, version: ProtocolVersion) -> Option<ProtocolVersion> {
    (!matches!(packet, Packet::Connect(_))).then_some(version)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decode_inverts_encode((role, packet) in any_packet(), following: Vec<u8>) {
        for version in VERSIONS {
            let Some(packet) = reduced(role, packet.clone(), version) else { continue };
            let mut buf = encoded(&packet, version);
            prop_assert_eq!(buf.len(), encoded_len(&packet, version));
            buf.extend_from_slice(&following);
            let decoded = decode_next(role, known(&packet, version), &mut buf);
            prop_assert_eq!(decoded, Ok(Some(packet)));
            prop_assert_eq!(buf.as_ref(), &following);
        }
    }

    /// What 3.1.1 cannot say is left out of the packet, not written as something else.
    #[test]
    fn encode_leaves_out_what_3_1_1_cannot_say((role, packet) in any_packet()) {
        let version = ProtocolVersion::V3;
        let Some(expected) = reduced(role, packet.clone(), version) else { return Ok(()) };
        // These two would not be legal 3.1.1 if something was left out.
        let is_changed = match (&packet, &expected) {
            (Packet::Connect(given), Packet::Connect(left)) => given.password != left.password,
            (Packet::Publish(given), Packet::Publish(left)) => given.topic != left.topic,
            _ => false,
        };
        if is_changed {
            return Ok(());
        }
        let mut buf = encoded(&packet, version);
        prop_assert_eq!(decode_next(role, known(&packet, version), &mut buf), Ok(Some(expected)));
    }

    /// A packet with some byte changed or cut out is refused, or is another packet that survives the round trip itself.
    #[test]
    fn damage_never_panics(
        (role, packet) in any_packet(),
        at: prop::sample::Index,
        change in prop_oneof![any::<u8>().prop_map(Some), Just(None)],
    ) {
        for version in VERSIONS {
            let Some(packet) = reduced(role, packet.clone(), version) else { continue };
            let mut bytes = encoded(&packet, version).to_vec();
            let at = at.index(bytes.len());
            match change {
                Some(byte) => bytes[at] = byte,
                None if at > 0 && bytes[1] < 0x80 && bytes[1] > 0 && bytes.len() > 2 => {
                    // Keeps the Remaining Length right, so that the field is what ends early.
                    bytes.remove(at.max(2));
                    bytes[1] -= 1;
                }
                None => continue,
            }
            let known = known(&packet, version);
            let Ok(Some(decoded)) = decode_next(role, known, &mut bytes.as_slice().into()) else { continue };
            let version = match &decoded {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            prop_assert_eq!(decode_next(role, known, &mut encoded(&decoded, version)), Ok(Some(decoded)));
        }
    }
}

/// §3.4.2.1, §3.14.2.1: both forms of leaving out what is empty are understood.
#[test]
fn short_forms() {
    let v5 = Some(ProtocolVersion::V5);
    let puback = |reason| {
        Ok(Some(Packet::PubAck(Ack {
            packet_id: 7,
            reason,
            ..Ack::default()
        })))
    };
    for (bytes, expected) in [
        (&[0x40, 2, 0, 7][..], puback(ReasonCode::Success)),
        (&[0x40, 3, 0, 7, 0], puback(ReasonCode::Success)),
        (&[0x40, 4, 0, 7, 0, 0], puback(ReasonCode::Success)),
        (&[0x40, 3, 0, 7, 0x97], puback(ReasonCode::QuotaExceeded)),
        (&[0x40, 4, 0, 7, 0x97, 0], puback(ReasonCode::QuotaExceeded)),
    ] {
        assert_eq!(decode_next(Role::Server, v5, &mut bytes.into()), expected);
    }
    let disconnect = |reason| {
        Ok(Some(Packet::Disconnect(Disconnect {
            reason,
            ..Disconnect::default()
        })))
    };
    for (bytes, expected) in [
        (&[0xE0, 0][..], disconnect(ReasonCode::Success)),
        (&[0xE0, 1, 0x04], disconnect(ReasonCode::DisconnectWithWill)),
        (&[0xE0, 2, 0x04, 0], disconnect(ReasonCode::DisconnectWithWill)),
    ] {
        assert_eq!(decode_next(Role::Server, v5, &mut bytes.into()), expected);
    }
}

/// The bytes that a client sees for common answers.
#[test]
fn bytes_on_the_wire() {
    let v5 = |packet: Packet| encoded(&packet, ProtocolVersion::V5).to_vec();
    let ack = Ack {
        packet_id: 0x0102,
        ..Ack::default()
    };
    assert_eq!(v5(Packet::PubAck(ack.clone())), [0x40, 2, 1, 2]);
    assert_eq!(v5(Packet::PubRel(ack.clone())), [0x62, 2, 1, 2]);
    assert_eq!(
        v5(Packet::PubAck(Ack {
            reason: ReasonCode::NotAuthorized,
            ..ack
        })),
        [0x40, 3, 1, 2, 0x87]
    );
    assert_eq!(v5(Packet::PingResp), [0xD0, 0]);
    // With its property length, although 0 may be left out: some clients expect it.
    let shutdown = Disconnect {
        reason: ReasonCode::ServerShuttingDown,
        ..Disconnect::default()
    };
    assert_eq!(v5(Packet::Disconnect(shutdown)), [0xE0, 2, 0x8B, 0]);
    assert_eq!(v5(Packet::Disconnect(Disconnect::default())), [0xE0, 0]);
}

/// §3.15 has no counterpart in 3.1.1.
#[test]
fn auth_does_not_exist_in_3_1_1() {
    let packet = Packet::Auth(Default::default());
    assert!(encoded(&packet, ProtocolVersion::V3).is_empty());
    assert_eq!(encoded_len(&packet, ProtocolVersion::V3), 0);
}

/// Payload and topic of a decoded PUBLISH lie in the read buffer.
#[test]
fn publish_is_not_copied() {
    let bytes = [0x30, 5, 0, 1, b't', 0, b'p'];
    let mut buf = bytes::BytesMut::from(&bytes[..]);
    let (start, end) = (buf.as_ptr() as usize, buf.as_ptr() as usize + bytes.len());
    let Ok(Some(Packet::Publish(publish))) = decode_next(Role::Server, Some(ProtocolVersion::V5), &mut buf) else {
        panic!("PUBLISH");
    };
    let lies_within = |slice: &Bytes| (start..end).contains(&(slice.as_ptr() as usize));
    assert!(lies_within(&publish.topic) && lies_within(&publish.payload));
}
