//! Scans against the naive matcher over random trees, and what they cost.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::keyspace::RecordFields;
use crate::metadata::Metadata;
use crate::store::{Layered, MemoryStore, Store};
use crate::topic::testing::{filter_text, naive_matches, topic_text};

use Direction::{Ascending, Descending};

fn name(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn filter(text: &str) -> Selection {
    Selection::Filter(TopicFilter::parse(text).unwrap())
}

fn record(payload: &str) -> Bytes {
    let fields = RecordFields {
        revision: 1,
        ordinal: 0,
        created_revision: 1,
        timestamp_us: 1,
        expires_at_us: None,
        qos: 1,
        publisher: b"p",
        metadata: &Metadata::empty(),
        payload: payload.as_bytes(),
    };
    fields.encode().as_bytes().clone()
}

/// A store of `topics`, each with its name as payload, between keys of other kinds.
fn store<'a>(topics: impl IntoIterator<Item = &'a str>) -> MemoryStore {
    let mut batch: Vec<_> = topics
        .into_iter()
        .map(|topic| (topic_key(&name(topic)), Some(record(topic))))
        .collect();
    for kind in KeyKind::ALL.into_iter().filter(|kind| *kind != KeyKind::Topic) {
        batch.push((
            Bytes::copy_from_slice(&[kind as u8, b'a']),
            Some(Bytes::from_static(b"no record")),
        ));
    }
    let store = MemoryStore::new();
    store.write(batch).unwrap();
    store
}

/// Everything that `scan` has left, by chunks of `rows_max`.
fn read(scan: &mut Scan, rows_max: usize) -> Vec<String> {
    let mut rows = Vec::new();
    loop {
        let before = rows.len();
        let more = scan.next_chunk(rows_max, usize::MAX, &mut rows).unwrap();
        assert!(rows.len() - before <= rows_max);
        if !more {
            break;
        }
    }
    for (topic, record) in &rows {
        assert_eq!(record.payload(), topic.as_bytes());
    }
    rows.into_iter()
        .map(|(topic, _)| String::from(topic.as_str()))
        .collect()
}

fn scanned(store: &MemoryStore, selection: Selection, direction: Direction) -> Vec<String> {
    read(&mut Scan::new(store.view(), selection, direction), usize::MAX)
}

/// Those of `topics` that `selected` takes, in key order or its reverse.
fn naive<'a>(
    topics: impl IntoIterator<Item = &'a String>,
    selected: impl Fn(&str) -> bool,
    direction: Direction,
) -> Vec<String> {
    let mut selected: Vec<_> = topics.into_iter().filter(|topic| selected(topic)).cloned().collect();
    selected.sort_by(|one, other| one.split('/').cmp(other.split('/')));
    if direction == Descending {
        selected.reverse();
    }
    selected
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Ascending), Just(Descending)]
}

fn topics() -> impl Strategy<Value = BTreeSet<String>> {
    prop_oneof![
        prop::collection::btree_set(topic_text(), 0..30),
        // Enough for runs beyond what is stepped over.
        prop::collection::btree_set(dense_topic_text(), 100..400),
    ]
}

