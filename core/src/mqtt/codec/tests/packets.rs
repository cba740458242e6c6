//! Arbitrary packets, as the strategies of the property tests.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Role;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::mqtt::packet::*;
use crate::mqtt::reason::ReasonCode;

/// A packet with who receives it.
pub(super) type Received = (Role, Packet);

fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        20 => "[^\0]{0,12}".prop_map(Bytes::from),
        1 => (100_usize..3000).prop_map(|len| Bytes::from("ß".repeat(len))),
    ]
}

fn string() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn packet_id() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = ReasonCode> {
    proptest::sample::select(codes).prop_map(|code| ReasonCode::from_u8(code).unwrap())
}

fn subscription_id() -> impl Strategy<Value = u32> {
    prop_oneof![1..200_u32, 1..=268_435_455_u32]
}

pub(super) fn metadata() -> impl Strategy<Value = Metadata> {
    (
        0..2_u8,
        option::of(string()),
        option::of("[^\0+#]{1,12}"),
        option::of(binary()),
        vec((string(), string()), 0..4),
    )
        .prop_map(
            |(format, content_type, response_topic, correlation_data, user_properties)| {
                let mut builder = MetadataBuilder::new();
                builder.payload_format(format);
                if let Some(text) = content_type {
                    builder.content_type(&text);
                }
                if let Some(topic) = response_topic {
                    builder.response_topic(&topic);
                }
                if let Some(data) = correlation_data {
                    builder.correlation_data(&data);
                }
                for (name, value) in &user_properties {
                    builder.user_property(name, value);
                }
                builder.build().unwrap()
            },
        )
}

prop_compose! {
    fn will()(
        topic in text(), payload in binary(), qos in qos(), retain: bool, delay_s: u32,
        message_expiry_s in option::of(any::<u32>()), metadata in metadata(),
    ) -> Will {
        Will { topic, payload, qos, retain, delay_s, message_expiry_s, metadata }
    }
}

prop_compose! {
    fn connect()(
        (clean_start, keep_alive_s, client_id, session_expiry_s) in
            (any::<bool>(), any::<u16>(), text(), option::of(any::<u32>())),
        (receive_maximum, maximum_packet_size, topic_alias_maximum) in
            (option::of(packet_id()), option::of(1..=u32::MAX), option::of(any::<u16>())),
        request_response_information: bool, request_problem_information: bool,
        user_properties in user_properties(),
        authentication in option::of((text(), option::of(binary()))),
        will in option::of(will()), user_name in option::of(text()), password in option::of(binary()),
    ) -> Packet {
        let (authentication_method, authentication_data) = authentication.unzip();
        Packet::Connect(Box::new(Connect {
            version: ProtocolVersion::V5, clean_start, keep_alive_s, client_id, session_expiry_s, receive_maximum,
            maximum_packet_size, topic_alias_maximum, request_response_information, request_problem_information,
            user_properties, authentication_method, authentication_data: authentication_data.flatten(), will, user_name,
            password,
        }))
    }
}

prop_compose! {
    fn connack()(
        session_present: bool,
        reason in reason(&[
            0, 0, 0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
            0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ]),
        (session_expiry_s, receive_maximum, maximum_qos, retain_available) in
            (option::of(any::<u32>()), option::of(packet_id()), option::of(0..2_u8), option::of(any::<bool>())),
        (maximum_packet_size, assigned_client_id, topic_alias_maximum, reason_string) in
            (option::of(1..=u32::MAX), option::of(text()), option::of(any::<u16>()), option::of(string())),
        user_properties in user_properties(),
        available in (option::of(any::<bool>()), option::of(any::<bool>()), option::of(any::<bool>())),
        (server_keep_alive_s, response_information, server_reference) in
            (option::of(any::<u16>()), option::of(string()), option::of(string())),
    ) -> Packet {
        Packet::ConnAck(Box::new(ConnAck {
            session_present: session_present && reason == ReasonCode::Success,
            reason, session_expiry_s, receive_maximum, maximum_qos, retain_available, maximum_packet_size,
            assigned_client_id, topic_alias_maximum, reason_string, user_properties,
            wildcard_subscription_available: available.0, subscription_identifiers_available: available.1,
            shared_subscription_available: available.2, server_keep_alive_s, response_information, server_reference,
        }))
    }
}

