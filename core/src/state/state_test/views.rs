//! Queries.

use super::*;

#[test]
fn a_view_does_not_change() {
    let mut node = Harness::new();
    node.run(put("a", "1"));
    let view = node.state.view();
    node.run(put("a", "2"));
    node.checkpoint();
    node.run(delete("a"));
    assert_eq!(view.get(&topic("a")).unwrap().unwrap().payload(), "1");
    assert_eq!((view.revision, view.topic_count, view.log_time_us), (1, 1, START_US));
    assert_eq!(view.full_digest(), Ok(view.digest));
}

#[test]
fn changes_are_the_latest_of_each_topic_in_order() {
    let mut node = Harness::new();
    for text in ["a", "b", "c", "a"] {
        node.run(put(text, "1"));
    }
    node.run(delete("b"));
    node.run(event("x"));
    node.run(put("d", "1"));
    node.run(put("d/e", "1"));
    node.run(delete_filter("d/#", 9));
    let view = node.state.view();
    let after = |revision, ordinal, rows_max| {
        let rows = view.changes_after(revision, ordinal, rows_max).unwrap().into_iter();
        rows.map(|row| {
            assert_eq!(row.record.is_some(), row.tombstone.is_none());
            (
                row.revision,
                row.ordinal,
                row.topic.as_str().to_owned(),
                row.record.is_some(),
            )
        })
        .collect::<Vec<_>>()
    };
    let all = [
        (3, 0, "c".to_owned(), true),
        (4, 0, "a".to_owned(), true),
        (5, 0, "b".to_owned(), false),
        (9, 0, "d".to_owned(), false),
        (9, 1, "d/e".to_owned(), false),
    ];
    assert_eq!(after(0, 0, 99), all);
    assert_eq!(after(3, 0, 99), all[1..]);
    assert_eq!(after(3, u32::MAX, 2), all[1..3]);
    assert_eq!(after(9, 0, 99), all[4..]);
    assert_eq!(after(9, 1, 99), []);
    assert_eq!(after(u64::MAX, u32::MAX, 99), []);
}

#[test]
fn scans_read_the_view() {
    let mut node = Harness::new();
    for text in ["a", "a/b", "a/c", "b"] {
        node.run(put(text, text));
    }
    let view = node.state.view();
    node.run(delete("a/b"));
    let selection = Selection::Filter(TopicFilter::parse("a/#").unwrap());
    let mut rows = Vec::new();
    view.scan(selection.clone(), Direction::Ascending)
        .next_chunk(2, 1_000_000, &mut rows)
        .unwrap();
    let mut rest = view.resume_scan(selection, Direction::Ascending, &rows[1].0);
    rest.next_chunk(99, 1_000_000, &mut rows).unwrap();
    let topics: Vec<_> = rows.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["a", "a/b", "a/c"]);
}

#[test]
fn metadata_of_a_delete_are_delivered_and_not_kept() {
    let mut node = Harness::new();
    node.run(put("a", "1"));
    let metadata = MetadataBuilder::new().user_property("why", "sold").build().unwrap();
    let (_, changes) = node.run_changes(Delete {
        metadata: metadata.clone(),
        qos: 0,
        ..delete("a")
    });
    let ChangeKind::Delete(seen) = &changes[0].kind else {
        panic!("{changes:?}")
    };
    assert_eq!(
        (&seen.metadata, seen.qos, &seen.publisher[..]),
        (&metadata, 0, &b"writer"[..])
    );
    assert_ne!(seen.metadata, Metadata::empty());
}
