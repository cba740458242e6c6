//! One MQTT 5 connection, packet by packet.
//!
//! Messages are published and received with QoS 1, unless a client keeps a session and its identifiers by itself. Every connection asks for annotations, so that acknowledgements and
//! deliveries carry revisions.

use std::io;
use std::time::Duration;

use banyan_core::limits::RECEIVE_MAXIMUM;
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::mqtt::packet::{
    Ack, Connect, Disconnect, Packet, Publish, RetainHandling, SubAck, Subscribe, SubscribeFilter, UserProperties, Will,
};
use banyan_core::mqtt::{DecodeError, DecodeLimits, ProtocolVersion, QoS, ReasonCode, decode_as_client, encode};
use banyan_node::net::{BoxStream, Net};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::history::{Answer, Call, Condition, Delivery, Serial, Time};

/// Room made for one read.
const READ_BYTES: usize = 16 * 1024;

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// The stream.
    #[error("stream: {0}")]
    Io(#[from] io::Error),
    /// The node closed it without a DISCONNECT.
    #[error("closed by the node")]
    Closed,
    /// Nothing came, or nothing could be sent, in time.
    #[error("no progress in time")]
    Timeout,
    /// CONNACK with a failure.
    #[error("CONNECT refused: {0}")]
    Refused(ReasonCode),
    /// DISCONNECT from the node.
    #[error("DISCONNECT: {0}")]
    Disconnected(ReasonCode),
    /// What came is no MQTT.
    #[error("not MQTT: {0}")]
    Decode(#[from] DecodeError),
    /// A packet that may not come here.
    #[error("unexpected packet: {0}")]
    Unexpected(&'static str),
}

/// A retained message, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// Empty with `retain`: deletes the topic.
    pub payload: Vec<u8>,
    /// Whether it is state or an event.
    pub retain: bool,
    /// User property `timestamp`.
    pub timestamp_us: Option<u64>,
    /// User property `if-…`.
    pub condition: Condition,
    /// Message Expiry Interval.
    pub expiry_s: Option<u32>,
}

/// What a SUBSCRIBE asks for, beside its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// Only each topic's latest change after this revision.
    pub since: Option<u64>,
    /// What the node has, without a round trip through the cluster.
    pub local: bool,
}

/// What CONNECT asks for, of a client that has a will and may have a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Clean Start.
    pub clean_start: bool,
    /// Session Expiry Interval, seconds.
    pub expiry_s: u32,
    /// The will.
    pub will: Will,
}

/// What the node answered or delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC.
    PubRec(Ack),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBACK.
    SubAck(SubAck),
    /// PUBLISH.
    Message(Box<Publish>),
    /// PINGRESP.
    PingResp,
}

/// One connection, after CONNACK.
pub struct MqttClient {
    reader: ReadHalf<BoxStream>,
    writer: WriteHalf<BoxStream>,
    received: BytesMut,
    unsent: BytesMut,
    last_packet_id: u16,
    receive_maximum: u16,
}

impl MqttClient {
    /// Connects to `address` (`host:port`) with a clean session. `receive_maximum` is how many messages the node may have in
    /// flight to this client, `None` for the node's own maximum.
    ///
    /// # Errors
    /// [`MqttError::Refused`] if CONNACK says so; [`MqttError::Timeout`] after `deadline`; anything else if there is none.
    pub async fn connect(
        net: &dyn Net,
        address: &str,
        client_id: &str,
        receive_maximum: Option<u16>,
        deadline: Duration,
    ) -> Result<Self, MqttError> {
        let packet = connect_packet(client_id, receive_maximum);
        Ok(Self::open(net, address, &packet, deadline).await?.0)
    }

