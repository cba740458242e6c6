//! Persistent sessions over real sockets: on one node, on three, and when nodes die.
//!
//! | module | about |
//! |---|---|
//! | [`lifecycle`] | taken over, begun anew, expired, kicked |
//! | [`offline`] | what comes to who was away: order, options, `deliver=latest`, expiry, gaps |
//! | [`failover`] | nodes killed and started again |
//! | [`retained`] | retained messages of a session |
//! | [`shared`] | shared subscriptions over three nodes |
//! | [`slow`] | connected, and too slow |
//! | [`wills`] | when a will is published, and when not |
#![allow(
    clippy::disallowed_methods,
    reason = "the clients are threads with sockets: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../mqtt/support.rs"]
#[allow(dead_code, reason = "these tests need less of it than those of MQTT itself")]
mod support;

mod failover;
mod lifecycle;
mod offline;
mod retained;
mod shared;
mod slow;
mod wills;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use banyan_api::session::Session;
use banyan_core::mqtt::packet::{Disconnect, Packet, Publish};
use banyan_core::mqtt::reason::ReasonCode;
use common::client::{ANSWER_TIMEOUT, Client, ClientError, ConnectOptions};
use common::wait::until;
use support::Node;

/// Long enough for a message that must not come.
const SILENCE: Duration = Duration::from_millis(700);

/// Tests that kill processes have whole clusters, and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CONNECT of a session that outlives its connection.
fn session(client_id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::v5(client_id);
    options.connect.clean_start = false;
    options.connect.session_expiry_s = Some(3_600);
    options
}

/// Connects as soon as the cluster takes clients, and asserts whether the session was there.
#[track_caller]
fn resume(address: SocketAddr, options: &ConnectOptions, present: bool) -> Client {
    let client = Client::connect_soon(address, options);
    assert_eq!(client.connack().session_present, present, "Session Present");
    client
}

/// The session as the cluster has it, once it is `as_awaited`: acknowledgements and DISCONNECT reach the state a little later
/// than the node.
#[track_caller]
fn session_once(node: &Node, client_id: &str, as_awaited: impl Fn(&Session) -> bool) -> Session {
    until(&format!("session {client_id} as awaited"), ANSWER_TIMEOUT, || {
        let (status, body) = node.get(&format!("/v1/sessions/{client_id}"));
        let session = (status == 200).then(|| serde_json::from_str(&body).expect("a session"));
        session.filter(&as_awaited)
    })
}

/// Waits until the cluster has no such session any more.
#[track_caller]
fn wait_until_gone(node: &Node, client_id: &str) {
    until(&format!("end of session {client_id}"), ANSWER_TIMEOUT, || {
        let (status, _) = node.get(&format!("/v1/sessions/{client_id}"));
        (status == 404).then_some(())
    });
}

/// DISCONNECT, and waits until the cluster knows.
#[track_caller]
fn go_away(client: Client, node: &Node, client_id: &str) {
    client.disconnect();
    session_once(node, client_id, |session| !session.connected);
}

/// Closes the socket without DISCONNECT.
fn lose(client: Client) {
    drop(client);
}

/// DISCONNECT with a code and maybe a new session expiry.
fn leave(mut client: Client, reason: ReasonCode, session_expiry_s: Option<u32>) {
    let disconnect = Disconnect {
        reason,
        session_expiry_s,
        ..Disconnect::default()
    };
    client.send(&Packet::Disconnect(disconnect)).expect("DISCONNECT");
}

/// The next PUBLISH, not acknowledged.
#[track_caller]
fn next_unacknowledged(client: &mut Client) -> Publish {
    loop {
        match client.receive(ANSWER_TIMEOUT).expect("a packet") {
            Packet::Publish(publish) => return *publish,
            Packet::Disconnect(disconnect) => panic!("{disconnect:?}"),
            _ => {}
        }
    }
}

/// Asserts that no message comes.
#[track_caller]
fn expect_silence(client: &mut Client) {
    match client.next_message(SILENCE) {
        Err(ClientError::Timeout) => {}
        Err(error) => panic!("{error}"),
        Ok(publish) => panic!("a message: {publish:?}"),
    }
}
