//! Messages on their way to a session and from it.

use super::*;
use crate::command::Sender;

fn at(revision: u64) -> MessagePosition {
    MessagePosition::first_of(revision)
}

fn receive(node: &mut Harness, connection: Connection, packet_id: u16, operation: impl Into<Operation>) -> Outcome {
    let sender = Some(Sender {
        fence: connection.fence,
        packet_id: Some(packet_id),
    });
    let operation = operation.into();
    node.commands(&[Command { sender, operation }]).0.remove(0)
}

#[test]
fn a_qos_2_message_is_taken_once_until_it_is_released() {
    let mut node = Harness::new();
    let first = node.connect("a", false, 60);
    assert_eq!(
        receive(&mut node, first, 7, event("t")),
        Outcome::Published { revision: 1 }
    );
    assert_eq!(receive(&mut node, first, 7, event("t")), Outcome::Duplicate);
    // Over another connection, too.
    let second = node.connect("a", false, 60);
    assert_eq!(receive(&mut node, second, 7, event("t")), Outcome::Duplicate);
    assert_eq!(receive(&mut node, first, 8, event("t")), Outcome::Fenced);
    let released = |known| Outcome::Released { known };
    assert_eq!(node.send(second, Release { packet_id: 7 }), released(true));
    assert_eq!(node.send(second, Release { packet_id: 7 }), released(false));
    assert_eq!(
        receive(&mut node, second, 7, event("t")),
        Outcome::Published { revision: 2 }
    );
}

#[test]
fn a_refused_message_leaves_its_identifier_free() {
    let mut node = Harness::new();
    let connection = node.connect("a", false, 60);
    let refused = Put {
        condition: Condition::Present,
        ..put("t", "1")
    };
    let outcome = receive(&mut node, connection, 7, refused);
    assert_eq!(outcome, Outcome::ConditionFailed { current: 0 });
    assert!(node.session("a").unwrap().inbound.is_empty());
    // What changes nothing and is a success is acknowledged, and so must be released.
    assert_eq!(receive(&mut node, connection, 7, delete("t")), Outcome::NotFound);
    assert_eq!(node.session("a").unwrap().inbound, [7].into());
}

#[test]
fn progress_puts_messages_in_flight_in_order_and_takes_them_out() {
    let mut node = Harness::new();
    let connection = node.connect("a", false, 60);
    node.subscribe(connection, "#", 2);
    for _ in 0..3 {
        node.run(event("t"));
    }
    let sent = |revision, packet_id, qos| Sent {
        position: at(revision),
        packet_id,
        qos,
        shared: false,
    };
    let progress = Progress {
        cursor: Some(at(2)),
        sent: vec![sent(1, 9, 2), sent(2, 3, 1)],
        ..Progress::default()
    };
    assert_eq!(node.send(connection, progress), Outcome::SessionChanged);
    let ids = |node: &Harness| -> Vec<(u16, bool)> {
        let in_flight = node.session("a").unwrap().in_flight.clone();
        in_flight
            .iter()
            .map(|message| (message.packet_id, message.received))
            .collect()
    };
    assert_eq!(ids(&node), [(9, false), (3, false)]);
    assert_eq!(node.session("a").unwrap().cursor, at(2));
    // Done comes first, so that an identifier is used again in the same command; PUBREC of QoS 1 means nothing.
    let progress = Progress {
        done: vec![3],
        received: vec![9, 3],
        sent: vec![sent(3, 3, 1)],
        cursor: Some(at(1)),
        ..Progress::default()
    };
    node.send(connection, progress);
    assert_eq!(ids(&node), [(9, true), (3, false)]);
    assert_eq!(node.session("a").unwrap().cursor, at(2), "a cursor never goes back");
    verify_interest(&mut node.state);
    // They are there for the next connection.
    let connection = node.connect("a", false, 60);
    assert_eq!(ids(&node), [(9, true), (3, false)]);
    let progress = Progress {
        done: vec![9, 3, 77],
        cursor: Some(at(99)),
        ..Progress::default()
    };
    node.send(connection, progress);
    assert_eq!(ids(&node), []);
    assert_eq!(
        node.session("a").unwrap().cursor,
        MessagePosition::end_of(3),
        "nor beyond what there is"
    );
    verify_interest(&mut node.state);
}

#[test]
fn cursors_of_idle_sessions_move_together() {
    let mut node = Harness::new();
    let (a, b) = (node.connect("a", false, 60), node.connect("b", false, 60));
    node.subscribe(a, "#", 1);
    node.subscribe(b, "#", 1);
    node.run(event("t"));
    let taken_over = node.connect("b", false, 60).fence;
    let caught_up = CaughtUp {
        cursor: at(1),
        fences: vec![a.fence, b.fence, 77],
    };
    assert_eq!(node.batch(&[caught_up.into()]).0, [Outcome::SessionChanged]);
    assert_eq!(node.session("a").unwrap().cursor, at(1));
    assert!(node.session("b").unwrap().cursor < at(1), "{taken_over} is in force");
    assert_eq!(node.state.low_water(), Some(MessagePosition::end_of(0)));
    verify_interest(&mut node.state);
}

#[test]
fn a_subscription_begins_where_it_was_made_and_keeps_that_when_it_is_replaced() {
    let mut node = Harness::new();
    let connection = node.connect("a", false, 60);
    node.run(event("t"));
    assert_eq!(
        node.send(connection, subscribe("#", 1)),
        Outcome::Subscribed { revision: 1 }
    );
    assert_eq!(node.session("a").unwrap().cursor, MessagePosition::end_of(1));
    node.run(event("t"));
    assert_eq!(
        node.send(connection, subscribe("#", 2)),
        Outcome::Subscribed { revision: 2 }
    );
    let session = node.session("a").unwrap();
    let row = &session.subscriptions[&b"#"[..]];
    assert_eq!((row.since, row.subscription.options.qos), (1, 2));
    assert!(session.waits && session.cursor == MessagePosition::end_of(1));
    let filters = vec![row.subscription.filter.clone()];
    node.send(connection, Unsubscribe { filters });
    let session = node.session("a").unwrap();
    assert!(!session.waits && session.subscriptions.is_empty());
    assert_eq!(node.state.low_water(), None);
    verify_interest(&mut node.state);
}

#[test]
fn replays_are_followed() {
    let mut node = Harness::new();
    let connection = node.connect("a", false, 60);
    let all = ReplayFrom::Topics { after: None };
    let mut request = subscribe("#", 1);
    request.subscriptions[0].replay = Some(all);
    node.send(connection, request);
    let filter = SubscriptionFilter::parse("#").unwrap();
    let other = SubscriptionFilter::parse("other").unwrap();
    for replay in [
        Some(ReplayFrom::Topics {
            after: Some(topic("m")),
        }),
        None,
    ] {
        let replayed = vec![(filter.clone(), replay.clone()), (other.clone(), None)];
        node.send(
            connection,
            Progress {
                replayed,
                ..Progress::default()
            },
        );
        let session = node.session("a").unwrap();
        assert_eq!(session.subscriptions[&b"#"[..]].subscription.replay, replay);
        assert_eq!(session.subscriptions.len(), 1);
    }
}
