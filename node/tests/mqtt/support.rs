//! Nodes inside the test program, and short ways to say what clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::mqtt::packet::{Ack, Packet, ProtocolVersion, Publish, QoS, SubAck, Subscribe, Unsubscribe};
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::state::TombstoneBounds;
use banyan_node::components::{Components, SystemClock, SystemRandom};
use banyan_node::net::Tcp;
use banyan_node::server::Server;
use banyan_node::service::Service;
use banyan_node::settings::{Address, Entry, Member, Settings};
use banyan_node::storage::disk::SystemDisk;
use banyan_node::storage::lsm::LsmStores;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::client::{
    ANSWER_TIMEOUT, Client, ClientError, ConnectOptions, SubscribeOptions, message, user_properties,
};
use crate::common::ports::{ReservedPort, members, reserve};
use crate::common::wait;

/// Time for a cluster to become ready. Generous: debug builds on busy machines.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Both protocol versions.
pub const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3];

/// A node that serves until it is stopped or dropped. Clients must be declared after it, so that they go first.
pub struct Node {
    server: Option<Server>,
    runtime: Runtime,
    _data: TempDir,
    _peer_ports: Arc<[ReservedPort]>,
}

impl Node {
    /// A node alone, once it serves.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// A node alone with other settings.
    pub fn start_with(change: impl Fn(&mut Settings)) -> Self {
        let [node] = Self::cluster_with(change);
        node
    }

    /// Three nodes, once they serve.
    pub fn three() -> [Self; 3] {
        Self::cluster_with(|_| {})
    }

    /// A new cluster with other settings, once it serves.
    pub fn cluster_with<const N: usize>(change: impl Fn(&mut Settings)) -> [Self; N] {
        Self::cluster_on(change, |_| components())
    }

    /// A new cluster with other settings, once it serves; each node, by index, has its own components.
    pub fn cluster_on<const N: usize>(
        change: impl Fn(&mut Settings),
        components: impl Fn(usize) -> Components,
    ) -> [Self; N] {
        let ports = reserve(N);
        let nodes = std::array::from_fn(|at| Self::member(&ports, at, &change, components(at)));
        nodes.iter().for_each(Self::wait_until_ready);
        nodes
    }

    fn member(ports: &Arc<[ReservedPort]>, at: usize, change: &impl Fn(&mut Settings), components: Components) -> Self {
        show_log();
        let data = tempfile::tempdir().expect("a directory");
        let any_port = Address::parse("127.0.0.1:0").expect("an address");
        let members = members(ports);
        let Member { node_id, address: peer } = members[at].clone();
        let mut settings = Settings {
            mqtt: vec![any_port.clone()],
            http: vec![any_port],
            peer: peer.clone(),
            peer_advertise: peer,
            entry: Entry::Bootstrap(members),
            disk_reserve_bytes: 0,
            ..Settings::defaults(node_id, data.path())
        };
        change(&mut settings);
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime
            .block_on(Server::start(settings, components))
            .expect("the node starts");
        Self {
            server: Some(server),
            runtime,
            _data: data,
            _peer_ports: Arc::clone(ports),
        }
    }

    fn wait_until_ready(&self) {
        wait::until("ready node", READY_TIMEOUT, || self.service().is_ready().ok());
    }

