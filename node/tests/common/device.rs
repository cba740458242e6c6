//! A client with a persistent session, as strict as the standard asks: it keeps what §4.1 says a client keeps, resends what
//! §4.4 says it resends, and goes to another node as soon as its own is gone.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use banyan_core::mqtt::packet::{Ack, Packet, ProtocolVersion, Publish, QoS};

use super::client::{Client, ClientError, ConnectOptions, SubscribeOptions, message};

/// How long a device listens before it looks at the world again.
const TURN: Duration = Duration::from_millis(20);
/// Time to find a node that takes the session.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Session Expiry Interval, seconds: longer than any test.
const SESSION_EXPIRY_S: u32 = 24 * 3600;

/// What a device does.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Version of the protocol.
    pub version: ProtocolVersion,
    /// Client identifier.
    pub client_id: String,
    /// QoS of what it publishes and subscribes.
    pub qos: QoS,
    /// Where it publishes serial numbers from 1, as events.
    pub topic: String,
    /// Where it listens.
    pub filter: String,
    /// Most messages of its own in flight.
    pub window: usize,
}

/// What a device saw.
#[derive(Debug, Clone, Default)]
pub struct DeviceLog {
    /// Serial numbers in the order in which they came, those that the protocol itself recognises as doubles left out.
    pub received: Vec<u64>,
    /// Serial numbers of its own whose flow is complete.
    pub acknowledged: u64,
    /// From the loss of a connection to the first message through another.
    pub outages: Vec<Duration>,
}

/// A message of the device that is not done.
#[derive(Debug)]
struct Outgoing {
    packet_id: u16,
    /// `None` once PUBREC has come: only PUBREL is sent then.
    publish: Option<Publish>,
}

/// The device.
#[derive(Debug)]
pub struct Device {
    options: DeviceOptions,
    addresses: Vec<SocketAddr>,
    node: usize,
    client: Client,
    outgoing: VecDeque<Outgoing>,
    last_packet_id: u16,
    last_serial: u64,
    /// QoS 2 messages received and not released by the node.
    incoming: BTreeSet<u16>,
    lost_at: Option<Instant>,
    log: DeviceLog,
}

impl Device {
    /// Connects to node `node` of `addresses` with a new session, and subscribes.
    ///
    /// # Panics
    /// If that does not work.
    pub fn start(options: DeviceOptions, addresses: Vec<SocketAddr>, node: usize) -> Self {
        let mut connect = connect_options(&options);
        // Of 3.1.1 the flag would end the session with the connection.
        connect.connect.clean_start = options.version == ProtocolVersion::V5;
        let mut client = Client::connect_soon(addresses[node], &connect);
        let qos = options.qos;
        let subscribe = SubscribeOptions::new(&options.filter).each_filter(|filter| filter.qos = qos);
        let suback = client.subscribe(&subscribe).expect("a SUBACK");
        assert!(suback.reasons.iter().all(|reason| !reason.is_failure()), "{suback:?}");
        Self {
            options,
            addresses,
            node,
            client,
            outgoing: VecDeque::new(),
            last_packet_id: 0,
            last_serial: 0,
            incoming: BTreeSet::new(),
            lost_at: None,
            log: DeviceLog::default(),
        }
    }

    /// The node it is connected to.
    pub fn node(&self) -> usize {
        self.node
    }

    /// What it saw so far.
    pub fn log(&self) -> &DeviceLog {
        &self.log
    }

    /// Publishes serial numbers up to `last_serial` as its window allows, and handles what comes, for one turn.
    ///
    /// # Panics
    /// If a node breaks the protocol, or none takes the session in time.
    pub fn turn(&mut self, last_serial: u64) {
        if let Err(error) = self.try_turn(last_serial) {
            assert!(
                !matches!(error, ClientError::Decode(_)),
                "{}: {error}",
                self.options.client_id
            );
            self.reconnect();
        }
    }

