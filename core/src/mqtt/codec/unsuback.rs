//! UNSUBACK (§3.11). That of 3.1.1 says nothing but the packet identifier.

use super::properties::{AckProperties, Property};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{ProtocolVersion, UnsubAck};
use crate::mqtt::reason::ReasonCode;

/// §3.11.3, table 3-9.
fn is_legal(reason: ReasonCode) -> bool {
    matches!(reason as u8, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
}

/// Reads variable header and payload.
pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<UnsubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    if version == ProtocolVersion::V3 {
        return Ok(UnsubAck {
            packet_id,
            ..UnsubAck::default()
        });
    }
    let AckProperties {
        reason_string,
        user_properties,
    } = AckProperties::read(reader, Role::Client)?;
    let mut reasons = Vec::with_capacity(reader.remaining());
    while reader.remaining() > 0 {
        let reason = ReasonCode::from_u8(reader.u8()?).filter(|&reason| is_legal(reason));
        reasons.push(reason.ok_or(DecodeError::protocol("reason code is not one of UNSUBACK"))?); // [MQTT-3.11.3-2]
    }
    if reasons.is_empty() {
        return Err(DecodeError::protocol("UNSUBACK without a reason code"));
    }
    Ok(UnsubAck {
        packet_id,
        reason_string,
        user_properties,
        reasons,
    })
}

/// Writes variable header and payload.
pub(super) fn encode(unsuback: &UnsubAck, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u16(unsuback.packet_id);
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| {
            out.str_property(Property::ReasonString, unsuback.reason_string.as_deref());
            out.user_properties(&unsuback.user_properties);
        });
        for &reason in &unsuback.reasons {
            out.u8(reason as u8);
        }
    }
}
