//! What clients with wills and sessions have in common.

use banyan_core::mqtt::QoS;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, RetainHandling, Subscribe, SubscribeFilter, Will};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use super::subscriber::CONNECT_TIMEOUT;
use super::{Context, NodeAddresses};
use crate::client::mqtt::{MqttClient, MqttError, SessionOptions};
use crate::history::{Connection, ProtocolError, Receipt, Serial};

/// What every device subscribes to.
pub const DEVICE_FILTER: &str = "device/#";
/// What all of them share.
pub const JOB_FILTER: &str = "$share/jobs/job/#";
/// The topics of that.
pub const JOB_TOPICS: &str = "job/#";
/// Wills have serials of clients that are greater by this than those who leave them.
pub const WILL_CLIENTS: u32 = 1_000;
/// Longest Will Delay Interval, seconds.
const WILL_DELAY_MAX_S: u32 = 4;

/// One client's connections.
pub(super) struct Connector {
    pub(super) client: u32,
    pub(super) context: Context,
    wills: u32,
}

impl Connector {
    pub(super) const fn new(client: u32, context: Context) -> Self {
        Self {
            client,
            context,
            wills: 0,
        }
    }

    /// Connects with a will that no other connection has.
    pub(super) async fn connect(
        &mut self,
        node: &NodeAddresses,
        clean_start: bool,
        expiry_s: u32,
        rng: &mut StdRng,
    ) -> Result<(MqttClient, Connection), MqttError> {
        self.wills += 1;
        let serial = Serial {
            client: WILL_CLIENTS + self.client,
            counter: self.wills,
        };
        let topic = format!("device/will/{}", self.client);
        let will = Will {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::from(serial.payload(0)),
            qos: if rng.random_bool(0.5) {
                QoS::ExactlyOnce
            } else {
                QoS::AtLeastOnce
            },
            retain: rng.random_bool(0.3),
            delay_s: if rng.random_bool(0.4) {
                0
            } else {
                rng.random_range(1..=WILL_DELAY_MAX_S)
            },
            message_expiry_s: None,
            metadata: banyan_core::metadata::Metadata::empty(),
        };
        self.context.recorder.will(&topic, serial);
        let client_id = format!("c{}", self.client);
        let session = SessionOptions {
            clean_start,
            expiry_s,
            will,
        };
        let net = &*self.context.net;
        let (mqtt, session_present) = MqttClient::resume(net, &node.mqtt, &client_id, session, CONNECT_TIMEOUT).await?;
        let connection = Connection {
            at: (self.context.now)(),
            client: self.client,
            node: node.node,
            will: serial,
            session_present,
        };
        self.context.recorder.connected(connection);
        Ok((mqtt, connection))
    }

    pub(super) fn note(&self, node: u64, error: &MqttError) {
        if matches!(error, MqttError::Disconnected(ReasonCode::SessionTakenOver)) {
            self.context.recorder.taken_over();
        }
        if matches!(error, MqttError::Decode(_) | MqttError::Unexpected(_)) {
            self.error(node, ProtocolError::ID, error.to_string());
        }
    }

    pub(super) fn error(&self, node: u64, invariant: &'static str, what: String) {
        self.context.recorder.protocol_error(ProtocolError {
            at: (self.context.now)(),
            client: self.client,
            node,
            invariant,
            what,
        });
    }

    /// What came over `connection`.
    pub(super) fn receipt(&self, connection: Connection, publish: &Publish) -> Receipt {
        Receipt {
            at: (self.context.now)(),
            client: self.client,
            node: connection.node,
            connection: connection.will,
            serial: Serial::of_payload(&publish.payload),
            qos: publish.qos as u8,
            dup: publish.dup,
            shared: publish.topic.starts_with(b"job/"),
            is_late: false,
        }
    }
}

/// The first answer to a message.
pub(super) fn acknowledgement(qos: QoS, packet_id: u16) -> Packet {
    match qos {
        QoS::ExactlyOnce => Packet::PubRec(ack(packet_id)),
        _ => Packet::PubAck(ack(packet_id)),
    }
}

pub(super) fn ack(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

pub(super) fn subscribe(packet_id: u16, filters: &[&'static str], qos: QoS) -> Packet {
    let filters = filters.iter().map(|filter| SubscribeFilter {
        filter: Bytes::from_static(filter.as_bytes()),
        qos,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    });
    Packet::Subscribe(Box::new(Subscribe {
        packet_id,
        subscription_id: None,
        user_properties: Vec::new(),
        filters: filters.collect(),
    }))
}
