//! Conditions, timestamps and annotations: the user properties that a retained PUBLISH understands.

use std::time::{SystemTime, UNIX_EPOCH};

use banyan_core::mqtt::packet::{Ack, ProtocolVersion, Publish};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{Client, ConnectOptions, SubscribeOptions, number_property};
use crate::support::{ClientExt, Node, event, number, state, with_properties};

fn revision(ack: &Ack) -> u64 {
    number_property(&ack.user_properties, "revision").expect("an annotated PUBACK has a revision")
}

/// Publishes and asserts PUBACK 0x83; gives the reason string.
#[track_caller]
fn refused(client: &mut Client, publish: Publish) -> String {
    let ack = client.publish(publish).expect("PUBACK");
    assert_eq!(ack.reason, ReasonCode::ImplementationSpecificError, "{ack:?}");
    assert!(ack.user_properties.is_empty(), "{ack:?}");
    ack.reason_string.expect("a reason string")
}

/// `if-absent`, `if-present` and `if-revision` decide at the moment of commit, at whatever node; what fails is answered 0x83
/// with the current revision, 0 for none, and changes and delivers nothing.
#[test]
fn conditions_decide() {
    let nodes = Node::three();
    let mut follower = nodes[2].client("follower");
    follower.follow("c/#");
    let mut one = nodes[0].annotated("one");
    let mut other = nodes[1].annotated("other");
    let topic = "c/lock";
    let with = |payload: &str, name: &str, value: &str| with_properties(state(topic, payload), &[(name, value)]);

    assert_eq!(
        refused(&mut one, with("0", "if-present", "")),
        "condition-failed: current revision 0"
    );
    assert_eq!(
        refused(&mut one, with("0", "if-revision", "12")),
        "condition-failed: current revision 0"
    );
    let first = revision(&one.put(with("1", "if-absent", "")));
    for value in ["", "on"] {
        assert_eq!(
            refused(&mut other, with("no", "if-absent", value)),
            format!("condition-failed: current revision {first}")
        );
    }
    assert_eq!(
        refused(&mut other, with("no", "if-revision", "0")),
        format!("condition-failed: current revision {first}")
    );
    let second = revision(&other.put(with("2", "if-revision", &first.to_string())));
    assert!(second > first);
    assert_eq!(
        refused(&mut one, with("no", "if-revision", &first.to_string())),
        format!("condition-failed: current revision {second}")
    );
    let third = revision(&one.put(with("3", "if-present", "")));
    // Deletes obey them too.
    assert_eq!(
        refused(&mut other, with("", "if-revision", &second.to_string())),
        format!("condition-failed: current revision {third}")
    );
    other.put(with("", "if-revision", &third.to_string()));
    assert_eq!(
        refused(&mut one, with("", "if-present", "")),
        "condition-failed: current revision 0"
    );
    one.put(with("4", "if-revision", "0"));

    for payload in ["1", "2", "3", "", "4"] {
        let publish = follower.expect(topic, payload);
        // The conditions are not forwarded.
        assert_eq!(publish.metadata.user_properties().count(), 0);
    }
}

/// What contradicts itself or cannot be read is refused and says what to write instead.
#[test]
fn conditions_that_make_no_sense() {
    let node = Node::start();
    let mut client = node.client("client");
    for (properties, begins) in [
        (&[("if-revision", "x")][..], "condition-invalid: "),
        (&[("if-absent", "maybe")], "condition-invalid: "),
        (&[("if-absent", ""), ("if-present", "")], "condition-invalid: "),
        (&[("timestamp", "-1")], "timestamp-invalid: "),
        (&[("timestamp", "99999999999999999999")], "timestamp-ahead: "),
    ] {
        let text = refused(&mut client, with_properties(state("bad", "x"), properties));
        assert!(text.starts_with(begins), "{text}");
    }
    assert_eq!(node.topic_status("bad"), 404);
    // An event understands none of them: they are its own.
    client.follow("bad");
    client.put(with_properties(
        event("bad", "x"),
        &[("if-revision", "x"), ("timestamp", "-1")],
    ));
    let publish = client.expect("bad", "x");
    assert_eq!(publish.metadata.user_property("if-revision"), Some("x"));
    assert_eq!(publish.metadata.user_property("timestamp"), Some("-1"));
}

