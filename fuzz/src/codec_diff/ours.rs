//! A packet of Banyan's codec as a [`Reading`].

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, ProtocolVersion, Publish, Subscribe, UserProperties, Will,
};
use banyan_core::mqtt::{DecodeError, DecodeLimits, ReasonCode, decode, decode_as_client};
use bytes::{Bytes, BytesMut};

use super::reading::{Reading, Value};
use super::{CONNECT, Frame, Side};

/// Decodes `frame`.
pub fn read(frame: &Frame) -> Result<Packet, DecodeError> {
    let mut buf = BytesMut::from(&frame.bytes[..]);
    let limits = DecodeLimits::default();
    let packet = match frame.side {
        Side::Server if frame.packet_type() == CONNECT => decode(&mut buf, None, &limits),
        Side::Server => decode(&mut buf, Some(frame.version), &limits),
        Side::Client => decode_as_client(&mut buf, frame.version, &limits),
    };
    let packet = packet?.expect("a frame is complete");
    assert!(buf.is_empty(), "{packet:?} leaves {buf:?}");
    Ok(packet)
}

/// What `packet` says on a connection of `version`.
pub fn reading(packet: &Packet, version: ProtocolVersion) -> Reading {
    match packet {
        Packet::Connect(packet) => connect(packet),
        Packet::ConnAck(packet) => connack(packet, version),
        Packet::Publish(packet) => publish(packet),
        Packet::PubAck(packet) => ack(4, packet, version),
        Packet::PubRec(packet) => ack(5, packet, version),
        Packet::PubRel(packet) => ack(6, packet, version),
        Packet::PubComp(packet) => ack(7, packet, version),
        Packet::Subscribe(packet) => subscribe(packet),
        Packet::SubAck(packet) => {
            let mut reading = Reading::of(9);
            let properties = (&packet.reason_string, &packet.user_properties);
            answer(&mut reading, packet.packet_id, properties, &packet.reasons);
            reading
        }
        Packet::Unsubscribe(packet) => {
            let mut reading = Reading::of(10);
            reading.number("packet identifier", packet.packet_id);
            user_properties(&mut reading, &packet.user_properties);
            packet.filters.iter().for_each(|filter| reading.text("filter", filter));
            reading
        }
        Packet::UnsubAck(packet) => {
            let mut reading = Reading::of(11);
            let properties = (&packet.reason_string, &packet.user_properties);
            answer(&mut reading, packet.packet_id, properties, &packet.reasons);
            reading
        }
        Packet::PingReq => Reading::of(12),
        Packet::PingResp => Reading::of(13),
        Packet::Disconnect(packet) => disconnect(packet, version),
        Packet::Auth(packet) => auth(packet),
    }
}

fn connect(packet: &Connect) -> Reading {
    let mut reading = Reading::of(CONNECT);
    reading.number("version", if packet.version == ProtocolVersion::V5 { 5_u8 } else { 4 });
    reading.number("clean start", packet.clean_start);
    reading.number("keep alive", packet.keep_alive_s);
    reading.text("client identifier", &packet.client_id);
    reading.number_property(0x11, packet.session_expiry_s);
    reading.number_property(0x21, packet.receive_maximum);
    reading.number_property(0x27, packet.maximum_packet_size);
    reading.number_property(0x22, packet.topic_alias_maximum);
    reading.number_property(0x19, Some(packet.request_response_information));
    reading.number_property(0x17, Some(packet.request_problem_information));
    user_properties(&mut reading, &packet.user_properties);
    reading.text_property(0x15, packet.authentication_method.as_ref());
    binary_property(&mut reading, 0x16, packet.authentication_data.as_ref());
    if let Some(packet) = &packet.will {
        will(&mut reading, packet);
    }
    if let Some(user_name) = &packet.user_name {
        reading.text("user name", user_name);
    }
    if let Some(password) = &packet.password {
        reading.binary("password", password);
    }
    reading
}

fn will(reading: &mut Reading, will: &Will) {
    reading.number("will QoS", will.qos as u8);
    reading.number("will retain", will.retain);
    reading.text("will topic", &will.topic);
    reading.binary("will payload", &will.payload);
    reading.will_property(0x18, Value::Number(will.delay_s));
    if let Some(expiry_s) = will.message_expiry_s {
        reading.will_property(0x02, Value::Number(expiry_s));
    }
    metadata(&will.metadata, |identifier, value| {
        reading.will_property(identifier, value);
    });
}

