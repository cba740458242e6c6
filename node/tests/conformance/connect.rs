//! CONNECT and CONNACK, wills, sessions of 3.1.1, and clients of 3.1.

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::{Packet, ProtocolVersion, QoS, Will};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;

use crate::common::client::{ANSWER_TIMEOUT, Client, ClientError, ConnectOptions, message};
use crate::support::{ClientExt, Node, VERSIONS, event, payload_of, state};
use crate::{NOTHING, Raw, connect_bytes, field, kept, next_unacknowledged, receive, take};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V3: ProtocolVersion = ProtocolVersion::V3;

/// What a client reads that asked for nothing, to the last byte: no reserved flag, no property that was not asked for, and no
/// authentication method. It comes first.
/// Shows [MQTT-3.2.2-1], [MQTT-4.12.0-6]; 3.1.1 [MQTT-3.2.0-1].
#[test]
fn connack_byte_by_byte() {
    let node = Node::start();
    let connack_of = |level| {
        let mut raw = Raw::open(node.mqtt());
        raw.send(&connect_bytes(level, 0b0000_0010, &field("c")));
        raw.packet()
    };
    let properties = [0x21, 4, 0, 0x27, 0, 0x10, 0, 0, 0x22, 0, 16];
    assert_eq!(connack_of(5), [&[0x20, 14, 0, 0, 11][..], &properties].concat());
    assert_eq!(connack_of(4), [0x20, 2, 0, 0]);
}

/// Client identifier, will, user name and password, in this order.
/// Shows [MQTT-3.1.2-9], [MQTT-3.1.2-17], [MQTT-3.1.2-19], [MQTT-3.1.3-1]; 3.1.1 [MQTT-3.1.2-9], [MQTT-3.1.2-19],
/// [MQTT-3.1.2-21], [MQTT-3.1.3-1].
#[test]
fn all_fields_of_the_payload_in_their_order() {
    let node = Node::start();
    let mut witness = node.client("witness");
    witness.follow("will/+");
    for level in [5, 4] {
        let mut payload = field(format!("client-{level}"));
        if level == 5 {
            payload.extend([4, 0x03, 0, 1, b't']); // content type
        }
        payload.extend([field("will/topic"), field("gone"), field("name"), field([0, 0xFF])].concat());
        let mut raw = Raw::open(node.mqtt());
        raw.send(&connect_bytes(level, 0b1100_1110, &payload));
        assert_eq!(raw.packet()[..4][2..], [0, 0], "CONNACK 0x00");
        drop(raw);
        let will = witness.expect("will/topic", "gone");
        assert_eq!(will.metadata.content_type(), (level == 5).then_some("t"));
        assert_eq!(will.qos, QoS::AtLeastOnce);
    }
}

/// Fields whose flag is 0 do not belong to CONNECT: it is longer than it says.
/// Shows [MQTT-3.1.2-18]; 3.1.1 [MQTT-3.1.2-11], [MQTT-3.1.2-18], [MQTT-3.1.2-20].
#[test]
fn fields_without_their_flags_are_refused() {
    let node = Node::start();
    let id = field("c");
    for (what, flags, more) in [
        ("user name", 0b0000_0010, field("name")),
        ("password", 0b1000_0010, [field("name"), field("word")].concat()),
        ("will", 0b0000_0010, [field("topic"), field("gone")].concat()),
    ] {
        let payload = [id.clone(), more].concat();
        let mut raw = Raw::open(node.mqtt());
        raw.send(&connect_bytes(4, flags, &payload));
        assert_eq!(raw.rest(), NOTHING, "{what}: 3.1.1 is closed without CONNACK");
        let mut raw = Raw::open(node.mqtt());
        raw.send(&connect_bytes(5, flags, &payload));
        let rest = raw.rest();
        assert_eq!((rest[0], rest[2], rest[3]), (0x20, 0, 0x81), "{what}");
    }
}

/// A will is what it says of RETAIN; none comes of a client that has none, or that leaves in order.
/// Shows [MQTT-3.1.2-14], [MQTT-3.1.2-15]; 3.1.1 [MQTT-3.1.2-8], [MQTT-3.1.2-10], [MQTT-3.1.2-12], [MQTT-3.1.2-16],
/// [MQTT-3.1.2-17], [MQTT-3.14.4-3].
#[test]
fn a_will_is_retained_if_it_says_so() {
    let node = Node::start();
    let mut witness = node.client("witness");
    witness.follow("will/#");
    for version in VERSIONS {
        let connect = |client_id: &str, retain: Option<bool>| {
            let topic = format!("will/{client_id}/{version:?}");
            let mut options = ConnectOptions::new(version, client_id);
            options.connect.will = retain.map(|retain| Will {
                topic: Bytes::from(topic),
                payload: Bytes::from_static(b"gone"),
                qos: QoS::AtLeastOnce,
                retain,
                delay_s: 0,
                message_expiry_s: None,
                metadata: Metadata::empty(),
            });
            node.connect(&options)
        };
        drop(connect("none", None));
        connect("leaves", Some(true)).disconnect();
        for (client_id, retain, status) in [("event", false, 404), ("state", true, 200)] {
            drop(connect(client_id, Some(retain)));
            let topic = format!("will/{client_id}/{version:?}");
            witness.expect(&topic, "gone"); // and no other
            assert_eq!(node.topic_status(&topic), status);
        }
        assert_eq!(node.topic_status(&format!("will/leaves/{version:?}")), 404);
    }
}