/// 3.1.1 has no codes: a PUBLISH that would be refused is acknowledged, and has no effect.
/// Shows 3.1.1 [MQTT-3.3.5-2].
#[test]
fn refusals_towards_3_1_1_are_plain() {
    let node = Node::start();
    let mut old = node.client_of(ProtocolVersion::V3, "old");
    old.put(state("a\u{1}b", "x"));
    old.put(state("$SYS/x", "x"));
    old.follow("#");
    old.put(event("fence", ""));
    old.expect("fence", "");
}

fn seconds(since_epoch: f64) -> String {
    format!("{since_epoch:.6}")
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
}

/// The newest timestamp wins whatever the order of arrival and the node; what loses is acknowledged as successful, says who
/// won to who asked for annotations, and is not delivered. Ties: a value over a deletion, then the greater payload.
#[test]
fn the_newest_timestamp_wins() {
    let nodes = Node::three();
    let mut plain = nodes[1].client("plain");
    plain.follow("t/#");
    let mut one = nodes[0].annotated("one");
    let mut other = nodes[2].annotated("other");
    let at = |payload: &str, timestamp: &str| with_properties(state("t/x", payload), &[("timestamp", timestamp)]);
    let superseded = |ack: &Ack| number_property(&ack.user_properties, "superseded");

    let second = one.put(at("2", "1490347944.000002"));
    assert_eq!(superseded(&second), None);
    let first = other.put(at("1", "1490347944.000001"));
    assert_eq!(superseded(&first), Some(revision(&second)));
    // The same write again changes nothing.
    let again = other.put(at("2", "1490347944.000002"));
    assert_eq!((revision(&again), superseded(&again)), (revision(&second), None));
    // A tie: the greater payload.
    let lesser = other.put(at("1", "1490347944.000002"));
    assert_eq!(superseded(&lesser), Some(revision(&second)));
    let greater = other.put(at("3", "1490347944.000002"));
    assert_eq!(superseded(&greater), None);
    // A delete has a timestamp too; a value of the same moment wins over it.
    let tied = one.put(at("", "1490347944.000002"));
    assert_eq!(superseded(&tied), Some(revision(&greater)));
    let deleted = one.put(at("", "1490347944.000003"));
    let late = other.put(at("late", "1490347944.0000029"));
    assert_eq!(superseded(&late), Some(revision(&deleted)));
    other.put(at("4", "1490347944.000003"));
    // Without a timestamp: now, which is later.
    one.put(state("t/x", "5"));
    let stale = other.put(at("stale", "1490347945"));
    assert!(superseded(&stale).is_some());

    for (payload, timestamp) in [
        ("2", Some("1490347944.000002")),
        ("3", Some("1490347944.000002")),
        ("", Some("1490347944.000003")),
        ("4", Some("1490347944.000003")),
        ("5", None),
    ] {
        let publish = plain.expect("t/x", payload);
        // Kept and forwarded as the user property it is.
        assert_eq!(publish.metadata.user_property("timestamp"), timestamp);
        assert_eq!(publish.metadata.user_property("revision"), None);
    }
    // To a client that asked for nothing, what was superseded looks like any other success.
    let ack = plain.put(at("stale", "1490347946"));
    assert_eq!((ack.reason_string, ack.user_properties), (None, Vec::new()));
}