/// Topics of a bushy tree.
fn dense_topic_text() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["", "a", "a!", "b", "c", "d", "$", "e"]);
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |text| !text.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn filters_agree_with_the_naive_matcher(
        topics in topics(),
        text in filter_text(),
        direction in direction(),
        rows_max in 1..20_usize,
    ) {
        let store = store(topics.iter().map(String::as_str));
        let expected = naive(&topics, |topic| naive_matches(&text, topic), direction);
        prop_assert_eq!(&scanned(&store, filter(&text), direction), &expected);
        let mut chunked = Scan::new(store.view(), filter(&text), direction);
        prop_assert_eq!(&read(&mut chunked, rows_max), &expected);
        prop_assert!(!chunked.next_chunk(1, 1, &mut Vec::new()).unwrap(), "exhausted stays exhausted");
    }

    #[test]
    fn ranges_agree_with_the_order_of_levels(
        topics in topics(),
        prefix in prop::option::of(topic_text()),
        start in prop::option::of(topic_text()),
        end in prop::option::of(topic_text()),
        direction in direction(),
        rows_max in 1..20_usize,
    ) {
        let store = store(topics.iter().map(String::as_str));
        let selected = |topic: &str| {
            let under = |prefix: &String| topic == prefix || topic.starts_with(&format!("{prefix}/"));
            prefix.as_ref().is_none_or(under)
                && start.as_ref().is_none_or(|start| topic.split('/').ge(start.split('/')))
                && end.as_ref().is_none_or(|end| topic.split('/').lt(end.split('/')))
        };
        let bound = |text: &Option<String>| text.as_deref().map(name);
        let selection = Selection::Range { prefix: bound(&prefix), start: bound(&start), end: bound(&end) };
        let mut scan = Scan::new(store.view(), selection, direction);
        prop_assert_eq!(read(&mut scan, rows_max), naive(&topics, selected, direction));
    }

    #[test]
    fn resumes_after_any_topic(
        topics in topics(),
        text in filter_text(),
        direction in direction(),
        last in topic_text(),
        index in any::<prop::sample::Index>(),
    ) {
        let store = store(topics.iter().map(String::as_str));
        let all = naive(&topics, |topic| naive_matches(&text, topic), direction);
        // After a topic that was read, and after one that need not be there.
        for last in all.get(index.index(all.len().max(1))).into_iter().chain([&last]) {
            let follows = |topic: &str| match direction {
                Ascending => topic.split('/').gt(last.split('/')),
                Descending => topic.split('/').lt(last.split('/')),
            };
            let expected: Vec<_> = all.iter().filter(|topic| follows(topic)).cloned().collect();
            let mut scan = Scan::resume_after(store.view(), filter(&text), direction, &name(last));
            prop_assert_eq!(read(&mut scan, usize::MAX), expected);
        }
    }

    #[test]
    fn layers_read_as_one(
        topics in prop::collection::btree_map(topic_text(), 0..6_u8, 0..60),
        text in filter_text(),
        direction in direction(),
    ) {
        // Each topic is put or deleted in the base, the frozen and the active layer by its number.
        let store = MemoryStore::new();
        let mut layered = Layered::<()>::new(std::sync::Arc::new(store.clone()));
        let key = |topic: &String| topic_key(&name(topic));
        for (topic, _) in topics.iter().filter(|(_, number)| **number < 3) {
            layered.put(key(topic), if topics[topic] == 0 { record(topic) } else { record("old") });
        }
        store.write(layered.freeze().to_batch()).unwrap();
        layered.thaw();
        for (topic, number) in &topics {
            match number {
                1 | 3 => layered.put(key(topic), record(topic)),
                2 => layered.delete(key(topic)),
                4 => layered.put(key(topic), record("old")),
                _ => {}
            }
        }
        layered.freeze();
        for (topic, number) in &topics {
            match number {
                2 | 4 => layered.put(key(topic), record(topic)),
                3 | 5 => layered.delete(key(topic)),
                _ => {}
            }
        }
        let present = topics.iter().filter(|(_, number)| !matches!(number, 3 | 5)).map(|(topic, _)| topic);
        let mut scan = Scan::new(std::sync::Arc::new(layered.view()), filter(&text), direction);
        prop_assert_eq!(read(&mut scan, 7), naive(present, |topic| naive_matches(&text, topic), direction));
    }
}

#[test]
fn a_subtree_holds_its_root() {
    let store = store(["a", "a!", "a/b", "a/b/c", "ab", "b"]);
    assert_eq!(scanned(&store, filter("a/#"), Ascending), ["a", "a/b", "a/b/c"]);
    let selection = Selection::Range {
        prefix: Some(name("a")),
        start: None,
        end: None,
    };
    assert_eq!(scanned(&store, selection, Descending), ["a/b/c", "a/b", "a"]);
}

#[test]
fn reserved_topics_need_to_be_named() {
    // [MQTT-4.7.2-1]
    let store = store(["!", "$SYS/a", "$SYS/b", "%", "a"]);
    assert_eq!(scanned(&store, filter("#"), Ascending), ["!", "%", "a"]);
    assert_eq!(scanned(&store, filter("#"), Descending), ["a", "%", "!"]);
    assert_eq!(scanned(&store, filter("$SYS/#"), Ascending), ["$SYS/a", "$SYS/b"]);
    let everything = Selection::Range {
        prefix: None,
        start: None,
        end: None,
    };
    assert_eq!(
        scanned(&store, everything, Ascending),
        ["!", "$SYS/a", "$SYS/b", "%", "a"]
    );
}

#[test]
fn an_exact_filter_is_one_read() {
    let store = store(["a/b", "a/b/c"]);
    let mut scan = Scan::new(store.view(), filter("a/b"), Ascending);
    assert_eq!(read(&mut scan, usize::MAX), ["a/b"]);
    assert_eq!((scan.rows_touched(), scan.seeks()), (1, 0));
    assert_eq!(scanned(&store, filter("a"), Descending), [""; 0]);
}

