//! A template writes what the packet's own encoding writes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::packets::metadata;
use super::{Role, decode_next};
use crate::metadata::{Metadata, MetadataBuilder};
use crate::mqtt::codec::{PublishTemplate, TopicAlias};
use crate::mqtt::packet::{Packet, ProtocolVersion, Publish, QoS};
use crate::topic::TopicName;

fn decoded(version: ProtocolVersion, mut bytes: BytesMut) -> Publish {
    match decode_next(Role::Client, Some(version), &mut bytes) {
        Ok(Some(Packet::Publish(publish))) if bytes.is_empty() => *publish,
        other => panic!("{other:?}, {} bytes left", bytes.len()),
    }
}

fn topic_alias() -> impl Strategy<Value = Option<TopicAlias>> {
    prop_oneof![
        Just(None),
        (1..=u16::MAX).prop_map(|alias| Some(TopicAlias::Define(alias))),
        (1..=u16::MAX).prop_map(|alias| Some(TopicAlias::Use(alias))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn writes_the_packet_it_describes(
        version in prop_oneof![Just(ProtocolVersion::V5), Just(ProtocolVersion::V3)],
        qos in prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)],
        (retain, dup, packet_id) in (any::<bool>(), any::<bool>(), 1..=u16::MAX),
        topic in "[a-z]{1,9}(/[a-z]{0,9}){0,9}",
        metadata in metadata(),
        message_expiry_s in option::of(any::<u32>()),
        payload in prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 90..140), vec(any::<u8>(), 16_300..16_400)],
        subscription_ids in vec(prop_oneof![1..200_u32, 1..=268_435_455_u32], 0..60),
        topic_alias in topic_alias(),
    ) {
        let topic = TopicName::parse(&topic).unwrap();
        let payload = Bytes::from(payload);
        let template =
            PublishTemplate::new(version, qos, retain, &topic, &metadata, &[], message_expiry_s, &payload);
        let is_acknowledged = qos != QoS::AtMostOnce;
        let packet_id = is_acknowledged.then_some(packet_id);
        let dup = dup && is_acknowledged;
        let is_v5 = version == ProtocolVersion::V5;

        // Appended to what is there; twice, as a template serves many.
        let mut out = BytesMut::from("before");
        template.write(packet_id, dup, &subscription_ids, topic_alias, &mut out);
        let first = out.split_off(6);
        prop_assert_eq!(&out[..], b"before");
        template.write(packet_id, dup, &subscription_ids, topic_alias, &mut out);
        prop_assert_eq!(&out[6..], &first[..]);

        prop_assert_eq!(first.len(), template.packet_len_with(&subscription_ids, topic_alias));
        if topic_alias.is_none() {
            prop_assert_eq!(first.len(), template.packet_len(&subscription_ids));
        }
        let (alias, is_topic_left_out) = match topic_alias.filter(|_| is_v5) {
            None => (None, false),
            Some(TopicAlias::Define(alias)) => (Some(alias), false),
            Some(TopicAlias::Use(alias)) => (Some(alias), true),
        };
        prop_assert_eq!(decoded(version, first), Publish {
            dup,
            qos,
            retain,
            topic: if is_topic_left_out { Bytes::new() } else { topic.as_bytes().clone() },
            packet_id,
            message_expiry_s: message_expiry_s.filter(|_| is_v5),
            topic_alias: alias,
            subscription_ids: if is_v5 { subscription_ids } else { Vec::new() },
            metadata: if is_v5 { metadata } else { Metadata::empty() },
            payload,
        });
    }
}

fn template(qos: QoS, metadata: &Metadata, user_properties: &[(&str, &str)]) -> PublishTemplate {
    let topic = TopicName::parse("t").unwrap();
    let payload = Bytes::from_static(b"p");
    PublishTemplate::new(
        ProtocolVersion::V5,
        qos,
        false,
        &topic,
        metadata,
        user_properties,
        None,
        &payload,
    )
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]: the publisher's user properties come first and in order; only one that the server
/// sets itself is replaced.
#[test]
fn added_user_properties_replace_those_of_the_same_name() {
    let mut builder = MetadataBuilder::new();
    builder
        .payload_format(1)
        .content_type("text/plain")
        .correlation_data(&[1, 2]);
    builder
        .user_property("a", "1")
        .user_property("timestamp", "5")
        .user_property("b", "")
        .user_property("a", "2");
    let metadata = builder.build().unwrap();
    let written = |user_properties: &[(&str, &str)]| {
        let mut out = BytesMut::new();
        let template = template(QoS::AtMostOnce, &metadata, user_properties);
        template.write(None, false, &[], None, &mut out);
        assert_eq!(out, template.plain_packet());
        let metadata = decoded(ProtocolVersion::V5, out).metadata;
        assert_eq!(
            (metadata.payload_format(), metadata.content_type()),
            (1, Some("text/plain"))
        );
        assert_eq!(metadata.correlation_data(), Some(&[1, 2][..]));
        metadata
            .user_properties()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(written(&[]), ["a=1", "timestamp=5", "b=", "a=2"]);
    assert_eq!(
        written(&[("revision", "9")]),
        ["a=1", "timestamp=5", "b=", "a=2", "revision=9"]
    );
    assert_eq!(
        written(&[("revision", "9"), ("timestamp", "6")]),
        ["a=1", "b=", "a=2", "revision=9", "timestamp=6"]
    );
}

#[test]
#[should_panic(expected = "packet identifier None with AtLeastOnce")]
fn a_packet_identifier_is_not_forgotten() {
    template(QoS::AtLeastOnce, &Metadata::empty(), &[]).write(None, false, &[], None, &mut BytesMut::new());
}

/// Shows [MQTT-2.2.1-2]; 3.1.1 [MQTT-2.3.1-5].
#[test]
#[should_panic(expected = "packet identifier Some(1) with AtMostOnce")]
fn qos_0_has_no_packet_identifier() {
    template(QoS::AtMostOnce, &Metadata::empty(), &[]).write(Some(1), false, &[], None, &mut BytesMut::new());
}
