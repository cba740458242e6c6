//! One MQTT connection, packet by packet: nothing is resent, reconnected or reordered behind the test's back.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::mqtt::packet::{
    Ack, ConnAck, Connect, Disconnect, Packet, ProtocolVersion, Publish, QoS, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, UserProperties,
};
use banyan_core::mqtt::{DecodeError, DecodeLimits, ReasonCode, decode_as_client, encode};
use bytes::{Bytes, BytesMut};

use super::wait;

/// Time for an answer to CONNECT, SUBSCRIBE and the like.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Time in which a node takes clients again. Generous: debug builds on busy machines.
const TAKES_CLIENTS_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a look at the socket takes when the time is over.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The node closed it without a DISCONNECT.
    #[error("closed by the node")]
    Closed,
    /// Nothing came in time.
    #[error("nothing received in time")]
    Timeout,
    /// CONNACK with a failure.
    #[error("CONNECT refused: {0}")]
    Refused(ReasonCode),
    /// DISCONNECT from the node.
    #[error("DISCONNECT: {}, {}", .0.reason, .0.reason_string.as_deref().unwrap_or("no reason string"))]
    Disconnected(Box<Disconnect>),
    /// What came is no MQTT.
    #[error("not MQTT: {0}")]
    Decode(#[from] DecodeError),
}

/// What CONNECT says. Fields not named here can be changed in `connect` itself.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The packet.
    pub connect: Connect,
}

impl ConnectOptions {
    /// A clean session without keep alive.
    pub fn new(version: ProtocolVersion, client_id: &str) -> Self {
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Bytes::copy_from_slice(client_id.as_bytes()),
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
        Self { connect }
    }

    /// MQTT 5.0.
    pub fn v5(client_id: &str) -> Self {
        Self::new(ProtocolVersion::V5, client_id)
    }

    /// MQTT 3.1.1.
    pub fn v3(client_id: &str) -> Self {
        Self::new(ProtocolVersion::V3, client_id)
    }

    /// Asks for `revision` and `timestamp` on what is delivered and acknowledged.
    #[must_use]
    pub fn annotated(mut self) -> Self {
        self.connect.user_properties.push(property("annotate", "on"));
        self
    }

    /// Receive Maximum.
    #[must_use]
    pub fn receive_maximum(mut self, count: u16) -> Self {
        self.connect.receive_maximum = Some(count);
        self
    }
}

/// A user property.
pub fn property(name: &str, value: &str) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(name.as_bytes()),
        Bytes::copy_from_slice(value.as_bytes()),
    )
}

/// The value of the first user property `name` as a number.
pub fn number_property(properties: &UserProperties, name: &str) -> Option<u64> {
    let (_, value) = properties.iter().find(|(candidate, _)| candidate == name.as_bytes())?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Metadata of user properties alone.
pub fn user_properties(properties: &[(&str, &str)]) -> Metadata {
    let mut builder = MetadataBuilder::new();
    for (name, value) in properties {
        builder.user_property(name, value);
    }
    builder.build().expect("legal metadata")
}

/// A message to publish; the packet identifier is given when it is sent.
pub fn message(topic: &str, payload: impl AsRef<[u8]>, qos: QoS, retain: bool) -> Publish {
    Publish {
        dup: false,
        qos,
        retain,
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        packet_id: None,
        message_expiry_s: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        metadata: Metadata::empty(),
        payload: Bytes::copy_from_slice(payload.as_ref()),
    }
}

/// What SUBSCRIBE says.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    /// The packet, its identifier still 0.
    pub subscribe: Subscribe,
}

impl SubscribeOptions {
    /// One filter at QoS 1, everything else as in MQTT 3.1.1.
    pub fn new(filter: &str) -> Self {
        let filter = SubscribeFilter {
            filter: Bytes::copy_from_slice(filter.as_bytes()),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let subscribe = Subscribe {
            packet_id: 0,
            subscription_id: None,
            user_properties: Vec::new(),
            filters: vec![filter],
        };
        Self { subscribe }
    }

    /// Adds a user property, such as `since`, `marker` or `consistency`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.subscribe.user_properties.push(property(name, value));
        self
    }

