//! AUTH (§3.15), 5.0 only.

use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::Auth;
use crate::mqtt::reason::ReasonCode;

/// §3.15.2.1, table 3-11: by who may send it.
fn is_legal(reason: ReasonCode, receiver: Role) -> bool {
    match reason {
        ReasonCode::ContinueAuthentication => true,
        ReasonCode::Success => receiver == Role::Client,
        ReasonCode::ReAuthenticate => receiver == Role::Server,
        _ => false,
    }
}

/// Reads the variable header.
///
/// # Errors
/// 0x82 for a reason code that is not the sender's [MQTT-3.15.2-1], and if the Authentication Method is missing
/// (§3.15.2.2.2).
pub(super) fn decode(reader: &mut Reader, role: Role) -> Result<Auth, DecodeError> {
    let mut auth = Auth::default();
    // §3.15.2.1: Success without properties may be left out whole.
    let is_short = reader.remaining() == 0;
    if !is_short {
        auth.reason = ReasonCode::from_u8(reader.u8()?).ok_or(ILLEGAL_REASON)?;
    }
    if !is_legal(auth.reason, role) {
        return Err(ILLEGAL_REASON);
    }
    if is_short {
        return Ok(auth);
    }
    let mut properties = PropertyReader::new(reader, PropertySet::AUTH, role)?;
    while let Some(property) = properties.next()? {
        match property {
            Property::AuthenticationMethod => auth.authentication_method = Some(properties.value().string()?),
            Property::AuthenticationData => auth.authentication_data = Some(properties.value().binary()?),
            Property::ReasonString => auth.reason_string = Some(properties.value().string_copy()?),
            _ => auth.user_properties.push(properties.user_property()?),
        }
    }
    if !properties.has(Property::AuthenticationMethod) {
        return Err(DecodeError::protocol("AUTH without an authentication method"));
    }
    Ok(auth)
}

const ILLEGAL_REASON: DecodeError = DecodeError::protocol("reason code is not one of AUTH from this side");

/// Writes the variable header: nothing if there is nothing to say.
pub(super) fn encode(auth: &Auth, out: &mut dyn Sink) {
    let write = |out: &mut dyn Sink| {
        out.bytes_property(Property::AuthenticationMethod, auth.authentication_method.as_ref());
        out.bytes_property(Property::AuthenticationData, auth.authentication_data.as_ref());
        out.str_property(Property::ReasonString, auth.reason_string.as_deref());
        out.user_properties(&auth.user_properties);
    };
    if auth.reason == ReasonCode::Success && sink::is_empty(write) {
        return;
    }
    out.u8(auth.reason as u8);
    sink::properties(out, write);
}
