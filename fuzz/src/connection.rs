//! The connection: a client that sends anything, a cluster that answers in any order, time that passes.
//!
//! Input: form u8 | form 0: how the stream is cut u8, CONNECT, the stream | form 1: CONNECT, steps.
//!
//! What must hold:
//!
//! - No panic, nothing after Close, every question asked once.
//! - The pieces in which bytes arrive do not matter (form 0).
//! - What is held and what is sent is bounded, whatever the client sends.
//! - A client can read everything that is sent, and nothing is larger than its Maximum Packet Size.

mod steps;
mod stream;

use std::sync::Arc;

use banyan_core::mqtt::connection::ConnectionSettings;
use banyan_core::mqtt::encode;
use banyan_core::mqtt::packet::{Connect, Packet, ProtocolVersion};
use bytes::{Bytes, BytesMut};

use crate::choices::Choices;

const RECEIVE_MAXIMUM: u16 = 4;
const INFLIGHT_MAX: u16 = 3;
const SUBSCRIPTIONS_MAX: usize = 3;
const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3];
const USER_PROPERTIES: [(&str, &str); 14] = [
    ("k", "v"),
    ("timestamp", "12.5"),
    ("timestamp", "-1"),
    ("timestamp", "99999999999999999999"),
    ("if-absent", "on"),
    ("if-present", "on"),
    ("if-revision", "3"),
    ("if-revision", "x"),
    ("since", "1"),
    ("since", "x"),
    ("marker", "on"),
    ("consistency", "local"),
    ("annotate", "on"),
    ("annotate", "x"),
];

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.bool() {
        steps::run(&mut choices);
    } else {
        stream::run(&mut choices);
    }
}

fn settings() -> Arc<ConnectionSettings> {
    Arc::new(ConnectionSettings {
        receive_maximum: RECEIVE_MAXIMUM,
        inflight_count_max: INFLIGHT_MAX,
        pending_bytes_max: 64,
        subscriptions_max: SUBSCRIPTIONS_MAX,
        filters_per_packet_max: 3,
        ..ConnectionSettings::default()
    })
}

/// The bytes of a legal CONNECT, of one that is perhaps not, or none.
fn connect_bytes(choices: &mut Choices<'_>) -> BytesMut {
    let mut bytes = BytesMut::new();
    let form = choices.u8();
    if form >= 0xC0 {
        bytes.extend_from_slice(choices.bytes());
        return bytes;
    }
    let version = VERSIONS[usize::from(form & 1)];
    let flag = |bit: u8| form & 1 << bit != 0;
    let connect = Connect {
        version,
        clean_start: flag(1),
        keep_alive_s: if flag(2) { 10 } else { 0 },
        client_id: Bytes::from_static(if flag(3) { b"" } else { b"client" }),
        session_expiry_s: flag(4).then_some(60),
        receive_maximum: Some(2),
        maximum_packet_size: flag(5).then(|| 1 + u32::from(choices.u8())),
        topic_alias_maximum: Some(1),
        request_response_information: false,
        request_problem_information: !flag(1),
        user_properties: user_properties(choices),
        authentication_method: None,
        authentication_data: None,
        will: None,
        user_name: None,
        password: None,
    };
    encode(&Packet::Connect(Box::new(connect)), version, &mut bytes);
    bytes
}

fn user_properties(choices: &mut Choices<'_>) -> Vec<(Bytes, Bytes)> {
    let (name, value) = match choices.below(2 * USER_PROPERTIES.len()) {
        number if number < USER_PROPERTIES.len() => USER_PROPERTIES[number],
        _ => return Vec::new(),
    };
    vec![(Bytes::from(name), Bytes::from(value))]
}