    /// Changes every filter of it.
    #[must_use]
    pub fn each_filter(mut self, change: impl FnMut(&mut SubscribeFilter)) -> Self {
        self.subscribe.filters.iter_mut().for_each(change);
        self
    }
}

/// One connection, after CONNACK. Packets come out of [`receive`](Self::receive) in the order they came in.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: ProtocolVersion,
    received: BytesMut,
    unsent: BytesMut,
    /// What came in while something else was awaited.
    waiting: VecDeque<Packet>,
    last_packet_id: u16,
    connack: ConnAck,
}

impl Client {
    /// Connects and waits for CONNACK.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if CONNACK says so; anything else if there is none.
    pub fn connect(address: SocketAddr, options: &ConnectOptions) -> Result<Self, ClientError> {
        let mut client = Self::open(address, options.connect.version)?;
        client.queue(&Packet::Connect(Box::new(options.connect.clone())));
        client.flush()?;
        let connack = client.await_packet(|packet| match packet {
            Packet::ConnAck(connack) => Some((**connack).clone()),
            _ => None,
        })?;
        if connack.reason.is_failure() {
            return Err(ClientError::Refused(connack.reason));
        }
        client.connack = connack;
        Ok(client)
    }

    /// Connects as soon as the node takes clients: a CONNECT is refused at once while no leader is known, as in an election,
    /// and while the node was just too busy to hear of the cluster.
    ///
    /// # Panics
    /// If it is refused for longer than [`TAKES_CLIENTS_TIMEOUT`], or fails in any other way.
    #[track_caller]
    pub fn connect_soon(address: SocketAddr, options: &ConnectOptions) -> Self {
        let connected = wait::until(
            "node that takes clients",
            TAKES_CLIENTS_TIMEOUT,
            || match Self::connect(address, options) {
                Err(ClientError::Refused(ReasonCode::ServerUnavailable)) => None,
                done => Some(done),
            },
        );
        connected.expect("a connection")
    }

