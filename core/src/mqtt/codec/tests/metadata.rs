//! The properties of a message become canonical metadata: as a slice where they can, in the right order where not.

use super::{Role, decode_first, framed, text};
use crate::metadata::Metadata;
use crate::mqtt::packet::{Packet, ProtocolVersion, Publish};

/// PUBLISH to "t" with the concatenated `properties` and payload "p".
fn publish(properties: &[&[u8]]) -> (Vec<u8>, Publish) {
    let properties = properties.concat();
    let bytes = framed(
        0x30,
        &[&text("t")[..], &[properties.len() as u8], &properties, b"p"].concat(),
    );
    match decode_first(Role::Server, Some(ProtocolVersion::V5), &bytes) {
        Ok(Some(Packet::Publish(publish))) => (bytes, *publish),
        other => panic!("{other:?}"),
    }
}

const FORMAT: &[u8] = &[0x01, 1];
const FORMAT_0: &[u8] = &[0x01, 0];
const EXPIRY: &[u8] = &[0x02, 0, 0, 0, 9];
const TYPE: &[u8] = &[0x03, 0, 1, b'c'];
const RESPONSE: &[u8] = &[0x08, 0, 1, b'r'];
const CORRELATION: &[u8] = &[0x09, 0, 2, 0, 0xFF];
const ALIAS: &[u8] = &[0x23, 0, 7];
const USER_A: &[u8] = &[0x26, 0, 1, b'a', 0, 1, b'1'];
const USER_B: &[u8] = &[0x26, 0, 1, b'b', 0, 0];

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]: nothing is lost or changed, and user properties stay in their order, in whatever
/// order the properties were sent.
#[test]
fn any_order_becomes_canonical() {
    let canonical = [FORMAT, TYPE, RESPONSE, CORRELATION, USER_B, USER_A].concat();
    for order in [
        &[FORMAT, TYPE, RESPONSE, CORRELATION, USER_B, USER_A][..],
        &[EXPIRY, FORMAT, TYPE, RESPONSE, CORRELATION, USER_B, USER_A, ALIAS],
        &[USER_B, USER_A, CORRELATION, RESPONSE, TYPE, FORMAT],
        &[FORMAT, EXPIRY, TYPE, RESPONSE, ALIAS, CORRELATION, USER_B, USER_A],
        &[USER_B, CORRELATION, FORMAT, RESPONSE, TYPE, EXPIRY, USER_A],
        &[FORMAT, TYPE, USER_B, EXPIRY, USER_A, CORRELATION, RESPONSE],
    ] {
        let (_, publish) = publish(order);
        assert_eq!(publish.metadata.as_bytes(), &canonical, "{order:?}");
        assert_eq!(
            Metadata::from_canonical(canonical.clone().into()).as_ref(),
            Ok(&publish.metadata)
        );
        assert_eq!(publish.message_expiry_s, order.contains(&EXPIRY).then_some(9));
        assert_eq!(publish.topic_alias, order.contains(&ALIAS).then_some(7));
        assert_eq!(publish.payload, "p");
    }
}

/// §3.3.2.3.2: payload format 0 says the same as none.
#[test]
fn payload_format_0_is_left_out() {
    assert!(publish(&[FORMAT_0]).1.metadata.is_empty());
    for order in [
        &[FORMAT_0, TYPE, USER_A][..],
        &[TYPE, FORMAT_0, USER_A],
        &[TYPE, USER_A, FORMAT_0],
    ] {
        assert_eq!(publish(order).1.metadata.as_bytes(), &[TYPE, USER_A].concat());
    }
}

/// What stands together in canonical order is not copied: the slice lies within the packet.
#[test]
fn canonical_order_is_a_slice_of_the_packet() {
    let is_slice = |order: &[&[u8]]| {
        let publish = publish(order).1;
        // Both are slices of one buffer, the payload at its end.
        let packet = publish.topic.as_ptr() as usize..publish.payload.as_ptr() as usize;
        packet.contains(&(publish.metadata.as_bytes().as_ptr() as usize))
    };
    assert!(is_slice(&[TYPE, USER_A]));
    assert!(is_slice(&[EXPIRY, TYPE, USER_A, USER_B]));
    assert!(is_slice(&[FORMAT_0, TYPE, USER_A, EXPIRY, ALIAS]));
    assert!(!is_slice(&[USER_A, TYPE]));
    assert!(!is_slice(&[TYPE, EXPIRY, USER_A]));
}
