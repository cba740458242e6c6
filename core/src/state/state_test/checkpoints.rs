//! Checkpoints, recovery, copies.

use super::*;

fn busy_node() -> Harness {
    let mut node = Harness::new();
    node.state
        .set_membership(next_id(&node.state), Bytes::from_static(b"members"));
    for (text, expiry_s) in [("a", None), ("a/b", Some(5)), ("c", None)] {
        node.run(Put {
            expiry_s,
            ..put(text, "1")
        });
    }
    node.run(delete("c"));
    node.run(event("x"));
    node
}

fn assert_same(one: &mut State, mut other: State) {
    let other = &mut other;
    assert_eq!(one.position, other.position);
    assert_eq!(one.origins, other.origins);
    assert_eq!(one.membership, other.membership);
    assert_eq!(rows(one), rows(other));
    verify(other);
}

#[test]
fn an_empty_store_opens_as_the_empty_state() {
    let state = open(&MemoryStore::new());
    assert_eq!((state.applied(), state.revision(), state.log_time_us()), (None, 0, 0));
    assert_eq!((state.digest(), state.membership()), (Digest::default(), None));
    assert_eq!((state.next_expiry_us(), state.compaction_due()), (Ok(None), Ok(false)));
}

#[test]
fn a_checkpoint_restores_everything() {
    let mut node = busy_node();
    assert_eq!(
        open(&node.store).applied(),
        None,
        "nothing is written before the checkpoint"
    );
    node.checkpoint();
    assert_same(&mut node.state, open(&node.store));
    // And again from there, where most rows have not changed.
    node.run(put("a", "2"));
    node.checkpoint();
    assert_same(&mut node.state, open(&node.store));
}

#[test]
fn applying_goes_on_while_a_checkpoint_is_written() {
    let mut node = busy_node();
    let frozen = node.state.freeze();
    assert!(node.state.is_frozen());
    assert_eq!(frozen.applied, node.state.applied());
    let at_freeze = node.state.position;
    node.run(put("a", "2"));
    node.run(delete("a/b"));
    node.store.write(frozen.to_batch()).unwrap();
    assert_eq!(open(&node.store).position, at_freeze);
    node.run(put("d", "3"));
    node.state.thaw();
    verify(&mut node.state);
    node.checkpoint();
    assert_same(&mut node.state, open(&node.store));
}

#[test]
fn rewriting_a_topic_leaves_its_positions_and_nothing_else() {
    let written = |count: usize, payload: &str| {
        let mut node = Harness::new();
        for _ in 0..count {
            node.run(put("a", payload));
        }
        node.state.active_bytes()
    };
    let (small, large) = ("x", "x".repeat(1000));
    assert_eq!(
        written(50, &large) - written(1, &large),
        written(50, small) - written(1, small)
    );
}

#[test]
fn a_checkpoint_removes_what_earlier_ones_wrote_about_changed_topics() {
    let mut node = busy_node();
    node.checkpoint();
    node.run(put("a", "2"));
    node.run(delete("a/b"));
    node.run(put("c", "was deleted"));
    // Of what is frozen and not written yet, too.
    let frozen = node.state.freeze();
    node.run(put("a", "3"));
    node.run(put("a/b", "back"));
    node.store.write(frozen.to_batch()).unwrap();
    verify_store(&node.store);
    node.state.thaw();
    verify(&mut node.state);
    node.checkpoint();
    assert_same(&mut node.state, open(&node.store));
}

#[test]
fn rows_without_a_position_are_refused() {
    let store = MemoryStore::new();
    store
        .write(vec![(Bytes::from_static(b"\x10a"), Some(Bytes::from_static(b"?")))])
        .unwrap();
    assert_eq!(State::open(Arc::new(store.clone())).unwrap_err(), OpenError::NoPosition);
    store
        .write(vec![(Bytes::from_static(&[1, 1]), Some(Bytes::from_static(b"?")))])
        .unwrap();
    assert!(matches!(State::open(Arc::new(store)), Err(OpenError::Format(_))));
}
