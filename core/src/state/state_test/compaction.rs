//! Tombstones that go.

use super::*;

#[test]
fn a_tombstone_goes_when_both_bounds_are_passed() {
    let mut node = Harness::new();
    node.state.tombstone_bounds = TombstoneBounds {
        age_us: 100,
        revisions: 2,
    };
    for text in ["a", "b"] {
        node.run(put(text, "1"));
        node.run(delete(text));
    }
    assert_eq!(node.state.compaction_due(), Ok(false), "old enough by revisions only");
    node.now_us += 100;
    node.items(&[]);
    assert_eq!(node.state.compaction_due(), Ok(true), "both, for the first");
    node.now_us -= 100;
    let (revision, digest) = (node.state.revision(), node.state.digest());
    let applied = node.items(&[Item::Compact { limit: 10 }]);
    assert_eq!(applied, Applied::default());
    assert_eq!(
        (node.state.revision(), node.state.compaction_due()),
        (revision, Ok(false))
    );
    assert_ne!(node.state.digest(), digest);
    assert!(
        node.tombstone("a").is_none() && node.tombstone("b").is_some(),
        "b lacks revisions"
    );
    assert_eq!(node.state.view().compacted_revision, 2);
    // What the horizon means: an older write creates the topic again.
    assert!(matches!(
        node.run(put_at("a", "old", 5)),
        Outcome::Applied { created: true, .. }
    ));
    node.run(put("c", "1"));
    assert_eq!(node.state.compaction_due(), Ok(true));
    node.items(&[Item::Compact { limit: 0 }]);
    assert!(node.tombstone("b").is_some());
    node.items(&[Item::Compact { limit: 1 }]);
    assert!(node.tombstone("b").is_none());
    assert_eq!(node.state.view().tombstone_count, 0);
}

#[test]
fn age_alone_is_not_enough_and_neither_are_revisions() {
    let mut node = Harness::new();
    node.run(put("a", "1"));
    node.run(delete("a"));
    node.state.tombstone_bounds = TombstoneBounds {
        age_us: 100,
        revisions: 0,
    };
    assert_eq!(node.state.compaction_due(), Ok(false));
    node.state.tombstone_bounds = TombstoneBounds {
        age_us: 0,
        revisions: 1,
    };
    assert_eq!(node.state.compaction_due(), Ok(false));
    node.items(&[Item::Compact { limit: 10 }]);
    assert!(node.tombstone("a").is_some());
}
