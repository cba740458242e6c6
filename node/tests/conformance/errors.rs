//! What is refused: the bytes that say so, nothing behind them, and a client that can read them.

use banyan_core::mqtt::packet::ProtocolVersion;

use crate::common::client::ConnectOptions;
use crate::support::{ClientExt, Node};
use crate::{NOTHING, Raw, connect_bytes, field, framed, kept};

/// What is wrong, the bytes, and the code of 5.0.
type Row = (&'static str, Vec<u8>, u8);

/// A connected client that sends `bytes`, and more behind them, which must not keep it from reading the answer.
fn answer(node: &Node, level: u8, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::open(node.mqtt());
    raw.send(&connect_bytes(level, 0b0000_0010, &field("c")));
    assert_eq!(raw.packet()[2..4], [0, 0], "CONNACK 0x00");
    let more = [0xC0, 0].repeat(8 * 1024); // PINGREQs, of which none is answered
    raw.send(&[bytes, &more].concat());
    raw.rest()
}

/// Asserts that each is answered with DISCONNECT of its code, then closed, and nothing else.
fn check(rows: Vec<Row>) {
    let node = Node::start();
    for (what, bytes, code) in rows {
        let answer = answer(&node, 5, &bytes);
        assert_eq!((answer[0], answer[2]), (0xE0, code), "{what}: {answer:02X?}");
        assert_eq!(
            answer.len(),
            2 + usize::from(answer[1]),
            "{what}: nothing behind DISCONNECT"
        );
    }
}

/// PUBLISH of QoS 0 to topic "t" with `properties`.
fn publish(properties: &[u8]) -> Vec<u8> {
    framed(0x30, &[&field("t")[..], &[properties.len() as u8], properties].concat())
}

/// SUBSCRIBE to one filter with these options.
fn subscribe(filter: &str, options: u8) -> Vec<u8> {
    framed(0x82, &[&[0, 1, 0][..], &field(filter), &[options]].concat())
}

/// What cannot be parsed is 0x81.
/// Shows [MQTT-1.5.4-1], [MQTT-3.3.1-4], [MQTT-3.8.3-5], [MQTT-4.13.1-1].
#[test]
fn malformed_packets_are_answered_before_the_close() {
    check(vec![
        ("packet type 0", vec![0, 0], 0x81),
        ("a length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
        ("a length that is longer than it needs", vec![0xC0, 0x80, 0], 0x81),
        ("flags of PUBREL", vec![0x60, 2, 0, 1], 0x81),
        ("flags of SUBSCRIBE", vec![0x80, 2, 0, 1], 0x81),
        ("flags of DISCONNECT", vec![0xE1, 0], 0x81),
        ("QoS 3", framed(0x36, &[0, 1, b't', 0, 1, 0]), 0x81),
        ("a surrogate", framed(0x30, &[0, 3, 0xED, 0xA0, 0x80, 0]), 0x81),
        ("U+0000", framed(0x30, &[0, 1, 0, 0]), 0x81),
        ("packet identifier 0", framed(0x32, &[0, 1, b't', 0, 0, 0]), 0x81),
        ("reserved subscription options", subscribe("t", 0b0100_0000), 0x81),
        ("a property that does not exist", publish(&[0x7F, 0]), 0x81),
        ("a property of another packet", publish(&[0x1F, 0, 0]), 0x81),
        (
            "a packet that is longer than what it says",
            framed(0x40, &[0, 1, 0, 0, 0]),
            0x81,
        ),
    ]);
}

/// What can be parsed but must not be sent has the code that the standard gives, mostly 0x82.
/// Shows [MQTT-3.1.0-2], [MQTT-3.3.2-2], [MQTT-3.8.3-2], [MQTT-3.8.3-4], [MQTT-3.10.3-2], [MQTT-3.14.4-1], [MQTT-3.14.4-2],
/// [MQTT-4.12.0-7], [MQTT-4.13.1-1], [MQTT-4.13.2-1].
#[test]
fn protocol_errors_are_answered_before_the_close() {
    check(vec![
        ("a second CONNECT", connect_bytes(5, 2, &field("c")), 0x82),
        ("CONNACK of a client", framed(0x20, &[0, 0, 0]), 0x82),
        ("SUBACK of a client", framed(0x90, &[0, 1, 0, 0]), 0x82),
        ("PINGRESP of a client", vec![0xD0, 0], 0x82),
        (
            "AUTH without a method",
            framed(0xF0, &[0x19, 4, 0x15, 0, 1, b'x']),
            0x82,
        ),
        ("no filter to subscribe", framed(0x82, &[0, 1, 0]), 0x82),
        ("no filter to unsubscribe", framed(0xA2, &[0, 1, 0]), 0x82),
        ("No Local, shared", subscribe("$share/g/t", 0b0000_0101), 0x82),
        ("Retain Handling 3", subscribe("t", 0b0011_0000), 0x82),
        ("QoS 3 asked for", subscribe("t", 3), 0x82),
        (
            "subscription identifier 0",
            framed(0x82, &[&[0, 1, 2, 0x0B, 0][..], &field("t"), &[0]].concat()),
            0x82,
        ),
        ("subscription identifier of a client", publish(&[0x0B, 1]), 0x82),
        ("a property twice", publish(&[0x01, 0, 0x01, 0]), 0x82),
        ("payload format 2", publish(&[0x01, 2]), 0x82),
        ("wildcard in the response topic", publish(&[0x08, 0, 1, b'#']), 0x82),
        ("neither topic nor alias", framed(0x30, &[0, 0, 0]), 0x82),
        (
            "an alias that stands for nothing",
            framed(0x30, &[0, 0, 3, 0x23, 0, 1]),
            0x82,
        ),
        ("topic alias 0", publish(&[0x23, 0, 0]), 0x94),
        ("topic alias 17 of 16", publish(&[0x23, 0, 17]), 0x94),
        (
            "wildcard in the topic",
            framed(0x30, &[&field("a/+")[..], &[0]].concat()),
            0x90,
        ),
        (
            "longer than Maximum Packet Size",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            0x95,
        ),
        (
            "a session that CONNECT did not ask for",
            framed(0xE0, &[0, 5, 0x11, 0, 0, 0, 1]),
            0x82,
        ),
    ]);
}

/// 3.1.1 has no DISCONNECT of the server: all of these are closed without a word.
/// Shows 3.1.1 [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-2.2.2-2], [MQTT-3.1.0-2], [MQTT-3.3.1-4], [MQTT-3.3.2-2],
/// [MQTT-3.8.3-3], [MQTT-3.8.3-4], [MQTT-3.10.3-2], [MQTT-4.8.0-1].
#[test]
fn older_clients_are_closed_without_a_word() {
    let node = Node::start();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("packet type 0", vec![0, 0]),
        ("AUTH, which is reserved", vec![0xF0, 0]),
        ("flags of PUBREL", vec![0x60, 2, 0, 1]),
        ("flags of SUBSCRIBE", vec![0x80, 2, 0, 1]),
        ("QoS 3", framed(0x36, &[0, 1, b't', 0, 1])),
        ("a surrogate", framed(0x30, &[0, 3, 0xED, 0xA0, 0x80])),
        ("U+0000", framed(0x30, &[0, 1, 0])),
        ("wildcard in the topic", framed(0x30, &field("a/#"))),
        ("empty topic", framed(0x30, &field(""))),
        ("a second CONNECT", connect_bytes(4, 2, &field("c"))),
        ("PINGRESP of a client", vec![0xD0, 0]),
        ("no filter to subscribe", framed(0x82, &[0, 1])),
        ("no filter to unsubscribe", framed(0xA2, &[0, 1])),
        (
            "QoS 3 asked for",
            framed(0x82, &[&[0, 1][..], &field("t"), &[3]].concat()),
        ),
        (
            "an option of 5.0",
            framed(0x82, &[&[0, 1][..], &field("t"), &[0b0000_1000]].concat()),
        ),
        ("longer than the limit", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
    ];
    for (what, bytes) in rows {
        assert_eq!(answer(&node, 4, &bytes), NOTHING, "{what}");
    }
}

/// 5.0 is answered with CONNACK, 3.1.1 only if it has a return code for it, and what is no MQTT not at all.
/// Shows [MQTT-3.1.4-1]; 3.1.1 [MQTT-3.1.2-1], [MQTT-3.1.2-2], [MQTT-3.1.2-3], [MQTT-3.1.4-1], [MQTT-3.2.2-6].
#[test]
fn a_malformed_connect_is_refused() {
    let node = Node::start();
    let answer = |bytes: &[u8]| {
        let mut raw = Raw::open(node.mqtt());
        raw.send(bytes);
        raw.rest()
    };
    let named = |name: &str, level| framed(0x10, &[&field(name)[..], &[level, 2, 0, 60, 0], &field("c")].concat());
    assert_eq!(answer(&named("HTTP", 5)), NOTHING, "another protocol");
    assert_eq!(answer(&named("MQTT", 3)), [0x20, 2, 0, 1], "an older level");
    assert_eq!(answer(&named("MQTT", 6))[..4][2..], [0, 0x84], "a newer level");
    for flags in [0b0000_0011, 0b0000_1010, 0b0010_0010, 0b0001_1110] {
        let payload = [field("c"), vec![0], field("w"), field("x")].concat();
        assert_eq!(answer(&connect_bytes(4, flags, &payload)), NOTHING, "{flags:08b}");
        assert_eq!(
            answer(&connect_bytes(5, flags, &payload))[..4][2..],
            [0, 0x81],
            "{flags:08b}"
        );
    }
    assert_eq!(answer(&connect_bytes(4, 2, &[])), NOTHING, "no client identifier");
    assert_eq!(
        answer(&connect_bytes(4, 2, &[0, 1, 0xFF])),
        NOTHING,
        "a client identifier that is no text"
    );
}

/// CONNECT with an authentication method, which nobody has set up here.
fn with_method(client_id: &str) -> Vec<u8> {
    let properties = [&[0x15][..], &field("x")].concat();
    let head = [&field("MQTT")[..], &[5, 0, 0, 60, properties.len() as u8], &properties].concat();
    framed(0x10, &[head, field(client_id)].concat())
}

/// What comes behind a CONNECT that is refused is not looked at.
/// Shows [MQTT-3.1.4-6]; 3.1.1 [MQTT-3.1.4-5].
#[test]
fn nothing_behind_a_refused_connect_has_an_effect() {
    let node = Node::start();
    for (connect, publish) in [
        (
            with_method("c"),
            framed(0x31, &[&field("refused")[..], &[0], b"x"].concat()),
        ),
        (
            connect_bytes(4, 0, &field("")),
            framed(0x31, &[&field("refused")[..], b"x"].concat()),
        ),
    ] {
        let mut raw = Raw::open(node.mqtt());
        raw.send(&[connect, publish].concat());
        let rest = raw.rest();
        assert_eq!(rest.len(), 2 + usize::from(rest[1]), "one CONNACK");
        node.client("fence").write("fence", "");
        assert_eq!(node.topic_status("refused"), 404);
    }
}

/// CONNACK with a failure: no Session Present although there is a session, properties of length 0 or more, and the end.
/// Shows [MQTT-2.2.2-1], [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-4.12.0-1], [MQTT-4.13.2-1]; 3.1.1 [MQTT-3.2.2-4],
/// [MQTT-3.2.2-5].
#[test]
fn a_failed_connack_has_no_session_and_ends_the_connection() {
    let node = Node::start();
    node.connect(&kept(ConnectOptions::new(ProtocolVersion::V5, "s")))
        .disconnect();
    let mut raw = Raw::open(node.mqtt());
    raw.send(&with_method("s"));
    let rest = raw.rest();
    assert_eq!((rest[0], rest[2], rest[3]), (0x20, 0, 0x8C));
    assert_eq!(usize::from(rest[4]), rest.len() - 5, "the length of the properties");
    assert_eq!(rest.len(), 2 + usize::from(rest[1]));
    let mut raw = Raw::open(node.mqtt());
    raw.send(&connect_bytes(4, 0, &field("")));
    assert_eq!(raw.rest(), [0x20, 2, 0, 2]);
}
