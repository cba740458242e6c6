//! SUBACK (§3.9), and that of 3.1.1 with its one code of failure.

use super::properties::{AckProperties, Property};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{ProtocolVersion, SubAck};
use crate::mqtt::reason::ReasonCode;

/// §3.9.3, table 3-8; for 3.1.1 §3.9.3 there.
fn is_legal(reason: ReasonCode, version: ProtocolVersion) -> bool {
    match version {
        ProtocolVersion::V3 => matches!(reason as u8, 0x00..=0x02 | 0x80),
        ProtocolVersion::V5 => {
            matches!(
                reason as u8,
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            )
        }
    }
}

/// Reads variable header and payload.
pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<SubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = match version {
        ProtocolVersion::V3 => AckProperties::default(),
        ProtocolVersion::V5 => AckProperties::read(reader, Role::Client)?,
    };
    let mut reasons = Vec::with_capacity(reader.remaining());
    while reader.remaining() > 0 {
        let reason = ReasonCode::from_u8(reader.u8()?).filter(|&reason| is_legal(reason, version));
        reasons.push(reason.ok_or(DecodeError::protocol("reason code is not one of SUBACK"))?); // [MQTT-3.9.3-2]
    }
    if reasons.is_empty() {
        return Err(DecodeError::protocol("SUBACK without a reason code"));
    }
    let AckProperties {
        reason_string,
        user_properties,
    } = properties;
    Ok(SubAck {
        packet_id,
        reason_string,
        user_properties,
        reasons,
    })
}

/// Writes variable header and payload.
pub(super) fn encode(suback: &SubAck, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u16(suback.packet_id);
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| {
            out.str_property(Property::ReasonString, suback.reason_string.as_deref());
            out.user_properties(&suback.user_properties);
        });
    }
    for &reason in &suback.reasons {
        let is_other_failure = version == ProtocolVersion::V3 && reason.is_failure();
        out.u8(if is_other_failure {
            ReasonCode::UnspecifiedError
        } else {
            reason
        } as u8);
    }
}