    /// As [`connect`](Self::connect), as `session` says; whether it was there comes too.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn resume(
        net: &dyn Net,
        address: &str,
        client_id: &str,
        session: SessionOptions,
        deadline: Duration,
    ) -> Result<(Self, bool), MqttError> {
        let mut packet = connect_packet(client_id, None);
        if let Packet::Connect(connect) = &mut packet {
            connect.clean_start = session.clean_start;
            connect.session_expiry_s = Some(session.expiry_s);
            connect.will = Some(session.will);
        }
        Self::open(net, address, &packet, deadline).await
    }

    async fn open(
        net: &dyn Net,
        address: &str,
        connect: &Packet,
        deadline: Duration,
    ) -> Result<(Self, bool), MqttError> {
        let handshake = async {
            let (reader, writer) = tokio::io::split(net.connect(address).await?);
            let mut client = Self {
                reader,
                writer,
                received: BytesMut::new(),
                unsent: BytesMut::new(),
                last_packet_id: 0,
                receive_maximum: u16::MAX,
            };
            client.queue(connect);
            match client.next_packet().await? {
                Packet::ConnAck(connack) if connack.reason.is_failure() => Err(MqttError::Refused(connack.reason)),
                Packet::ConnAck(connack) => {
                    client.receive_maximum = connack.receive_maximum.unwrap_or(u16::MAX);
                    Ok((client, connack.session_present))
                }
                Packet::Disconnect(Disconnect { reason, .. }) => Err(MqttError::Disconnected(reason)),
                _ => Err(MqttError::Unexpected("instead of CONNACK")),
            }
        };
        timeout(deadline, handshake).await.map_err(|_| MqttError::Timeout)?
    }

    /// How many PUBLISHes the node lets this client have in flight.
    #[must_use]
    pub const fn receive_maximum(&self) -> u16 {
        self.receive_maximum
    }

    /// Queues a PUBLISH and returns its packet identifier. [`flush`](Self::flush) or [`next`](Self::next) sends it.
    pub fn publish(&mut self, message: &Message) -> u16 {
        let packet_id = self.next_packet_id();
        self.queue(&Packet::Publish(Box::new(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: message.retain,
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            packet_id: Some(packet_id),
            message_expiry_s: message.expiry_s,
            topic_alias: None,
            subscription_ids: Vec::new(),
            metadata: metadata(message),
            payload: Bytes::copy_from_slice(&message.payload),
        })));
        packet_id
    }

    /// Queues a SUBSCRIBE of one filter with QoS 1, Retain As Published and a marker after the retained messages; returns
    /// its packet identifier.
    pub fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> u16 {
        let packet_id = self.next_packet_id();
        let mut user_properties = vec![property("marker", "on")];
        if let Some(since) = options.since {
            user_properties.push(property("since", &since.to_string()));
        }
        if options.local {
            user_properties.push(property("consistency", "local"));
        }
        self.queue(&Packet::Subscribe(Box::new(Subscribe {
            packet_id,
            subscription_id: None,
            user_properties,
            filters: vec![SubscribeFilter {
                filter: Bytes::copy_from_slice(filter.as_bytes()),
                qos: QoS::AtLeastOnce,
                no_local: false,
                retain_as_published: true,
                retain_handling: RetainHandling::Send,
            }],
        })));
        packet_id
    }

    /// Queues the PUBACK of a message that was received.
    pub fn acknowledge(&mut self, packet_id: u16) {
        self.queue(&Packet::PubAck(Ack {
            packet_id,
            ..Ack::default()
        }));
    }

    /// Queues a packet of any kind, under an identifier of the caller's own.
    pub fn send(&mut self, packet: &Packet) {
        self.queue(packet);
    }

    /// Queues a PINGREQ.
    pub fn ping(&mut self) {
        self.queue(&Packet::PingReq);
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`MqttError::Timeout`] if it is not all sent after `deadline`; the stream's.
    pub async fn flush(&mut self, deadline: Duration) -> Result<(), MqttError> {
        let send = async {
            while !self.unsent.is_empty() {
                if self.writer.write_buf(&mut self.unsent).await? == 0 {
                    return Err(MqttError::Closed);
                }
            }
            Ok(self.writer.flush().await?)
        };
        timeout(deadline, send).await.map_err(|_| MqttError::Timeout)?
    }

    /// The next answer or message, sending what is queued meanwhile. Cancelling loses nothing.
    ///
    /// # Errors
    /// [`MqttError::Timeout`] at `until`; the connection is still good then. Every other error ends it.
    pub async fn next(&mut self, until: Instant) -> Result<Incoming, MqttError> {
        let packet = timeout_at(until, self.next_packet())
            .await
            .map_err(|_| MqttError::Timeout)??;
        match packet {
            Packet::PubAck(ack) => Ok(Incoming::PubAck(ack)),
            Packet::PubRec(ack) => Ok(Incoming::PubRec(ack)),
            Packet::PubRel(ack) => Ok(Incoming::PubRel(ack)),
            Packet::PubComp(ack) => Ok(Incoming::PubComp(ack)),
            Packet::SubAck(suback) => Ok(Incoming::SubAck(suback)),
            Packet::Publish(publish) => Ok(Incoming::Message(publish)),
            Packet::PingResp => Ok(Incoming::PingResp),
            Packet::Disconnect(Disconnect { reason, .. }) => Err(MqttError::Disconnected(reason)),
            _ => Err(MqttError::Unexpected("after CONNACK")),
        }
    }

    /// Says goodbye, as far as the stream takes it in a second.
    pub async fn disconnect(self) {
        self.leave(ReasonCode::Success).await;
    }

    /// As [`disconnect`](Self::disconnect), with another reason.
    pub async fn leave(mut self, reason: ReasonCode) {
        self.queue(&Packet::Disconnect(Disconnect {
            reason,
            ..Disconnect::default()
        }));
        let _gone_either_way = self.flush(Duration::from_secs(1)).await;
        let _closed_either_way = timeout(Duration::from_secs(1), self.writer.shutdown()).await;
    }

    async fn next_packet(&mut self) -> Result<Packet, MqttError> {
        loop {
            let version = ProtocolVersion::V5;
            if let Some(packet) = decode_as_client(&mut self.received, version, &DecodeLimits::default())? {
                return Ok(packet);
            }
            self.received.reserve(READ_BYTES);
            tokio::select! {
                biased;
                written = self.writer.write_buf(&mut self.unsent), if !self.unsent.is_empty() => {
                    if written? == 0 {
                        return Err(MqttError::Closed);
                    }
                }
                read = self.reader.read_buf(&mut self.received) => {
                    if read? == 0 {
                        return Err(MqttError::Closed);
                    }
                }
            }
        }
    }

    fn queue(&mut self, packet: &Packet) {
        encode(packet, ProtocolVersion::V5, &mut self.unsent);
    }

    /// Each of the 65,535 identifiers comes once before the first comes again.
    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}

