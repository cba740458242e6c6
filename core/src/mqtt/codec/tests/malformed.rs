//! What a server must refuse, byte by byte, and with which code.

use super::{DecodeError, Role, decode_first, decode_next, framed, text};
use crate::limits::{CONNECT_BYTES_MAX, METADATA_BYTES_MAX, PACKET_BYTES_MAX, USER_PROPERTIES_COUNT_MAX};
use crate::mqtt::packet::ProtocolVersion;
use bytes::BytesMut;

const V5: Option<ProtocolVersion> = Some(ProtocolVersion::V5);
const V3: Option<ProtocolVersion> = Some(ProtocolVersion::V3);
/// Before CONNECT.
const FRESH: Option<ProtocolVersion> = None;

/// What is wrong, where, in which bytes, and the code.
type Row = (&'static str, Option<ProtocolVersion>, Vec<u8>, u8);

/// The error for `bytes`, the same whether they arrive at once or one by one.
fn error(role: Role, version: Option<ProtocolVersion>, bytes: &[u8], what: &str) -> DecodeError {
    let whole = match decode_first(role, version, bytes) {
        Err(error) => error,
        Ok(packet) => panic!("{what}: accepted {bytes:02X?} as {packet:?}"),
    };
    let mut buf = BytesMut::new();
    let bytewise = bytes.iter().find_map(|&byte| {
        buf.extend_from_slice(&[byte]);
        decode_next(role, version, &mut buf).err()
    });
    assert_eq!(bytewise, Some(whole), "{what}: byte by byte");
    whole
}

fn check(role: Role, rows: Vec<Row>) {
    for (what, version, bytes, code) in rows {
        let error = error(role, version, &bytes, what);
        assert_eq!(error.reason as u8, code, "{what}: {error}");
        if version.is_some() {
            assert_eq!(error.answer_version, version, "{what}");
        }
    }
}

/// CONNECT up to the payload: protocol name, level, flags, keep alive, and for 5.0 `properties`.
fn connect(level: u8, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = [&text("MQTT")[..], &[level, flags, 0, 60]].concat();
    if level == 5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    framed(0x10, &body)
}

/// PUBLISH of 5.0, QoS 0, to topic "t", with `properties`.
fn publish(properties: &[u8]) -> Vec<u8> {
    framed(
        0x30,
        &[&[0, 1, b't'][..], &[properties.len() as u8], properties].concat(),
    )
}

fn user_property(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &text(name), &text(value)].concat()
}

