//! What `rmqtt-codec` reads: whole packets, through its decoders for each version.

use banyan_core::mqtt::ProtocolVersion;
use bytes::BytesMut;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{UserProperties, UserProperty};
use rmqtt_codec::{MqttCodec, MqttPacket, v3, v5, version};
use tokio_util::codec::Decoder;

use super::reading::{Reading, Value};
use super::{CONNECT, Frame};

/// Reads `frame`, or says what is wrong with it.
pub fn read(frame: &Frame) -> Result<Reading, String> {
    let mut codec = match frame.version {
        // The version is taken from the packet, as a server does.
        _ if frame.packet_type() == CONNECT => {
            let mut codec = MqttCodec::Version(version::VersionCodec);
            match next(&mut codec, frame)? {
                MqttPacket::Version(version::ProtocolVersion::MQTT5) => MqttCodec::V5(v5::Codec::default()),
                _ => MqttCodec::V3(v3::Codec::default()),
            }
        }
        ProtocolVersion::V5 => MqttCodec::V5(v5::Codec::default()),
        ProtocolVersion::V3 => MqttCodec::V3(v3::Codec::default()),
    };
    match next(&mut codec, frame)? {
        MqttPacket::V5(packet) => Ok(of_v5(frame, packet)),
        MqttPacket::V3(packet) => Ok(of_v3(frame, packet)),
        MqttPacket::Version(_) => unreachable!("a codec of one version"),
    }
}

fn next(codec: &mut MqttCodec, frame: &Frame) -> Result<MqttPacket, String> {
    let mut buf = BytesMut::from(&frame.bytes[..]);
    match codec.decode(&mut buf) {
        Ok(Some((packet, _))) => Ok(packet),
        Ok(None) => Err("incomplete".to_owned()),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn of_v5(frame: &Frame, packet: v5::Packet) -> Reading {
    let mut reading = Reading::of(frame.packet_type());
    match packet {
        v5::Packet::Connect(packet) => connect(&mut reading, &packet),
        v5::Packet::ConnectAck(packet) => connack(&mut reading, &packet),
        v5::Packet::Publish(packet) => publish(&mut reading, &packet),
        v5::Packet::PublishAck(packet) | v5::Packet::PublishReceived(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            reading.number("reason code", packet.reason_code as u8);
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.properties);
        }
        v5::Packet::PublishRelease(packet) | v5::Packet::PublishComplete(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            reading.number("reason code", packet.reason_code as u8);
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.properties);
        }
        v5::Packet::Subscribe(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            reading.number_property(0x0B, packet.id);
            user_properties(&mut reading, &packet.user_properties);
            for (filter, options) in &packet.topic_filters {
                reading.text("filter", filter.as_bytes());
                reading.number("maximum QoS", options.qos.value());
                reading.number("no local", options.no_local);
                reading.number("retain as published", options.retain_as_published);
                reading.number("retain handling", options.retain_handling as u8);
            }
        }
        v5::Packet::SubscribeAck(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.properties);
            let codes = &packet.status;
            codes.iter().for_each(|&code| reading.number("reason code", code as u8));
        }
        v5::Packet::Unsubscribe(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            user_properties(&mut reading, &packet.user_properties);
            let filters = &packet.topic_filters;
            filters
                .iter()
                .for_each(|filter| reading.text("filter", filter.as_bytes()));
        }
        v5::Packet::UnsubscribeAck(packet) => {
            reading.number("packet identifier", packet.packet_id.get());
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.properties);
            let codes = &packet.status;
            codes.iter().for_each(|&code| reading.number("reason code", code as u8));
        }
        v5::Packet::PingRequest | v5::Packet::PingResponse => {}
        v5::Packet::Disconnect(packet) => {
            reading.number("reason code", packet.reason_code as u8);
            reading.number_property(0x11, packet.session_expiry_interval_secs);
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.user_properties);
            reading.text_property(0x1C, packet.server_reference);
        }
        v5::Packet::Auth(packet) => {
            reading.number("reason code", packet.reason_code as u8);
            reading.text_property(0x15, packet.auth_method);
            binary_property(&mut reading, 0x16, packet.auth_data.as_deref());
            reading.text_property(0x1F, packet.reason_string);
            user_properties(&mut reading, &packet.user_properties);
        }
    }
    reading
}

