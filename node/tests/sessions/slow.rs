//! Connected, and too slow: a persistent session is served from what is stored.

use std::thread;
use std::time::Duration;

use crate::common::client::{Client, ConnectOptions};
use crate::support::{ClientExt, Node, event, payload_of};
use crate::{expect_silence, resume, session};

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
