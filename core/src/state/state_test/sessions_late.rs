//! Commands that come to the log after their deadline.

use super::*;

fn leave(publishes_will: bool) -> Disconnect {
    Disconnect {
        expiry_s: None,
        publishes_will,
    }
}

fn will() -> Will {
    Will {
        topic: topic("gone"),
        payload: Bytes::new(),
        metadata: Metadata::empty(),
        qos: 1,
        retain: false,
        delay_s: 0,
        expiry_s: None,
    }
}

/// Sends one command of a connection that comes too late.
fn send_late(node: &mut Harness, connection: Connection, operation: impl Into<Operation>) -> (Outcome, Applied) {
    let command = Command::of(connection.fence, operation);
    let (mut outcomes, applied) = node.commands_until(node.now_us - 1, &[command]);
    (outcomes.remove(0), applied)
}

#[test]
fn nothing_that_a_client_sends_overtakes_it() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 60);
    let other = node.connect("b", false, 60);
    let (outcome, applied) = send_late(&mut node, first, event("t"));
    assert_eq!(outcome, Outcome::TooLate);
    let [closed] = &applied.closed[..] else {
        panic!("{applied:?}")
    };
    assert_eq!((closed.fence, closed.reason), (first.fence, CloseReason::TooLate));
    // In time, but behind it. The node is told once.
    let (outcomes, applied) = node.commands(&[Command::of(first.fence, event("t"))]);
    assert_eq!(outcomes, [Outcome::TooLate]);
    assert!(applied.changes.is_empty() && applied.closed.is_empty(), "{applied:?}");
    node.checkpoint();
    let reopened = open(&node.store);
    assert!(reopened.sessions.is_late(first.fence), "it is part of the state");
    // Others are not concerned, nor is the next connection of the client.
    assert_eq!(node.send(other, event("t")), Outcome::Published { revision: 1 });
    let second = node.connect("a", false, 60);
    assert!(second.present);
    assert_eq!(node.send(second, event("t")), Outcome::Published { revision: 2 });
}

#[test]
fn that_a_connection_has_ended_is_never_too_late() {
    for publishes_will in [false, true] {
        let mut node = Harness::new();
        let connection = node.connect_as("a", false, 60, Some(will())).0;
        send_late(&mut node, connection, event("t"));
        assert!(
            node.session("a").unwrap().connection.is_some(),
            "its node has not ended it yet"
        );
        let (outcome, applied) = send_late(&mut node, connection, leave(publishes_will));
        assert_eq!(outcome, Outcome::SessionChanged);
        assert_eq!(
            applied.changes.len(),
            usize::from(publishes_will),
            "as the client took its leave"
        );
        assert!(node.session("a").unwrap().connection.is_none());
        assert_eq!(send_late(&mut node, connection, leave(true)).0, Outcome::Fenced);
    }
}