/// §2.1: type, flags and length.
/// Shows [MQTT-3.14.1-1], [MQTT-3.15.1-1]; 3.1.1 [MQTT-2.2.2-1], [MQTT-2.2.2-2], [MQTT-3.1.0-1], [MQTT-3.1.0-2],
/// [MQTT-3.3.1-2], [MQTT-3.3.1-4], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1].
#[test]
fn fixed_header() {
    #[rustfmt::skip] // one line a row
    let mut rows: Vec<Row> = vec![
        ("packet type 0 (§2.1.2)", V5, vec![0x00, 0], 0x81),
        ("packet type 0 (§2.1.2)", V3, vec![0x00, 0], 0x81),
        ("packet type 0 first (§2.1.2)", FRESH, vec![0x00, 0], 0x81),
        ("[MQTT-3.1.0-1] first is PINGREQ", FRESH, vec![0xC0, 0], 0x82),
        ("[MQTT-3.1.0-1] first is AUTH", FRESH, vec![0xF0, 0], 0x82),
        ("[MQTT-3.1.0-1] first is PUBLISH", FRESH, vec![0x30, 3, 0, 1, b't'], 0x82),
        ("[MQTT-3.1.0-1] first looks like HTTP", FRESH, b"GET / HTTP/1.1\r\n".to_vec(), 0x82),
        ("[MQTT-3.1.0-2] CONNECT again", V5, connect(5, 2, &[], &text("c")), 0x82),
        ("[MQTT-3.1.0-2] CONNECT again", V3, connect(4, 2, &[], &text("c")), 0x82),
        ("AUTH in 3.1.1 is reserved (3.1.1 §2.2.1)", V3, vec![0xF0, 0], 0x81),
        ("[MQTT-3.3.1-4] QoS 3", V5, framed(0x36, &[0, 1, b't', 0, 1, 0]), 0x81),
        ("[MQTT-3.3.1-4] QoS 3", V3, framed(0x36, &[0, 1, b't', 0, 1]), 0x81),
        ("[MQTT-3.3.1-2] DUP at QoS 0", V5, framed(0x38, &[0, 1, b't', 0]), 0x81),
        ("[MQTT-3.3.1-2] DUP at QoS 0", V3, framed(0x38, &[0, 1, b't']), 0x81),
        ("[MQTT-1.5.5-1] length 0 in two bytes", V5, vec![0xC0, 0x80, 0x00], 0x81),
        ("[MQTT-1.5.5-1] length 2 in four bytes", V5, vec![0x40, 0x82, 0x80, 0x80, 0x00, 0, 1], 0x81),
        ("§1.5.5 length of five bytes", V5, vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], 0x81),
        ("§1.5.5 length of five bytes", FRESH, vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 0x81),
        ("PINGREQ with a body (§3.12)", V5, vec![0xC0, 1, 0], 0x81),
        ("PINGREQ with a body (§3.12)", V3, vec![0xC0, 1, 0], 0x81),
    ];
    // [MQTT-2.1.3-1]: the flags of every packet but PUBLISH are fixed (table 2-2).
    for (first, fixed) in [
        (0x40, 0),
        (0x50, 0),
        (0x60, 2),
        (0x70, 0),
        (0x80, 2),
        (0xA0, 2),
        (0xC0, 0),
        (0xE0, 0),
    ] {
        for flags in (0..16).filter(|&flags| flags != fixed) {
            for version in [V5, V3] {
                let what = "[MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1] reserved flags";
                rows.push((what, version, vec![first | flags, 2, 0, 1], 0x81));
            }
        }
    }
    rows.push(("[MQTT-2.1.3-1] reserved flags of CONNECT", FRESH, vec![0x11, 0], 0x81));
    rows.push(("[MQTT-2.1.3-1] reserved flags of AUTH", V5, vec![0xF1, 0], 0x81));
    check(Role::Server, rows);
}

/// §2.1.2, table 2-1: the direction of each packet.
#[test]
fn wrong_direction() {
    let from_client = [0x20, 0x90, 0xB0, 0xD0].map(|first| (first, Role::Server));
    let from_server = [0x10, 0x82, 0xA2, 0xC0].map(|first| (first, Role::Client));
    for (first, role) in from_client.into_iter().chain(from_server) {
        for version in [V5, V3] {
            check(role, vec![("sent by the wrong side", version, vec![first, 0], 0x82)]);
        }
    }
    check(
        Role::Client,
        vec![("3.1.1 §3.14: only clients send DISCONNECT", V3, vec![0xE0, 0], 0x82)],
    );
}

/// [MQTT-3.1.2-24], §3.2.2.3.6: too long is refused as soon as the length is known, before anything is buffered.
#[test]
fn too_large() {
    let length = |first, len| [&[first][..], &crate::mqtt::codec::varint::encode(len).0].concat();
    check(
        Role::Server,
        vec![
            ("PUBLISH over the limit", V5, length(0x30, PACKET_BYTES_MAX - 3), 0x95),
            ("PUBLISH over the limit", V3, length(0x30, PACKET_BYTES_MAX), 0x95),
            (
                "the longest length there is",
                V5,
                length(0x30, super::super::varint::MAX),
                0x95,
            ),
            (
                "CONNECT over its own limit",
                FRESH,
                [&[0x10, 0x80, 0x80, 0x02][..], &[0; 9]].concat(),
                0x95,
            ),
        ],
    );
    const { assert!(CONNECT_BYTES_MAX == 0x8000) };
    let at_limit = length(0x30, PACKET_BYTES_MAX - 5);
    assert_eq!(decode_first(Role::Server, V5, &at_limit[..4]), Ok(None));
}

