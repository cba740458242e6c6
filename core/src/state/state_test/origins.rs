//! Batches in order, exactly once.

use super::*;

fn send(node: &mut Harness, incarnation: u64, sequence: u64, deadline_us: u64) -> Disposition {
    let id = BatchId {
        node_id: NODE,
        incarnation,
        sequence,
    };
    let operations = [event("a"), Operation::Put(put("b", "1"))];
    let mut applied = node.items(&[Item::Batch(batch(id, deadline_us, &operations))]);
    assert_eq!(applied.batches[0].id, id);
    applied.batches.remove(0).disposition
}

#[test]
fn batches_are_taken_once_and_in_order() {
    let mut node = Harness::new();
    assert_eq!(send(&mut node, 1, 2, u64::MAX), Disposition::Gap { expected: 1 });
    assert!(matches!(send(&mut node, 1, 1, u64::MAX), Disposition::Taken(_)));
    assert_eq!(send(&mut node, 1, 1, u64::MAX), Disposition::Duplicate);
    assert_eq!(send(&mut node, 1, 3, u64::MAX), Disposition::Gap { expected: 2 });
    assert!(matches!(send(&mut node, 1, 2, u64::MAX), Disposition::Taken(_)));
    assert_eq!(node.state.revision(), 4);
    assert_eq!(node.state.origin(NODE).unwrap().unwrap().next_sequence, 3);
}

#[test]
fn other_lives_are_fenced_off() {
    let mut node = Harness::new();
    let unknown = BatchId {
        node_id: 99,
        incarnation: 1,
        sequence: 1,
    };
    let applied = node.items(&[Item::Batch(batch(unknown, u64::MAX, &[event("a")]))]);
    assert_eq!(applied.batches[0].disposition, Disposition::Fenced { incarnation: 0 });
    let applied = node.items(&[Item::OpenOrigin {
        node_id: NODE,
        nonce: 2,
    }]);
    let opened = OriginOpened {
        node_id: NODE,
        nonce: 2,
        incarnation: 2,
        next_sequence: 1,
    };
    assert_eq!(applied.origins, [opened]);
    for incarnation in [1, 3] {
        assert_eq!(
            send(&mut node, incarnation, 1, u64::MAX),
            Disposition::Fenced { incarnation: 2 }
        );
    }
    assert!(matches!(send(&mut node, 2, 1, u64::MAX), Disposition::Taken(_)));
    let applied = node.items(&[Item::OpenOrigin {
        node_id: NODE,
        nonce: 2,
    }]);
    assert_eq!(
        applied.origins,
        [OriginOpened {
            next_sequence: 2,
            ..opened
        }],
        "the same nonce changes nothing"
    );
    assert_eq!(node.state.origin(99), Ok(None));
}

#[test]
fn after_the_deadline_nothing_is_applied_and_the_sequence_moves_on() {
    let mut node = Harness::new();
    let late = Disposition::Taken(vec![Outcome::TooLate; 2]);
    assert_eq!(send(&mut node, 1, 1, START_US - 1), late);
    assert_eq!(node.state.revision(), 0);
    assert!(
        matches!(send(&mut node, 1, 2, START_US), Disposition::Taken(outcomes) if outcomes != [Outcome::TooLate; 2])
    );
    // Log time counts, not the time in the entry of a leader whose clock is behind.
    node.now_us -= 1000;
    assert_eq!(send(&mut node, 1, 3, START_US - 1), late);
}
