//! Random sequences of two publishers and a subscriber, as bytes, at two nodes of a cluster without sockets: everything is
//! that of a node but its tasks and Raft. The log is a list that each node applies at its own pace.
//!
//! Bytes arrive in any pieces or not at all; connections are lost, with or without the node's notice, left in order, and taken
//! over at the other node; commands come too late; the subscriber acknowledges when it likes, its window is small. Publishers
//! send again what was not acknowledged [MQTT-4.4.0-1]. In the end everyone connects and everything arrives.
//!
//! Asserted of what the clients see (the model is what [`publisher`] and [`subscriber`] keep of it):
//!
//! - Every message of QoS 1 and 2 arrives; of QoS 2 once, of QoS 1 as new at most as often as it was published, of QoS 0 once at
//!   most.
//! - Messages of a publisher arrive for the first time in its order [MQTT-4.6.0-5], and are sent again in the order in which
//!   they came [MQTT-4.6.0-1].
//! - What is not acknowledged is sent again under its packet identifier and with DUP, and nothing else under it
//!   [MQTT-4.4.0-1], [MQTT-3.3.1-1]; nothing is sent twice on a connection.
//! - Never more is unacknowledged than the client's Receive Maximum [MQTT-3.3.4-9].
//! - PUBACK, PUBREC and PUBCOMP come in the order of what they answer [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4], once each.
//! - The session is present whenever there was one, and nothing comes behind DISCONNECT.
//! - In the end no session holds a packet identifier, and connections that were taken over are closed.
//!
//! ```sh
//! BANYAN_SEQUENCES=100000 cargo test --profile sim -p banyan-node --test three_parties
//! ```
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `BANYAN_SEQUENCES` | sequences | 256 |

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod link;
mod publisher;
mod subscriber;

use std::cell::RefCell;
use std::time::Duration;

use banyan_core::mqtt::packet::{Connect, Packet, ProtocolVersion, QoS};
use banyan_core::mqtt::{DecodeLimits, encode};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use cluster::{Cluster, Question};
use common::number_from_environment;
use link::Link;
use publisher::Publisher;
use subscriber::Subscriber;

/// QoS 1 and 2 messages that a client may have unacknowledged, in either direction.
const RECEIVE_MAXIMUM: u16 = 3;
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// How long acknowledgements may wait for company.
const ACK_DELAY: Duration = Duration::from_millis(100);
/// Rounds after which everything must have arrived.
const ROUNDS_MAX: usize = 300;

/// A client: the publishers, then the subscriber.
type ClientId = usize;
const PUBLISHERS: [ClientId; 2] = [0, 1];
const SUBSCRIBER: ClientId = 2;
const CLIENTS: usize = 3;
const CLIENT_IDS: [&str; CLIENTS] = ["first", "second", "subscriber"];

/// Names a message: its publisher and its number there.
type Name = (ClientId, u32);

/// How a client leaves its connection.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// Its bytes are lost, and the node does not know.
    Unnoticed,
    /// Its bytes are lost, and the node knows.
    Noticed,
    /// With DISCONNECT.
    InOrder,
}

