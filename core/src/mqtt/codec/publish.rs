//! PUBLISH (§3.3).

use super::fixed_header::{DUP, RETAIN, qos};
use super::metadata::{self, MetadataScan};
use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role};
use crate::metadata::Metadata;
use crate::mqtt::packet::{ProtocolVersion, Publish, QoS};
use crate::mqtt::reason::ReasonCode;

/// Reads variable header and payload; `first` is the first byte of the fixed header, already checked.
///
/// # Errors
/// 0x82 for an empty topic name without an alias (§3.3.2.1) and for a subscription identifier from a client
/// [MQTT-3.3.4-6]; 0x94 for a topic alias of 0 [MQTT-3.3.2-8].
pub(super) fn decode(
    reader: &mut Reader,
    first: u8,
    role: Role,
    version: ProtocolVersion,
) -> Result<Publish, DecodeError> {
    let qos = qos(first >> 1 & 0b11).ok_or(DecodeError::malformed("PUBLISH with QoS 3"))?;
    let topic = reader.string()?;
    let packet_id = match qos {
        QoS::AtMostOnce => None, // [MQTT-2.2.1-2]
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let mut publish = Publish {
        dup: first & DUP != 0,
        qos,
        retain: first & RETAIN != 0,
        topic,
        packet_id,
        message_expiry_s: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        metadata: Metadata::empty(),
        payload: Default::default(),
    };
    if version == ProtocolVersion::V5 {
        properties(reader, role, &mut publish)?;
    }
    if publish.topic.is_empty() && publish.topic_alias.is_none() {
        return Err(DecodeError::protocol("topic name is empty and there is no topic alias"));
    }
    publish.payload = reader.rest();
    Ok(publish)
}

fn properties(reader: &mut Reader, role: Role, publish: &mut Publish) -> Result<(), DecodeError> {
    let mut properties = PropertyReader::new(reader, PropertySet::PUBLISH, role)?;
    let mut scan = MetadataScan::new(&properties);
    while let Some(property) = properties.next()? {
        match property {
            Property::MessageExpiryInterval => publish.message_expiry_s = Some(properties.value().u32()?),
            Property::TopicAlias => match properties.value().u16()? {
                // §3.3.4 names the code.
                0 => return Err(DecodeError::new(ReasonCode::TopicAliasInvalid, "topic alias is 0")),
                alias => publish.topic_alias = Some(alias),
            },
            Property::SubscriptionIdentifier if role == Role::Server => {
                return Err(DecodeError::protocol(
                    "PUBLISH of a client with a subscription identifier",
                ));
            }
            Property::SubscriptionIdentifier => publish.subscription_ids.push(properties.subscription_id()?),
            _ => scan.take(property, &mut properties)?,
        }
    }
    let section_end = properties.at();
    let bytes_max = match role {
        Role::Server => metadata::SERVER_BYTES_MAX,
        Role::Client => usize::MAX,
    };
    publish.metadata = scan.finish(reader, section_end, bytes_max)?;
    Ok(())
}

/// Writes variable header and payload.
pub(super) fn encode(publish: &Publish, version: ProtocolVersion, out: &mut dyn Sink) {
    out.binary(&publish.topic);
    if publish.qos != QoS::AtMostOnce {
        out.u16(publish.packet_id.unwrap_or_default());
    }
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| {
            for &id in &publish.subscription_ids {
                out.varint_property(Property::SubscriptionIdentifier, Some(id));
            }
            out.u16_property(Property::TopicAlias, publish.topic_alias);
            out.u32_property(Property::MessageExpiryInterval, publish.message_expiry_s);
            out.bytes(publish.metadata.as_bytes());
        });
    }
    out.bytes(&publish.payload);
}
