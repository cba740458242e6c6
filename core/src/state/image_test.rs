//! What is in an image, and what is refused as one.

use bytes::Bytes;

use super::testing::*;
use super::*;
use crate::command::{BatchId, Connect, Item, Operation, Put};
use crate::keyspace::KeyKind;

/// Something of everything: topics, one that expires, tombstones, sessions, a group, a kept message.
fn everything() -> Harness {
    let mut harness = Harness::new();
    for (name, payload) in [("a", "1"), ("a/b", "2"), ("a/b/c", "3"), ("b", "4"), ("gone", "5")] {
        harness.run(put(name, payload));
    }
    harness.checkpoint();
    harness.run(Put {
        expiry_s: Some(60),
        ..put("a/b", "later")
    });
    harness.run(delete("gone"));
    harness.run(delete("b"));
    let reader = harness.connect("reader", true, 3600);
    harness.subscribe(reader, "a/#", 1);
    harness.subscribe(reader, "$share/g/b/#", 1);
    harness.leave(reader);
    harness.run(put("a", "kept"));
    harness.run(put("a", "latest"));
    harness.run(event("b/event"));
    harness
}

#[test]
fn an_image_is_the_whole_state() {
    let mut harness = everything();
    let view = harness.state.view();
    assert!(view.message_count > 0 && view.tombstone_count == 2 && view.session_count() == 1);
    for chunk_bytes in [1, 100, 1 << 20] {
        verify_image(&mut harness.state, chunk_bytes);
    }
    harness.checkpoint();
    verify_image(&mut harness.state, 100);
}

#[test]
fn the_data_have_a_digest_that_origins_and_sessions_do_not_change() {
    let mut harness = everything();
    let before = harness.state.view();
    harness.items(&[Item::OpenOrigin { node_id: 99, nonce: 7 }]);
    harness.connect("another", true, 60);
    let after = harness.state.view();
    assert_eq!(after.data_digest(), before.data_digest());
    assert_ne!(after.topics_digest, before.topics_digest);
    assert_ne!(after.digest, before.digest);
    harness.run(put("a", "changed"));
    assert_ne!(harness.state.view().data_digest(), before.data_digest());
}

#[test]
fn a_subtree_is_a_state_of_its_own() {
    let mut harness = everything();
    let view = harness.state.view();
    let (lower, upper) = crate::keyspace::subtree_range(&topic("a"));
    let inside = |key: &Bytes| match KeyKind::of_key(key) {
        Some(KeyKind::Topic) => key[..] >= lower[..] && key[..] < upper[..],
        _ => false,
    };
    let (mut sum, mut batch) = (ImageSum::default(), Vec::new());
    for (key, value) in view.image_after(None, usize::MAX).unwrap() {
        if inside(&key) {
            sum.add(&key, &value).unwrap();
            push_indexed(key, value, &mut batch).unwrap();
        }
    }
    let position = sum.position_of_data(view.position());
    let mut state = founded(batch, position);
    assert_eq!((state.topic_count(), state.revision()), (3, harness.state.revision()));
    let read = state.view();
    assert_eq!(read.get(&topic("a")).unwrap(), view.get(&topic("a")).unwrap());
    assert_eq!((read.get(&topic("b")).unwrap(), read.session_count()), (None, 0));
    // It goes on from here as any state does.
    let connect = Connect {
        client_id: Bytes::from_static(b"reader"),
        clean_start: false,
        expiry_s: 60,
        will: None,
    };
    let item = Item::OpenOrigin { node_id: 1, nonce: 1 };
    state.apply(next_id(&state), &entry(START_US, &[item])).unwrap();
    let id = BatchId {
        node_id: 1,
        incarnation: 1,
        sequence: 1,
    };
    let batch = command_batch(id, u64::MAX, &[Operation::Connect(connect).into()]);
    let item = Item::Batch(batch);
    state.apply(next_id(&state), &entry(START_US, &[item])).unwrap();
    verify(&mut state);
    assert_eq!(state.view().session_count(), 1);
}

#[test]
fn what_is_no_image_is_refused() {
    let view = everything().state.view();
    let rows = view.image_after(None, usize::MAX).unwrap();
    let sum_of = |rows: &[(Bytes, Bytes)]| {
        let mut sum = ImageSum::default();
        rows.iter().try_for_each(|(key, value)| sum.add(key, value))?;
        sum.check(view.position())
    };
    assert_eq!(sum_of(&rows), Ok(()));
    for missing in 0..rows.len() {
        let mut fewer = rows.clone();
        let (key, value) = fewer.remove(missing);
        assert!(sum_of(&fewer).is_err(), "without row {missing}");
        fewer.push((key, value));
        assert!(missing + 1 == rows.len() || sum_of(&fewer) == Err(ImageError::Order));
        let mut other = rows.clone();
        other[missing].1 = [&rows[missing].1[..], b"x"].concat().into();
        assert!(sum_of(&other).is_err(), "row {missing} changed");
    }
    for kind in [0x00, 0x01, 0x12, 0x13, 0x14, 0x7F] {
        let row = (Bytes::from(vec![kind, 1]), Bytes::new());
        assert_eq!(sum_of(&[row]), Err(ImageError::Kind(kind)));
    }
}
