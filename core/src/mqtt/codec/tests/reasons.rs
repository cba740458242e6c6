//! Which packet takes which reason code, for all 256 bytes.

use super::{Role, decode_first, framed};
use crate::mqtt::packet::ProtocolVersion;
use crate::mqtt::reason::ReasonCode;

const V5: ProtocolVersion = ProtocolVersion::V5;
const V3: ProtocolVersion = ProtocolVersion::V3;

/// Tries each byte as the reason code between `before` and `after`; the other ones are Protocol Errors.
fn check(role: Role, version: ProtocolVersion, first: u8, before: &[u8], after: &[u8], legal: &[u8]) {
    for code in 0..=u8::MAX {
        let bytes = framed(first, &[before, &[code], after].concat());
        let result = decode_first(role, Some(version), &bytes)
            .map(|_| ())
            .map_err(|error| error.reason);
        let expected = if legal.contains(&code) {
            Ok(())
        } else {
            Err(ReasonCode::ProtocolError)
        };
        assert_eq!(result, expected, "0x{code:02X} in {first:02X} to {role:?}, {version:?}");
    }
}

/// [MQTT-3.2.2-8], table 3-1; 3.1.1 §3.2.2.3.
#[test]
fn connack() {
    let legal = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
        0x9B, 0x9C, 0x9D, 0x9F,
    ];
    check(Role::Client, V5, 0x20, &[0], &[0], &legal);
    check(Role::Client, V3, 0x20, &[0], &[], &[0, 1, 2, 3, 4, 5]);
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], tables 3-4 to 3-7.
#[test]
fn acks() {
    for role in [Role::Server, Role::Client] {
        for first in [0x40, 0x50] {
            check(
                role,
                V5,
                first,
                &[0, 1],
                &[],
                &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            );
        }
        for first in [0x62, 0x70] {
            check(role, V5, first, &[0, 1], &[], &[0x00, 0x92]);
        }
    }
}

/// [MQTT-3.9.3-2] and table 3-8, [MQTT-3.11.3-2] and table 3-9; 3.1.1 [MQTT-3.9.3-2].
#[test]
fn suback_and_unsuback() {
    let legal = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    check(Role::Client, V5, 0x90, &[0, 1, 0], &[], &legal);
    check(Role::Client, V3, 0x90, &[0, 1], &[], &[0x00, 0x01, 0x02, 0x80]);
    check(
        Role::Client,
        V5,
        0xB0,
        &[0, 1, 0],
        &[],
        &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
    );
}

/// [MQTT-3.14.2-1], table 3-10: the sides have different codes.
#[test]
fn disconnect() {
    let of_clients = [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    let of_servers = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
        0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    check(Role::Server, V5, 0xE0, &[], &[], &of_clients);
    check(Role::Client, V5, 0xE0, &[], &[], &of_servers);
}

/// [MQTT-3.15.2-1], table 3-11: the sides have different codes.
#[test]
fn auth() {
    let method = [3, 0x15, 0, 0];
    check(Role::Server, V5, 0xF0, &[], &method, &[0x18, 0x19]);
    check(Role::Client, V5, 0xF0, &[], &method, &[0x00, 0x18]);
}