    /// Opens the socket without sending anything, for tests of the handshake itself.
    ///
    /// # Errors
    /// The socket's.
    pub fn open(address: SocketAddr, version: ProtocolVersion) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            stream,
            version,
            received: BytesMut::with_capacity(16 * 1024),
            unsent: BytesMut::with_capacity(16 * 1024),
            waiting: VecDeque::new(),
            last_packet_id: 0,
            connack: ConnAck::default(),
        })
    }

    /// The CONNACK.
    pub fn connack(&self) -> &ConnAck {
        &self.connack
    }

    /// A packet identifier; each of the 65,535 comes once before the first comes again.
    pub fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }

    /// Appends a packet to what the next [`flush`](Self::flush) or wait sends.
    pub fn queue(&mut self, packet: &Packet) {
        encode(packet, self.version, &mut self.unsent);
    }

    /// Appends bytes as they are, for tests with malformed packets.
    pub fn queue_bytes(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&mut self, packet: &Packet) -> Result<(), ClientError> {
        self.queue(packet);
        self.flush()
    }

    /// The next packet, waiting up to `timeout` for it. A DISCONNECT is a packet here.
    ///
    /// # Errors
    /// [`ClientError::Timeout`], [`ClientError::Closed`], or what the socket or the codec say.
    pub fn receive(&mut self, timeout: Duration) -> Result<Packet, ClientError> {
        match self.waiting.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive_new(timeout),
        }
    }

    /// The next packet if all of it is here already, without reading from the socket.
    ///
    /// # Errors
    /// What the codec says.
    pub fn receive_buffered(&mut self) -> Result<Option<Packet>, ClientError> {
        match self.waiting.pop_front() {
            Some(packet) => Ok(Some(packet)),
            None => Ok(decode_as_client(
                &mut self.received,
                self.version,
                &DecodeLimits::default(),
            )?),
        }
    }

    /// Puts a packet in front of the others, to be received next.
    pub fn put_back(&mut self, packet: Packet) {
        self.waiting.push_front(packet);
    }

    fn receive_new(&mut self, timeout: Duration) -> Result<Packet, ClientError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(packet) = decode_as_client(&mut self.received, self.version, &DecodeLimits::default())? {
                return Ok(packet);
            }
            // What is in the socket has come in time, however late this thread looks.
            let left = end.saturating_duration_since(Instant::now());
            self.flush()?; // acknowledgements: one write for all that came with one read
            self.stream.set_read_timeout(Some(left.max(LAST_LOOK)))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if left.is_zero() {
                        return Err(ClientError::Timeout);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the packet in which `pick` finds something; others are kept for [`receive`](Self::receive).
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`ClientError::Disconnected`].
    pub fn await_packet<T>(&mut self, mut pick: impl FnMut(&Packet) -> Option<T>) -> Result<T, ClientError> {
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let packet = self.receive_new(end.saturating_duration_since(Instant::now()))?;
            match (pick(&packet), packet) {
                (Some(picked), _) => return Ok(picked),
                (None, Packet::Disconnect(disconnect)) => return Err(ClientError::Disconnected(Box::new(disconnect))),
                (None, packet) => self.waiting.push_back(packet),
            }
        }
    }

    /// Subscribes and waits for SUBACK. Messages that come before it are kept.
    ///
    /// # Errors
    /// As [`await_packet`](Self::await_packet). Refused filters are no error: look at the codes.
    pub fn subscribe(&mut self, options: &SubscribeOptions) -> Result<SubAck, ClientError> {
        let mut subscribe = options.subscribe.clone();
        subscribe.packet_id = self.next_packet_id();
        let packet_id = subscribe.packet_id;
        self.send(&Packet::Subscribe(Box::new(subscribe)))?;
        self.await_packet(|packet| match packet {
            Packet::SubAck(suback) if suback.packet_id == packet_id => Some(suback.clone()),
            _ => None,
        })
    }

    /// Publishes at QoS 1 and waits for PUBACK. Messages that come before it are kept.
    ///
    /// # Errors
    /// As [`await_packet`](Self::await_packet). A PUBACK with a failure is no error: look at the code.
    pub fn publish(&mut self, mut publish: Publish) -> Result<Ack, ClientError> {
        let packet_id = self.next_packet_id();
        publish.packet_id = Some(packet_id);
        self.send(&Packet::Publish(Box::new(publish)))?;
        self.await_packet(|packet| match packet {
            Packet::PubAck(ack) if ack.packet_id == packet_id => Some(ack.clone()),
            _ => None,
        })
    }

    /// Publishes at QoS 0.
    ///
    /// # Errors
    /// The socket's.
    pub fn publish_unacknowledged(&mut self, publish: Publish) -> Result<(), ClientError> {
        self.send(&Packet::Publish(Box::new(publish)))
    }

    /// The next message. One of QoS 1 is acknowledged, at the latest when the client waits for more. Other packets are passed
    /// over.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`ClientError::Disconnected`].
    pub fn next_message(&mut self, timeout: Duration) -> Result<Publish, ClientError> {
        let end = Instant::now() + timeout;
        loop {
            match self.receive(end.saturating_duration_since(Instant::now()))? {
                Packet::Publish(publish) => {
                    if let Some(packet_id) = publish.packet_id {
                        self.queue(&Packet::PubAck(Ack {
                            packet_id,
                            ..Ack::default()
                        }));
                    }
                    return Ok(*publish);
                }
                Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(Box::new(disconnect))),
                _ => {}
            }
        }
    }

    /// Says goodbye and closes.
    pub fn disconnect(mut self) {
        let _gone_either_way = self.send(&Packet::Disconnect(Disconnect::default()));
    }
}
