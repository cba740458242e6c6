//! Wills: once, or never.

use super::*;

fn will(delay_s: u32) -> Will {
    Will {
        topic: topic("gone"),
        payload: Bytes::from_static(b"x"),
        metadata: Metadata::empty(),
        qos: 1,
        retain: false,
        delay_s,
        expiry_s: Some(7),
    }
}

/// What the applied entry published, as events of the will.
fn published(applied: &Applied) -> usize {
    for change in &applied.changes {
        assert_eq!(change.topic, topic("gone"));
        if let ChangeKind::Event { event, .. } = &change.kind {
            assert_eq!(event.publisher, "a");
            assert_eq!((event.qos, event.expiry_s), (1, Some(7)));
        }
    }
    applied.changes.len()
}

fn lost(node: &mut Harness, connection: Connection, publishes_will: bool) -> usize {
    let disconnect = Disconnect {
        expiry_s: None,
        publishes_will,
    };
    published(&node.commands(&[Command::of(connection.fence, disconnect)]).1)
}

#[test]
fn it_is_published_when_the_connection_is_lost_and_never_after_leave_was_taken() {
    for (expiry_s, publishes_will) in [(0, true), (60, true), (0, false), (60, false)] {
        let mut node = Harness::new();
        let connection = node.connect_as("a", false, expiry_s, Some(will(0))).0;
        assert_eq!(lost(&mut node, connection, publishes_will), usize::from(publishes_will));
        node.now_us += 100_000_000;
        assert_eq!(published(&node.items(&[Item::EndDue { limit: 9 }])), 0);
    }
}

#[test]
fn the_delay_ends_with_the_session_or_by_time_whichever_is_first() {
    for (delay_s, expiry_s, due_s) in [(5, 60, 5), (60, 5, 5), (5, u32::MAX, 5)] {
        let mut node = Harness::new();
        let connection = node.connect_as("a", false, expiry_s, Some(will(delay_s))).0;
        assert_eq!(lost(&mut node, connection, true), 0);
        assert_eq!(node.state.next_due_us(), Some(START_US + due_s * 1_000_000));
        node.now_us += due_s * 1_000_000 - 1;
        assert_eq!(published(&node.items(&[Item::EndDue { limit: 9 }])), 0);
        node.now_us += 1;
        assert_eq!(published(&node.items(&[Item::EndDue { limit: 9 }])), 1);
        assert_eq!(published(&node.items(&[Item::EndDue { limit: 9 }])), 0);
        assert_eq!(node.session("a").is_some(), due_s < u64::from(expiry_s));
    }
}

#[test]
fn whoever_is_back_in_time_is_not_dead() {
    let mut node = Harness::new();
    let connection = node.connect_as("a", false, 60, Some(will(5))).0;
    lost(&mut node, connection, true);
    node.now_us += 4_999_999;
    let (connection, applied) = node.connect_as("a", false, 60, None);
    assert!(connection.present);
    assert_eq!(published(&applied), 0);
    assert_eq!(lost(&mut node, connection, true), 0, "the new connection has no will");
}

#[test]
fn whoever_is_back_too_late_was_dead() {
    let mut node = Harness::new();
    let connection = node.connect_as("a", false, 60, Some(will(5))).0;
    lost(&mut node, connection, true);
    node.now_us += 5_000_000;
    // Nobody has looked yet.
    let (connection, applied) = node.connect_as("a", false, 60, None);
    assert!(connection.present);
    assert_eq!(published(&applied), 1);
}

#[test]
fn a_takeover_publishes_it_unless_a_delay_meets_a_resumed_session() {
    for (delay_s, clean_start, expiry_s, expected) in [
        (0, false, 60, 1),
        (5, false, 60, 0),
        (0, true, 60, 1),
        (5, true, 60, 1),
        (5, false, 0, 1),
    ] {
        let mut node = Harness::new();
        node.connect_as("a", false, expiry_s, Some(will(delay_s)));
        let (connection, applied) = node.connect_as("a", clean_start, 60, Some(will(1)));
        assert_eq!(published(&applied), expected, "{delay_s} {clean_start} {expiry_s}");
        // The new one has a will of its own.
        assert_eq!(lost(&mut node, connection, true), 0);
        node.now_us += 1_000_000;
        assert_eq!(published(&node.items(&[Item::EndDue { limit: 9 }])), 1);
    }
}

#[test]
fn a_kick_and_the_loss_of_a_node_publish_it() {
    let mut node = Harness::new();
    node.connect_as("a", false, 60, Some(will(5)));
    let kick = Kick {
        client_id: Bytes::from_static(b"a"),
    };
    assert_eq!(published(&node.batch(&[kick.into()]).1), 1);
    node.connect_as("a", false, 0, Some(will(5)));
    let lose = Item::LoseNode {
        node_id: NODE,
        through_fence: u64::MAX,
        limit: 9,
    };
    assert_eq!(published(&node.items(&[lose])), 1);
}

#[test]
fn a_retained_will_is_a_write_and_an_empty_one_a_delete() {
    let mut node = Harness::new();
    let retained = |payload: &'static [u8]| {
        Some(Will {
            retain: true,
            payload: Bytes::from_static(payload),
            ..will(0)
        })
    };
    let connection = node.connect_as("a", false, 0, retained(b"dead")).0;
    lost(&mut node, connection, true);
    let record = node.get("gone").unwrap();
    assert_eq!((&record.payload()[..], record.publisher()), (&b"dead"[..], "a"));
    assert_eq!(record.expires_at_us(), Some(START_US + 7_000_000));
    let connection = node.connect_as("a", false, 0, retained(b"")).0;
    lost(&mut node, connection, true);
    assert!(node.get("gone").is_none() && node.tombstone("gone").is_some());
}

#[test]
fn it_may_be_for_the_very_session_that_is_taken_over() {
    let mut node = Harness::new();
    let former = node.connect_as("a", false, 60, Some(will(0))).0;
    node.subscribe(former, "$share/g/#", 1);
    let (connection, applied) = node.connect_as("a", false, 60, None);
    assert_eq!((connection.present, published(&applied)), (true, 1));
    assert_eq!(applied.assigned[0].fence, connection.fence);
    assert_eq!(node.session("a").unwrap().assigned.len(), 1);
    verify_interest(&mut node.state);
}