fn connect(reading: &mut Reading, packet: &v5::Connect) {
    reading.number("version", 5_u8);
    reading.number("clean start", packet.clean_start);
    reading.number("keep alive", packet.keep_alive);
    reading.text("client identifier", packet.client_id.as_bytes());
    reading.number_property(0x11, Some(packet.session_expiry_interval_secs));
    reading.number_property(0x21, packet.receive_max.map(u16::from));
    reading.number_property(0x27, packet.max_packet_size);
    reading.number_property(0x22, Some(packet.topic_alias_max));
    reading.number_property(0x19, Some(packet.request_response_info));
    reading.number_property(0x17, Some(packet.request_problem_info));
    user_properties(reading, &packet.user_properties);
    reading.text_property(0x15, packet.auth_method.as_ref());
    binary_property(reading, 0x16, packet.auth_data.as_deref());
    if let Some(will) = &packet.last_will {
        reading.number("will QoS", will.qos.value());
        reading.number("will retain", will.retain);
        reading.text("will topic", will.topic.as_bytes());
        reading.binary("will payload", &will.message);
        let mut add = |identifier: u8, value: Option<Value>| {
            if let Some(value) = value {
                reading.will_property(identifier, value);
            }
        };
        add(0x18, will.will_delay_interval_sec.map(Value::Number));
        add(0x01, will.is_utf8_payload.map(|is_text| Value::Number(is_text.into())));
        add(
            0x02,
            will.message_expiry_interval
                .map(|expiry_s| Value::Number(expiry_s.get())),
        );
        add(
            0x03,
            will.content_type
                .as_ref()
                .map(|text| Value::Text(text.as_bytes().to_vec())),
        );
        add(
            0x08,
            will.response_topic
                .as_ref()
                .map(|text| Value::Text(text.as_bytes().to_vec())),
        );
        add(
            0x09,
            will.correlation_data
                .as_ref()
                .map(|bytes| Value::Binary(bytes.to_vec())),
        );
        will.user_properties
            .iter()
            .for_each(|property| add(0x26, Some(pair(property))));
    }
    credentials(reading, packet.username.as_deref(), packet.password.as_deref());
}

fn connack(reading: &mut Reading, packet: &v5::ConnectAck) {
    reading.number("session present", packet.session_present);
    reading.number("reason code", packet.reason_code as u8);
    reading.number_property(0x11, packet.session_expiry_interval_secs);
    reading.number_property(0x21, Some(packet.receive_max.get()));
    // 2 stands for its absence.
    reading.number_property(0x24, Some(packet.max_qos.value()).filter(|&qos| qos != 2));
    reading.number_property(0x25, Some(packet.retain_available));
    reading.number_property(0x27, packet.max_packet_size);
    reading.text_property(0x12, packet.assigned_client_id.as_ref());
    reading.number_property(0x22, Some(packet.topic_alias_max));
    reading.text_property(0x1F, packet.reason_string.as_ref());
    user_properties(reading, &packet.user_properties);
    reading.number_property(0x28, Some(packet.wildcard_subscription_available));
    reading.number_property(0x29, Some(packet.subscription_identifiers_available));
    reading.number_property(0x2A, Some(packet.shared_subscription_available));
    reading.number_property(0x13, packet.server_keepalive_sec);
    reading.text_property(0x1A, packet.response_info.as_ref());
    reading.text_property(0x1C, packet.server_reference.as_ref());
    reading.text_property(0x15, packet.auth_method.as_ref());
    binary_property(reading, 0x16, packet.auth_data.as_deref());
}