    /// The node itself.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the node runs")
    }

    /// Its service.
    pub fn service(&self) -> &Service {
        self.server().service()
    }

    /// Where it serves MQTT.
    pub fn mqtt(&self) -> SocketAddr {
        self.server().mqtt_addresses()[0]
    }

    /// Stops it in order and returns when it is stopped.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    /// Begins to stop it and returns at once.
    pub fn begin_stop(&mut self) -> tokio::task::JoinHandle<()> {
        let server = self.server.take().expect("the node runs");
        self.runtime.spawn(server.stop())
    }

    /// Waits for what [`Self::begin_stop`] began.
    pub fn finish_stop(&mut self, stopping: tokio::task::JoinHandle<()>) {
        self.runtime.block_on(stopping).expect("the node stops");
    }

    /// A clean MQTT 5.0 session.
    pub fn client(&self, client_id: &str) -> Client {
        self.connect(&ConnectOptions::v5(client_id))
    }

    /// A clean MQTT 5.0 session with `annotate=on`.
    pub fn annotated(&self, client_id: &str) -> Client {
        self.connect(&ConnectOptions::v5(client_id).annotated())
    }

    /// A clean session of either version.
    pub fn client_of(&self, version: ProtocolVersion, client_id: &str) -> Client {
        self.connect(&ConnectOptions::new(version, client_id))
    }

    /// A session.
    pub fn connect(&self, options: &ConnectOptions) -> Client {
        Client::connect_soon(self.mqtt(), options)
    }

    /// `GET path`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("http://{}{path}", self.server().http_addresses()[0]);
        let mut answer = agent.get(url).call().expect("an answer");
        let body = answer.body_mut().read_to_string().expect("a body");
        (answer.status().as_u16(), body)
    }

    /// `PUT path`: status and body.
    #[allow(dead_code, reason = "the tests of alarms use it")]
    pub fn put(&self, path: &str, payload: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("http://{}{path}", self.server().http_addresses()[0]);
        let mut answer = agent.put(url).send(payload).expect("an answer");
        let body = answer.body_mut().read_to_string().expect("a body");
        (answer.status().as_u16(), body)
    }

    /// `DELETE path`: status.
    #[allow(dead_code, reason = "the tests of sessions use it")]
    pub fn delete(&self, path: &str) -> u16 {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("http://{}{path}", self.server().http_addresses()[0]);
        agent.delete(url).call().expect("an answer").status().as_u16()
    }

    /// Status of `GET /v1/topics/{topic}`.
    pub fn topic_status(&self, topic: &str) -> u16 {
        self.get(&format!("/v1/topics/{topic}")).0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a node takes from outside: the operating system's.
pub fn components() -> Components {
    Components {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        net: Arc::new(Tcp),
        disk: Arc::new(SystemDisk),
        stores: Arc::new(LsmStores),
        tombstone_bounds: TombstoneBounds::default(),
    }
}

/// With `BANYAN_TEST_LOG=debug` (or any `tracing` directives) the nodes' log lines are shown with the test's output.
fn show_log() {
    if let Ok(directives) = std::env::var("BANYAN_TEST_LOG") {
        let log = tracing_subscriber::fmt().with_env_filter(directives).with_test_writer();
        let _set_already = log.try_init();
    }
}

/// A retained message of QoS 1.
pub fn state(topic: &str, payload: impl AsRef<[u8]>) -> Publish {
    message(topic, payload, QoS::AtLeastOnce, true)
}

/// A message of QoS 1 that is not retained.
pub fn event(topic: &str, payload: impl AsRef<[u8]>) -> Publish {
    message(topic, payload, QoS::AtLeastOnce, false)
}

/// `publish` with user properties.
pub fn with_properties(mut publish: Publish, properties: &[(&str, &str)]) -> Publish {
    publish.metadata = user_properties(properties);
    publish
}

/// A SUBSCRIBE to several filters at QoS 1.
pub fn filters(filters: &[&str]) -> SubscribeOptions {
    let mut options = SubscribeOptions::new(filters[0]);
    let one = options.subscribe.filters[0].clone();
    options.subscribe.filters = filters
        .iter()
        .map(|filter| {
            let mut one = one.clone();
            one.filter = Bytes::copy_from_slice(filter.as_bytes());
            one
        })
        .collect();
    options
}

/// `options` with a Subscription Identifier.
pub fn with_id(mut options: SubscribeOptions, subscription_id: u32) -> SubscribeOptions {
    options.subscribe.subscription_id = Some(subscription_id);
    options
}

/// What a test asks of a connection, in one word each.
pub trait ClientExt {
    /// Publishes at QoS 1 and asserts PUBACK 0x00.
    fn put(&mut self, publish: Publish) -> Ack;
    /// Writes a retained message at QoS 1.
    fn write(&mut self, topic: &str, payload: &str) -> Ack {
        self.put(state(topic, payload))
    }
    /// Subscribes and asserts that every filter was granted.
    fn subscribed(&mut self, options: &SubscribeOptions) -> SubAck;
    /// Subscribes to one filter at QoS 1.
    fn follow(&mut self, filter: &str) -> SubAck {
        self.subscribed(&SubscribeOptions::new(filter))
    }
    /// Unsubscribes and gives the codes of UNSUBACK.
    fn unsubscribe(&mut self, filters: &[&str]) -> Vec<ReasonCode>;
    /// The next message.
    fn next(&mut self) -> Publish;
    /// Asserts that the next message is this one.
    #[track_caller]
    fn expect(&mut self, topic: &str, payload: &str) -> Publish;
    /// Waits for the DISCONNECT that ends the connection, whatever comes before it.
    fn end(&mut self) -> ClientError;
    /// Waits for the end of the connection and gives the code of its DISCONNECT.
    #[track_caller]
    fn end_reason(&mut self) -> ReasonCode {
        match self.end() {
            ClientError::Disconnected(disconnect) => disconnect.reason,
            error => panic!("no DISCONNECT: {error}"),
        }
    }
}

impl ClientExt for Client {
    fn put(&mut self, publish: Publish) -> Ack {
        let ack = self.publish(publish).expect("PUBACK");
        assert_eq!(ack.reason, ReasonCode::Success, "{:?}", ack.reason_string);
        ack
    }

    fn subscribed(&mut self, options: &SubscribeOptions) -> SubAck {
        let suback = self.subscribe(options).expect("SUBACK");
        assert!(
            suback.reasons.iter().all(|reason| !reason.is_failure()),
            "{:?} {:?}",
            suback.reasons,
            suback.reason_string
        );
        suback
    }

    fn unsubscribe(&mut self, filters: &[&str]) -> Vec<ReasonCode> {
        let packet_id = self.next_packet_id();
        let unsubscribe = Unsubscribe {
            packet_id,
            user_properties: Vec::new(),
            filters: filters
                .iter()
                .map(|filter| Bytes::copy_from_slice(filter.as_bytes()))
                .collect(),
        };
        self.send(&Packet::Unsubscribe(unsubscribe)).expect("UNSUBSCRIBE");
        self.await_packet(|packet| match packet {
            Packet::UnsubAck(unsuback) if unsuback.packet_id == packet_id => Some(unsuback.reasons.clone()),
            _ => None,
        })
        .expect("UNSUBACK")
    }

    fn next(&mut self) -> Publish {
        self.next_message(ANSWER_TIMEOUT).expect("a message")
    }

    fn expect(&mut self, topic: &str, payload: &str) -> Publish {
        let publish = self.next();
        assert_eq!(
            (topic_of(&publish).as_str(), payload_of(&publish).as_str()),
            (topic, payload)
        );
        publish
    }

    fn end(&mut self) -> ClientError {
        loop {
            match self.receive(ANSWER_TIMEOUT) {
                Ok(Packet::Disconnect(disconnect)) => return ClientError::Disconnected(Box::new(disconnect)),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}

/// SUBSCRIBE as a packet, for tests that do not wait for its answer.
pub fn subscribe_packet(options: &SubscribeOptions, packet_id: u16) -> Packet {
    let subscribe = Subscribe {
        packet_id,
        ..options.subscribe.clone()
    };
    Packet::Subscribe(Box::new(subscribe))
}

/// PUBACK of a message.
pub fn puback(publish: &Publish) -> Packet {
    Packet::PubAck(Ack {
        packet_id: publish.packet_id.expect("a message of QoS 1"),
        ..Ack::default()
    })
}

/// The topic as text.
pub fn topic_of(publish: &Publish) -> String {
    String::from_utf8(publish.topic.to_vec()).expect("a topic is UTF-8")
}

/// The payload as text.
pub fn payload_of(publish: &Publish) -> String {
    String::from_utf8_lossy(&publish.payload).into_owned()
}

/// A user property of a message as a number.
#[track_caller]
pub fn number(publish: &Publish, name: &str) -> u64 {
    let text = publish.metadata.user_property(name);
    text.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no number `{name}` in {publish:?}"))
}