    fn try_turn(&mut self, last_serial: u64) -> Result<(), ClientError> {
        while self.outgoing.len() < self.options.window && self.last_serial < last_serial {
            self.last_serial += 1;
            let packet_id = self.free_packet_id();
            let serial = self.last_serial.to_string();
            let mut publish = message(&self.options.topic, serial, self.options.qos, false);
            publish.packet_id = Some(packet_id);
            self.client.queue(&Packet::Publish(Box::new(publish.clone())));
            self.outgoing.push_back(Outgoing {
                packet_id,
                publish: Some(publish),
            });
        }
        self.client.flush()?;
        let first = match self.client.receive(TURN) {
            Ok(packet) => packet,
            Err(ClientError::Timeout) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.handle(first)?;
        while let Some(packet) = self.client.receive_buffered()? {
            self.handle(packet)?;
        }
        self.client.flush()
    }

    /// Packet identifiers ascend and skip those in use (§2.2.1).
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let packet_id = self.last_packet_id;
            if self.outgoing.iter().all(|outgoing| outgoing.packet_id != packet_id) {
                return packet_id;
            }
        }
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ClientError> {
        match packet {
            Packet::Publish(publish) => self.on_publish(&publish),
            Packet::PubRel(ack) => {
                self.incoming.remove(&ack.packet_id);
                self.client.queue(&Packet::PubComp(ack_of(ack.packet_id)));
            }
            Packet::PubRec(ack) => {
                assert!(!ack.reason.is_failure(), "{}: {ack:?}", self.options.client_id);
                let ours = self
                    .outgoing
                    .iter_mut()
                    .find(|outgoing| outgoing.packet_id == ack.packet_id);
                ours.unwrap_or_else(|| panic!("PUBREC {} of nothing", ack.packet_id))
                    .publish = None;
                self.client.queue(&Packet::PubRel(ack_of(ack.packet_id)));
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                let at = self
                    .outgoing
                    .iter()
                    .position(|outgoing| outgoing.packet_id == ack.packet_id);
                let at = at.unwrap_or_else(|| panic!("an acknowledgement of nothing: {ack:?}"));
                self.outgoing.remove(at);
                self.log.acknowledged += 1;
            }
            Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(Box::new(disconnect))),
            _ => {}
        }
        Ok(())
    }

    fn on_publish(&mut self, publish: &Publish) {
        if let Some(lost_at) = self.lost_at.take() {
            self.log.outages.push(lost_at.elapsed());
        }
        let packet_id = publish.packet_id.expect("QoS 1 or 2, as published and subscribed");
        let is_new = match publish.qos {
            QoS::ExactlyOnce => self.incoming.insert(packet_id),
            _ => true,
        };
        if is_new {
            let serial = std::str::from_utf8(&publish.payload)
                .ok()
                .and_then(|text| text.parse().ok());
            self.log.received.push(serial.expect("a serial number"));
        }
        self.client.queue(&match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(ack_of(packet_id)),
            _ => Packet::PubAck(ack_of(packet_id)),
        });
    }

    /// Takes the session to the next node that answers, and resends [MQTT-4.4.0-1].
    fn reconnect(&mut self) {
        let lost_at = Instant::now();
        self.lost_at = Some(lost_at);
        let options = connect_options(&self.options);
        self.client = loop {
            self.node = (self.node + 1) % self.addresses.len();
            match Client::connect(self.addresses[self.node], &options) {
                Ok(client) => break client,
                Err(error) => assert!(
                    lost_at.elapsed() < RECONNECT_TIMEOUT,
                    "{}: no node takes the session: {error}",
                    self.options.client_id
                ),
            }
        };
        assert!(
            self.client.connack().session_present,
            "{}: the session is gone at node {}",
            self.options.client_id,
            self.node + 1
        );
        for outgoing in &self.outgoing {
            self.client.queue(&match &outgoing.publish {
                Some(publish) => Packet::Publish(Box::new(Publish {
                    dup: true,
                    ..publish.clone()
                })),
                None => Packet::PubRel(ack_of(outgoing.packet_id)),
            });
        }
    }
}

fn connect_options(options: &DeviceOptions) -> ConnectOptions {
    let mut connect = ConnectOptions::new(options.version, &options.client_id);
    connect.connect.clean_start = false;
    connect.connect.session_expiry_s = (options.version == ProtocolVersion::V5).then_some(SESSION_EXPIRY_S);
    connect
}

fn ack_of(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}
