//! CONNECT (§3.1), that of 3.1.1, and that of 3.1, whose packets are those of 3.1.1 but for its protocol name.

use super::metadata::{self, MetadataScan};
use super::properties::{Property, PropertyReader, PropertySet};
use super::reader::Reader;
use super::sink::{self, Sink};
use super::{DecodeError, Role, fixed_header};
use crate::metadata::Metadata;
use crate::mqtt::packet::{Connect, ProtocolVersion, QoS, Will};
use crate::mqtt::reason::ReasonCode;

/// §3.1.2.1
const PROTOCOL_NAME: &[u8] = b"MQTT";
/// The protocol name of MQTT 3.1, level 3.
const PROTOCOL_NAME_3_1: &[u8] = b"MQIsdp";

// Connect Flags (§3.1.2.3).
const USER_NAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS_SHIFT: u32 = 3;
const WILL: u8 = 0b0000_0100;
const CLEAN_START: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

/// Reads a whole CONNECT, its end included.
///
/// # Errors
/// 0x84 for another protocol name [MQTT-3.1.2-1] or level [MQTT-3.1.2-2]; 0x85 for 3.1 without a client identifier; 0x81 and
/// 0x82 for what does not follow §3.1.
/// Once the level is known, [`DecodeError::answer_version`] is set.
pub(super) fn decode(mut reader: Reader) -> Result<Connect, DecodeError> {
    let (version, is_3_1) = version(&mut reader)?;
    let connect = after_version(&mut reader, version)
        .and_then(|connect| reader.finish().map(|()| connect))
        .map_err(|error| error.answered_in(version))?;
    if is_3_1 && connect.client_id.is_empty() {
        // 3.1 §3.1: at least one character, or return code 2.
        let detail = "MQTT 3.1 without a client identifier";
        return Err(DecodeError::new(ReasonCode::ClientIdentifierNotValid, detail).answered_in(version));
    }
    Ok(connect)
}

/// The version, and whether it is 3.1.
fn version(reader: &mut Reader) -> Result<(ProtocolVersion, bool), DecodeError> {
    let unsupported = |detail| DecodeError::new(ReasonCode::UnsupportedProtocolVersion, detail);
    let name = reader.string()?;
    if name != PROTOCOL_NAME && name != PROTOCOL_NAME_3_1 {
        return Err(unsupported("protocol name is not MQTT"));
    }
    let unsupported = unsupported("protocol version is not 3 (MQTT 3.1), 4 (MQTT 3.1.1) or 5 (MQTT 5.0)");
    match reader.u8()? {
        3 if name == PROTOCOL_NAME_3_1 => Ok((ProtocolVersion::V3, true)),
        // Older clients understand the return code of 3.1.1, newer ones are promised the CONNACK of 5.0.
        _ if name == PROTOCOL_NAME_3_1 => Err(unsupported.answered_in(ProtocolVersion::V3)),
        4 => Ok((ProtocolVersion::V3, false)),
        5 => Ok((ProtocolVersion::V5, false)),
        0..=3 => Err(unsupported.answered_in(ProtocolVersion::V3)),
        _ => Err(unsupported.answered_in(ProtocolVersion::V5)),
    }
}

fn after_version(reader: &mut Reader, version: ProtocolVersion) -> Result<Connect, DecodeError> {
    let flags = reader.u8()?;
    let will_qos = check_flags(flags, version)?;
    let keep_alive_s = reader.u16()?;
    let mut connect = Connect {
        version,
        clean_start: flags & CLEAN_START != 0,
        keep_alive_s,
        client_id: Default::default(),
        session_expiry_s: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: None,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
        will: None,
        user_name: None,
        password: None,
    };
    if version == ProtocolVersion::V5 {
        properties(reader, &mut connect)?;
    }
    connect.client_id = reader.string()?;
    if flags & WILL != 0 {
        connect.will = Some(will(reader, version, will_qos, flags & WILL_RETAIN != 0)?);
    }
    if flags & USER_NAME != 0 {
        connect.user_name = Some(reader.string()?);
    }
    if flags & PASSWORD != 0 {
        connect.password = Some(reader.binary()?);
    }
    Ok(connect)
}

/// The rules between the flags; returns the Will QoS.
fn check_flags(flags: u8, version: ProtocolVersion) -> Result<QoS, DecodeError> {
    if flags & RESERVED != 0 {
        return Err(DecodeError::malformed("reserved CONNECT flag is set")); // [MQTT-3.1.2-3]
    }
    let qos = fixed_header::qos(flags >> WILL_QOS_SHIFT & 0b11);
    let qos = qos.ok_or(DecodeError::malformed("will QoS is 3"))?; // [MQTT-3.1.2-12]
    if flags & WILL == 0 && (qos != QoS::AtMostOnce || flags & WILL_RETAIN != 0) {
        // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        return Err(DecodeError::malformed("will QoS or will retain without a will"));
    }
    // [MQTT-3.1.2-22] of 3.1.1; 5.0 allows it (§3.1.2.9).
    if version == ProtocolVersion::V3 && flags & USER_NAME == 0 && flags & PASSWORD != 0 {
        return Err(DecodeError::malformed("password without a user name"));
    }
    Ok(qos)
}

