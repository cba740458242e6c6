//! How connections end, and what the client is told.

use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, ProtocolVersion};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{ANSWER_TIMEOUT, Client, ClientError, ConnectOptions};
use crate::common::cluster::Cluster;
use crate::support::{ClientExt, Node, VERSIONS, event, state};

/// A second connection of a client identifier ends the first with 0x8E [MQTT-3.1.4-3]; what was subscribed there is gone.
#[test]
fn takeover() {
    let node = Node::start();
    for version in VERSIONS {
        let mut older = node.client_of(version, "client");
        older.follow("#");
        let mut newer = node.client_of(version, "client");
        match (version, older.end()) {
            (ProtocolVersion::V5, ClientError::Disconnected(disconnect)) => {
                assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
            }
            (ProtocolVersion::V3, ClientError::Closed) => {}
            (_, error) => panic!("{error}"),
        }
        assert!(!newer.connack().session_present);
        newer.follow("newer");
        newer.put(event("other", "no"));
        newer.put(event("newer", "yes"));
        newer.expect("newer", "yes");
    }
    // Another identifier is another client, and an empty one is given a name [MQTT-3.1.3-6], [MQTT-3.2.2-16].
    let mut assigned = [node.client(""), node.client("")];
    let names = assigned
        .each_ref()
        .map(|client| client.connack().assigned_client_id.clone());
    assert!(names[0].is_some() && names[0] != names[1]);
    for client in &mut assigned {
        client.put(event("still", "here"));
    }
}

/// A node that stops acknowledges what it has taken, then says 0x8B; what it acknowledged is in the cluster, at every node.
#[test]
fn shutdown_acknowledges_what_was_sent() {
    const COUNT: usize = 200;
    let mut nodes = Node::three();
    let mut clients = VERSIONS.map(|version| nodes[0].client_of(version, &format!("{version:?}")));
    for (at, client) in clients.iter_mut().enumerate() {
        for count in 0..COUNT {
            let mut publish = state(&format!("s/{at}/{count}"), "x");
            publish.packet_id = Some(client.next_packet_id());
            client.queue(&Packet::Publish(Box::new(publish)));
        }
        client.flush().expect("sent");
    }
    let mut acknowledged = Vec::new();
    // The first answer shows that the node is at it.
    for (at, client) in clients.iter_mut().enumerate() {
        let packet = client.receive(ANSWER_TIMEOUT).expect("PUBACK");
        client.put_back(packet);
        assert!(at < 2);
    }
    let stopping = nodes[0].begin_stop();
    for (at, (version, client)) in VERSIONS.into_iter().zip(&mut clients).enumerate() {
        let mut count = 0;
        loop {
            match (version, client.receive(ANSWER_TIMEOUT)) {
                (_, Ok(Packet::PubAck(ack))) => {
                    assert_eq!(ack.reason, ReasonCode::Success);
                    acknowledged.push(format!("s/{at}/{count}"));
                    count += 1;
                }
                (ProtocolVersion::V5, Ok(Packet::Disconnect(disconnect))) => {
                    assert_eq!(disconnect.reason, ReasonCode::ServerShuttingDown);
                    break;
                }
                (ProtocolVersion::V3, Err(ClientError::Closed)) => break,
                (_, other) => panic!("{other:?}"),
            }
        }
    }
    nodes[0].finish_stop(stopping);
    for topic in &acknowledged {
        assert_eq!(nodes[1].topic_status(topic), 200, "{topic}");
    }
}

/// SIGTERM: a client is told 0x8B, the process ends with 0, and what was acknowledged is there after the next start.
#[test]
fn sigterm() {
    let cluster = Cluster::start(1, &[]);
    let mut client = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("client"));
    client.write("before", "x");
    cluster.terminate(0);
    assert_eq!(client.end_reason(), ReasonCode::ServerShuttingDown);
    assert!(cluster.wait_for_end(0).success());
    cluster.start_node(0);
    let mut client = Client::connect_soon(cluster.mqtt(0), &ConnectOptions::v5("client"));
    client.follow("before");
    client.expect("before", "x");
}