fn connack(packet: &ConnAck, version: ProtocolVersion) -> Reading {
    let mut reading = Reading::of(2);
    reading.number("session present", packet.session_present);
    reading.number(
        "reason code",
        match version {
            ProtocolVersion::V3 => packet.reason.to_connect_return_code(),
            ProtocolVersion::V5 => packet.reason as u8,
        },
    );
    reading.number_property(0x11, packet.session_expiry_s);
    reading.number_property(0x21, packet.receive_maximum);
    reading.number_property(0x24, packet.maximum_qos);
    reading.number_property(0x25, packet.retain_available);
    reading.number_property(0x27, packet.maximum_packet_size);
    reading.text_property(0x12, packet.assigned_client_id.as_ref());
    reading.number_property(0x22, packet.topic_alias_maximum);
    reading.text_property(0x1F, packet.reason_string.as_ref());
    user_properties(&mut reading, &packet.user_properties);
    reading.number_property(0x28, packet.wildcard_subscription_available);
    reading.number_property(0x29, packet.subscription_identifiers_available);
    reading.number_property(0x2A, packet.shared_subscription_available);
    reading.number_property(0x13, packet.server_keep_alive_s);
    reading.text_property(0x1A, packet.response_information.as_ref());
    reading.text_property(0x1C, packet.server_reference.as_ref());
    reading
}

fn publish(packet: &Publish) -> Reading {
    let mut reading = Reading::of(3);
    reading.number("DUP", packet.dup);
    reading.number("QoS", packet.qos as u8);
    reading.number("RETAIN", packet.retain);
    reading.text("topic", &packet.topic);
    if let Some(packet_id) = packet.packet_id {
        reading.number("packet identifier", packet_id);
    }
    reading.number_property(0x02, packet.message_expiry_s);
    reading.number_property(0x23, packet.topic_alias);
    for &id in &packet.subscription_ids {
        reading.number_property(0x0B, Some(id));
    }
    metadata(&packet.metadata, |identifier, value| {
        reading.property(identifier, value);
    });
    reading.binary("payload", &packet.payload);
    reading
}

fn ack(packet_type: u8, packet: &Ack, version: ProtocolVersion) -> Reading {
    let mut reading = Reading::of(packet_type);
    reading.number("packet identifier", packet.packet_id);
    if version == ProtocolVersion::V5 {
        reading.number("reason code", packet.reason as u8);
    }
    reading.text_property(0x1F, packet.reason_string.as_ref());
    user_properties(&mut reading, &packet.user_properties);
    reading
}

fn subscribe(packet: &Subscribe) -> Reading {
    let mut reading = Reading::of(8);
    reading.number("packet identifier", packet.packet_id);
    reading.number_property(0x0B, packet.subscription_id);
    user_properties(&mut reading, &packet.user_properties);
    for filter in &packet.filters {
        reading.text("filter", &filter.filter);
        reading.number("maximum QoS", filter.qos as u8);
        reading.number("no local", filter.no_local);
        reading.number("retain as published", filter.retain_as_published);
        reading.number("retain handling", filter.retain_handling as u8);
    }
    reading
}

fn answer(
    reading: &mut Reading,
    packet_id: u16,
    (reason_string, properties): (&Option<String>, &UserProperties),
    reasons: &[ReasonCode],
) {
    reading.number("packet identifier", packet_id);
    reading.text_property(0x1F, reason_string.as_ref());
    user_properties(reading, properties);
    reasons
        .iter()
        .for_each(|&reason| reading.number("reason code", reason as u8));
}

fn disconnect(packet: &Disconnect, version: ProtocolVersion) -> Reading {
    let mut reading = Reading::of(14);
    if version == ProtocolVersion::V5 {
        reading.number("reason code", packet.reason as u8);
    }
    reading.number_property(0x11, packet.session_expiry_s);
    reading.text_property(0x1F, packet.reason_string.as_ref());
    user_properties(&mut reading, &packet.user_properties);
    reading.text_property(0x1C, packet.server_reference.as_ref());
    reading
}

fn auth(packet: &Auth) -> Reading {
    let mut reading = Reading::of(15);
    reading.number("reason code", packet.reason as u8);
    reading.text_property(0x15, packet.authentication_method.as_ref());
    binary_property(&mut reading, 0x16, packet.authentication_data.as_ref());
    reading.text_property(0x1F, packet.reason_string.as_ref());
    user_properties(&mut reading, &packet.user_properties);
    reading
}

fn binary_property(reading: &mut Reading, identifier: u8, value: Option<&Bytes>) {
    if let Some(value) = value {
        reading.property(identifier, Value::Binary(value.to_vec()));
    }
}

fn user_properties(reading: &mut Reading, properties: &UserProperties) {
    for (name, value) in properties {
        reading.property(0x26, Value::Pair(name.to_vec(), value.to_vec()));
    }
}

/// Hands each property of `metadata` to `add`.
fn metadata(metadata: &Metadata, mut add: impl FnMut(u8, Value)) {
    add(0x01, Value::Number(metadata.payload_format().into()));
    if let Some(text) = metadata.content_type() {
        add(0x03, Value::Text(text.into()));
    }
    if let Some(text) = metadata.response_topic() {
        add(0x08, Value::Text(text.into()));
    }
    if let Some(bytes) = metadata.correlation_data() {
        add(0x09, Value::Binary(bytes.into()));
    }
    for (name, value) in metadata.user_properties() {
        add(0x26, Value::Pair(name.into(), value.into()));
    }
}
