//! Newest timestamp wins, exactly.

use super::*;

const T: u64 = START_US - 1000;

#[test]
fn the_newest_timestamp_wins() {
    let mut node = Harness::new();
    node.run(put_at("a", "new", T));
    assert_eq!(node.run(put_at("a", "old", T - 1)), Outcome::Superseded { winner: 1 });
    assert_eq!(node.run(delete_at("a", T - 1)), Outcome::Superseded { winner: 1 });
    assert_eq!(
        node.run(put_at("a", "newer", T + 1)),
        Outcome::Applied {
            revision: 2,
            created: false
        }
    );
    assert_eq!(node.run(delete_at("a", T + 2)), Outcome::Deleted { revision: 3 });
    assert_eq!(node.run(put_at("a", "late", T + 1)), Outcome::Superseded { winner: 3 });
    assert_eq!(node.run(delete_at("a", T + 1)), Outcome::Superseded { winner: 3 });
}

#[test]
fn ties_go_to_the_value_then_the_payload_then_the_metadata() {
    let mut node = Harness::new();
    assert_eq!(node.run(delete_at("a", T)), Outcome::Deleted { revision: 1 });
    assert_eq!(
        node.run(put_at("a", "b", T)),
        Outcome::Applied {
            revision: 2,
            created: true
        }
    );
    assert_eq!(node.run(delete_at("a", T)), Outcome::Superseded { winner: 2 });
    assert_eq!(node.run(put_at("a", "a", T)), Outcome::Superseded { winner: 2 });
    assert_eq!(
        node.run(put_at("a", "ba", T)),
        Outcome::Applied {
            revision: 3,
            created: false
        }
    );
    let metadata = MetadataBuilder::new().content_type("x").build().unwrap();
    let richer = Put {
        metadata,
        ..put_at("a", "ba", T)
    };
    assert_eq!(
        node.run(richer),
        Outcome::Applied {
            revision: 4,
            created: false
        }
    );
    assert_eq!(node.run(put_at("a", "ba", T)), Outcome::Superseded { winner: 4 });
}

#[test]
fn an_identical_resend_answers_the_existing_revision() {
    let mut node = Harness::new();
    node.run(put_at("a", "1", T));
    node.run(put("b", "1"));
    assert_eq!(node.run(put_at("a", "1", T)), Outcome::Unchanged { revision: 1 });
    let with_condition = Put {
        condition: Condition::Revision(1),
        ..put_at("a", "1", T)
    };
    assert_eq!(node.run(with_condition), Outcome::Unchanged { revision: 1 });
    node.run(delete_at("a", T + 1));
    assert_eq!(node.run(delete_at("a", T + 1)), Outcome::Unchanged { revision: 3 });
}

#[test]
fn a_timestamped_delete_of_a_missing_topic_is_remembered() {
    let mut node = Harness::new();
    let (outcome, changes) = node.run_changes(delete_at("a", T));
    assert_eq!(outcome, Outcome::Deleted { revision: 1 });
    assert!(matches!(
        &changes[0].kind,
        ChangeKind::Delete(deletion) if (deletion.timestamp_us, deletion.cause) == (T, DeleteCause::Client)
    ));
    let expected = Tombstone {
        revision: 1,
        ordinal: 0,
        timestamp_us: T,
        deleted_at_us: START_US,
    };
    assert_eq!(node.tombstone("a"), Some(expected));
    assert_eq!(node.run(put_at("a", "late", T - 1)), Outcome::Superseded { winner: 1 });
    assert_eq!(node.run(delete_at("a", T + 1)), Outcome::Deleted { revision: 2 });
}

#[test]
fn an_unstamped_delete_of_a_missing_topic_does_nothing() {
    let mut node = Harness::new();
    assert_eq!(node.run(delete("a")), Outcome::NotFound);
    node.run(put("a", "1"));
    assert_eq!(node.run(delete("a")), Outcome::Deleted { revision: 2 });
    assert_eq!(node.run(delete("a")), Outcome::NotFound);
}

#[test]
fn too_far_ahead_of_log_time_is_refused() {
    let mut node = Harness::new();
    let limit = START_US + TIMESTAMP_AHEAD_MAX_US;
    let ahead_us = TIMESTAMP_AHEAD_MAX_US + 1;
    assert_eq!(
        node.run(put_at("a", "1", limit + 1)),
        Outcome::TimestampAhead { ahead_us }
    );
    assert_eq!(
        node.run(delete_at("a", limit + 1)),
        Outcome::TimestampAhead { ahead_us }
    );
    assert_eq!(
        node.run(put_at("a", "1", limit)),
        Outcome::Applied {
            revision: 1,
            created: true
        }
    );
    assert_eq!(
        node.run(put_at("a", "1", u64::MAX)),
        Outcome::TimestampAhead {
            ahead_us: u64::MAX - START_US
        }
    );
    let unmet = Put {
        condition: Condition::Absent,
        ..put_at("a", "1", u64::MAX)
    };
    assert_eq!(
        node.run(unmet),
        Outcome::ConditionFailed { current: 1 },
        "the condition is decided first"
    );
}