prop_compose! {
    fn publish(subscription_ids_max: usize)(
        dup: bool, qos in qos(), retain: bool, topic in text(), packet_id in packet_id(),
        message_expiry_s in option::of(any::<u32>()), topic_alias in option::of(packet_id()),
        subscription_ids in vec(subscription_id(), 0..=subscription_ids_max), metadata in metadata(),
        payload in binary(),
    ) -> Packet {
        let is_acknowledged = qos != QoS::AtMostOnce;
        let is_named = topic_alias.is_some();
        Packet::Publish(Box::new(Publish {
            dup: dup && is_acknowledged, qos, retain,
            topic: if topic.is_empty() && !is_named { Bytes::from_static(b"t") } else { topic },
            packet_id: is_acknowledged.then_some(packet_id), message_expiry_s, topic_alias, subscription_ids, metadata,
            payload,
        }))
    }
}

prop_compose! {
    fn ack(codes: &'static [u8])(
        packet_id in packet_id(), reason in reason(codes), reason_string in option::of(string()),
        user_properties in user_properties(), is_plain: bool,
    ) -> Ack {
        if is_plain { Ack { packet_id, reason, ..Ack::default() } }
        else { Ack { packet_id, reason, reason_string, user_properties } }
    }
}

prop_compose! {
    fn filter()(
        filter in text(), qos in qos(), no_local: bool, retain_as_published: bool,
        retain_handling in proptest::sample::select(
            &[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][..]),
    ) -> SubscribeFilter {
        SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling }
    }
}

prop_compose! {
    fn subscribe()(
        packet_id in packet_id(), subscription_id in option::of(subscription_id()),
        user_properties in user_properties(), filters in vec(filter(), 1..4),
    ) -> Packet {
        Packet::Subscribe(Box::new(Subscribe { packet_id, subscription_id, user_properties, filters }))
    }
}

prop_compose! {
    fn suback()(
        packet_id in packet_id(), reason_string in option::of(string()), user_properties in user_properties(),
        reasons in vec(reason(&[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]), 1..4),
    ) -> Packet {
        Packet::SubAck(SubAck { packet_id, reason_string, user_properties, reasons })
    }
}

prop_compose! {
    fn unsubscribe()(
        packet_id in packet_id(), user_properties in user_properties(), filters in vec(text(), 1..4),
    ) -> Packet {
        Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters })
    }
}

prop_compose! {
    fn unsuback()(
        packet_id in packet_id(), reason_string in option::of(string()), user_properties in user_properties(),
        reasons in vec(reason(&[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]), 1..4),
    ) -> Packet {
        Packet::UnsubAck(UnsubAck { packet_id, reason_string, user_properties, reasons })
    }
}

prop_compose! {
    fn disconnect(role: Role)(
        reason in reason(match role {
            Role::Server => &[
                0x00, 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
            ],
            Role::Client => &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                0x98,
                0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
            ],
        }),
        session_expiry_s in option::of(any::<u32>()), reason_string in option::of(string()),
        user_properties in user_properties(), server_reference in option::of(string()),
    ) -> Packet {
        Packet::Disconnect(Disconnect {
            reason,
            session_expiry_s: session_expiry_s.filter(|_| role == Role::Server),
            reason_string,
            user_properties,
            server_reference: server_reference.filter(|_| role == Role::Client),
        })
    }
}

prop_compose! {
    fn auth(codes: &'static [u8])(
        reason in reason(codes), method in text(), authentication_data in option::of(binary()),
        reason_string in option::of(string()), user_properties in user_properties(),
    ) -> Packet {
        Packet::Auth(Auth {
            reason, authentication_method: Some(method), authentication_data, reason_string, user_properties,
        })
    }
}

const PUBLISH_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_CODES: &[u8] = &[0x00, 0x92];