/// §3.1: CONNECT of 5.0 and 3.1.1.
/// Shows [MQTT-3.1.4-1]; 3.1.1 [MQTT-3.1.2-1], [MQTT-3.1.2-3], [MQTT-3.1.2-9], [MQTT-3.1.2-11], [MQTT-3.1.2-13],
/// [MQTT-3.1.2-15], [MQTT-3.1.3-3], [MQTT-3.1.3-4], [MQTT-3.1.3-10], [MQTT-3.1.3-11].
#[test]
fn connect_packet() {
    let id = text("c");
    let with = |tail: &[u8]| [&id[..], tail].concat();
    let will = |properties: &[u8], topic: &[u8]| {
        [&id[..], &[properties.len() as u8], properties, topic, &[0, 1, b'p']].concat()
    };
    let mqtt = |name: &str, level: u8| framed(0x10, &[&text(name)[..], &[level, 2, 0, 60, 0], &id].concat());
    let v5 = |flags, properties: &[u8]| connect(5, flags, properties, &id);
    #[rustfmt::skip] // one line a row
    let rows: Vec<Row> = vec![
        ("[MQTT-3.1.2-1] protocol name", FRESH, mqtt("mqtt", 5), 0x84),
        ("[MQTT-3.1.2-1] protocol name", FRESH, mqtt("MQTTX", 5), 0x84),
        ("[MQTT-3.1.2-1] no protocol name", FRESH, mqtt("", 5), 0x84),
        ("[MQTT-3.1.2-2] name of MQTT 3.1, another level", FRESH, mqtt("MQIsdp", 4), 0x84),
        ("[MQTT-3.1.2-2] level 0", FRESH, mqtt("MQTT", 0), 0x84),
        ("[MQTT-3.1.2-2] level 3", FRESH, mqtt("MQTT", 3), 0x84),
        ("[MQTT-3.1.2-2] level 6", FRESH, mqtt("MQTT", 6), 0x84),
        ("[MQTT-3.1.2-2] bridge bit", FRESH, mqtt("MQTT", 0x84), 0x84),
        ("[MQTT-3.1.2-3] reserved flag", FRESH, v5(0b0000_0011, &[]), 0x81),
        ("[MQTT-3.1.2-3] reserved flag", FRESH, connect(4, 0b0000_0011, &[], &id), 0x81),
        ("[MQTT-3.1.2-11] will QoS without a will", FRESH, v5(0b0000_1010, &[]), 0x81),
        ("[MQTT-3.1.2-11] will QoS without a will", FRESH, connect(4, 0b0001_0010, &[], &id), 0x81),
        ("[MQTT-3.1.2-13] will retain without a will", FRESH, v5(0b0010_0010, &[]), 0x81),
        ("[MQTT-3.1.2-13] will retain without a will", FRESH, connect(4, 0b0010_0010, &[], &id), 0x81),
        ("[MQTT-3.1.2-12] will QoS 3", FRESH, connect(5, 0b0001_1110, &[], &will(&[], &text("w"))), 0x81),
        ("3.1.1 [MQTT-3.1.2-14] will QoS 3", FRESH, connect(4, 0b0001_1110, &[], &with(&[0, 1, b'w', 0, 0])), 0x81),
        ("3.1.1 [MQTT-3.1.2-22] password alone", FRESH, connect(4, 0b0100_0010, &[], &with(&[0, 1, b'p'])), 0x81),
        ("[MQTT-3.1.2-9] will missing", FRESH, connect(5, 0b0000_0110, &[], &id), 0x81),
        ("[MQTT-3.1.2-17] user name missing", FRESH, connect(5, 0b1000_0010, &[], &id), 0x81),
        ("[MQTT-3.1.2-19] password missing", FRESH, connect(5, 0b0100_0010, &[], &id), 0x81),
        ("[MQTT-3.1.2-16] user name without its flag", FRESH, connect(5, 2, &[], &with(&text("u"))), 0x81),
        ("[MQTT-3.1.3-3] no client identifier", FRESH, connect(5, 2, &[], &[]), 0x81),
        ("[MQTT-3.1.3-4] client identifier", FRESH, connect(5, 2, &[], &[0, 1, 0xFF]), 0x81),
        ("[MQTT-1.5.4-2] client identifier", FRESH, connect(4, 2, &[], &[0, 1, 0]), 0x81),
        ("[MQTT-3.1.3-11] will topic", FRESH, connect(5, 6, &[], &will(&[], &[0, 1, 0xFF])), 0x81),
        ("[MQTT-3.1.3-12] user name", FRESH, connect(5, 0x82, &[], &with(&[0, 3, 0xED, 0xA0, 0x80])), 0x81),
        ("bytes after the end", FRESH, connect(4, 2, &[], &with(&[0])), 0x81),
        ("empty CONNECT", FRESH, vec![0x10, 0], 0x81),
        ("ends within the flags", FRESH, framed(0x10, &[&text("MQTT")[..], &[5]].concat()), 0x81),
        (
            "property length beyond the packet",
            FRESH,
            framed(0x10, &[0, 4, 77, 81, 84, 84, 5, 2, 0, 0, 9, 0, 0]),
            0x81,
        ),
        ("session expiry twice (§3.1.2.11.2)", FRESH, v5(2, &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]), 0x82),
        ("receive maximum 0 (§3.1.2.11.3)", FRESH, v5(2, &[0x21, 0, 0]), 0x82),
        ("receive maximum twice (§3.1.2.11.3)", FRESH, v5(2, &[0x21, 0, 1, 0x21, 0, 1]), 0x82),
        ("maximum packet size 0 (§3.1.2.11.4)", FRESH, v5(2, &[0x27, 0, 0, 0, 0]), 0x82),
        ("topic alias maximum twice (§3.1.2.11.5)", FRESH, v5(2, &[0x22, 0, 0, 0x22, 0, 0]), 0x82),
        ("request response information 2 (§3.1.2.11.6)", FRESH, v5(2, &[0x19, 2]), 0x82),
        ("request problem information 2 (§3.1.2.11.7)", FRESH, v5(2, &[0x17, 2]), 0x82),
        ("authentication data alone (§3.1.2.11.10)", FRESH, v5(2, &[0x16, 0, 1, 1]), 0x82),
        ("authentication method twice (§3.1.2.11.9)", FRESH, v5(2, &[0x15, 0, 0, 0x15, 0, 0]), 0x82),
        ("topic alias in CONNECT (§2.2.2.2)", FRESH, v5(2, &[0x23, 0, 1]), 0x81),
        ("will delay outside the will (§2.2.2.2)", FRESH, v5(2, &[0x18, 0, 0, 0, 1]), 0x81),
        (
            "session expiry in the will (§2.2.2.2)",
            FRESH,
            connect(5, 6, &[], &will(&[0x11, 0, 0, 0, 1], &text("w"))),
            0x81,
        ),
        ("property that does not exist (§2.2.2.2)", FRESH, v5(2, &[0x04, 0]), 0x81),
        ("property ends within its value", FRESH, v5(2, &[0x11, 0, 0]), 0x81),
        ("[MQTT-1.5.7-1] user property value", FRESH, v5(2, &[0x26, 0, 1, b'a', 0, 1, 0xC0]), 0x81),
        (
            "will delay twice (§3.1.3.2.2)",
            FRESH,
            connect(5, 6, &[], &will(&[0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1], &text("w"))),
            0x82,
        ),
        ("will payload format 2 (§3.1.3.2.3)", FRESH, connect(5, 6, &[], &will(&[0x01, 2], &text("w"))), 0x82),
    ];
    check(Role::Server, rows);
}

