//! Records that expire.

use super::*;

#[test]
fn due_records_are_deleted_earliest_first() {
    let mut node = Harness::new();
    for (text, expiry_s) in [("c", 3), ("b", 2), ("a", 2), ("d", 9)] {
        node.run(Put {
            expiry_s: Some(expiry_s),
            ..put(text, "1")
        });
    }
    node.run(put("e", "1"));
    assert_eq!(node.state.next_expiry_us(), Ok(Some(START_US + 2_000_000)));
    assert_eq!(node.items(&[Item::Expire { limit: 10 }]).changes, []);
    assert_eq!(node.state.revision(), 5);
    node.now_us += 3_000_000;
    let seen = |applied: Applied| {
        let seen = applied.changes.into_iter().map(|change| {
            let expired = matches!(
                &change.kind,
                ChangeKind::Delete(deletion) if deletion.cause == DeleteCause::Expired
            );
            assert!(expired, "{change:?}");
            (change.revision, change.ordinal, change.topic.as_str().to_owned())
        });
        seen.collect::<Vec<_>>()
    };
    let first = seen(node.items(&[Item::Expire { limit: 2 }]));
    assert_eq!(first, [(6, 0, "a".into()), (6, 1, "b".into())]);
    assert_eq!(seen(node.items(&[Item::Expire { limit: 2 }])), [(7, 0, "c".into())]);
    assert_eq!(node.state.next_expiry_us(), Ok(Some(START_US + 9_000_000)));
    assert_eq!(node.state.topic_count(), 2);
    node.run(delete("d"));
    assert_eq!(node.state.next_expiry_us(), Ok(None));
}

#[test]
fn the_interval_counts_from_the_commit() {
    let mut node = Harness::new();
    node.run(Put {
        expiry_s: Some(1),
        ..put_at("a", "1", START_US - 9_000_000)
    });
    assert_eq!(node.get("a").unwrap().expires_at_us(), Some(START_US + 1_000_000));
    node.run(Put {
        expiry_s: Some(0),
        ..put("b", "1")
    });
    assert_eq!(
        node.items(&[Item::Expire { limit: 10 }]).changes.len(),
        1,
        "0 is at once"
    );
}

#[test]
fn the_tombstone_has_the_timestamp_of_the_record() {
    let mut node = Harness::new();
    let timestamp_us = START_US - 5;
    node.run(Put {
        expiry_s: Some(1),
        ..put_at("a", "1", timestamp_us)
    });
    node.now_us += 1_000_000;
    node.items(&[Item::Expire { limit: 10 }]);
    let tombstone = node.tombstone("a").unwrap();
    assert_eq!(
        (tombstone.timestamp_us, tombstone.deleted_at_us),
        (timestamp_us, node.now_us)
    );
    assert_eq!(
        node.run(put_at("a", "2", timestamp_us - 1)),
        Outcome::Superseded { winner: 2 }
    );
    assert_eq!(
        node.run(put_at("a", "2", timestamp_us + 1)),
        Outcome::Applied {
            revision: 3,
            created: true
        }
    );
}

#[test]
fn a_later_write_sets_the_expiry_anew() {
    let mut node = Harness::new();
    node.run(Put {
        expiry_s: Some(1),
        ..put("a", "1")
    });
    node.run(Put {
        expiry_s: Some(5),
        ..put("a", "2")
    });
    assert_eq!(node.state.next_expiry_us(), Ok(Some(START_US + 5_000_000)));
    node.run(put("a", "3"));
    assert_eq!(node.state.next_expiry_us(), Ok(None));
}
