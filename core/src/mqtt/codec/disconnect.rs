//! DISCONNECT (§3.14). That of 3.1.1 is empty and comes from clients only.

use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{Disconnect, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

/// §3.14.2.1, table 3-10: by who may send it.
fn is_legal(reason: ReasonCode, receiver: Role) -> bool {
    let code = reason as u8;
    match receiver {
        Role::Server => matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
        Role::Client => matches!(
            code,
            0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
        ),
    }
}

/// Reads the variable header.
///
/// # Errors
/// 0x82 for a reason code that is not the sender's [MQTT-3.14.2-1], and for a session expiry from a server
/// [MQTT-3.14.2-2].
pub(super) fn decode(reader: &mut Reader, role: Role, version: ProtocolVersion) -> Result<Disconnect, DecodeError> {
    let mut disconnect = Disconnect::default();
    if version == ProtocolVersion::V3 || reader.remaining() == 0 {
        return Ok(disconnect);
    }
    disconnect.reason = ReasonCode::from_u8(reader.u8()?)
        .filter(|&reason| is_legal(reason, role))
        .ok_or(DecodeError::protocol(
            "reason code is not one of DISCONNECT from this side",
        ))?;
    // §3.14.2.2.1: a Remaining Length below 2 means that there is no property length.
    if reader.remaining() == 0 {
        return Ok(disconnect);
    }
    let mut properties = PropertyReader::new(reader, PropertySet::DISCONNECT, role)?;
    while let Some(property) = properties.next()? {
        match (property, role) {
            (Property::SessionExpiryInterval, Role::Server) => {
                disconnect.session_expiry_s = Some(properties.value().u32()?);
            }
            (Property::ServerReference, Role::Client) => {
                disconnect.server_reference = Some(properties.value().string_copy()?);
            }
            (Property::SessionExpiryInterval | Property::ServerReference, _) => {
                return Err(DecodeError::protocol("DISCONNECT with a property of the other side"));
            }
            (Property::ReasonString, _) => disconnect.reason_string = Some(properties.value().string_copy()?),
            _ => disconnect.user_properties.push(properties.user_property()?),
        }
    }
    Ok(disconnect)
}

/// Writes the variable header: nothing if there is nothing to say.
pub(super) fn encode(disconnect: &Disconnect, version: ProtocolVersion, out: &mut dyn Sink) {
    let write = |out: &mut dyn Sink| {
        out.u32_property(Property::SessionExpiryInterval, disconnect.session_expiry_s);
        out.str_property(Property::ReasonString, disconnect.reason_string.as_deref());
        out.user_properties(&disconnect.user_properties);
        out.str_property(Property::ServerReference, disconnect.server_reference.as_deref());
    };
    let says_nothing = disconnect.reason == ReasonCode::Success && sink::is_empty(write);
    if version == ProtocolVersion::V3 || says_nothing {
        return;
    }
    out.u8(disconnect.reason as u8);
    // The length could be left out when it is 0, but clients are known that expect it.
    sink::properties(out, write);
}
