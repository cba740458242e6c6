//! A client library that is not ours, rumqttc, in both versions: what it says and hears must be what it expects.

use std::time::{Duration, Instant};

use rumqttc::v5;

use crate::common::client::ANSWER_TIMEOUT;
use crate::common::wait::until;
use crate::support::Node;

/// Time in which a node takes clients. Generous: debug builds on busy machines.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// MQTT 3.1.1, with a queue of what was received.
struct Old {
    client: rumqttc::Client,
    connection: rumqttc::Connection,
}

impl Old {
    fn connect(node: &Node, client_id: &str) -> Self {
        let address = node.mqtt();
        let options = rumqttc::MqttOptions::new(client_id, address.ip().to_string(), address.port());
        let (client, mut connection) = rumqttc::Client::new(options, 100);
        let mut network_options = rumqttc::NetworkOptions::new();
        network_options.set_connection_timeout(ANSWER_TIMEOUT.as_secs());
        connection.eventloop.set_network_options(network_options);
        // A look that is given up gives up the connection, too. It is made anew after a refusal.
        until("connection", CONNECTION_TIMEOUT, || {
            match connection.recv_timeout(CONNECTION_TIMEOUT) {
                Ok(Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(ack)))) => {
                    assert_eq!(ack.code, rumqttc::ConnectReturnCode::Success);
                    Some(())
                }
                Ok(Err(rumqttc::ConnectionError::ConnectionRefused(
                    rumqttc::ConnectReturnCode::ServiceUnavailable,
                ))) => None,
                other => panic!("{other:?}"),
            }
        });
        Self { client, connection }
    }

    /// Passes packets over until one is `wanted`.
    fn wait(&mut self, wanted: impl Fn(&rumqttc::Packet) -> bool) -> rumqttc::Packet {
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self
                .connection
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(Ok(rumqttc::Event::Incoming(packet))) if wanted(&packet) => return packet,
                Ok(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: rumqttc::QoS) {
        self.client.subscribe(filter, qos).expect("a request");
        let suback = self.wait(|packet| matches!(packet, rumqttc::Packet::SubAck(_)));
        let rumqttc::Packet::SubAck(suback) = suback else {
            unreachable!()
        };
        assert_eq!(suback.return_codes, [rumqttc::SubscribeReasonCode::Success(qos)]);
    }

    fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        let sent = self.client.publish(topic, rumqttc::QoS::AtLeastOnce, retain, payload);
        sent.expect("a request");
        self.wait(|packet| matches!(packet, rumqttc::Packet::PubAck(_)));
    }

    fn message(&mut self) -> rumqttc::Publish {
        let packet = self.wait(|packet| matches!(packet, rumqttc::Packet::Publish(_)));
        let rumqttc::Packet::Publish(publish) = packet else {
            unreachable!()
        };
        publish
    }
}

/// MQTT 5.0.
struct New {
    client: v5::Client,
    connection: v5::Connection,
}

use v5::mqttbytes::QoS;
use v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule,
    SubscribeProperties, SubscribeReasonCode,
};

impl New {
    fn connect(node: &Node, client_id: &str, user_properties: &[(&str, &str)]) -> Self {
        let address = node.mqtt();
        let mut options = v5::MqttOptions::new(client_id, address.ip().to_string(), address.port());
        options.set_user_properties(owned(user_properties));
        options.set_connection_timeout(ANSWER_TIMEOUT.as_secs());
        let (client, mut connection) = v5::Client::new(options, 100);
        until("connection", CONNECTION_TIMEOUT, || {
            match connection.recv_timeout(CONNECTION_TIMEOUT) {
                Ok(Ok(v5::Event::Incoming(Packet::ConnAck(ack)))) => {
                    assert_eq!(ack.code, ConnectReturnCode::Success);
                    Some(())
                }
                Ok(Err(v5::ConnectionError::ConnectionRefused(ConnectReturnCode::ServerUnavailable))) => None,
                other => panic!("{other:?}"),
            }
        });
        Self { client, connection }
    }

