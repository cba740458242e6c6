//! Connected, and too slow: a persistent session is served from what is stored.

use std::thread;
use std::time::Duration;

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions};
use crate::common::wait::until;
use crate::support::{ClientExt, Node, event, payload_of, puback};
use crate::{expect_silence, next_unacknowledged, resume, session};

#[test]
fn a_slow_session_misses_nothing_and_is_not_closed() {
    const MESSAGES: usize = 3_000;
    let node = Node::start_with(|settings| settings.outbound_bytes_max = 64 * 1024);
    let mut subscriber = resume(node.mqtt(), &session("s").receive_maximum(20), false);
    subscriber.follow("a");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    for count in 0..MESSAGES {
        publisher.put(event("a", format!("{count:0>256}")));
    }
    assert!(
        node.service().broker().fallen_behind_count() > 0,
        "it has fallen behind"
    );
    for count in 0..MESSAGES {
        let publish = subscriber.next();
        assert_eq!(payload_of(&publish).parse::<usize>().unwrap(), count);
        assert!(!publish.dup);
        if count % 500 == 0 {
            // It goes on while the session catches up.
            publisher.put(event("other", "not for it"));
            thread::sleep(Duration::from_millis(50));
        }
    }
    publisher.put(event("a", "7"));
    subscriber.expect("a", "7");
    expect_silence(&mut subscriber);
}

/// The smaller one is less than half of what may wait for the client, and both together are more than all of it.
#[test]
fn a_message_without_room_behind_a_smaller_one_comes_after_it() {
    const BYTES_MAX: usize = 64 * 1024;
    let node = Node::start_with(|settings| settings.outbound_bytes_max = BYTES_MAX);
    let mut subscriber = resume(node.mqtt(), &session("s").receive_maximum(1), false);
    subscriber.follow("a");
    let mut publisher = Client::connect_soon(node.mqtt(), &ConnectOptions::v5("p"));
    publisher.put(event("a", "not acknowledged for a while"));
    let first = next_unacknowledged(&mut subscriber);
    let sizes = [BYTES_MAX / 3, BYTES_MAX * 3 / 4, 1];
    for size in sizes {
        publisher.put(event("a", vec![b'x'; size]));
    }
    until("session that has fallen behind", ANSWER_TIMEOUT, || {
        (node.service().broker().fallen_behind_count() > 0).then_some(())
    });
    subscriber.send(&puback(&first)).expect("sent");
    assert_eq!(sizes.map(|_| subscriber.next().payload.len()), sizes);
    publisher.put(event("a", "live again"));
    subscriber.expect("a", "live again");
}
