//! All promises together: a run in which everything is right, and the same run with one thing wrong.

use super::testing::*;
use super::*;
use crate::history::{Answer, Consistency, RunSettings};
use crate::model::testing::{IntoOperation, delete, event, put};

/// Two writers, a reader, a list, and a subscriber that stays to the end.
fn run() -> Run {
    let mut run = Run::new();
    run.log.batch(&[put("a", 1).into_operation()]);
    run.log.batch(&[put("b/c", 2).into_operation(), event("e", 3)]);
    run.log
        .batch(&[delete("a").into_operation(), put("b/c", 4).into_operation()]);
    run.operation(put_call("a", 1), 100, 110, written(1));
    run.operation(put_call("b/c", 2), 120, 130, written(2));
    let published = Answer::Event { revision: Some(3) };
    run.operation(event_call("e", 3), 121, 131, published);
    let deleted = Answer::Deleted { revision: Some(4) };
    run.operation(delete_call("a"), 140, 150, deleted);
    run.operation(put_call("b/c", 4), 141, 160, unknown());
    run.operation(get_call("b/c", Consistency::Linearizable), 170, 180, value(4, 5));
    let rows = vec![("b/c".to_owned(), seen(4, 5))];
    run.operation(
        list_call("#", Consistency::Linearizable),
        190,
        200,
        Answer::Rows { revision: 5, rows },
    );
    run.operation(put_call("a", 5), 210, 220, refused());
    let subscription = run.subscription("#", 1);
    subscription.subscribed_at = 112;
    subscription.granted = Some((115, 1));
    subscription.deliveries = vec![
        delivery(116, "a", 1, 1),
        delivery(131, "b/c", 2, 2),
        delivered_event(132, "e", 3),
        delivery(151, "a", 0, 4),
        delivery(152, "b/c", 4, 5),
    ];
    subscription.marker = Some((1, 1));
    subscription.ended_at = Some(10_000_000);
    subscription.alive_at_end = true;
    run.settings = RunSettings {
        black_box: true,
        ..run.settings
    };
    run.converge();
    run
}

fn violations(run: &Run) -> Vec<&'static str> {
    let finished = Finished::new(run.at, &run.history, &run.log.log, &run.nodes, &run.settings);
    match Checker::new().finish(&finished) {
        Ok(()) => Vec::new(),
        Err(violations) => violations.iter().map(|violation| violation.invariant).collect(),
    }
}

#[test]
fn a_good_run_is_accepted() {
    assert_eq!(violations(&run()), [""; 0]);
    let mut checker = Checker::new();
    for index in 1..5 {
        let nodes = [leader(1, 1, index), node(2, 1, index - 1), node(3, 1, index)];
        let disks = [disk(1, 1, 0..=index), disk(2, 1, 0..=index), disk(3, 1, 0..=index)];
        checker.observe(&moment(index * 1_000, &nodes, &disks)).unwrap();
    }
}

#[test]
fn a_log_that_was_not_read_in_full_is_held_against_nobody() {
    let mut run = run();
    run.log.log.remove(&2);
    assert_eq!(violations(&run), [""; 0]);
}

/// Something that is changed about a run.
type Change = fn(&mut Run);

#[test]
fn one_wrong_thing_is_found_by_its_promise() {
    let changes: &[(&str, Change)] = &[
        ("I-12", |run| run.history.operations[1].answer = Some(written(5))),
        ("I-13", |run| run.history.operations[5].answer = Some(value(2, 5))),
        ("I-11", |run| run.history.operations[5].answer = Some(value(2, 2))),
        ("I-16", |run| {
            let rows = vec![("b/c".to_owned(), seen(2, 2))];
            run.history.operations[6].answer = Some(Answer::Rows { revision: 5, rows });
        }),
        ("refused", |run| run.history.operations[4].answer = Some(refused())),
        ("I-14", |run| {
            run.log.batch(&[put("b/c", 4).into_operation()]);
            run.converge();
        }),
        ("I-28", |run| drop(run.history.subscriptions[0].deliveries.remove(2))),
        ("I-28", |run| drop(run.history.subscriptions[0].deliveries.pop())),
        ("I-19", |run| {
            run.history.subscriptions[0].deliveries.push(delivery(153, "a", 1, 1));
        }),
        ("I-8", |run| run.nodes[0].scanned_digest = Some(0)),
        ("I-7", |run| run.nodes[1].digest = 0),
        ("I-18", |run| run.nodes.iter_mut().for_each(|node| node.digest = 0)),
        ("I-12", |run| run.nodes[2].topics.as_mut().unwrap().clear()),
        ("I-61", |run| run.history.operations[2].answer = None),
        ("I-62", |run| {
            run.settings.healed_at = Some(0);
            run.nodes.pop();
        }),
    ];
    for (number, (expected, change)) in changes.iter().enumerate() {
        let mut run = run();
        change(&mut run);
        let found = violations(&run);
        assert!(
            found.contains(expected),
            "change {number}: {expected} is not among {found:?}"
        );
    }
}

#[test]
fn ids_are_distinct() {
    let ids: std::collections::BTreeSet<_> = Checker::new().ids().collect();
    assert_eq!(ids.len(), Checker::new().ids().count());
}
