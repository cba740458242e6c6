//! Entries that are corrupt, or not ours.

use super::*;

#[test]
#[should_panic(expected = "log index 5 applied where 1 is next")]
fn a_hole_in_the_log_stops() {
    let mut node = Harness::new();
    node.state.apply_blank(AppliedId {
        term: 1,
        node_id: 1,
        index: 5,
    });
}

#[test]
fn a_corrupt_entry_is_an_error_on_every_node_alike() {
    let id = BatchId {
        node_id: NODE,
        incarnation: 1,
        sequence: 1,
    };
    let good = batch(id, u64::MAX, &[put("a", "1").into(), put("b", "1").into()]);
    let cut = entry(START_US, &[Item::Batch(good.slice(..good.len() - 1))]);
    let mut errors = Vec::new();
    for _ in 0..2 {
        let mut node = Harness::new();
        errors.push(node.state.apply(next_id(&node.state), &cut).unwrap_err());
    }
    assert!(matches!(errors[0], ApplyError::Corrupt(_)));
    assert_eq!(errors[0], errors[1]);
    let mut node = Harness::new();
    for bytes in [&b""[..], b"\x01", b"\x02\0\0\0\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0\0\x09"] {
        let outcome = node.state.apply(next_id(&node.state), &Bytes::from_static(bytes));
        assert!(matches!(outcome, Err(ApplyError::Corrupt(_))));
    }
}

#[test]
fn blank_and_membership_entries_move_the_position_only() {
    let mut node = Harness::new();
    let digest = node.state.digest();
    node.state.apply_blank(next_id(&node.state));
    node.state
        .set_membership(next_id(&node.state), Bytes::from_static(b"members"));
    assert_eq!(node.state.applied().unwrap().index, 2);
    assert_eq!(node.state.membership().unwrap(), "members");
    assert_eq!((node.state.digest(), node.state.revision()), (digest, 0));
}
