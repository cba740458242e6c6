//! Listeners over real sockets: TLS, WebSocket, the PROXY protocol, and mutual TLS between nodes.
//!
//! | module | about |
//! |---|---|
//! | [`tls`] | versions, protocols, clients' certificates, new certificates without a restart |
//! | [`websocket`] | MQTT over WebSocket, with and without TLS |
//! | [`proxy`] | for whom a load balancer opened a connection |
//! | [`peers`] | nodes that prove to each other that they are nodes |
//! | [`certificates`] | an authority that lasts as long as its test |
//! | [`tunnel`] | local ports that lead through TLS or a WebSocket, for clients that speak neither |
#![allow(
    clippy::disallowed_methods,
    reason = "the clients are threads with sockets: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "shared with the tests of MQTT")]
#[path = "../mqtt/support.rs"]
mod support;

mod certificates;
mod peers;
mod proxy;
mod tls;
mod tunnel;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use banyan_core::mqtt::packet::{ProtocolVersion, QoS};

use crate::common::client::{Client, ConnectOptions, SubscribeOptions, message};

/// What every way to a node must carry: a small and a large message, there and back, in either version.
fn exercise(address: SocketAddr) {
    for version in [ProtocolVersion::V5, ProtocolVersion::V3] {
        let mut client = Client::connect_soon(address, &ConnectOptions::new(version, "exercise"));
        client.subscribe(&SubscribeOptions::new("way/#")).expect("SUBACK");
        for payload in [vec![b'x'; 9], vec![b'y'; 700_000]] {
            client
                .publish(message("way/there", &payload, QoS::AtLeastOnce, false))
                .expect("PUBACK");
            let back = client.next_message(Duration::from_secs(20)).expect("a message");
            assert!(back.payload == payload, "{} bytes came back", back.payload.len());
        }
        client.disconnect();
    }
}

/// Shows [MQTT-4.2.0-1]; 3.1.1 [MQTT-7.1.1-1].
#[test]
fn a_kind_may_have_several_listeners() {
    let node = support::Node::start_with(|settings| {
        let any_port = settings.mqtt[0].clone();
        settings.mqtt.push(any_port);
    });
    let addresses = node.server().mqtt_addresses();
    assert_eq!(addresses.len(), 2);
    addresses.iter().copied().for_each(exercise);
}