#[derive(Debug, Clone)]
enum Step {
    Publish {
        publisher: ClientId,
        qos: QoS,
    },
    Acknowledge {
        count: usize,
    },
    ToServer {
        client: ClientId,
        bytes: usize,
    },
    ToClient {
        client: ClientId,
        bytes: usize,
    },
    Turn {
        client: ClientId,
    },
    Commit {
        node: usize,
        late: bool,
    },
    Apply {
        node: usize,
        entries: usize,
    },
    Dispatch {
        node: usize,
    },
    Feed {
        node: usize,
    },
    Trim,
    Leave {
        client: ClientId,
        leaving: Leaving,
    },
    /// Unless it has a connection and does not take over.
    Connect {
        client: ClientId,
        node: usize,
        takes_over: bool,
    },
    /// Everything arrives and is carried out, but for acknowledgements of the subscriber.
    Round,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let node = || 0..2_usize;
    let bytes = || prop_oneof![1 => 1..30_usize, 2 => Just(usize::MAX)];
    let leaving = prop_oneof![Just(Leaving::Unnoticed), Just(Leaving::Noticed), Just(Leaving::InOrder)];
    prop_oneof![
        12 => (prop::sample::select(&PUBLISHERS[..]), prop::sample::select(&QOS[..]))
            .prop_map(|(publisher, qos)| Step::Publish { publisher, qos }),
        10 => (1..4_usize).prop_map(|count| Step::Acknowledge { count }),
        14 => (client(), bytes()).prop_map(|(client, bytes)| Step::ToServer { client, bytes }),
        14 => (client(), bytes()).prop_map(|(client, bytes)| Step::ToClient { client, bytes }),
        8 => client().prop_map(|client| Step::Turn { client }),
        10 => (node(), prop::bool::weighted(0.04)).prop_map(|(node, late)| Step::Commit { node, late }),
        12 => (node(), 1..4_usize).prop_map(|(node, entries)| Step::Apply { node, entries }),
        7 => node().prop_map(|node| Step::Dispatch { node }),
        5 => node().prop_map(|node| Step::Feed { node }),
        1 => Just(Step::Trim),
        2 => (client(), leaving).prop_map(|(client, leaving)| Step::Leave { client, leaving }),
        8 => (client(), node(), prop::bool::weighted(0.15))
            .prop_map(|(client, node, takes_over)| Step::Connect { client, node, takes_over }),
        14 => Just(Step::Round),
        1 => Just(Step::Wait),
    ]
}

/// A client's end of its connection, whatever it does there.
struct Wire {
    client_id: &'static str,
    version: ProtocolVersion,
    /// Its connection, while it keeps it.
    link: Option<usize>,
    is_connected: bool,
    inbox: BytesMut,
    has_session: bool,
}

impl Wire {
    fn new(client_id: &'static str, version: ProtocolVersion) -> Self {
        Self {
            client_id,
            version,
            link: None,
            is_connected: false,
            inbox: BytesMut::new(),
            has_session: false,
        }
    }

    fn connect_packet(&self) -> Packet {
        Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: false,
            keep_alive_s: 0,
            client_id: Bytes::from_static(self.client_id.as_bytes()),
            session_expiry_s: Some(3600),
            receive_maximum: Some(RECEIVE_MAXIMUM),
            maximum_packet_size: None,
            topic_alias_maximum: Some(1),
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
            will: None,
            user_name: None,
            password: None,
        }))
    }

    fn forget(&mut self) {
        self.link = None;
        self.is_connected = false;
        self.inbox.clear();
    }

    /// Takes the next packet off the inbox.
    fn read(&mut self) -> Option<Packet> {
        let limits = DecodeLimits {
            packet_bytes_max: u32::MAX,
        };
        banyan_core::mqtt::decode_as_client(&mut self.inbox, self.version, &limits).expect("readable")
    }
}

struct World {
    cluster: Cluster,
    links: Vec<Link>,
    publishers: [Publisher; 2],
    subscriber: Subscriber,
}

impl World {
    fn new(versions: [ProtocolVersion; 2]) -> Self {
        let [first, second, third] = CLIENT_IDS;
        let mut world = Self {
            cluster: Cluster::new(),
            links: Vec::new(),
            publishers: [
                Publisher::new(0, Wire::new(first, versions[0])),
                Publisher::new(1, Wire::new(second, versions[1])),
            ],
            subscriber: Subscriber::new(Wire::new(third, ProtocolVersion::V5)),
        };
        // What is published before there is a subscription is not for it.
        for client in 0..CLIENTS {
            world.connect(client, client % 2);
        }
        world
    }