/// §3.1.2.2: a refused CONNECT is answered in the version it named, if that is known.
/// Shows 3.1.1 [MQTT-3.1.2-2].
#[test]
fn version_of_the_answer() {
    let answer = |bytes: Vec<u8>| error(Role::Server, FRESH, &bytes, "refused CONNECT").answer_version;
    let named = |name, level| framed(0x10, &[&text(name)[..], &[level, 2, 0, 60, 0, 0, 0]].concat());
    assert_eq!(answer(named("HTTP", 5)), None);
    assert_eq!(answer(named("MQIsdp", 3)), V3, "no client identifier");
    assert_eq!(answer(named("MQIsdp", 4)), V3);
    assert_eq!(answer(named("MQTT", 3)), V3);
    assert_eq!(answer(named("MQTT", 6)), V5);
    assert_eq!(answer(connect(4, 3, &[], &text("c"))), V3);
    assert_eq!(answer(connect(5, 3, &[], &text("c"))), V5);
    assert_eq!(answer(vec![0xC0, 0]), None);
}

/// §3.3: PUBLISH.
/// Shows 3.1.1 [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-2.3.1-1], [MQTT-3.3.2-1].
#[test]
fn publish_packet() {
    let many: Vec<u8> = (0..=USER_PROPERTIES_COUNT_MAX)
        .flat_map(|_| user_property("", ""))
        .collect();
    let many = framed(0x30, &[&[0, 1, b't', 0xA5, 0x01][..], &many].concat());
    let large = user_property("n", &"v".repeat(METADATA_BYTES_MAX));
    let (len, used) = crate::mqtt::codec::varint::encode(large.len() as u32);
    let large = framed(0x30, &[&[0, 1, b't'][..], &len[..used], &large].concat());
    #[rustfmt::skip] // one line a row
    let rows: Vec<Row> = vec![
        ("[MQTT-3.3.2-1] no topic name", V5, framed(0x30, &[]), 0x81),
        ("[MQTT-3.3.2-1] topic name ends early", V3, framed(0x30, &[0, 5, b't']), 0x81),
        ("[MQTT-1.5.4-1] topic name", V5, framed(0x30, &[0, 3, 0xED, 0xA0, 0x80, 0]), 0x81),
        ("[MQTT-1.5.4-1] topic name", V3, framed(0x30, &[0, 2, 0xC0, 0x80]), 0x81),
        ("[MQTT-1.5.4-2] topic name", V5, framed(0x30, &[0, 3, b'a', 0, b'b', 0]), 0x81),
        ("[MQTT-1.5.4-2] topic name", V3, framed(0x30, &[0, 1, 0]), 0x81),
        ("no packet identifier at QoS 1 (§2.2.1)", V3, framed(0x32, &[0, 1, b't']), 0x81),
        ("[MQTT-2.2.1-3] packet identifier 0", V5, framed(0x32, &[0, 1, b't', 0, 0, 0]), 0x81),
        ("[MQTT-2.2.1-3] packet identifier 0", V3, framed(0x34, &[0, 1, b't', 0, 0]), 0x81),
        ("[MQTT-2.2.2-1] no property length", V5, framed(0x30, &[0, 1, b't']), 0x81),
        ("empty topic name without alias (§3.3.2.1)", V5, framed(0x30, &[0, 0, 0]), 0x82),
        ("[MQTT-4.7.3-1] empty topic name", V3, framed(0x30, &[0, 0]), 0x82),
        ("[MQTT-3.3.2-8] topic alias 0", V5, publish(&[0x23, 0, 0]), 0x94),
        ("topic alias twice (§3.3.2.3.4)", V5, publish(&[0x23, 0, 1, 0x23, 0, 1]), 0x82),
        ("payload format 2 (§3.3.2.3.2)", V5, publish(&[0x01, 2]), 0x82),
        ("payload format twice (§3.3.2.3.2)", V5, publish(&[0x01, 0, 0x01, 1]), 0x82),
        ("message expiry twice (§3.3.2.3.3)", V5, publish(&[0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1]), 0x82),
        ("[MQTT-3.3.2-13] response topic", V5, publish(&[0x08, 0, 1, 0xFF]), 0x81),
        ("[MQTT-3.3.2-14] response topic with #", V5, publish(&[0x08, 0, 3, b'a', b'/', b'#']), 0x82),
        ("[MQTT-3.3.2-14] response topic with +", V5, publish(&[0x08, 0, 3, b'+', b'/', b'a']), 0x82),
        ("[MQTT-4.7.3-1] empty response topic", V5, publish(&[0x08, 0, 0]), 0x82),
        ("response topic twice (§3.3.2.3.5)", V5, publish(&[0x08, 0, 1, b'r', 0x08, 0, 1, b'r']), 0x82),
        ("correlation data twice (§3.3.2.3.6)", V5, publish(&[0x09, 0, 0, 0x09, 0, 0]), 0x82),
        ("[MQTT-3.3.4-6] subscription identifier", V5, publish(&[0x0B, 1]), 0x82),
        ("[MQTT-3.3.2-19] content type", V5, publish(&[0x03, 0, 1, 0xFF]), 0x81),
        ("content type twice (§3.3.2.3.9)", V5, publish(&[0x03, 0, 0, 0x03, 0, 0]), 0x82),
        ("[MQTT-1.5.7-1] user property name", V5, publish(&[0x26, 0, 1, 0xFF, 0, 0]), 0x81),
        ("[MQTT-1.5.7-1] user property without value", V5, publish(&[0x26, 0, 1, b'n']), 0x81),
        ("reason string in PUBLISH (§2.2.2.2)", V5, publish(&[0x1F, 0, 0]), 0x81),
        ("identifier of two bytes (§2.2.2.2)", V5, publish(&[0x83, 0x01, 0, 0]), 0x81),
        ("property length beyond the packet", V5, framed(0x30, &[0, 1, b't', 5, 0x01, 1]), 0x81),
        ("property length within a property", V5, framed(0x30, &[0, 1, b't', 2, 0x02, 0, 0, 0, 1]), 0x81),
        ("[MQTT-1.5.5-1] property length", V5, framed(0x30, &[0, 1, b't', 0x80, 0x00]), 0x81),
        ("too many user properties", V5, many, 0x97),
        ("too much metadata", V5, large, 0x97),
    ];
    check(Role::Server, rows);
}