fn publish(reading: &mut Reading, packet: &Publish) {
    reading.number("DUP", packet.dup);
    reading.number("QoS", packet.qos.value());
    reading.number("RETAIN", packet.retain);
    reading.text("topic", packet.topic.as_bytes());
    if let Some(packet_id) = packet.packet_id {
        reading.number("packet identifier", packet_id.get());
    }
    reading.binary("payload", &packet.payload);
    let Some(properties) = &packet.properties else { return };
    reading.number_property(0x02, properties.message_expiry_interval);
    reading.number_property(0x23, properties.topic_alias.map(u16::from));
    properties
        .subscription_ids
        .iter()
        .for_each(|&id| reading.number_property(0x0B, Some(id)));
    reading.number_property(0x01, Some(properties.is_utf8_payload));
    reading.text_property(0x03, properties.content_type.as_ref());
    reading.text_property(0x08, properties.response_topic.as_ref());
    binary_property(reading, 0x09, properties.correlation_data.as_deref());
    user_properties(reading, &properties.user_properties);
}

fn of_v3(frame: &Frame, packet: v3::Packet) -> Reading {
    let mut reading = Reading::of(frame.packet_type());
    match packet {
        v3::Packet::Connect(packet) => {
            // 3.1 is spoken as 3.1.1.
            reading.number("version", 4_u8);
            reading.number("clean start", packet.clean_session);
            reading.number("keep alive", packet.keep_alive);
            reading.text("client identifier", packet.client_id.as_bytes());
            if let Some(will) = &packet.last_will {
                reading.number("will QoS", will.qos.value());
                reading.number("will retain", will.retain);
                reading.text("will topic", will.topic.as_bytes());
                reading.binary("will payload", &will.message);
            }
            credentials(&mut reading, packet.username.as_deref(), packet.password.as_deref());
        }
        v3::Packet::ConnectAck(packet) => {
            reading.number("session present", packet.session_present);
            reading.number("reason code", packet.return_code as u8);
        }
        v3::Packet::Publish(packet) => publish(&mut reading, &packet),
        v3::Packet::PublishAck { packet_id }
        | v3::Packet::PublishReceived { packet_id }
        | v3::Packet::PublishRelease { packet_id }
        | v3::Packet::PublishComplete { packet_id }
        | v3::Packet::UnsubscribeAck { packet_id } => reading.number("packet identifier", packet_id.get()),
        v3::Packet::Subscribe {
            packet_id,
            topic_filters,
        } => {
            reading.number("packet identifier", packet_id.get());
            for (filter, qos) in topic_filters {
                reading.text("filter", filter.as_bytes());
                reading.number("maximum QoS", qos.value());
                reading.number("no local", false);
                reading.number("retain as published", false);
                reading.number("retain handling", 0_u8);
            }
        }
        v3::Packet::SubscribeAck { packet_id, status } => {
            reading.number("packet identifier", packet_id.get());
            for code in status {
                reading.number(
                    "reason code",
                    match code {
                        v3::SubscribeReturnCode::Success(qos) => qos.value(),
                        v3::SubscribeReturnCode::Failure => 0x80,
                    },
                );
            }
        }
        v3::Packet::Unsubscribe {
            packet_id,
            topic_filters,
        } => {
            reading.number("packet identifier", packet_id.get());
            let filters = topic_filters.iter();
            filters.for_each(|filter| reading.text("filter", filter.as_bytes()));
        }
        v3::Packet::PingRequest | v3::Packet::PingResponse | v3::Packet::Disconnect => {}
    }
    reading
}

fn credentials(reading: &mut Reading, user_name: Option<&str>, password: Option<&[u8]>) {
    if let Some(user_name) = user_name {
        reading.text("user name", user_name.as_bytes());
    }
    if let Some(password) = password {
        reading.binary("password", password);
    }
}

fn binary_property(reading: &mut Reading, identifier: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        reading.property(identifier, Value::Binary(value.to_vec()));
    }
}

fn user_properties(reading: &mut Reading, properties: &UserProperties) {
    properties
        .iter()
        .for_each(|property| reading.property(0x26, pair(property)));
}

fn pair((name, value): &UserProperty) -> Value {
    Value::Pair(name.as_bytes().to_vec(), value.as_bytes().to_vec())
}
