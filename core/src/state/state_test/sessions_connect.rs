//! Connections: taken over, resumed, fenced off, lost with their node.

use super::*;

#[test]
fn a_session_outlives_its_connection_if_it_is_to() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 10);
    assert!(!first.present);
    node.subscribe(first, "x/#", 1);
    node.leave(first);
    node.now_us += 9_999_999;
    let second = node.connect("a", false, 10);
    assert!(second.present && second.fence > first.fence);
    assert_eq!(node.session("a").unwrap().subscriptions.len(), 1);
    node.leave(second);
    // One microsecond later it has expired, though nobody has looked yet.
    node.now_us += 10_000_000;
    assert!(!node.connect("a", false, 0).present);
    assert_eq!(node.session("a").unwrap().subscriptions.len(), 0);
}

#[test]
fn clean_start_ends_what_was_there() {
    let mut node = Harness::new();
    let first = node.connect("a", false, u32::MAX);
    node.subscribe(first, "x/#", 1);
    node.leave(first);
    assert!(!node.connect("a", true, 5).present);
    assert_eq!(node.session("a").unwrap().subscriptions.len(), 0);
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 0);
    node.leave(first);
    assert_eq!(node.session("a"), None);
    // Also if it is taken over, or its DISCONNECT asks for more [MQTT-3.14.2-2].
    node.connect("a", false, 0);
    assert!(!node.connect("a", false, 0).present);
    let last = node.connect("a", false, 0);
    node.send(
        last,
        Disconnect {
            expiry_s: Some(5),
            publishes_will: false,
        },
    );
    assert_eq!(node.session("a"), None);
}

#[test]
fn disconnect_may_change_the_expiry() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 5);
    node.send(
        first,
        Disconnect {
            expiry_s: Some(0),
            publishes_will: false,
        },
    );
    assert_eq!(node.session("a"), None);
}

#[test]
fn an_older_connection_is_taken_over_and_changes_nothing_more() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 60);
    let applied = node.connect_as("a", false, 60, None).1;
    let closed = Closed {
        node_id: NODE,
        fence: first.fence,
        client_id: Bytes::from_static(b"a"),
        reason: CloseReason::TakenOver,
    };
    assert_eq!(applied.closed, [closed]);
    let before = (rows(&mut node.state), node.state.digest());
    let operations: [Operation; 7] = [
        put("t", "1").into(),
        event("t"),
        subscribe("x", 1).into(),
        Unsubscribe { filters: Vec::new() }.into(),
        Release { packet_id: 1 }.into(),
        Progress::default().into(),
        Disconnect {
            expiry_s: Some(0),
            publishes_will: true,
        }
        .into(),
    ];
    for operation in operations {
        assert_eq!(node.send(first, operation), Outcome::Fenced);
    }
    // But for the origin's sequence.
    assert_eq!(rows(&mut node.state), before.0);
    assert!(node.session("a").unwrap().connection.is_some());
}

#[test]
fn a_kick_ends_session_and_connection() {
    let mut node = Harness::new();
    let kick = || {
        Operation::from(Kick {
            client_id: Bytes::from_static(b"a"),
        })
    };
    assert_eq!(node.run(kick()), Outcome::NotFound);
    let first = node.connect("a", false, 60);
    let (outcomes, applied) = node.batch(&[kick()]);
    assert_eq!(outcomes, [Outcome::SessionChanged]);
    assert_eq!(applied.closed[0].reason, CloseReason::Kicked);
    assert_eq!(applied.closed[0].fence, first.fence);
    assert_eq!(node.session("a"), None);
}

#[test]
fn a_new_life_of_a_node_ends_the_connections_of_the_former() {
    let mut node = Harness::new();
    node.connect("gone", false, 0);
    node.connect("stays", false, 60);
    let applied = node.items(&[Item::OpenOrigin {
        node_id: NODE,
        nonce: 2,
    }]);
    let reasons: Vec<_> = applied.closed.iter().map(|closed| closed.reason).collect();
    assert_eq!(reasons, [CloseReason::NodeLost; 2]);
    assert_eq!(node.session("gone"), None);
    assert_eq!(node.session("stays").unwrap().disconnected_at_us, Some(START_US));
    assert_eq!(node.state.holders(), []);
    assert_eq!(node.state.next_due_us(), Some(START_US + 60_000_000));
}

#[test]
fn connections_of_a_lost_node_end_up_to_a_fence() {
    let mut node = Harness::new();
    let fences: Vec<u64> = ["a", "b", "c", "d"]
        .map(|client| node.connect(client, false, 60).fence)
        .into();
    assert_eq!(node.state.holders(), [(NODE, fences[3])]);
    let lose = |limit| Item::LoseNode {
        node_id: NODE,
        through_fence: fences[2],
        limit,
    };
    let closed = |applied: Applied| -> Vec<u64> { applied.closed.iter().map(|closed| closed.fence).collect() };
    assert_eq!(closed(node.items(&[lose(2)])), fences[..2]);
    assert_eq!(closed(node.items(&[lose(2)])), fences[2..3]);
    assert_eq!(closed(node.items(&[lose(2)])), []);
    assert_eq!(node.state.view().connection_count, 1);
    assert_eq!(node.state.view().session_count(), 4);
}

#[test]
fn expired_sessions_end_earliest_first() {
    let mut node = Harness::new();
    for (client, expiry_s) in [("a", 3), ("b", 1), ("c", 2), ("d", u32::MAX)] {
        let connection = node.connect(client, false, expiry_s);
        node.leave(connection);
    }
    let left = |node: &mut Harness| -> String {
        let sessions = node.state.view().sessions_after(None, 9);
        let names = sessions.iter().map(|session| session.client_id.clone());
        String::from_utf8(names.collect::<Vec<_>>().concat()).unwrap()
    };
    node.now_us += 2_000_000;
    node.items(&[Item::EndDue { limit: 1 }]);
    assert_eq!(left(&mut node), "acd");
    node.items(&[Item::EndDue { limit: 9 }]);
    assert_eq!(left(&mut node), "ad");
    assert_eq!(node.state.next_due_us(), Some(node.now_us + 1_000_000));
    node.now_us += 1_000_000;
    node.items(&[Item::EndDue { limit: 9 }]);
    assert_eq!((left(&mut node), node.state.next_due_us()), ("d".to_owned(), None));
}

#[test]
fn a_client_that_comes_and_goes_between_checkpoints_leaves_no_trace() {
    let mut node = Harness::new();
    let connection = node.connect("a", false, 60);
    node.subscribe(connection, "x", 1);
    node.send(connection, Progress::default());
    node.send(
        connection,
        Disconnect {
            expiry_s: Some(0),
            publishes_will: false,
        },
    );
    let batch = node.state.freeze().to_batch();
    assert!(batch.iter().all(|(key, _)| key[0] < 0x20), "{batch:?}");
}
