//! CONNACK (§3.2), and that of 3.1.1 with its six return codes.

use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{ConnAck, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

/// §3.2.2.2, table 3-1.
fn is_legal(reason: ReasonCode) -> bool {
    matches!(reason as u8, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
}

/// Reads the variable header. Authentication Method and Data are checked but dropped, as nothing here negotiates them.
pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<ConnAck, DecodeError> {
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::malformed("reserved CONNACK flags")), // [MQTT-3.2.2-1]
    };
    let code = reader.u8()?;
    let reason = match version {
        ProtocolVersion::V3 => ReasonCode::from_connect_return_code(code),
        ProtocolVersion::V5 => ReasonCode::from_u8(code).filter(|&reason| is_legal(reason)),
    };
    let reason = reason.ok_or(DecodeError::protocol("reason code is not one of CONNACK"))?; // [MQTT-3.2.2-8]
    if session_present && reason != ReasonCode::Success {
        return Err(DecodeError::protocol("session present in a refusal")); // [MQTT-3.2.2-6]
    }
    let mut connack = ConnAck {
        session_present,
        reason,
        ..ConnAck::default()
    };
    if version == ProtocolVersion::V5 {
        properties(reader, &mut connack)?;
    }
    Ok(connack)
}

fn properties(reader: &mut Reader, connack: &mut ConnAck) -> Result<(), DecodeError> {
    let mut properties = PropertyReader::new(reader, PropertySet::CONNACK, Role::Client)?;
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval => connack.session_expiry_s = Some(properties.value().u32()?),
            Property::ReceiveMaximum => connack.receive_maximum = Some(properties.positive_u16()?),
            Property::MaximumQoS => connack.maximum_qos = Some(u8::from(properties.bool()?)),
            Property::RetainAvailable => connack.retain_available = Some(properties.bool()?),
            Property::MaximumPacketSize => connack.maximum_packet_size = Some(properties.positive_u32()?),
            Property::AssignedClientIdentifier => connack.assigned_client_id = Some(properties.value().string()?),
            Property::TopicAliasMaximum => connack.topic_alias_maximum = Some(properties.value().u16()?),
            Property::ReasonString => connack.reason_string = Some(properties.value().string_copy()?),
            Property::WildcardSubscriptionAvailable => {
                connack.wildcard_subscription_available = Some(properties.bool()?);
            }
            Property::SubscriptionIdentifierAvailable => {
                connack.subscription_identifiers_available = Some(properties.bool()?);
            }
            Property::SharedSubscriptionAvailable => {
                connack.shared_subscription_available = Some(properties.bool()?);
            }
            Property::ServerKeepAlive => connack.server_keep_alive_s = Some(properties.value().u16()?),
            Property::ResponseInformation => connack.response_information = Some(properties.value().string_copy()?),
            Property::ServerReference => connack.server_reference = Some(properties.value().string_copy()?),
            Property::AuthenticationMethod => drop(properties.value().string()?),
            Property::AuthenticationData => drop(properties.value().binary()?),
            _ => connack.user_properties.push(properties.user_property()?),
        }
    }
    Ok(())
}

/// Writes the variable header. A refusal never says that a session is present [MQTT-3.2.2-6].
pub(super) fn encode(connack: &ConnAck, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u8(u8::from(
        connack.session_present && connack.reason == ReasonCode::Success,
    ));
    match version {
        ProtocolVersion::V3 => out.u8(connack.reason.to_connect_return_code()),
        ProtocolVersion::V5 => {
            out.u8(connack.reason as u8);
            sink::properties(out, |out| encode_properties(connack, out));
        }
    }
}

fn encode_properties(connack: &ConnAck, out: &mut dyn Sink) {
    out.u32_property(Property::SessionExpiryInterval, connack.session_expiry_s);
    out.u16_property(Property::ReceiveMaximum, connack.receive_maximum);
    // 2 is said by leaving it out (§3.2.2.3.4).
    out.u8_property(Property::MaximumQoS, connack.maximum_qos.filter(|&qos| qos < 2));
    out.bool_property(Property::RetainAvailable, connack.retain_available);
    out.u32_property(Property::MaximumPacketSize, connack.maximum_packet_size);
    out.bytes_property(Property::AssignedClientIdentifier, connack.assigned_client_id.as_ref());
    out.u16_property(Property::TopicAliasMaximum, connack.topic_alias_maximum);
    out.str_property(Property::ReasonString, connack.reason_string.as_deref());
    out.user_properties(&connack.user_properties);
    out.bool_property(
        Property::WildcardSubscriptionAvailable,
        connack.wildcard_subscription_available,
    );
    out.bool_property(
        Property::SubscriptionIdentifierAvailable,
        connack.subscription_identifiers_available,
    );
    out.bool_property(
        Property::SharedSubscriptionAvailable,
        connack.shared_subscription_available,
    );
    out.u16_property(Property::ServerKeepAlive, connack.server_keep_alive_s);
    out.str_property(Property::ResponseInformation, connack.response_information.as_deref());
    out.str_property(Property::ServerReference, connack.server_reference.as_deref());
}