    fn wire(&mut self, client: ClientId) -> &mut Wire {
        match client {
            SUBSCRIBER => &mut self.subscriber.wire,
            publisher => &mut self.publishers[publisher].wire,
        }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { publisher, qos } => {
                let packet = self.publishers[publisher].publish(qos);
                self.send(publisher, packet);
            }
            Step::Acknowledge { count } => self.acknowledge(count),
            Step::ToServer { client, bytes } => self.carry_to_server(client, bytes),
            Step::ToClient { client, bytes } => self.carry_to_client(client, bytes),
            Step::Turn { client } => {
                if let Some(link) = self.wire(client).link {
                    self.turn(link);
                }
            }
            Step::Commit { node, late } => self.cluster.commit(node, late),
            Step::Apply { node, entries } => (0..entries).for_each(|_| self.apply(node)),
            Step::Dispatch { node } => self.cluster.dispatch(node).await,
            Step::Feed { node } => self.cluster.feed(node),
            Step::Trim => self.cluster.trim(),
            Step::Leave { client, leaving } => self.leave(client, leaving),
            Step::Connect {
                client,
                node,
                takes_over,
            } => {
                if takes_over || self.wire(client).link.is_none() {
                    self.connect(client, node);
                }
            }
            Step::Round => self.round().await,
            Step::Wait => tokio::time::advance(ACK_DELAY).await,
        }
    }

    /// A client connects, whatever becomes of its former connection: what is on its way there is lost.
    fn connect(&mut self, client: ClientId, node: usize) {
        if let Some(former) = self.wire(client).link {
            self.links[former].to_server.clear();
        }
        let number = self.links.len();
        self.links.push(Link::new(number, node));
        match client {
            SUBSCRIBER => self.subscriber.begin(),
            publisher => self.publishers[publisher].begin(),
        }
        let wire = self.wire(client);
        wire.forget();
        wire.link = Some(number);
        let packet = wire.connect_packet();
        self.send(client, Some(packet));
    }

    fn leave(&mut self, client: ClientId, leaving: Leaving) {
        let Some(number) = self.wire(client).link else { return };
        let link = &mut self.links[number];
        match leaving {
            Leaving::Unnoticed => link.to_server.clear(),
            Leaving::Noticed => {
                link.to_server.clear();
                link.lost(&mut self.cluster);
            }
            Leaving::InOrder => {
                let packet = Packet::Disconnect(Default::default());
                self.send(client, Some(packet));
                self.carry_to_server(client, usize::MAX);
            }
        }
        self.wire(client).forget();
    }

    /// Puts packets on the client's wire, if it has one.
    fn send(&mut self, client: ClientId, packets: impl IntoIterator<Item = Packet>) {
        let wire = self.wire(client);
        let (link, version) = (wire.link, wire.version);
        for packet in packets {
            let number = link.expect("a client that sends has a connection");
            encode(&packet, version, &mut self.links[number].to_server);
        }
    }

    fn acknowledge(&mut self, count: usize) {
        if self.subscriber.wire.is_connected {
            let packets = self.subscriber.acknowledge(count);
            self.send(SUBSCRIBER, packets);
        }
    }

    fn carry_to_server(&mut self, client: ClientId, bytes: usize) {
        if let Some(number) = self.wire(client).link {
            self.links[number].arrive(bytes);
            self.turn(number);
        }
    }

    fn carry_to_client(&mut self, client: ClientId, bytes: usize) {
        let Some(number) = self.wire(client).link else { return };
        let link = &mut self.links[number];
        let bytes = link.to_client.split_to(bytes.min(link.to_client.len()));
        let is_over = link.is_over() && link.to_client.is_empty();
        self.wire(client).inbox.extend_from_slice(&bytes);
        let mut answers = Vec::new();
        match client {
            SUBSCRIBER => self.subscriber.read(&mut answers),
            publisher => self.publishers[publisher].read(&mut answers),
        }
        if self.wire(client).link.is_none() {
            return;
        }
        self.send(client, answers);
        if is_over {
            assert!(
                self.wire(client).inbox.is_empty(),
                "the connection ends within a packet"
            );
            self.wire(client).forget();
        }
    }

    fn turn(&mut self, number: usize) {
        self.links[number].turn(&mut self.cluster);
    }

    /// A node applies the next entry, and answers those who have asked there.
    fn apply(&mut self, node: usize) {
        for (Question { link, token }, outcome) in self.cluster.apply(node) {
            self.links[link].answered(token, outcome, &mut self.cluster);
            self.turn(link);
        }
    }

    async fn round(&mut self) {
        for client in 0..CLIENTS {
            self.carry_to_server(client, usize::MAX);
            self.carry_to_client(client, usize::MAX);
        }
        for node in 0..2 {
            self.cluster.commit(node, false);
            while !self.cluster.has_applied_all(node) {
                self.apply(node);
            }
            self.cluster.dispatch(node).await;
            self.cluster.feed(node);
        }
        for number in 0..self.links.len() {
            self.turn(number);
        }
    }

    /// Everyone connects, and everything arrives.
    async fn settle(&mut self) {
        for round in 0..ROUNDS_MAX {
            for client in 0..CLIENTS {
                if self.wire(client).link.is_none() {
                    self.connect(client, round % 2);
                }
            }
            self.round().await;
            self.acknowledge(usize::MAX);
            self.round().await;
            if self.is_settled() {
                return;
            }
            tokio::time::advance(ACK_DELAY).await;
        }
        panic!(
            "not everything has arrived: {:?}, {:?}",
            self.publishers, self.subscriber
        );
    }

    fn is_settled(&mut self) -> bool {
        let is_connected = (0..CLIENTS).all(|client| self.wire(client).is_connected);
        let is_quiet = self.links.iter().all(Link::is_quiet) && self.cluster.is_quiet();
        let published = self.publishers.iter().all(Publisher::is_done);
        let is_complete = || {
            let mut messages = self.publishers.iter().flat_map(Publisher::promised);
            messages.all(|(name, _)| self.subscriber.times(name) > 0)
        };
        let holds_nothing = || {
            let sessions = CLIENT_IDS.map(|client_id| self.cluster.session(client_id));
            sessions
                .iter()
                .all(|session| session.in_flight.is_empty() && session.inbound.is_empty())
        };
        is_connected && is_quiet && published && self.subscriber.is_done() && is_complete() && holds_nothing()
    }

    /// What must hold once everything has arrived.
    fn check(&mut self) {
        for (name, sent) in self.publishers.iter().flat_map(Publisher::promised) {
            assert!(self.subscriber.times(name) <= sent, "{name:?}");
        }
        let kept: Vec<_> = (0..CLIENTS).filter_map(|client| self.wire(client).link).collect();
        for (number, link) in self.links.iter().enumerate().filter(|(_, link)| !link.is_unknown()) {
            assert_eq!(link.is_over(), !kept.contains(&number), "connection {number}");
        }
    }
}

