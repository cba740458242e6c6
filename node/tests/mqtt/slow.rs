//! Subscribers that do not keep up: what they lose, what they are told, and that nobody else notices.

use std::time::Duration;

use banyan_core::mqtt::packet::{Packet, QoS};
use banyan_core::mqtt::reason::ReasonCode;

use crate::common::client::{ANSWER_TIMEOUT, ConnectOptions, SubscribeOptions};
use crate::common::wait;
use crate::support::{ClientExt, Node, event, payload_of};

/// What may wait for one client.
const OUTBOUND_BYTES_MAX: usize = 64 * 1024;

fn node() -> Node {
    Node::start_with(|settings| settings.outbound_bytes_max = OUTBOUND_BYTES_MAX)
}

fn numbered(serial: u32) -> String {
    format!("{serial:08}{}", "x".repeat(16 * 1024))
}

/// QoS 1 beyond the bound closes the slow client with 0x97; the others get every message.
#[test]
fn qos_1_beyond_the_bound_closes() {
    let node = node();
    let mut slow = node.connect(&ConnectOptions::v5("slow").receive_maximum(2));
    slow.follow("b/#");
    let mut quick = node.client("quick");
    quick.follow("b/#");
    let mut writer = node.client("writer");
    for serial in 0..20 {
        writer.put(event("b/1", numbered(serial)));
        quick.expect("b/1", &numbered(serial));
    }
    // It acknowledges nothing, so it got two messages, then the reason.
    for serial in 0..2 {
        match slow.receive(ANSWER_TIMEOUT) {
            Ok(Packet::Publish(publish)) => assert_eq!(payload_of(&publish), numbered(serial)),
            other => panic!("{other:?}"),
        }
    }
    match slow.receive(ANSWER_TIMEOUT) {
        Ok(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason, ReasonCode::QuotaExceeded),
        other => panic!("{other:?}"),
    }
    wait::until("end of the slow client", Duration::from_secs(20), || {
        (node.service().broker().client_count() == 2).then_some(())
    });
    assert_eq!(node.service().broker().dropped_count(), 0);
}

/// QoS 0 beyond the bound is dropped and counted; the client stays, gets the rest in order, and the others get every message.
#[test]
fn qos_0_beyond_the_bound_is_dropped() {
    let node = node();
    let mut slow = node.client("slow");
    slow.subscribed(&SubscribeOptions::new("b/#").each_filter(|filter| filter.qos = QoS::AtMostOnce));
    let mut quick = node.client("quick");
    quick.follow("b/#");
    quick.follow("fence");
    let mut writer = node.client("writer");
    // It reads nothing: first the buffers of its socket fill, then its outbox.
    let mut serial = 0;
    while node.service().broker().dropped_count() < 10 {
        assert!(serial < 20_000, "nothing is dropped");
        writer.put(event("b/1", numbered(serial)));
        quick.expect("b/1", &numbered(serial));
        serial += 1;
    }
    // What is dropped is counted after it is handed out, and before anything that is published later.
    writer.put(event("fence", ""));
    quick.expect("fence", "");
    let dropped = node.service().broker().dropped_count();
    let mut received = Vec::new();
    let expected = u64::from(serial) - dropped;
    while (received.len() as u64) < expected {
        let publish = slow.next();
        received.push(payload_of(&publish)[..8].parse::<u32>().expect("a number"));
    }
    assert!(received.is_sorted_by(|one, next| one < next));
    writer.put(event("b/end", "end"));
    slow.expect("b/end", "end");
    quick.expect("b/end", "end");
}

/// A client that neither reads nor acknowledges cannot hold up the node: it is gone with what waited for it, and its
/// identifier is free.
#[test]
fn a_client_that_reads_nothing_is_cut() {
    let node = node();
    let mut stuck = node.client("stuck");
    stuck.follow("b/#");
    let mut writer = node.client("writer");
    let mut serial = 0;
    while node.service().broker().client_count() > 1 {
        assert!(serial < 20_000, "it is not cut");
        writer.put(event("b/1", numbered(serial)));
        serial += 1;
    }
    let mut again = node.client("stuck");
    again.follow("b/#");
    writer.put(event("b/1", "back"));
    again.expect("b/1", "back");
}