/// The value of the first user property `name` as a number.
#[must_use]
pub fn number_property(properties: &UserProperties, name: &str) -> Option<u64> {
    let (_, value) = properties.iter().find(|(candidate, _)| candidate == name.as_bytes())?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The message that carries out `call`, with a payload of at least `payload_bytes` bytes; `None` if MQTT has no such call.
#[must_use]
pub fn message_of(call: &Call, payload_bytes: usize) -> Option<Message> {
    match call {
        Call::Put {
            topic,
            serial,
            timestamp_us,
            condition,
            expiry_s,
        } => Some(Message {
            topic: topic.clone(),
            payload: serial.payload(payload_bytes),
            retain: true,
            timestamp_us: *timestamp_us,
            condition: *condition,
            expiry_s: *expiry_s,
        }),
        Call::Delete {
            topic,
            timestamp_us,
            condition,
        } => Some(Message {
            topic: topic.clone(),
            payload: Vec::new(),
            retain: true,
            timestamp_us: *timestamp_us,
            condition: *condition,
            expiry_s: None,
        }),
        Call::Event { topic, serial } => Some(Message {
            topic: topic.clone(),
            payload: serial.payload(payload_bytes),
            retain: false,
            timestamp_us: None,
            condition: Condition::None,
            expiry_s: None,
        }),
        Call::DeleteFilter { .. } | Call::Get { .. } | Call::List { .. } => None,
    }
}

/// What a PUBACK says about `call`.
#[must_use]
pub fn answer_of(call: &Call, ack: &Ack) -> Answer {
    let reason_string = ack.reason_string.as_deref().unwrap_or_default();
    if let Some(current) = reason_string.strip_prefix("condition-failed: current revision ") {
        return match current.parse() {
            Ok(current) => Answer::ConditionFailed { current },
            Err(_) => Answer::Refused(reason_string.to_owned()),
        };
    }
    if ack.reason.is_failure() {
        return Answer::Refused(format!("{}: {reason_string}", ack.reason));
    }
    let revision = number_property(&ack.user_properties, "revision");
    let superseded_by = number_property(&ack.user_properties, "superseded");
    match (call, revision) {
        (Call::Put { .. }, Some(revision)) => Answer::Written {
            revision,
            superseded_by,
        },
        (Call::Delete { .. }, _) => Answer::Deleted {
            revision: revision.filter(|_| superseded_by.is_none()),
        },
        (Call::Event { .. }, _) => Answer::Event { revision },
        _ => Answer::Unknown("an acknowledgement without a revision".to_owned()),
    }
}

/// What a received PUBLISH says, for the history.
#[must_use]
pub fn delivery(publish: &Publish, at: Time) -> Delivery {
    Delivery {
        at,
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        serial: Serial::of_payload(&publish.payload),
        revision: publish
            .metadata
            .user_property("revision")
            .and_then(|revision| revision.parse().ok()),
        retain: publish.retain,
    }
}

fn property(name: &str, value: &str) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(name.as_bytes()),
        Bytes::copy_from_slice(value.as_bytes()),
    )
}