/// More than 5 s ahead of the cluster's clock is refused; what is no number is an ordinary user property.
#[test]
fn timestamps_ahead_and_timestamps_that_are_none() {
    let node = Node::start();
    let mut client = node.annotated("client");
    let ahead = with_properties(state("t", "ahead"), &[("timestamp", &seconds(now() + 3600.0))]);
    let text = refused(&mut client, ahead);
    assert!(text.starts_with("timestamp-ahead: 3"), "{text}");
    client.put(with_properties(
        state("t", "soon"),
        &[("timestamp", &seconds(now() + 1.0))],
    ));
    client.put(with_properties(state("other", "x"), &[("timestamp", "soon")]));
    let mut reader = node.client("reader");
    reader.follow("other");
    assert_eq!(reader.next().metadata.user_property("timestamp"), Some("soon"));
}

/// `annotate=on`: delivered state has `revision` and `timestamp`, which replace the publisher's own; PUBACK and SUBACK have
/// `revision`. Events have none, and a client that did not ask gets nothing.
#[test]
fn annotations() {
    let nodes = Node::three();
    let mut client = nodes[0].annotated("client");
    let mut plain = nodes[0].client("plain");
    assert!(plain.follow("a/#").user_properties.is_empty());
    assert!(number_property(&client.follow("a/#").user_properties, "revision").is_some());
    let properties = [("timestamp", "1490347944.5"), ("revision", "mine"), ("unit", "K")];
    let ack = client.put(with_properties(state("a/1", "x"), &properties));
    client.put(with_properties(event("a/1", "event"), &properties));
    let deleted = client.put(state("a/1", ""));

    let live = client.expect("a/1", "x");
    assert_eq!(number(&live, "revision"), revision(&ack));
    assert_eq!(live.metadata.user_property("timestamp"), Some("1490347944.500000"));
    assert_eq!(live.metadata.user_property("unit"), Some("K"));
    assert_eq!(live.metadata.user_properties().count(), 3);
    let happened = client.expect("a/1", "event");
    assert_eq!(happened.metadata.user_property("revision"), Some("mine"));
    assert_eq!(number(&client.expect("a/1", ""), "revision"), revision(&deleted));

    for payload in ["x", "event"] {
        let publish = plain.expect("a/1", payload);
        assert_eq!(publish.metadata.user_property("revision"), Some("mine"));
        assert_eq!(publish.metadata.user_property("timestamp"), Some("1490347944.5"));
    }
    assert_eq!(plain.expect("a/1", "").metadata.user_properties().count(), 0);

    // The same revision at every node, live and retained.
    let ack = client.write("a/2", "y");
    for node in &nodes {
        let mut late = node.annotated("late");
        let suback = late.follow("a/2");
        assert_eq!(
            number_property(&suback.user_properties, "revision"),
            Some(revision(&ack))
        );
        let publish = late.expect("a/2", "y");
        assert_eq!(number(&publish, "revision"), revision(&ack));
        assert!(publish.metadata.user_property("timestamp").is_some());
    }
}

/// Request Problem Information 0: neither reason strings nor user properties in acknowledgements [MQTT-3.1.2-29]; PUBLISH
/// keeps its annotations.
#[test]
fn without_problem_information() {
    let node = Node::start();
    let mut options = ConnectOptions::v5("client").annotated();
    options.connect.request_problem_information = false;
    let mut client = node.connect(&options);
    let suback = client.subscribe(&SubscribeOptions::new("p")).expect("SUBACK");
    assert_eq!((suback.reason_string, suback.user_properties), (None, Vec::new()));
    let ack = client.write("p", "x");
    assert_eq!((ack.reason_string, ack.user_properties), (None, Vec::new()));
    let failed = with_properties(state("p", "y"), &[("if-absent", "")]);
    let ack = client.publish(failed).expect("PUBACK");
    assert_eq!(ack.reason, ReasonCode::ImplementationSpecificError);
    assert_eq!((ack.reason_string, ack.user_properties), (None, Vec::new()));
    number(&client.expect("p", "x"), "revision");
}