/// §3.4 to §3.7: acknowledgements.
#[test]
fn acks() {
    let mut rows: Vec<Row> = vec![];
    for first in [0x40, 0x50, 0x62, 0x70] {
        rows.extend([
            ("no packet identifier", V5, framed(first, &[]), 0x81),
            ("half a packet identifier", V3, framed(first, &[1]), 0x81),
            ("packet identifier 0 (§2.2.1)", V5, framed(first, &[0, 0]), 0x81),
            ("packet identifier 0 (§2.2.1)", V3, framed(first, &[0, 0]), 0x81),
            ("packet identifier 0 (§2.2.1)", V5, framed(first, &[0, 0, 0, 0]), 0x81),
            ("3.1.1 knows no reason code", V3, framed(first, &[0, 1, 0]), 0x81),
            ("no such reason code", V5, framed(first, &[0, 1, 0x03]), 0x82),
            (
                "[MQTT-3.4.2-1] … a code of SUBACK",
                V5,
                framed(first, &[0, 1, 0x01]),
                0x82,
            ),
            (
                "[MQTT-3.4.2-1] … a code of DISCONNECT",
                V5,
                framed(first, &[0, 1, 0x8B, 0]),
                0x82,
            ),
            (
                "reason string twice (§3.4.2.2.2)",
                V5,
                framed(first, &[0, 1, 0, 6, 0x1F, 0, 0, 0x1F, 0, 0]),
                0x82,
            ),
            (
                "message expiry (§2.2.2.2)",
                V5,
                framed(first, &[0, 1, 0, 5, 0x02, 0, 0, 0, 1]),
                0x81,
            ),
            ("bytes after the end", V5, framed(first, &[0, 1, 0, 0, 0]), 0x81),
            (
                "[MQTT-1.5.4-1] reason string",
                V5,
                framed(first, &[0, 1, 0, 4, 0x1F, 0, 1, 0xFF]),
                0x81,
            ),
        ]);
    }
    rows.extend([
        (
            "[MQTT-3.6.2-1] PUBREL with a code of PUBREC",
            V5,
            framed(0x62, &[0, 1, 0x97]),
            0x82,
        ),
        (
            "[MQTT-3.7.2-1] PUBCOMP with a code of PUBREC",
            V5,
            framed(0x70, &[0, 1, 0x10]),
            0x82,
        ),
        (
            "[MQTT-3.4.2-1] PUBACK with a code of PUBREL",
            V5,
            framed(0x40, &[0, 1, 0x92]),
            0x82,
        ),
        (
            "[MQTT-3.5.2-1] PUBREC with a code of PUBCOMP",
            V5,
            framed(0x50, &[0, 1, 0x92]),
            0x82,
        ),
    ]);
    check(Role::Server, rows);
}