/// Silence for one and a half times the Keep Alive ends the connection [MQTT-3.1.2-22] with 0x8D.
/// Shows 3.1.1 [MQTT-3.1.2-24].
#[test]
fn keep_alive() {
    let node = Node::start();
    for version in VERSIONS {
        let mut options = ConnectOptions::new(version, "silent");
        options.connect.keep_alive_s = 1;
        let mut client = node.connect(&options);
        match (version, client.end()) {
            (ProtocolVersion::V5, ClientError::Disconnected(disconnect)) => {
                assert_eq!(disconnect.reason, ReasonCode::KeepAliveTimeout);
            }
            (ProtocolVersion::V3, ClientError::Closed) => {}
            (_, error) => panic!("{error}"),
        }
    }
    // PINGREQ is answered [MQTT-3.12.4-1].
    let mut client = node.client("pings");
    client.send(&Packet::PingReq).expect("sent");
    assert_eq!(client.receive(ANSWER_TIMEOUT).expect("PINGRESP"), Packet::PingResp);
}

/// A packet larger than the Maximum Packet Size of CONNACK ends the connection with 0x95 [MQTT-3.2.2-15]; one larger than
/// the client's own is not sent to it, and what follows is [MQTT-3.1.2-24], [MQTT-3.1.2-25].
#[test]
fn packets_too_large() {
    let node = Node::start_with(|settings| settings.packet_bytes_max = 64 * 1024);
    let mut small = ConnectOptions::v5("small");
    small.connect.maximum_packet_size = Some(1024);
    let mut small = node.connect(&small);
    small.follow("l/#");
    let mut client = node.client("client");
    assert_eq!(client.connack().maximum_packet_size, Some(64 * 1024));
    client.put(state("l/1", vec![b'x'; 2048]));
    client.put(event("l/2", "short"));
    small.expect("l/2", "short");
    client.put(state("l/1", vec![b'x'; 64 * 1024 - 100]));
    let largest = event("l/1", vec![b'x'; 64 * 1024]);
    assert!(
        matches!(client.publish(largest), Err(ClientError::Disconnected(disconnect))
        if disconnect.reason == ReasonCode::PacketTooLarge)
    );
}

/// More unacknowledged messages than Receive Maximum end the connection with 0x93 [MQTT-3.3.4-7]; a 3.1.1 client, which
/// cannot know it, is served at its pace.
#[test]
fn receive_maximum() {
    let node = Node::start_with(|settings| settings.receive_maximum = 2);
    let send_three = |client: &mut Client| {
        for count in 0..3 {
            let mut publish = state("r", format!("{count}"));
            publish.packet_id = Some(client.next_packet_id());
            client.queue(&Packet::Publish(Box::new(publish)));
        }
        client.flush().expect("sent");
    };
    let mut client = node.client("client");
    assert_eq!(client.connack().receive_maximum, Some(2));
    send_three(&mut client);
    assert_eq!(client.end_reason(), ReasonCode::ReceiveMaximumExceeded);

    let mut old = node.client_of(ProtocolVersion::V3, "old");
    send_three(&mut old);
    for packet_id in 1..=3 {
        match old.receive(ANSWER_TIMEOUT) {
            Ok(Packet::PubAck(ack)) => assert_eq!(ack.packet_id, packet_id), // [MQTT-4.6.0-2]
            other => panic!("{other:?}"),
        }
    }
}

/// What never finishes CONNECT, or begins with something else, is closed without a word [MQTT-3.1.0-1], [MQTT-3.14.0-1].
/// Shows 3.1.1 [MQTT-3.1.0-1].
#[test]
fn unfinished_connects() {
    let node = Node::start_with(|settings| settings.connect_timeout_ms = 200);
    let mut silent = Client::open(node.mqtt(), ProtocolVersion::V5).expect("a socket");
    assert!(matches!(
        silent.receive(Duration::from_secs(20)),
        Err(ClientError::Closed)
    ));
    let mut rude = Client::open(node.mqtt(), ProtocolVersion::V5).expect("a socket");
    rude.send(&Packet::PingReq).expect("sent");
    assert!(matches!(
        rude.receive(Duration::from_secs(20)),
        Err(ClientError::Closed)
    ));
}

/// A client that goes without DISCONNECT leaves nothing behind: its subscriptions are gone.
#[test]
fn a_lost_connection_is_forgotten() {
    let node = Node::start();
    let mut gone = node.client("gone");
    gone.follow("#");
    drop(gone);
    crate::common::wait::until("end of the connection", Duration::from_secs(20), || {
        (node.service().broker().client_count() == 0).then_some(())
    });
    let before = node.service().broker().delivered_count();
    let mut client = node.client("client");
    client.put(event("x", "y"));
    client.follow("fence");
    client.put(event("fence", ""));
    client.expect("fence", "");
    // Deliveries are counted before the subscriptions are let go of, so after this one it is told exactly.
    assert_eq!(node.service().broker().subscription_count(), 1);
    assert_eq!(node.service().broker().delivered_count(), before + 1);
}
