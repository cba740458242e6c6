//! The connection: a client that sends anything, a cluster that answers in any order, time that passes.
//!
//! Input: form u8 | form 0: how the stream is cut u8, CONNECT, the stream | form 1: CONNECT, steps.
//!
//! What must hold:
//!
//! - No panic, nothing after Close, every question asked once.
//! - The pieces in which bytes arrive do not matter (form 0).
//! - What is held and what is sent is bounded, whatever the client sends.
//! - A QoS 2 message is proposed once until it is released or refused, and none is sent again behind its PUBREC.
//! - A client can read everything that is sent, and nothing is larger than its Maximum Packet Size.

mod steps;
mod stream;

use std::sync::Arc;

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::connection::{ConnectionSettings, InFlight, RegisterResult, Registered, Resumed};
use banyan_core::mqtt::encode;
use banyan_core::mqtt::packet::{Connect, Packet, ProtocolVersion, QoS, Will};
use bytes::{Bytes, BytesMut};

use crate::choices::Choices;

const RECEIVE_MAXIMUM: u16 = 4;
const INFLIGHT_MAX: u16 = 3;
const SUBSCRIPTIONS_MAX: usize = 3;
const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V3];
const USER_PROPERTIES: [(&str, &str); 16] = [
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
    ("deliver", "latest"),
    ("deliver", "x"),
    ("annotate", "on"),
    ("annotate", "x"),
];

const WILL_TOPICS: [&str; 4] = ["a", "a/+", "$SYS/x", ""];
/// Goes into every command.
const FENCE: u64 = 7;

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

/// A session: a new one of the connection alone, one that outlives it, or one that exists.
fn registered(form: u8) -> RegisterResult {
    let in_flight = |packet_id, qos, received| InFlight {
        packet_id,
        qos,
        received,
    };
    let resumed = Resumed {
        subscriptions: Vec::new(),
        inbound: [1, 9].into(),
        in_flight: vec![
            in_flight(2, QoS::AtLeastOnce, false),
            in_flight(3, QoS::ExactlyOnce, true),
            in_flight(4, QoS::ExactlyOnce, false),
        ],
    };
    RegisterResult::Registered(Registered {
        fence: FENCE,
        replicated: !form.is_multiple_of(3),
        resumed: (form % 3 > 1).then_some(resumed),
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
        will: (flag(4) && flag(5)).then(|| Will {
            topic: Bytes::from_static(WILL_TOPICS[usize::from(form) % WILL_TOPICS.len()].as_bytes()),
            payload: Bytes::from_static(b"gone"),
            qos: QoS::ExactlyOnce,
            retain: flag(1),
            delay_s: 5,
            message_expiry_s: None,
            metadata: Metadata::empty(),
        }),
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