/// §3.8 and §3.10: SUBSCRIBE and UNSUBSCRIBE.
/// Shows 3.1.1 [MQTT-3.8.3-1], [MQTT-3.8.3-3], [MQTT-3.8.3-4], [MQTT-3.10.3-1], [MQTT-3.10.3-2].
#[test]
fn subscribe_and_unsubscribe() {
    let v5 = |options: u8| framed(0x82, &[0, 1, 0, 0, 1, b'f', options]);
    let v3 = |options: u8| framed(0x82, &[0, 1, 0, 1, b'f', options]);
    let shared = |options: u8| framed(0x82, &[&[0, 1, 0][..], &text("$share/g/f"), &[options]].concat());
    let properties = |properties: &[u8]| {
        framed(
            0x82,
            &[&[0, 1, properties.len() as u8][..], properties, &[0, 1, b'f', 0]].concat(),
        )
    };
    #[rustfmt::skip] // one line a row
    let rows: Vec<Row> = vec![
        ("[MQTT-2.2.1-3] packet identifier 0", V5, framed(0x82, &[0, 0, 0, 0, 1, b'f', 0]), 0x81),
        ("[MQTT-2.2.1-3] packet identifier 0", V3, framed(0x82, &[0, 0, 0, 1, b'f', 0]), 0x81),
        ("[MQTT-2.2.1-3] packet identifier 0", V5, framed(0xA2, &[0, 0, 0, 0, 1, b'f']), 0x81),
        ("[MQTT-3.8.3-2] no filter", V5, framed(0x82, &[0, 1, 0]), 0x82),
        ("[MQTT-3.8.3-2] no filter", V3, framed(0x82, &[0, 1]), 0x82),
        ("[MQTT-3.10.3-2] no filter", V5, framed(0xA2, &[0, 1, 0]), 0x82),
        ("[MQTT-3.10.3-2] no filter", V3, framed(0xA2, &[0, 1]), 0x82),
        ("no property length", V5, framed(0x82, &[0, 1]), 0x81),
        ("no subscription options", V5, framed(0x82, &[0, 1, 0, 0, 1, b'f']), 0x81),
        ("no requested QoS", V3, framed(0x82, &[0, 1, 0, 1, b'f']), 0x81),
        ("[MQTT-3.8.3-1] filter", V5, framed(0x82, &[0, 1, 0, 0, 1, 0xFF, 0]), 0x81),
        ("[MQTT-1.5.4-2] filter", V3, framed(0x82, &[0, 1, 0, 1, 0, 0]), 0x81),
        ("[MQTT-3.10.3-1] filter", V5, framed(0xA2, &[0, 1, 0, 0, 1, 0xFF]), 0x81),
        ("[MQTT-3.10.3-1] filter", V3, framed(0xA2, &[0, 1, 0, 2, b'f']), 0x81),
        ("maximum QoS 3 (§3.8.3.1)", V5, v5(0b0000_0011), 0x82),
        ("retain handling 3 (§3.8.3.1)", V5, v5(0b0011_0000), 0x82),
        ("[MQTT-3.8.3-5] reserved bit 6", V5, v5(0b0100_0000), 0x81),
        ("[MQTT-3.8.3-5] reserved bit 7", V5, v5(0b1000_0001), 0x81),
        ("[MQTT-3.8.3-4] no local, shared", V5, shared(0b0000_0101), 0x82),
        ("3.1.1 [MQTT-3.8.3-4] QoS 3", V3, v3(3), 0x81),
        ("3.1.1 [MQTT-3.8.3-4] no local", V3, v3(0b0000_0100), 0x81),
        ("3.1.1 [MQTT-3.8.3-4] reserved bit 7", V3, v3(0b1000_0000), 0x81),
        ("subscription identifier 0 (§3.8.2.1.2)", V5, properties(&[0x0B, 0]), 0x82),
        ("subscription identifier twice (§3.8.2.1.2)", V5, properties(&[0x0B, 1, 0x0B, 2]), 0x82),
        ("subscription identifier of five bytes", V5, properties(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 1]), 0x81),
        ("reason string (§2.2.2.2)", V5, properties(&[0x1F, 0, 0]), 0x81),
        ("subscription identifier (§2.2.2.2)", V5, framed(0xA2, &[0, 1, 2, 0x0B, 1, 0, 1, b'f']), 0x81),
    ];
    check(Role::Server, rows);
}

