//! Inputs as packets.
//!
//! Input: form u8 | form 0: a first byte and a body as they are | form 1: a packet built field by field, each mostly legal,
//! then perhaps damaged.

use banyan_core::mqtt::ProtocolVersion;

use super::{CONNECT, Frame, Side};
use crate::choices::Choices;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3];
const SIDES: [Side; 2] = [Side::Server, Side::Client];

/// Bit of the form: 3.1.1, not 5.0.
pub const V3: u8 = 1;
/// Bit of the form: from a server, not from a client.
pub const TO_CLIENT: u8 = 2;
/// Bit of the form: built, not as it is.
pub const BUILT: u8 = 4;

/// Texts that a rule is about, and some that none is.
const TEXTS: [&[u8]; 20] = [
    b"a/b",
    b"",
    b"a",
    b"a/+",
    b"#",
    b"a\0b",
    b"\xEF\xBB\xBFa",
    "ä€𝄞".as_bytes(),
    b"\xED\xA0\x80",
    b"\xC0\x80",
    b"$share/g/a",
    b"$share/g",
    b"$share//a",
    b"$share/+/a",
    b"$share/g/",
    b"$SYS/x",
    b"MQTT",
    b"\x7F",
    b"\xEF\xBF\xBF",
    b"/",
];
const REASONS: [u8; 24] = [
    0x00, 0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8F, 0x90, 0x91,
    0x92, 0x97, 0x99, 0x9E, 0xA2,
];

/// The properties that each packet type may have, by type; the first entry is the will's (§2.2.2.2, table 2-4).
const PROPERTIES: [&[u8]; 16] = [
    &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
    &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
    &[
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
    ],
    &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
    &[0x1F, 0x26],
    &[0x1F, 0x26],
    &[0x1F, 0x26],
    &[0x1F, 0x26],
    &[0x0B, 0x26],
    &[0x1F, 0x26],
    &[0x26],
    &[0x1F, 0x26],
    &[],
    &[],
    &[0x11, 0x1C, 0x1F, 0x26],
    &[0x15, 0x16, 0x1F, 0x26],
];

/// The packet that `choices` stand for.
pub fn make(choices: &mut Choices<'_>) -> Frame {
    let form = choices.u8();
    let version = VERSIONS[usize::from(form & V3 != 0)];
    let side = SIDES[usize::from(form & TO_CLIENT != 0)];
    if form & BUILT == 0 {
        let first = choices.u8();
        return Frame::new(version, side, first, choices.rest());
    }
    let (first, mut body) = build(choices, version);
    damage(choices, &mut body);
    Frame::new(version, side, first, &body)
}

