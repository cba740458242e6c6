//! Writing, and what an operation leaves.

use super::*;

#[test]
fn a_write_is_stored_indexed_and_seen() {
    let mut node = Harness::new();
    let metadata = MetadataBuilder::new().content_type("text/plain").build().unwrap();
    let (outcome, changes) = node.run_changes(Put {
        metadata: metadata.clone(),
        qos: 2,
        expiry_s: Some(3),
        ..put("a/b", "1")
    });
    assert_eq!(
        outcome,
        Outcome::Applied {
            revision: 1,
            created: true
        }
    );
    let record = node.get("a/b").unwrap();
    assert_eq!(
        (record.revision(), record.ordinal(), record.created_revision()),
        (1, 0, 1)
    );
    assert_eq!(
        (record.timestamp_us(), record.expires_at_us()),
        (START_US, Some(START_US + 3_000_000))
    );
    assert_eq!(
        (record.publisher(), record.qos(), record.payload()),
        ("writer", 2, Bytes::from("1"))
    );
    assert_eq!(record.metadata(), metadata);
    let kind = ChangeKind::Put { record, qos: 2 };
    assert_eq!(
        changes,
        [Change {
            revision: 1,
            ordinal: 0,
            topic: topic("a/b"),
            kind
        }]
    );
}

#[test]
fn created_revision_lasts_until_the_deletion() {
    let mut node = Harness::new();
    node.run(put("a", "1"));
    assert_eq!(
        node.run(put("a", "2")),
        Outcome::Applied {
            revision: 2,
            created: false
        }
    );
    assert_eq!(node.get("a").unwrap().created_revision(), 1);
    node.run(delete("a"));
    assert_eq!(
        node.run(put("a", "3")),
        Outcome::Applied {
            revision: 4,
            created: true
        }
    );
    assert_eq!(node.get("a").unwrap().created_revision(), 4);
    assert_eq!(node.tombstone("a"), None);
}

#[test]
fn unstamped_writes_are_newer_than_everything_before() {
    let mut node = Harness::new();
    node.run(put_at("a", "1", START_US + 4_000_000));
    node.run(put("a", "2"));
    assert_eq!(node.get("a").unwrap().timestamp_us(), START_US + 4_000_001);
    node.run(delete_at("a", START_US + 4_500_000));
    node.run(put("a", "3"));
    assert_eq!(
        node.get("a").unwrap().timestamp_us(),
        START_US + 4_500_001,
        "the tombstone counts too"
    );
    node.run(delete("a"));
    assert_eq!(node.tombstone("a").unwrap().timestamp_us, START_US + 4_500_002);
    node.now_us += 10_000_000;
    node.run(put("a", "4"));
    assert_eq!(node.get("a").unwrap().timestamp_us(), node.now_us);
}

#[test]
fn log_time_never_steps_back() {
    let mut node = Harness::new();
    node.now_us -= 5_000_000;
    node.run(put("a", "1"));
    assert_eq!(node.state.log_time_us(), START_US);
    assert_eq!(node.get("a").unwrap().timestamp_us(), START_US);
}

#[test]
fn a_batch_is_not_atomic() {
    let mut node = Harness::new();
    let (outcomes, applied) = node.batch(&[
        put("a", "1").into(),
        Put {
            condition: Condition::Absent,
            ..put("a", "2")
        }
        .into(),
        event("a"),
        put("b", "3").into(),
    ]);
    let expected = [
        Outcome::Applied {
            revision: 1,
            created: true,
        },
        Outcome::ConditionFailed { current: 1 },
        Outcome::Published { revision: 2 },
        Outcome::Applied {
            revision: 3,
            created: true,
        },
    ];
    assert_eq!(outcomes, expected);
    let positions: Vec<_> = applied
        .changes
        .iter()
        .map(|change| (change.revision, change.ordinal))
        .collect();
    assert_eq!(positions, [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn an_event_takes_a_revision_and_stores_nothing() {
    let mut node = Harness::new();
    let before = rows(&mut node.state);
    let (outcome, changes) = node.run_changes(event("a"));
    assert_eq!(outcome, Outcome::Published { revision: 1 });
    assert!(matches!(
        changes[0].kind,
        ChangeKind::Event {
            received_at_us: START_US,
            ..
        }
    ));
    assert_eq!(rows(&mut node.state), before);
}