fn properties(reader: &mut Reader, connect: &mut Connect) -> Result<(), DecodeError> {
    let mut properties = PropertyReader::new(reader, PropertySet::CONNECT, Role::Server)?;
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval => connect.session_expiry_s = Some(properties.value().u32()?),
            Property::ReceiveMaximum => connect.receive_maximum = Some(properties.positive_u16()?),
            Property::MaximumPacketSize => connect.maximum_packet_size = Some(properties.positive_u32()?),
            Property::TopicAliasMaximum => connect.topic_alias_maximum = Some(properties.value().u16()?),
            Property::RequestResponseInformation => connect.request_response_information = properties.bool()?,
            Property::RequestProblemInformation => connect.request_problem_information = properties.bool()?,
            Property::AuthenticationMethod => connect.authentication_method = Some(properties.value().string()?),
            Property::AuthenticationData => connect.authentication_data = Some(properties.value().binary()?),
            _ => connect.user_properties.push(properties.user_property()?),
        }
    }
    // §3.1.2.11.10
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(DecodeError::protocol(
            "authentication data without an authentication method",
        ));
    }
    Ok(())
}

fn will(reader: &mut Reader, version: ProtocolVersion, qos: QoS, retain: bool) -> Result<Will, DecodeError> {
    let mut delay_s = 0;
    let mut message_expiry_s = None;
    let mut metadata = Metadata::empty();
    if version == ProtocolVersion::V5 {
        let mut properties = PropertyReader::new(reader, PropertySet::WILL, Role::Server)?;
        let mut scan = MetadataScan::new(&properties);
        while let Some(property) = properties.next()? {
            match property {
                Property::WillDelayInterval => delay_s = properties.value().u32()?,
                Property::MessageExpiryInterval => message_expiry_s = Some(properties.value().u32()?),
                _ => scan.take(property, &mut properties)?,
            }
        }
        let section_end = properties.at();
        metadata = scan.finish(reader, section_end, metadata::SERVER_BYTES_MAX)?;
    }
    let topic = reader.string()?;
    let payload = reader.binary()?;
    Ok(Will {
        topic,
        payload,
        qos,
        retain,
        delay_s,
        message_expiry_s,
        metadata,
    })
}

/// Writes variable header and payload.
pub(super) fn encode(connect: &Connect, version: ProtocolVersion, out: &mut dyn Sink) {
    out.binary(PROTOCOL_NAME);
    out.u8(match version {
        ProtocolVersion::V3 => 4,
        ProtocolVersion::V5 => 5,
    });
    let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
    let will_flags = connect.will.as_ref().map_or(0, |will| {
        WILL | (will.qos as u8) << WILL_QOS_SHIFT | flag(WILL_RETAIN, will.retain)
    });
    out.u8(will_flags
        | flag(CLEAN_START, connect.clean_start)
        | flag(USER_NAME, connect.user_name.is_some())
        | flag(PASSWORD, connect.password.is_some()));
    out.u16(connect.keep_alive_s);
    if version == ProtocolVersion::V5 {
        sink::properties(out, |out| encode_properties(connect, out));
    }
    out.binary(&connect.client_id);
    if let Some(will) = &connect.will {
        if version == ProtocolVersion::V5 {
            sink::properties(out, |out| {
                out.u32_property(Property::WillDelayInterval, (will.delay_s != 0).then_some(will.delay_s));
                out.u32_property(Property::MessageExpiryInterval, will.message_expiry_s);
                out.bytes(will.metadata.as_bytes());
            });
        }
        out.binary(&will.topic);
        out.binary(&will.payload);
    }
    if let Some(user_name) = &connect.user_name {
        out.binary(user_name);
    }
    if let Some(password) = &connect.password {
        out.binary(password);
    }
}

fn encode_properties(connect: &Connect, out: &mut dyn Sink) {
    out.u32_property(Property::SessionExpiryInterval, connect.session_expiry_s);
    out.u16_property(Property::ReceiveMaximum, connect.receive_maximum);
    out.u32_property(Property::MaximumPacketSize, connect.maximum_packet_size);
    out.u16_property(Property::TopicAliasMaximum, connect.topic_alias_maximum);
    let wants_response_information = connect.request_response_information.then_some(true);
    out.bool_property(Property::RequestResponseInformation, wants_response_information);
    let wants_no_problem_information = (!connect.request_problem_information).then_some(false);
    out.bool_property(Property::RequestProblemInformation, wants_no_problem_information);
    out.user_properties(&connect.user_properties);
    out.bytes_property(Property::AuthenticationMethod, connect.authentication_method.as_ref());
    out.bytes_property(Property::AuthenticationData, connect.authentication_data.as_ref());
}