    fn wait(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self
                .connection
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(Ok(v5::Event::Incoming(packet))) if wanted(&packet) => return packet,
                Ok(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn subscribe(&mut self, filter: Filter, properties: SubscribeProperties) {
        let qos = filter.qos;
        let sent = self.client.subscribe_many_with_properties([filter], properties);
        sent.expect("a request");
        let Packet::SubAck(suback) = self.wait(|packet| matches!(packet, Packet::SubAck(_))) else {
            unreachable!()
        };
        assert_eq!(suback.return_codes, [SubscribeReasonCode::Success(qos)]);
    }

    /// Publishes retained at QoS 1 and gives code, reason string and user properties of PUBACK.
    fn publish(
        &mut self,
        topic: &str,
        payload: &str,
        properties: PublishProperties,
    ) -> (PubAckReason, Option<String>, Vec<(String, String)>) {
        let payload = payload.to_owned();
        let sent = self
            .client
            .publish_with_properties(topic, QoS::AtLeastOnce, true, payload, properties);
        sent.expect("a request");
        let Packet::PubAck(ack) = self.wait(|packet| matches!(packet, Packet::PubAck(_))) else {
            unreachable!()
        };
        let (text, properties) = ack.properties.map_or((None, Vec::new()), |properties| {
            (properties.reason_string, properties.user_properties)
        });
        (ack.reason, text, properties)
    }

    fn message(&mut self) -> Publish {
        let Packet::Publish(publish) = self.wait(|packet| matches!(packet, Packet::Publish(_))) else {
            unreachable!()
        };
        publish
    }
}

fn owned(properties: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pairs.collect()
}

/// 3.1.1 at three nodes: written at one, read at the others, retained and live, deleted, unsubscribed.
/// Shows 3.1.1 [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-7.0.0-2].
#[test]
fn rumqttc_3_1_1() {
    let nodes = Node::three();
    let mut writer = Old::connect(&nodes[0], "writer");
    writer.publish("old/state", "before", true);
    let mut reader = Old::connect(&nodes[1], "reader");
    reader.subscribe("old/+", rumqttc::QoS::AtLeastOnce);
    let publish = reader.message();
    assert_eq!(
        (publish.topic.as_str(), &publish.payload[..]),
        ("old/state", &b"before"[..])
    );
    assert!(publish.retain);
    writer.publish("old/state", "after", true);
    writer.publish("old/event", "now", false);
    writer.publish("old/state", "", true);
    for (topic, payload) in [("old/state", "after"), ("old/event", "now"), ("old/state", "")] {
        let publish = reader.message();
        assert_eq!(
            (publish.topic.as_str(), &publish.payload[..]),
            (topic, payload.as_bytes())
        );
        assert!(!publish.retain);
        assert_eq!(publish.qos, rumqttc::QoS::AtLeastOnce);
    }
    reader.client.unsubscribe("old/+").expect("a request");
    reader.wait(|packet| matches!(packet, rumqttc::Packet::UnsubAck(_)));
    writer.publish("old/event", "unheard", false);
    reader.subscribe("old/fence", rumqttc::QoS::AtMostOnce);
    writer.publish("old/fence", "end", false);
    let publish = reader.message();
    assert_eq!(
        (publish.topic.as_str(), publish.qos),
        ("old/fence", rumqttc::QoS::AtMostOnce)
    );
    assert_eq!(nodes[2].topic_status("old/state"), 404);
}

/// 5.0 at three nodes: properties, options, conditions and annotations through another codec than ours.
#[test]
fn rumqttc_5_0() {
    let nodes = Node::three();
    let mut writer = New::connect(&nodes[0], "writer", &[("annotate", "on")]);
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(1000),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(vec![0, 255].into()),
        content_type: Some("text/plain".to_owned()),
        user_properties: owned(&[("unit", "K"), ("timestamp", "1490347944.5")]),
        ..PublishProperties::default()
    };
    let (reason, _, annotations) = writer.publish("new/state", "293", properties.clone());
    assert_eq!(reason, PubAckReason::Success);
    assert_eq!(annotations[0].0, "revision");
    let refused = PublishProperties {
        user_properties: owned(&[("if-absent", "")]),
        ..PublishProperties::default()
    };
    let (reason, text, _) = writer.publish("new/state", "294", refused);
    assert_eq!(reason, PubAckReason::ImplementationSpecificError);
    assert_eq!(
        text,
        Some(format!("condition-failed: current revision {}", annotations[0].1))
    );

    let mut reader = New::connect(&nodes[1], "reader", &[]);
    let mut filter = Filter::new("new/#", QoS::AtLeastOnce);
    filter.preserve_retain = true;
    filter.retain_forward_rule = RetainForwardRule::OnEverySubscribe;
    let subscribe = SubscribeProperties {
        id: Some(77),
        user_properties: owned(&[("marker", "on")]),
    };
    reader.subscribe(filter, subscribe);
    let publish = reader.message();
    assert_eq!(
        (&publish.topic[..], &publish.payload[..]),
        (&b"new/state"[..], &b"293"[..])
    );
    assert!(publish.retain);
    let received = publish.properties.expect("properties");
    assert!(
        received
            .message_expiry_interval
            .is_some_and(|left| (900..=1000).contains(&left))
    );
    let expected = PublishProperties {
        message_expiry_interval: received.message_expiry_interval,
        subscription_identifiers: vec![77],
        ..properties
    };
    assert_eq!(received, expected);
    let marker = reader.message();
    assert_eq!(&marker.topic[..], b"$SYS/marker");
    let marker = marker.properties.expect("properties");
    assert_eq!(marker.user_properties[0].0, "revision");
    assert_eq!(marker.subscription_identifiers, [77]);

    writer.publish("new/state", "", PublishProperties::default());
    let deleted = reader.message();
    assert!(deleted.payload.is_empty() && deleted.retain); // retain as published
}