#[test]
fn a_chunk_ends_with_the_row_that_fills_it() {
    let store = store(["a", "b", "c"]);
    let row_bytes = 1 + record("a").len();
    for (bytes_max, rows_expected) in [(0, 1), (1, 1), (row_bytes, 1), (row_bytes + 1, 2), (3 * row_bytes, 3)] {
        let mut rows = Vec::new();
        let mut scan = Scan::new(store.view(), filter("#"), Ascending);
        assert!(scan.next_chunk(usize::MAX, bytes_max, &mut rows).unwrap());
        assert_eq!(rows.len(), rows_expected, "{bytes_max}");
    }
    let mut scan = Scan::new(store.view(), filter("#"), Ascending);
    assert!(scan.next_chunk(0, usize::MAX, &mut Vec::new()).unwrap());
    assert_eq!(scan.seeks(), 0);
}

#[test]
fn a_scan_that_finds_nothing_comes_up_for_air() {
    let topics: Vec<_> = (0..3 * CHUNK_COST_MAX).map(|number| format!("a/{number:07}")).collect();
    let store = store(topics.iter().map(String::as_str));
    for direction in [Ascending, Descending] {
        let mut scan = Scan::new(store.view(), filter("+/+/x"), direction);
        let mut rows = Vec::new();
        let mut chunks = 0;
        while scan.next_chunk(10, usize::MAX, &mut rows).unwrap() {
            chunks += 1;
        }
        assert!(chunks >= 2, "{chunks}");
        assert!(rows.is_empty());
        assert_eq!(scan.rows_touched(), topics.len() as u64);
    }
}

#[test]
fn damage_is_reported() {
    let good = store(["a", "c"]);
    good.write(vec![(topic_key(&name("b")), Some(Bytes::from_static(b"damage")))])
        .unwrap();
    let error = Scan::new(good.view(), filter("#"), Ascending)
        .next_chunk(9, 9999, &mut Vec::new())
        .unwrap_err();
    assert!(error.0.contains("\"b\""), "{error}");
    good.write(vec![
        (Bytes::from_static(b"\x10b"), None),
        (Bytes::from_static(b"\x10\xFF"), Some(record("x"))),
    ])
    .unwrap();
    assert!(
        Scan::new(good.view(), filter("#"), Ascending)
            .next_chunk(9, 9999, &mut Vec::new())
            .is_err()
    );
}

/// `regions/R/sites/S/devices/D` with `sites` sites in each of 10 regions, and 10 devices on each.
fn plant(sites: usize) -> MemoryStore {
    let mut topics = Vec::new();
    for region in 0..10 {
        for site in 0..sites {
            for device in 0..10 {
                topics.push(format!("regions/r{region}/sites/{site}/devices/{device}"));
            }
        }
    }
    store(topics.iter().map(String::as_str))
}

#[test]
fn cost_follows_the_matches_and_not_the_topics() {
    let (small, large) = (plant(10), plant(100));
    for direction in [Ascending, Descending] {
        let cost = |store: &MemoryStore| {
            let mut scan = Scan::new(store.view(), filter("regions/+/sites/7/devices/+"), direction);
            assert_eq!(read(&mut scan, usize::MAX).len(), 100);
            (scan.rows_touched(), scan.seeks())
        };
        let (small_rows, small_seeks) = cost(&small);
        let (large_rows, large_seeks) = cost(&large);
        // Per region: the devices, at most two jumps, and the row at which each lands or which starts it.
        let rows_max = 10 * (10 + 2 * (u64::from(STEPS_BEFORE_SEEK) + 2)) + 1;
        assert!(large_rows <= rows_max, "{large_rows} rows, at most {rows_max}");
        assert!(large_seeks <= 21, "{large_seeks} seeks");
        assert!(
            small_rows <= rows_max && small_seeks <= 21,
            "{small_rows} rows, {small_seeks} seeks"
        );
    }
}

#[test]
fn chunks_do_not_add_to_the_cost_but_their_ranges() {
    let store = plant(100);
    let mut whole = Scan::new(store.view(), filter("regions/+/sites/7/devices/+"), Ascending);
    let mut chunked = whole.clone();
    let rows = read(&mut whole, usize::MAX);
    assert_eq!(read(&mut chunked, 5), rows);
    assert!(chunked.rows_touched() <= whole.rows_touched());
    assert!(chunked.seeks() <= whole.seeks() + rows.len() as u64 / 5);
}

#[test]
fn short_runs_are_stepped_over() {
    // Each region has 30 rows beside the one that matches: no range but the first is worth its cost.
    let mut topics = Vec::new();
    for region in 0..50 {
        topics.extend((0..30).map(|number| format!("r/{region}/{number}")));
        topics.push(format!("r/{region}/x"));
    }
    let store = store(topics.iter().map(String::as_str));
    for direction in [Ascending, Descending] {
        let mut scan = Scan::new(store.view(), filter("r/+/x"), direction);
        assert_eq!(read(&mut scan, usize::MAX).len(), 50);
        assert_eq!((scan.rows_touched(), scan.seeks()), (50 * 31, 1));
    }
}
