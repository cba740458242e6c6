//! One revision for all that matches.

use super::*;

fn node() -> Harness {
    let mut node = Harness::new();
    for text in ["a", "a/b", "a/c", "a/c/d", "b", "$sys/a"] {
        node.run(put(text, "1"));
    }
    node
}

#[test]
fn all_matches_go_at_one_revision_in_key_order() {
    let mut node = node();
    let (outcome, changes) = node.run_changes(delete_filter("a/#", 10));
    assert_eq!(
        outcome,
        Outcome::DeletedMany {
            revision: 7,
            count: 4,
            more: false
        }
    );
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (change.revision, change.ordinal, change.topic.as_str()))
        .collect();
    assert_eq!(seen, [(7, 0, "a"), (7, 1, "a/b"), (7, 2, "a/c"), (7, 3, "a/c/d")]);
    assert!(node.get("a/c").is_none() && node.get("b").is_some());
    assert_eq!(node.tombstone("a/c/d").unwrap().ordinal, 3);
    assert_eq!(node.state.topic_count(), 2);
}

#[test]
fn the_limit_leaves_the_rest_and_says_so() {
    let mut node = node();
    assert_eq!(
        node.run(delete_filter("a/#", 4)),
        Outcome::DeletedMany {
            revision: 7,
            count: 4,
            more: false
        }
    );
    node.run(put("a", "1"));
    node.run(put("a/b", "1"));
    assert_eq!(
        node.run(delete_filter("a/#", 1)),
        Outcome::DeletedMany {
            revision: 10,
            count: 1,
            more: true
        }
    );
    assert_eq!(
        node.run(delete_filter("a/#", 0)),
        Outcome::DeletedMany {
            revision: 10,
            count: 0,
            more: true
        }
    );
    assert!(node.get("a").is_none() && node.get("a/b").is_some());
}

#[test]
fn nothing_matched_is_no_change() {
    let mut node = node();
    assert_eq!(
        node.run(delete_filter("x/#", 9)),
        Outcome::DeletedMany {
            revision: 6,
            count: 0,
            more: false
        }
    );
    node.run(delete_filter("#", 9));
    assert!(node.get("$sys/a").is_some(), "[MQTT-4.7.2-1]");
}

#[test]
fn many_topics_are_taken_chunk_by_chunk() {
    let mut node = Harness::new();
    for batch in 0..4 {
        let puts: Vec<_> = (0..200).map(|i| put(&format!("t/{batch}/{i}"), "1").into()).collect();
        node.batch(&puts);
    }
    assert_eq!(
        node.run(delete_filter("t/+/+", 700)),
        Outcome::DeletedMany {
            revision: 801,
            count: 700,
            more: true
        }
    );
    assert_eq!(node.state.topic_count(), 100);
}