/// §3.14 and §3.15: DISCONNECT and AUTH.
#[test]
fn disconnect_and_auth() {
    #[rustfmt::skip] // one line a row
    let rows: Vec<Row> = vec![
        ("3.1.1 DISCONNECT with a body", V3, framed(0xE0, &[0]), 0x81),
        ("[MQTT-3.14.2-1] no such code", V5, framed(0xE0, &[0x05]), 0x82),
        ("[MQTT-3.14.2-1] a code of servers", V5, framed(0xE0, &[0x8B, 0]), 0x82),
        ("[MQTT-3.14.2-1] a code of CONNACK", V5, framed(0xE0, &[0x85]), 0x82),
        (
            "session expiry twice (§3.14.2.2.2)",
            V5,
            framed(0xE0, &[0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0]),
            0x82,
        ),
        ("server reference of a client (§3.14.2.2.5)", V5, framed(0xE0, &[0, 3, 0x1C, 0, 0]), 0x82),
        ("receive maximum (§2.2.2.2)", V5, framed(0xE0, &[0, 3, 0x21, 0, 1]), 0x81),
        ("bytes after the end", V5, framed(0xE0, &[0, 0, 0]), 0x81),
        ("[MQTT-3.15.2-1] Success is the server's", V5, framed(0xF0, &[]), 0x82),
        ("[MQTT-3.15.2-1] a failure", V5, framed(0xF0, &[0x87, 0]), 0x82),
        ("no authentication method (§3.15.2.2.2)", V5, framed(0xF0, &[0x18, 0]), 0x82),
        ("method twice (§3.15.2.2.2)", V5, framed(0xF0, &[0x18, 6, 0x15, 0, 0, 0x15, 0, 0]), 0x82),
        ("no property length", V5, framed(0xF0, &[0x18]), 0x81),
        ("session expiry (§2.2.2.2)", V5, framed(0xF0, &[0x18, 5, 0x11, 0, 0, 0, 0]), 0x81),
    ];
    check(Role::Server, rows);
}