/// What sequences have made happen: a test in which nothing does shows nothing.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// Of QoS 1 and 2.
    published: usize,
    /// QoS 1 and 2, by the publishers once more.
    published_again: usize,
    received: usize,
    /// To the subscriber once more.
    received_again: usize,
}

impl Seen {
    fn add(&mut self, world: &World) {
        let promised = || world.publishers.iter().flat_map(Publisher::promised);
        let sent: usize = promised().map(|(_, times)| times).sum();
        self.connections += world.links.len();
        self.published += promised().count();
        self.published_again += sent - promised().count();
        self.received += world.subscriber.received_count();
        self.received_again += world.subscriber.again_count();
    }
}

async fn run(versions: [ProtocolVersion; 2], steps: &[Step]) -> World {
    let mut world = World::new(versions);
    world.settle().await;
    for step in steps {
        world.step(step).await;
    }
    world.settle().await;
    world.check();
    world
}

/// See the head of this file.
#[test]
fn three_parties_agree_with_the_model_of_a_session() {
    let version = prop_oneof![Just(ProtocolVersion::V5), Just(ProtocolVersion::V3)];
    let sequence = ([version.clone(), version], prop::collection::vec(step(), 1..160));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: number_from_environment("BANYAN_SEQUENCES", 256) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let seen = RefCell::new(Seen::default());
    let result = runner.run(&sequence, |(versions, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let world = runtime.block_on(run(versions, &steps));
        seen.borrow_mut().add(&world);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    println!("{seen:?}");
    assert!(seen.published_again > 0 && seen.received_again > 0);
}