fn metadata(message: &Message) -> Metadata {
    let mut builder = MetadataBuilder::new();
    if let Some(timestamp_us) = message.timestamp_us {
        builder.user_property("timestamp", &seconds(timestamp_us));
    }
    match message.condition {
        Condition::None => {}
        Condition::Absent => drop(builder.user_property("if-absent", "on")),
        Condition::Present => drop(builder.user_property("if-present", "on")),
        Condition::Revision(revision) => drop(builder.user_property("if-revision", &revision.to_string())),
    }
    // Two short properties are within every limit.
    builder.build().unwrap_or_default()
}

/// Microseconds as Unix seconds with six digits of fraction.
pub(super) fn seconds(time_us: u64) -> String {
    format!("{}.{:06}", time_us / 1_000_000, time_us % 1_000_000)
}

fn connect_packet(client_id: &str, receive_maximum: Option<u16>) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        keep_alive_s: KEEP_ALIVE_S,
        client_id: Bytes::copy_from_slice(client_id.as_bytes()),
        session_expiry_s: None,
        receive_maximum: Some(receive_maximum.unwrap_or(RECEIVE_MAXIMUM)),
        maximum_packet_size: None,
        topic_alias_maximum: None,
        request_response_information: false,
        request_problem_information: true,
        user_properties: vec![property("annotate", "on")],
        authentication_method: None,
        authentication_data: None,
        will: None,
        user_name: None,
        password: None,
    }))
}

/// Keep Alive: a client that sends nothing else sends a PINGREQ more often than this, seconds.
pub const KEEP_ALIVE_S: u16 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(payload: bool) -> Call {
        let (topic, timestamp_us, condition) = ("a".to_owned(), None, Condition::None);
        match payload {
            true => Call::Put {
                topic,
                serial: Serial { client: 1, counter: 2 },
                timestamp_us,
                condition,
                expiry_s: None,
            },
            false => Call::Delete {
                topic,
                timestamp_us,
                condition,
            },
        }
    }

    fn ack(reason: ReasonCode, reason_string: &str, properties: &[(&str, &str)]) -> Ack {
        Ack {
            packet_id: 1,
            reason,
            reason_string: (!reason_string.is_empty()).then(|| reason_string.to_owned()),
            user_properties: properties.iter().map(|(name, value)| property(name, value)).collect(),
        }
    }

    #[test]
    fn acknowledgements_become_answers() {
        let success = |properties: &[(&str, &str)]| ack(ReasonCode::Success, "", properties);
        let superseded = [("revision", "9"), ("superseded", "9")];
        let written = |superseded_by| Answer::Written {
            revision: 9,
            superseded_by,
        };
        assert_eq!(answer_of(&call(true), &success(&[("revision", "9")])), written(None));
        assert_eq!(answer_of(&call(true), &success(&superseded)), written(Some(9)));
        assert!(matches!(answer_of(&call(true), &success(&[])), Answer::Unknown(_)));
        let deleted = |revision| Answer::Deleted { revision };
        assert_eq!(
            answer_of(&call(false), &success(&[("revision", "9")])),
            deleted(Some(9))
        );
        assert_eq!(answer_of(&call(false), &success(&superseded)), deleted(None));
        assert_eq!(answer_of(&call(false), &success(&[])), deleted(None));
        let failed = |text| answer_of(&call(true), &ack(ReasonCode::ImplementationSpecificError, text, &[]));
        let current = Answer::ConditionFailed { current: 4 };
        assert_eq!(failed("condition-failed: current revision 4"), current);
        assert!(matches!(failed("timestamp-ahead: 6 s"), Answer::Refused(_)));
    }

    #[test]
    fn what_a_write_says_is_in_its_user_properties() {
        let message = Message {
            timestamp_us: Some(1_500_000),
            condition: Condition::Revision(3),
            ..message_of(&call(true), 0).unwrap()
        };
        let metadata = metadata(&message);
        let properties: Vec<_> = metadata.user_properties().collect();
        assert_eq!(properties, [("timestamp", "1.500000"), ("if-revision", "3")]);
        assert!(message_of(&call(false), 9).unwrap().payload.is_empty());
    }
}
