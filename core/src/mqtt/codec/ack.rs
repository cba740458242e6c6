//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7): one form, two lists of reason codes.

use super::fixed_header::PacketType;
use super::properties::{AckProperties, Property};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{Ack, Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

/// Makes the packet of an acknowledgement type from its content; `None` for other types.
pub(super) fn constructor(packet_type: PacketType) -> Option<fn(Ack) -> Packet> {
    match packet_type {
        PacketType::PubAck => Some(Packet::PubAck),
        PacketType::PubRec => Some(Packet::PubRec),
        PacketType::PubRel => Some(Packet::PubRel),
        PacketType::PubComp => Some(Packet::PubComp),
        _ => None,
    }
}

/// The acknowledgement in `packet`, if it is one of four bytes: Success without properties, or 3.1.1.
pub(super) fn short_form(packet: &Packet, version: ProtocolVersion) -> Option<&Ack> {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            (version == ProtocolVersion::V3 || is_plain(ack)).then_some(ack)
        }
        _ => None,
    }
}

fn is_plain(ack: &Ack) -> bool {
    ack.reason == ReasonCode::Success && !has_properties(ack)
}

fn has_properties(ack: &Ack) -> bool {
    ack.reason_string.is_some() || !ack.user_properties.is_empty()
}

/// Tables 3-4 and 3-5 for PUBACK and PUBREC, 3-6 and 3-7 for PUBREL and PUBCOMP.
fn is_legal(packet_type: PacketType, reason: ReasonCode) -> bool {
    match packet_type {
        PacketType::PubRel | PacketType::PubComp => matches!(reason as u8, 0x00 | 0x92),
        _ => matches!(
            reason as u8,
            0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        ),
    }
}

/// Reads the variable header.
///
/// # Errors
/// 0x82 for a reason code of another packet [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1].
pub(super) fn decode(
    reader: &mut Reader,
    packet_type: PacketType,
    role: Role,
    version: ProtocolVersion,
) -> Result<Ack, DecodeError> {
    let mut ack = Ack {
        packet_id: reader.packet_id()?,
        ..Ack::default()
    };
    if version == ProtocolVersion::V3 || reader.remaining() == 0 {
        return Ok(ack);
    }
    ack.reason = ReasonCode::from_u8(reader.u8()?)
        .filter(|&reason| is_legal(packet_type, reason))
        .ok_or(DecodeError::protocol("reason code is not one of this acknowledgement"))?;
    // §3.4.2.2.1: a Remaining Length below 4 means that there is no property length.
    if reader.remaining() > 0 {
        let properties = AckProperties::read(reader, role)?;
        ack.reason_string = properties.reason_string;
        ack.user_properties = properties.user_properties;
    }
    Ok(ack)
}

/// Writes the variable header, as short as it can be.
pub(super) fn encode(ack: &Ack, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u16(ack.packet_id);
    if version == ProtocolVersion::V3 || is_plain(ack) {
        return;
    }
    out.u8(ack.reason as u8);
    if has_properties(ack) {
        sink::properties(out, |out| {
            out.str_property(Property::ReasonString, ack.reason_string.as_deref());
            out.user_properties(&ack.user_properties);
        });
    }
}