/// Who has no identifier gets one that nobody else has; 5.0 is told which. 3.1.1 has none without a clean session.
/// Shows [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]; 3.1.1 [MQTT-3.1.3-6], [MQTT-3.1.3-8].
#[test]
fn assigned_identifiers() {
    let node = Node::start();
    let clients = [node.client(""), node.client("")];
    let [first, second] = clients
        .each_ref()
        .map(|client| client.connack().assigned_client_id.clone());
    assert!(
        first.is_some() && second.is_some() && first != second,
        "{first:?} {second:?}"
    );
    let named = String::from_utf8(first.expect("an identifier").to_vec()).expect("text");
    assert_eq!(node.client("x").connack().assigned_client_id, None);
    let mut former = clients;
    let _now = node.client(&named);
    assert_eq!(
        former[0].end_reason(),
        ReasonCode::SessionTakenOver,
        "it is the client's own"
    );

    let mut old = [node.client_of(V3, ""), node.client_of(V3, "")];
    old.iter_mut()
        .for_each(|client| drop(client.write("t", "both are served")));
    let refused = Client::connect(node.mqtt(), &kept(ConnectOptions::v3("")));
    assert!(
        matches!(refused, Err(ClientError::Refused(ReasonCode::ClientIdentifierNotValid))),
        "{refused:?}"
    );
}

/// Clean Session 0 and 1: what is kept, what comes again, and what Session Present says.
/// Shows 3.1.1 [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.2-7], [MQTT-3.1.3-2], [MQTT-3.1.4-2],
/// [MQTT-3.1.4-3], [MQTT-3.1.4-4], [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-3], [MQTT-3.3.1-1], [MQTT-4.1.0-1],
/// [MQTT-4.1.0-2], [MQTT-4.3.2-1], [MQTT-4.4.0-1], [MQTT-4.5.0-1].
#[test]
fn sessions_of_3_1_1() {
    let node = Node::start();
    let mut publisher = node.client("publisher");
    let (session, clean) = (kept(ConnectOptions::v3("s")), ConnectOptions::v3("s"));
    let resume = |options, present| {
        let client = node.connect(options);
        assert_eq!(client.connack().session_present, present, "Session Present");
        client
    };
    let mut client = resume(&session, false);
    client.follow("s/#");
    publisher.put(event("s/1", "1"));
    publisher.put(event("s/2", "2"));
    let sent = [next_unacknowledged(&mut client), next_unacknowledged(&mut client)];
    assert!(sent.iter().all(|publish| !publish.dup));
    drop(client);
    publisher.put(event("s/3", "3"));
    publisher.write("s/4", "4");

    let mut first = resume(&session, true);
    for former in &sent {
        let again = take(&mut first);
        assert!(again.dup);
        assert_eq!((again.packet_id, &again.payload), (former.packet_id, &former.payload));
    }
    assert_eq!(
        [take(&mut first), take(&mut first)].map(|publish| payload_of(&publish)),
        ["3", "4"]
    );

    let mut second = resume(&session, true);
    assert!(
        matches!(first.end(), ClientError::Closed),
        "3.1.1 is closed without a word"
    );
    publisher.put(event("s/5", "5"));
    while payload_of(&take(&mut second)) != "5" {} // acknowledgements may have been lost with the connection
    drop(second);

    let mut client = resume(&clean, false);
    publisher.put(event("s/6", "nobody subscribes"));
    client.follow("s/4");
    client.expect("s/4", "4");
    client.disconnect();
    let mut client = resume(&session, false);
    client.follow("s/4");
    client.expect("s/4", "4"); // retained messages outlive all sessions
}

/// PINGREQ is answered.
/// Shows [MQTT-3.12.4-1]; 3.1.1 [MQTT-3.12.4-1].
#[test]
fn ping() {
    let node = Node::start();
    for version in VERSIONS {
        let mut client = node.client_of(version, "c");
        client.send(&Packet::PingReq).expect("sent");
        assert_eq!(receive(&mut client), Packet::PingResp);
    }
}

