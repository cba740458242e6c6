//! SUBSCRIBE (§3.8).

use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role, fixed_header};
use crate::mqtt::packet::{ProtocolVersion, RetainHandling, Subscribe, SubscribeFilter};

// Subscription Options (§3.8.3.1).
const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u32 = 4;
const RESERVED: u8 = 0b1100_0000;

/// What a shared subscription's filter begins with (§4.8.2).
const SHARED_PREFIX: &[u8] = b"$share/";

/// Reads variable header and payload.
pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Subscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    let mut user_properties = Vec::new();
    if version == ProtocolVersion::V5 {
        let mut properties = PropertyReader::new(reader, PropertySet::SUBSCRIBE, Role::Server)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SubscriptionIdentifier => subscription_id = Some(properties.subscription_id()?),
                _ => user_properties.push(properties.user_property()?),
            }
        }
    }
    let mut filters = Vec::new();
    while reader.remaining() > 0 {
        let filter = reader.string()?;
        let options = reader.u8()?;
        filters.push(match version {
            ProtocolVersion::V3 => filter_of_3_1_1(filter, options)?,
            ProtocolVersion::V5 => filter_with_options(filter, options)?,
        });
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("SUBSCRIBE without a topic filter")); // [MQTT-3.8.3-2]
    }
    Ok(Subscribe {
        packet_id,
        subscription_id,
        user_properties,
        filters,
    })
}

/// 3.1.1 knows the QoS only; everything else in the byte makes the packet malformed: 3.1.1
/// [MQTT-3.8.3-4], there printed as 3-8.3-4.
fn filter_of_3_1_1(filter: bytes::Bytes, options: u8) -> Result<SubscribeFilter, DecodeError> {
    Ok(SubscribeFilter {
        filter,
        qos: fixed_header::qos(options).ok_or(DecodeError::malformed("requested QoS is not 0, 1 or 2"))?,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    })
}

fn filter_with_options(filter: bytes::Bytes, options: u8) -> Result<SubscribeFilter, DecodeError> {
    if options & RESERVED != 0 {
        return Err(DecodeError::malformed("reserved subscription options")); // [MQTT-3.8.3-5]
    }
    let qos = fixed_header::qos(options & QOS).ok_or(DecodeError::protocol("maximum QoS is 3"))?;
    let no_local = options & NO_LOCAL != 0;
    if no_local && filter.starts_with(SHARED_PREFIX) {
        return Err(DecodeError::protocol("no local on a shared subscription")); // [MQTT-3.8.3-4]
    }
    let retain_handling = match options >> RETAIN_HANDLING_SHIFT & 0b11 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(DecodeError::protocol("retain handling is 3")),
    };
    let retain_as_published = options & RETAIN_AS_PUBLISHED != 0;
    Ok(SubscribeFilter {
        filter,
        qos,
        no_local,
        retain_as_published,
        retain_handling,
    })
}

/// Writes variable header and payload.
pub(super) fn encode(subscribe: &Subscribe, version: ProtocolVersion, out: &mut dyn Sink) {
    out.u16(subscribe.packet_id);
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| {
            out.varint_property(Property::SubscriptionIdentifier, subscribe.subscription_id);
            out.user_properties(&subscribe.user_properties);
        });
    }
    for filter in &subscribe.filters {
        out.binary(&filter.filter);
        let mut options = filter.qos as u8;
        if version == ProtocolVersion::V5 {
            options |= if filter.no_local { NO_LOCAL } else { 0 };
            options |= if filter.retain_as_published {
                RETAIN_AS_PUBLISHED
            } else {
                0
            };
            options |= (filter.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        }
        out.u8(options);
    }
}