/// Packets of MQTT 5.0 as `role` receives them.
fn received_by(role: Role) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        3 => publish(if role == Role::Client { 3 } else { 0 }),
        1 => ack(PUBLISH_CODES).prop_map(Packet::PubAck),
        1 => ack(PUBLISH_CODES).prop_map(Packet::PubRec),
        1 => ack(RELEASE_CODES).prop_map(Packet::PubRel),
        1 => ack(RELEASE_CODES).prop_map(Packet::PubComp),
        1 => disconnect(role),
    ];
    match role {
        Role::Server => prop_oneof![
            6 => both,
            2 => connect(),
            1 => subscribe(),
            1 => unsubscribe(),
            1 => Just(Packet::PingReq),
            1 => auth(&[0x18, 0x19]),
        ]
        .boxed(),
        Role::Client => prop_oneof![
            6 => both,
            2 => connack(),
            1 => suback(),
            1 => unsuback(),
            1 => Just(Packet::PingResp),
            1 => auth(&[0x00, 0x18]),
            1 => Just(Packet::Auth(Auth::default())),
        ]
        .boxed(),
    }
}

/// Any packet of MQTT 5.0, with its receiver.
pub(super) fn any_packet() -> impl Strategy<Value = Received> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
        .prop_flat_map(|role| received_by(role).prop_map(move |packet| (role, packet)))
}

/// What is left of `packet` in `version`; `None` if the version has no such packet.
pub(super) fn reduced(role: Role, packet: Packet, version: ProtocolVersion) -> Option<Packet> {
    if version == ProtocolVersion::V5 {
        return Some(packet);
    }
    let plain = |ack: Ack| Ack {
        packet_id: ack.packet_id,
        ..Ack::default()
    };
    Some(match packet {
        Packet::Connect(connect) => Packet::Connect(Box::new(Connect {
            version,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
            will: connect.will.map(|will| Will {
                delay_s: 0,
                message_expiry_s: None,
                metadata: Metadata::empty(),
                ..will
            }),
            password: connect.password.filter(|_| connect.user_name.is_some()),
            ..*connect
        })),
        Packet::ConnAck(connack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: connack.session_present,
            reason: ReasonCode::from_connect_return_code(connack.reason.to_connect_return_code())?,
            ..ConnAck::default()
        })),
        Packet::Publish(publish) => Packet::Publish(Box::new(Publish {
            topic: if publish.topic.is_empty() {
                Bytes::from_static(b"t")
            } else {
                publish.topic
            },
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: Vec::new(),
            metadata: Metadata::empty(),
            ..*publish
        })),
        Packet::PubAck(ack) => Packet::PubAck(plain(ack)),
        Packet::PubRec(ack) => Packet::PubRec(plain(ack)),
        Packet::PubRel(ack) => Packet::PubRel(plain(ack)),
        Packet::PubComp(ack) => Packet::PubComp(plain(ack)),
        Packet::Subscribe(subscribe) => {
            let filter = |filter: SubscribeFilter| SubscribeFilter {
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
                ..filter
            };
            Packet::Subscribe(Box::new(Subscribe {
                subscription_id: None,
                user_properties: Vec::new(),
                filters: subscribe.filters.into_iter().map(filter).collect(),
                ..*subscribe
            }))
        }
        Packet::SubAck(suback) => Packet::SubAck(SubAck {
            packet_id: suback.packet_id,
            reasons: suback
                .reasons
                .into_iter()
                .map(|reason| {
                    if reason.is_failure() {
                        ReasonCode::UnspecifiedError
                    } else {
                        reason
                    }
                })
                .collect(),
            ..SubAck::default()
        }),
        Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            user_properties: Vec::new(),
            ..unsubscribe
        }),
        Packet::UnsubAck(unsuback) => Packet::UnsubAck(UnsubAck {
            packet_id: unsuback.packet_id,
            ..UnsubAck::default()
        }),
        Packet::Disconnect(_) if role == Role::Server => Packet::Disconnect(Disconnect::default()),
        Packet::Disconnect(_) | Packet::Auth(_) => return None,
        packet @ (Packet::PingReq | Packet::PingResp) => packet,
    })
}