/// The first byte and body of a packet.
fn build(choices: &mut Choices<'_>, version: ProtocolVersion) -> (u8, Vec<u8>) {
    let packet_type = 1 + choices.below(15) as u8;
    let is_v5 = version == ProtocolVersion::V5;
    let legal_flags = match packet_type {
        3 => choices.u8() & 0x0F,
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    let flags = if rarely(choices) {
        choices.u8() & 0x0F
    } else {
        legal_flags
    };
    let mut body = Vec::new();
    let out = &mut body;
    match packet_type {
        CONNECT => connect(choices, is_v5, out),
        2 => {
            out.push(choices.u8() % 4);
            let return_code = choices.u8() % 8;
            out.push(if is_v5 { choices.one_of(&REASONS) } else { return_code });
            section_if(is_v5, choices, packet_type, out);
        }
        3 => {
            text(choices, out);
            if flags & 0b110 != 0 {
                packet_id(choices, out);
            }
            section_if(is_v5, choices, packet_type, out);
            out.extend_from_slice(choices.bytes());
        }
        4..=7 => {
            packet_id(choices, out);
            reason_and_section(is_v5, choices, packet_type, out);
        }
        8..=11 => {
            packet_id(choices, out);
            section_if(is_v5, choices, packet_type, out);
            for _ in 0..choices.below(4) {
                match packet_type {
                    8 => {
                        text(choices, out);
                        let options = choices.u8();
                        let bits = match rarely(choices) {
                            true => 0xFF,
                            false if is_v5 => 0b0010_1110,
                            false => 0b0000_0010,
                        };
                        out.push(options & bits);
                    }
                    10 => text(choices, out),
                    _ => out.push(choices.one_of(&REASONS)),
                }
            }
        }
        14 | 15 => reason_and_section(is_v5, choices, packet_type, out),
        _ => {}
    }
    (packet_type << 4 | flags, body)
}

fn connect(choices: &mut Choices<'_>, is_v5: bool, out: &mut Vec<u8>) {
    let (name, level): (&[u8], u8) = match choices.u8() {
        0xF0..=0xF7 => (b"MQIsdp", 3),
        0xF8..=0xFB => (b"MQIsdp", 4),
        0xFC => (b"MQTT", 3),
        0xFD => (b"MQTT", 6),
        0xFE => (b"MQTTx", 4),
        _ if is_v5 => (b"MQTT", 5),
        _ => (b"MQTT", 4),
    };
    field(name, out);
    out.push(level);
    let mut flags = choices.u8();
    if !rarely(choices) {
        flags &= 0xFE;
        if flags & 0b100 == 0 {
            flags &= 0b1100_0010;
        }
    }
    out.push(flags);
    out.extend_from_slice(&choices.u16().to_be_bytes());
    section_if(level == 5, choices, CONNECT, out);
    text(choices, out);
    if flags & 0b100 != 0 {
        section_if(level == 5, choices, 0, out);
        text(choices, out);
        field(choices.bytes(), out);
    }
    for flag in [0x80, 0x40] {
        if flags & flag != 0 {
            text(choices, out);
        }
    }
}

/// What 5.0 puts behind a packet identifier, as much of it as is decided.
fn reason_and_section(is_v5: bool, choices: &mut Choices<'_>, packet_type: u8, out: &mut Vec<u8>) {
    let parts = choices.u8() % 4;
    if parts > 0 && (is_v5 || parts == 3) {
        out.push(choices.one_of(&REASONS));
    }
    section_if(is_v5 && parts > 1, choices, packet_type, out);
}

fn section_if(is_there: bool, choices: &mut Choices<'_>, packet_type: u8, out: &mut Vec<u8>) {
    if !is_there || choices.u8() == 0xFF {
        return;
    }
    let mut section = Vec::new();
    let count = match choices.u8() {
        0xFF => 40,
        count => count % 5,
    };
    for _ in 0..count {
        let legal = PROPERTIES[usize::from(packet_type)];
        let identifier = match choices.u8() {
            choice @ 0xF0.. => choice % 0x30,
            _ if legal.is_empty() => 0x26,
            choice => legal[usize::from(choice) % legal.len()],
        };
        section.push(identifier);
        match identifier {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => section.push(choices.u8() % 3),
            0x13 | 0x21 | 0x22 | 0x23 => section.extend_from_slice(&number(choices)[2..]),
            0x02 | 0x11 | 0x18 | 0x27 => section.extend_from_slice(&number(choices)),
            0x0B => {
                let number = u32::from_be_bytes(number(choices)) % 268_435_456;
                let padding = usize::from(rarely(choices));
                put_varint(&mut section, number, padding);
            }
            0x26 => {
                text(choices, &mut section);
                text(choices, &mut section);
            }
            _ => text(choices, &mut section),
        }
    }
    let (wrong, padding) = match choices.u8() {
        0xFF => (1, 0),
        0xFE => (-1, 0),
        0xFD => (0, 1),
        0xFC => (0, 2),
        _ => (0, 0),
    };
    put_varint(out, section.len().saturating_add_signed(wrong) as u32, padding);
    out.extend_from_slice(&section);
}

/// Four bytes: 0, the largest of a length, or any number.
fn number(choices: &mut Choices<'_>) -> [u8; 4] {
    match choices.u8() % 4 {
        0 => 0_u32,
        1 => 65_535,
        2 => u32::MAX,
        _ => choices.u32(),
    }
    .to_be_bytes()
}

fn packet_id(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    let id = if rarely(choices) { 0 } else { choices.u16().max(1) };
    out.extend_from_slice(&id.to_be_bytes());
}

/// A field with one of the texts, or with bytes of the input.
fn text(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    match choices.u8() {
        choice @ 0..0xC0 => field(TEXTS[usize::from(choice) % TEXTS.len()], out),
        _ => field(choices.bytes(), out),
    }
}

fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A Variable Byte Integer (§1.5.5), with `padding` more bytes than it needs, as long as it stays within four.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32, padding: usize) {
    let start = out.len();
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            break;
        }
        out.push(byte | 0x80);
    }
    for _ in 0..padding.min(4 - (out.len() - start)) {
        *out.last_mut().expect("a byte was written") |= 0x80;
        out.push(0);
    }
}

/// Cuts, extends or changes `body`, one time in eight.
fn damage(choices: &mut Choices<'_>, body: &mut Vec<u8>) {
    while choices.u8() >= 0xE0 {
        let at = usize::from(choices.u8()).min(body.len());
        match choices.u8() % 4 {
            0 => body.truncate(at),
            1 => body.extend_from_slice(choices.bytes()),
            2 => body.insert(at, choices.u8()),
            _ if at < body.len() => body[at] = choices.u8(),
            _ => {}
        }
    }
}

fn rarely(choices: &mut Choices<'_>) -> bool {
    choices.u8() >= 0xF0
}
