//! Statements of MQTT 5.0 and 3.1.1 over real sockets, those that no other test has. `docs/mqtt5-coverage.toml` has them all.
//!
//! | module | about |
//! |---|---|
//! | [`connect`] | CONNECT, CONNACK, wills, the sessions of 3.1.1, clients of 3.1 |
//! | [`publish`] | from the client: answers, identifiers, aliases, QoS 2 |
//! | [`subscribe`] | SUBSCRIBE, UNSUBSCRIBE, shared subscriptions |
//! | [`delivery`] | to the client: QoS, RETAIN, windows, expiry, resuming |
//! | [`errors`] | what is refused, with which bytes, and that the client can read them |
//! | [`status`] | `$SYS` topics |
#![allow(
    clippy::disallowed_methods,
    reason = "the clients are threads with sockets: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../mqtt/support.rs"]
#[allow(dead_code, reason = "these tests need less of it than those of MQTT itself")]
mod support;

mod connect;
mod delivery;
mod errors;
mod publish;
mod status;
mod subscribe;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use banyan_core::mqtt::packet::{Ack, Packet, Publish, QoS};

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions, SubscribeOptions};

/// What is read of a connection that is closed without a word.
const NOTHING: [u8; 0] = [];

/// A socket without any MQTT of its own.
struct Raw(TcpStream);

impl Raw {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket option");
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// The next packet, byte by byte. Those here have fewer than 128 bytes.
    fn packet(&mut self) -> Vec<u8> {
        let mut header = [0; 2];
        self.0.read_exact(&mut header).expect("a packet");
        assert!(header[1] < 128, "{header:?}");
        let mut packet = vec![0; usize::from(header[1])];
        self.0.read_exact(&mut packet).expect("all of the packet");
        [&header[..], &packet].concat()
    }

    /// Everything until the node has closed, which it must do in order: a reset is an error.
    fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("the end of the connection");
        rest
    }
}

/// Bytes of a field with its length.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A packet of fewer than 128 bytes.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

/// CONNECT with these flags and without properties, keep alive 60 s.
fn connect_bytes(level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = [&field("MQTT")[..], &[level, flags, 0, 60]].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    framed(0x10, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of `packet_id`, without more.
fn ack(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

/// The next packet.
#[track_caller]
fn receive(client: &mut Client) -> Packet {
    client.receive(ANSWER_TIMEOUT).expect("a packet")
}

/// Waits for this very packet. What comes before it is kept for later.
#[track_caller]
fn await_exactly(client: &mut Client, packet: &Packet) {
    let mut others = Vec::new();
    loop {
        match receive(client) {
            Packet::Disconnect(disconnect) => panic!("{disconnect:?} instead of {packet:?}"),
            received if received == *packet => break,
            other => others.push(other),
        }
    }
    others.into_iter().rev().for_each(|other| client.put_back(other));
}

/// The next message, not acknowledged.
#[track_caller]
fn next_unacknowledged(client: &mut Client) -> Publish {
    match receive(client) {
        Packet::Publish(publish) => *publish,
        other => panic!("{other:?} instead of a message"),
    }
}

/// The next message, with the whole exchange that its QoS asks for.
#[track_caller]
fn take(client: &mut Client) -> Publish {
    let publish = next_unacknowledged(client);
    match (publish.qos, publish.packet_id) {
        (QoS::AtMostOnce, _) => {}
        (QoS::AtLeastOnce, Some(packet_id)) => client.send(&Packet::PubAck(ack(packet_id))).expect("sent"),
        (QoS::ExactlyOnce, Some(packet_id)) => {
            client.send(&Packet::PubRec(ack(packet_id))).expect("sent");
            await_exactly(client, &Packet::PubRel(ack(packet_id)));
            client.send(&Packet::PubComp(ack(packet_id))).expect("sent");
        }
        (qos, None) => panic!("{qos:?} without a packet identifier"),
    }
    publish
}

/// Publishes with the whole exchange that the QoS asks for.
#[track_caller]
fn send(client: &mut Client, mut publish: Publish) {
    if publish.qos != QoS::ExactlyOnce {
        return match publish.qos {
            QoS::AtMostOnce => client.publish_unacknowledged(publish).expect("sent"),
            _ => drop(client.publish(publish).expect("PUBACK")),
        };
    }
    let packet_id = client.next_packet_id();
    publish.packet_id = Some(packet_id);
    client.send(&Packet::Publish(Box::new(publish))).expect("sent");
    await_exactly(client, &Packet::PubRec(ack(packet_id)));
    client.send(&Packet::PubRel(ack(packet_id))).expect("sent");
    await_exactly(client, &Packet::PubComp(ack(packet_id)));
}

/// One filter at a QoS.
fn at(filter: &str, qos: QoS) -> SubscribeOptions {
    SubscribeOptions::new(filter).each_filter(|filter| filter.qos = qos)
}

/// A session that outlives its connection, in either version.
fn kept(mut options: ConnectOptions) -> ConnectOptions {
    use banyan_core::mqtt::packet::ProtocolVersion;
    options.connect.clean_start = false;
    options.connect.session_expiry_s = (options.connect.version == ProtocolVersion::V5).then_some(600);
    options
}