/// What a client must refuse.
#[test]
fn packets_of_servers() {
    #[rustfmt::skip] // one line a row
    let rows: Vec<Row> = vec![
        ("[MQTT-3.2.2-1] CONNACK flags", V5, framed(0x20, &[2, 0, 0]), 0x81),
        ("[MQTT-3.2.2-1] CONNACK flags", V3, framed(0x20, &[0x80, 0]), 0x81),
        ("[MQTT-3.2.2-6] session present", V5, framed(0x20, &[1, 0x87, 0]), 0x82),
        ("3.1.1 [MQTT-3.2.2-4] session present", V3, framed(0x20, &[1, 5]), 0x82),
        ("[MQTT-3.2.2-8] code of CONNACK", V5, framed(0x20, &[0, 0x8E, 0]), 0x82),
        ("3.1.1 §3.2.2.3 return code 6", V3, framed(0x20, &[0, 6]), 0x82),
        ("CONNACK without properties", V5, framed(0x20, &[0, 0]), 0x81),
        ("CONNACK with a body too long", V3, framed(0x20, &[0, 0, 0]), 0x81),
        ("receive maximum 0 (§3.2.2.3.3)", V5, framed(0x20, &[0, 0, 3, 0x21, 0, 0]), 0x82),
        ("maximum QoS 2 (§3.2.2.3.4)", V5, framed(0x20, &[0, 0, 2, 0x24, 2]), 0x82),
        ("retain available 2 (§3.2.2.3.5)", V5, framed(0x20, &[0, 0, 2, 0x25, 2]), 0x82),
        ("maximum packet size 0 (§3.2.2.3.6)", V5, framed(0x20, &[0, 0, 5, 0x27, 0, 0, 0, 0]), 0x82),
        ("subscription identifier 0 (§3.3.2.3.8)", V5, publish(&[0x0B, 0]), 0x82),
        ("[MQTT-3.9.3-2] code of SUBACK", V5, framed(0x90, &[0, 1, 0, 0x03]), 0x82),
        ("3.1.1 [MQTT-3.9.3-2] code of SUBACK", V3, framed(0x90, &[0, 1, 0x87]), 0x82),
        ("SUBACK without a code", V5, framed(0x90, &[0, 1, 0]), 0x82),
        ("SUBACK without a code", V3, framed(0x90, &[0, 1]), 0x82),
        ("[MQTT-3.11.3-2] code of UNSUBACK", V5, framed(0xB0, &[0, 1, 0, 0x01]), 0x82),
        ("UNSUBACK without a code", V5, framed(0xB0, &[0, 1, 0]), 0x82),
        ("3.1.1 UNSUBACK with a body", V3, framed(0xB0, &[0, 1, 0]), 0x81),
        ("PINGRESP with a body", V5, framed(0xD0, &[0]), 0x81),
        ("[MQTT-3.14.2-1] a code of clients", V5, framed(0xE0, &[0x04]), 0x82),
        ("[MQTT-3.14.2-2] session expiry", V5, framed(0xE0, &[0x8B, 5, 0x11, 0, 0, 0, 0]), 0x82),
        ("[MQTT-3.15.2-1] Re-authenticate is the client's", V5, framed(0xF0, &[0x19, 3, 0x15, 0, 0]), 0x82),
    ];
    check(Role::Client, rows);
}