/// MQTT 3.1, whose packets are those of 3.1.1 but for name and level: it is served, and has no empty identifier.
#[test]
fn clients_of_3_1() {
    let node = Node::start();
    let connect = |client_id: &str| {
        let mut raw = Raw::open(node.mqtt());
        let body = [&field("MQIsdp")[..], &[3, 0b0000_0010, 0, 60], &field(client_id)].concat();
        raw.send(&crate::framed(0x10, &body));
        raw
    };
    let mut raw = connect("old");
    assert_eq!(raw.packet(), [0x20, 2, 0, 0]);
    raw.send(&crate::framed(0x82, &[&[0, 1][..], &field("old/+"), &[1]].concat()));
    assert_eq!(raw.packet(), [0x90, 3, 0, 1, 1]);
    node.client("publisher").put(state("old/topic", "x"));
    let publish = raw.packet();
    let id = &publish[publish.len() - 3..publish.len() - 1];
    assert_eq!(
        publish,
        crate::framed(0x32, &[&field("old/topic")[..], id, b"x"].concat())
    );
    raw.send(&[0xE0, 0]);
    assert_eq!(raw.rest(), NOTHING);
    assert_eq!(connect("").rest(), [0x20, 2, 0, 2]);
}

/// The node that stops names where to go instead, if it is told so.
#[test]
fn a_node_that_stops_names_another() {
    let mut node = Node::start_with(|settings| settings.server_reference = Some("other.example.org:1883".to_owned()));
    let mut clients = [node.client_of(V5, "new"), node.client_of(V3, "old")];
    clients[0].put(message("t", "x", QoS::AtLeastOnce, false));
    let stopping = node.begin_stop();
    match clients[0].end() {
        ClientError::Disconnected(disconnect) => {
            assert_eq!(disconnect.reason, ReasonCode::UseAnotherServer);
            assert_eq!(disconnect.server_reference.as_deref(), Some("other.example.org:1883"));
        }
        error => panic!("{error}"),
    }
    assert!(matches!(clients[1].end(), ClientError::Closed));
    drop(clients);
    node.finish_stop(stopping);
}

/// Who is one connection too many is told so, and finds a place when another has left.
#[test]
fn limits_of_connections() {
    for (of_node, of_address, code) in [(2, 0, ReasonCode::ServerBusy), (0, 2, ReasonCode::QuotaExceeded)] {
        let node = Node::start_with(|settings| {
            settings.connections_max = of_node;
            settings.connections_per_address_max = of_address;
        });
        let first = node.client("first");
        let _second = node.client_of(V3, "second");
        let refused = Client::connect(node.mqtt(), &ConnectOptions::v5("third"));
        assert!(
            matches!(refused, Err(ClientError::Refused(reason)) if reason == code),
            "{refused:?}"
        );
        let refused = Client::connect(node.mqtt(), &ConnectOptions::v3("third"));
        let unavailable = ReasonCode::ServerUnavailable; // return code 3
        assert!(
            matches!(refused, Err(ClientError::Refused(reason)) if reason == unavailable),
            "{refused:?}"
        );
        first.disconnect();
        crate::common::wait::until("a place", ANSWER_TIMEOUT, || {
            Client::connect(node.mqtt(), &ConnectOptions::v5("third")).ok()
        });
    }
}

/// Who connects too often from one address is told so, and let in later.
#[test]
fn a_limit_on_the_rate_of_connections() {
    let node = Node::start_with(|settings| settings.connection_rate_per_address_max = 1);
    for _ in 0..5 {
        node.client("in time").disconnect();
    }
    // All at once, or so soon after each other that the second for each has not gone by.
    let clients: Vec<Client> = (0..20)
        .map(|number| {
            let connect = ConnectOptions::v5(&format!("too often {number}")).connect;
            let mut client = Client::open(node.mqtt(), connect.version).expect("a socket");
            client.send(&Packet::Connect(Box::new(connect))).expect("sent");
            client
        })
        .collect();
    let is_refused = |mut client: Client| match receive(&mut client) {
        Packet::ConnAck(connack) if connack.reason.is_failure() => {
            assert_eq!(connack.reason, ReasonCode::ConnectionRateExceeded);
            true
        }
        Packet::ConnAck(_) => false,
        other => panic!("{other:?}"),
    };
    let refused = clients
        .into_iter()
        .filter_map(|client| is_refused(client).then_some(()));
    assert_ne!(refused.count(), 0);
    crate::common::wait::until("a place", ANSWER_TIMEOUT, || {
        Client::connect(node.mqtt(), &ConnectOptions::v5("later")).ok()
    });
}
