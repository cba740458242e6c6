//! What `mqtt-protocol-core` reads. Its decoders take the body of a packet; which one gets it, and that it must read all of
//! it, is decided as its connections do.

use banyan_core::mqtt::ProtocolVersion;
use mqtt_protocol_core::mqtt::packet::{Properties, Property, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::reading::{Reading, Value};
use super::{CONNECT, Frame, Side};

/// Reads `frame`, or says what is wrong with it.
pub fn read(frame: &Frame) -> Result<Reading, String> {
    // Connections look at the fixed header in this order: who may send the type, then the body. Flags are PUBLISH's only.
    match frame.version_of_packet() {
        Some(ProtocolVersion::V5) => v5(frame),
        Some(ProtocolVersion::V3) => v3(frame),
        None => Err("UnsupportedProtocolVersion".to_owned()),
    }
}

fn exact<P>(parsed: Result<(P, usize), MqttError>, body: &[u8]) -> Result<P, String> {
    match parsed {
        Ok((packet, consumed)) if consumed == body.len() => Ok(packet),
        Ok(_) => Err("bytes after the end".to_owned()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Adds what every acknowledgement of 5.0 says.
macro_rules! ack {
    ($reading:ident, $packet:expr) => {{
        let packet = $packet;
        $reading.number("packet identifier", packet.packet_id());
        $reading.number("reason code", packet.reason_code().map_or(0, |code| code as u8));
        packet.props().iter().for_each(|props| properties(&mut $reading, props));
    }};
}

fn v5(frame: &Frame) -> Result<Reading, String> {
    let body = frame.body();
    let mut reading = Reading::of(frame.packet_type());
    match frame.packet_type() {
        CONNECT => {
            let packet = exact(v5_0::Connect::parse(body), body)?;
            reading.number("version", packet.protocol_version());
            reading.number("clean start", packet.clean_start());
            reading.number("keep alive", packet.keep_alive());
            reading.text("client identifier", packet.client_id().as_bytes());
            properties(&mut reading, packet.props());
            if let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) {
                reading.number("will QoS", packet.will_qos() as u8);
                reading.number("will retain", packet.will_retain());
                reading.text("will topic", topic.as_bytes());
                reading.binary("will payload", payload);
                for property in packet.will_props() {
                    let (identifier, value) = value(property);
                    reading.will_property(identifier, value);
                }
            }
            credentials(&mut reading, packet.user_name(), packet.password());
        }
        2 => {
            let packet = exact(v5_0::Connack::parse(body), body)?;
            reading.number("session present", packet.session_present());
            reading.number("reason code", packet.reason_code() as u8);
            properties(&mut reading, packet.props());
        }
        3 => {
            let packet = exact(v5_0::Publish::parse(frame.first() & 0x0F, body.into()), body)?;
            reading.number("DUP", packet.dup());
            reading.number("QoS", packet.qos() as u8);
            reading.number("RETAIN", packet.retain());
            reading.text("topic", packet.topic_name().as_bytes());
            if let Some(packet_id) = packet.packet_id() {
                reading.number("packet identifier", packet_id);
            }
            properties(&mut reading, packet.props());
            reading.binary("payload", packet.payload().as_slice());
        }
        4 => ack!(reading, exact(v5_0::Puback::parse(body), body)?),
        5 => ack!(reading, exact(v5_0::Pubrec::parse(body), body)?),
        6 => ack!(reading, exact(v5_0::Pubrel::parse(body), body)?),
        7 => ack!(reading, exact(v5_0::Pubcomp::parse(body), body)?),
        8 => {
            let packet = exact(v5_0::Subscribe::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            properties(&mut reading, packet.props());
            for entry in packet.entries() {
                let options = entry.sub_opts();
                reading.text("filter", entry.topic_filter().as_bytes());
                reading.number("maximum QoS", options.qos() as u8);
                reading.number("no local", options.nl());
                reading.number("retain as published", options.rap());
                reading.number("retain handling", options.rh() as u8);
            }
        }
        9 => {
            let packet = exact(v5_0::Suback::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            properties(&mut reading, packet.props());
            let codes = packet.reason_codes();
            codes.iter().for_each(|&code| reading.number("reason code", code as u8));
        }
        10 => {
            let packet = exact(v5_0::Unsubscribe::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            properties(&mut reading, packet.props());
            let filters = packet.entries();
            filters
                .iter()
                .for_each(|filter| reading.text("filter", filter.as_str().as_bytes()));
        }
        11 => {
            let packet = exact(v5_0::Unsuback::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            properties(&mut reading, packet.props());
            let codes = packet.reason_codes();
            codes.iter().for_each(|&code| reading.number("reason code", code as u8));
        }
        12 => drop(exact(v5_0::Pingreq::parse(body), body)?),
        13 => drop(exact(v5_0::Pingresp::parse(body), body)?),
        14 => {
            let packet = exact(v5_0::Disconnect::parse(body), body)?;
            reading.number("reason code", packet.reason_code().map_or(0, |code| code as u8));
            packet.props().iter().for_each(|props| properties(&mut reading, props));
        }
        15 => {
            let packet = exact(v5_0::Auth::parse(body), body)?;
            reading.number("reason code", packet.reason_code().map_or(0, |code| code as u8));
            packet.props().iter().for_each(|props| properties(&mut reading, props));
        }
        _ => return Err("MalformedPacket".to_owned()),
    }
    Ok(reading)
}

fn v3(frame: &Frame) -> Result<Reading, String> {
    let body = frame.body();
    let mut reading = Reading::of(frame.packet_type());
    match frame.packet_type() {
        CONNECT => {
            let packet = exact(v3_1_1::Connect::parse(body), body)?;
            reading.number("version", packet.protocol_version());
            reading.number("clean start", packet.clean_session());
            reading.number("keep alive", packet.keep_alive());
            reading.text("client identifier", packet.client_id().as_bytes());
            if let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) {
                reading.number("will QoS", packet.will_qos() as u8);
                reading.number("will retain", packet.will_retain());
                reading.text("will topic", topic.as_bytes());
                reading.binary("will payload", payload);
            }
            credentials(&mut reading, packet.user_name(), packet.password());
        }
        2 => {
            let packet = exact(v3_1_1::Connack::parse(body), body)?;
            reading.number("session present", packet.session_present());
            reading.number("reason code", packet.return_code() as u8);
        }
        3 => {
            let packet = exact(v3_1_1::Publish::parse(frame.first() & 0x0F, body.into()), body)?;
            reading.number("DUP", packet.dup());
            reading.number("QoS", packet.qos() as u8);
            reading.number("RETAIN", packet.retain());
            reading.text("topic", packet.topic_name().as_bytes());
            if let Some(packet_id) = packet.packet_id() {
                reading.number("packet identifier", packet_id);
            }
            reading.binary("payload", packet.payload().as_slice());
        }
        4 => reading.number(
            "packet identifier",
            exact(v3_1_1::Puback::parse(body), body)?.packet_id(),
        ),
        5 => reading.number(
            "packet identifier",
            exact(v3_1_1::Pubrec::parse(body), body)?.packet_id(),
        ),
        6 => reading.number(
            "packet identifier",
            exact(v3_1_1::Pubrel::parse(body), body)?.packet_id(),
        ),
        7 => reading.number(
            "packet identifier",
            exact(v3_1_1::Pubcomp::parse(body), body)?.packet_id(),
        ),
        8 => {
            let packet = exact(v3_1_1::Subscribe::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            for entry in packet.entries() {
                reading.text("filter", entry.topic_filter().as_bytes());
                reading.number("maximum QoS", entry.sub_opts().qos() as u8);
                // 3.1.1 has no such bits; that they are set is what a reader may see of a malformed packet.
                reading.number("no local", entry.sub_opts().nl());
                reading.number("retain as published", entry.sub_opts().rap());
                reading.number("retain handling", entry.sub_opts().rh() as u8);
            }
        }
        9 => {
            let packet = exact(v3_1_1::Suback::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            let codes = packet.return_codes();
            codes.iter().for_each(|&code| reading.number("reason code", code as u8));
        }
        10 => {
            let packet = exact(v3_1_1::Unsubscribe::parse(body), body)?;
            reading.number("packet identifier", packet.packet_id());
            let filters = packet.entries();
            filters
                .iter()
                .for_each(|filter| reading.text("filter", filter.as_str().as_bytes()));
        }
        11 => reading.number(
            "packet identifier",
            exact(v3_1_1::Unsuback::parse(body), body)?.packet_id(),
        ),
        12 => drop(exact(v3_1_1::Pingreq::parse(body), body)?),
        13 => drop(exact(v3_1_1::Pingresp::parse(body), body)?),
        // A server's DISCONNECT is refused by who may send it.
        14 if frame.side == Side::Server => drop(exact(v3_1_1::Disconnect::parse(body), body)?),
        _ => return Err("MalformedPacket".to_owned()),
    }
    Ok(reading)
}

fn credentials(reading: &mut Reading, user_name: Option<&str>, password: Option<&[u8]>) {
    if let Some(user_name) = user_name {
        reading.text("user name", user_name.as_bytes());
    }
    if let Some(password) = password {
        reading.binary("password", password);
    }
}

fn properties(reading: &mut Reading, properties: &Properties) {
    for property in properties {
        let (identifier, value) = value(property);
        reading.property(identifier, value);
    }
}

/// The identifier of a property, said here once more, and its value.
fn value(property: &Property) -> (u8, Value) {
    let text = |text: &str| Value::Text(text.into());
    match property {
        Property::PayloadFormatIndicator(p) => (0x01, Value::Number(p.val().into())),
        Property::MessageExpiryInterval(p) => (0x02, Value::Number(p.val())),
        Property::ContentType(p) => (0x03, text(p.val())),
        Property::ResponseTopic(p) => (0x08, text(p.val())),
        Property::CorrelationData(p) => (0x09, Value::Binary(p.val().into())),
        Property::SubscriptionIdentifier(p) => (0x0B, Value::Number(p.val())),
        Property::SessionExpiryInterval(p) => (0x11, Value::Number(p.val())),
        Property::AssignedClientIdentifier(p) => (0x12, text(p.val())),
        Property::ServerKeepAlive(p) => (0x13, Value::Number(p.val().into())),
        Property::AuthenticationMethod(p) => (0x15, text(p.val())),
        Property::AuthenticationData(p) => (0x16, Value::Binary(p.val().into())),
        Property::RequestProblemInformation(p) => (0x17, Value::Number(p.val().into())),
        Property::WillDelayInterval(p) => (0x18, Value::Number(p.val())),
        Property::RequestResponseInformation(p) => (0x19, Value::Number(p.val().into())),
        Property::ResponseInformation(p) => (0x1A, text(p.val())),
        Property::ServerReference(p) => (0x1C, text(p.val())),
        Property::ReasonString(p) => (0x1F, text(p.val())),
        Property::ReceiveMaximum(p) => (0x21, Value::Number(p.val().into())),
        Property::TopicAliasMaximum(p) => (0x22, Value::Number(p.val().into())),
        Property::TopicAlias(p) => (0x23, Value::Number(p.val().into())),
        Property::MaximumQos(p) => (0x24, Value::Number(p.val().into())),
        Property::RetainAvailable(p) => (0x25, Value::Number(p.val().into())),
        Property::UserProperty(p) => (0x26, Value::Pair(p.key().into(), p.val().into())),
        Property::MaximumPacketSize(p) => (0x27, Value::Number(p.val())),
        Property::WildcardSubscriptionAvailable(p) => (0x28, Value::Number(p.val().into())),
        Property::SubscriptionIdentifierAvailable(p) => (0x29, Value::Number(p.val().into())),
        Property::SharedSubscriptionAvailable(p) => (0x2A, Value::Number(p.val().into())),
    }
}
