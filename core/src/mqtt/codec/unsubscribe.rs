//! UNSUBSCRIBE (§3.10).

use super::properties::{PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::mqtt::packet::{ProtocolVersion, Unsubscribe};

/// Reads variable header and payload.
pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Unsubscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut user_properties = Vec::new();
    if version == ProtocolVersion::V5 {
        let mut properties = PropertyReader::new(reader, PropertySet::UNSUBSCRIBE, Role::Server)?;
        while properties.next()?.is_some() {
            user_properties.push(properties.user_property()?);
        }
    }
    let mut filters = Vec::new();
    while reader.remaining() > 0 {
        filters.push(reader.string()?);
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("UNSUBSCRIBE without a topic filter")); // [MQTT-3.10.3-2]
    }
    Ok(Unsubscribe {
        packet_id,
        user_properties,
        filters,
    })
}

/// Writes variable header and payload.
pub(super) fn encode(unsubscribe: &Unsubscribe, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u16(unsubscribe.packet_id);
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| out.user_properties(&unsubscribe.user_properties));
    }
    for filter in &unsubscribe.filters {
        out.binary(filter);
    }
}
