//! Which messages are kept, until when, and how they are read.

use super::*;
use crate::command::Event;
use crate::state::interest::Wants;

const FOREVER: Retention = Retention {
    keep_bytes: u64::MAX,
    keep_us: u64::MAX,
};
const ALL: u32 = u32::MAX;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn at(revision: u64) -> MessagePosition {
    MessagePosition::first_of(revision)
}

/// A persistent session that is away since the beginning.
fn away(h: &mut Harness, text: &str, wants: Wants) {
    h.state.interest.subscribe(&filter(text), wants);
    h.state.interest.cursors.add(MessagePosition::default());
}

/// Moves the only cursor.
fn catch_up(h: &mut Harness, from: MessagePosition, to: MessagePosition) {
    h.state.interest.cursors.remove(from);
    h.state.interest.cursors.add(to);
}

fn trim(h: &mut Harness, retention: Retention) {
    h.state.trim(ALL, retention).unwrap();
    verify(&mut h.state);
}

fn qos(put: Put, qos: u8) -> Put {
    Put { qos, ..put }
}

/// Revisions of kept rows.
fn kept(h: &mut Harness) -> Vec<u64> {
    rows(&mut h.state)
        .iter()
        .filter_map(|(key, _)| crate::keyspace::message::message_of_key(key).ok())
        .map(|position| position.revision)
        .collect()
}

/// Revision, payload or `-` of a delete, QoS, whether it is the latest: all that waits behind `revision`.
fn waiting(h: &mut Harness, revision: u64) -> Vec<(u64, String, u8, bool)> {
    let waiting = h
        .state
        .view()
        .waiting_after(MessagePosition::end_of(revision), usize::MAX, usize::MAX)
        .unwrap();
    assert_eq!(waiting.next, None);
    waiting.rows.iter().map(said).collect()
}

fn said(row: &WaitingRow) -> (u64, String, u8, bool) {
    let payload = match &row.change.kind {
        ChangeKind::Put { record, .. } => record.payload(),
        ChangeKind::Delete(_) => Bytes::from_static(b"-"),
        ChangeKind::Event { event, .. } => event.payload.clone(),
    };
    let payload = String::from_utf8(payload.to_vec()).unwrap();
    (row.change.revision, payload, row.change.qos(), row.is_latest)
}

fn row(revision: u64, payload: &str, qos: u8, is_latest: bool) -> (u64, String, u8, bool) {
    (revision, payload.to_owned(), qos, is_latest)
}

#[test]
fn nothing_is_kept_while_nobody_waits() {
    let mut h = Harness::new();
    h.run(put("a", "1"));
    h.run(put("a", "2"));
    h.run(event("a"));
    h.run(delete("a"));
    assert_eq!(kept(&mut h), []);
    assert_eq!(h.state.low_water(), None);
    away(&mut h, "b/#", Wants::Every);
    h.run(put("a", "3"));
    h.run(put("a", "4"));
    h.run(event("a"));
    assert_eq!(kept(&mut h), []);
}

#[test]
fn a_record_is_the_message_until_it_is_superseded() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    h.run(put("a", "1"));
    assert_eq!(kept(&mut h), []);
    assert_eq!(waiting(&mut h, 0), [row(1, "1", 1, true)]);
    h.run(qos(put("a", "2"), 2));
    assert_eq!(kept(&mut h), [1]);
    h.run(delete("a"));
    assert_eq!(kept(&mut h), [1, 2, 3]);
    h.run(put("a", "4"));
    let all = [
        row(1, "1", 1, false),
        row(2, "2", 2, false),
        row(3, "-", 1, false),
        row(4, "4", 1, true),
    ];
    assert_eq!(waiting(&mut h, 0), all);
    assert_eq!(waiting(&mut h, 2), all[2..]);
    h.checkpoint();
    assert_eq!(waiting(&mut h, 0), all);
}

#[test]
fn a_kept_message_is_whole() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    let metadata = MetadataBuilder::new().content_type("text/plain").build().unwrap();
    let write = Put {
        metadata: metadata.clone(),
        timestamp_us: Some(START_US),
        expiry_s: Some(60),
        ..put("a", "1")
    };
    let removal = Delete {
        metadata: metadata.clone(),
        qos: 2,
        ..delete("a")
    };
    let event = Operation::Event(Event {
        topic: topic("a/b"),
        payload: Bytes::new(),
        metadata,
        publisher: Bytes::from_static(b"writer"),
        qos: 2,
        expiry_s: Some(7),
    });
    h.now_us += 5;
    let (_, mut changes) = h.run_changes(write);
    changes.extend(h.run_changes(removal).1);
    changes.extend(h.run_changes(event).1);
    h.checkpoint();
    let view = h.state.view();
    let waiting = view.waiting_after(MessagePosition::default(), 10, 1_000_000).unwrap();
    let found: Vec<_> = waiting.rows.iter().map(|row| row.change.clone()).collect();
    assert_eq!(found, changes);
    for change in changes {
        assert_eq!(view.message_at(change.position()).unwrap(), Some(change));
    }
    assert_eq!(view.message_at(at(4)).unwrap(), None);
}

#[test]
fn topics_of_one_revision_are_told_apart() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for text in ["a", "a/b", "a/c"] {
        h.run(put(text, "x"));
    }
    h.run(delete_filter("a/#", 10));
    let waiting = h.state.view().waiting_after(at(4), 10, 1_000_000).unwrap();
    let positions: Vec<_> = waiting.rows.iter().map(|row| row.change.position()).collect();
    assert_eq!(
        positions,
        [at(4).next().unwrap(), at(4).next().unwrap().next().unwrap()]
    );
    assert_eq!(kept(&mut h), [1, 2, 3, 4, 4, 4]);
}

#[test]
fn qos_0_is_not_kept_and_its_latest_state_is_found() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    h.run(qos(put("a", "1"), 0));
    h.run(qos(put("a", "2"), 0));
    h.run(Delete { qos: 0, ..delete("a") });
    h.run(qos(put("b", "3"), 0));
    assert_eq!(kept(&mut h), []);
    assert_eq!(waiting(&mut h, 0), [row(3, "-", 0, true), row(4, "3", 0, true)]);
}

#[test]
fn deliver_latest_needs_no_superseded_state() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Latest);
    for payload in ["1", "2", "3"] {
        h.run(put("a", payload));
    }
    h.run(event("a"));
    h.run(put("b", "5"));
    h.run(delete("b"));
    assert_eq!(kept(&mut h), [4, 6]);
    let latest = [row(3, "3", 1, true), row(4, "now", 1, true), row(6, "-", 1, true)];
    assert_eq!(waiting(&mut h, 0), latest);
    h.run(put("b", "7"));
    assert_eq!(waiting(&mut h, 4), [row(6, "-", 1, false), row(7, "7", 1, true)]);
}

#[test]
fn a_deletion_is_waited_for_after_its_tombstone_is_forgotten() {
    let mut h = Harness::new();
    h.state.tombstone_bounds = TombstoneBounds {
        age_us: 0,
        revisions: 0,
    };
    away(&mut h, "#", Wants::Every);
    h.run(put("a", "1"));
    h.run(delete("a"));
    h.items(&[Item::Compact { limit: 10 }]);
    assert_eq!(h.tombstone("a"), None);
    assert_eq!(waiting(&mut h, 0), [row(1, "1", 1, false), row(2, "-", 1, true)]);
}

#[test]
fn what_has_expired_is_not_moved_unless_it_is_on_its_way() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    let short = |text| Put {
        expiry_s: Some(1),
        ..put(text, "x")
    };
    h.run(short("a"));
    h.run(short("b"));
    h.state.hold(at(2));
    h.now_us += 1_000_000;
    h.items(&[Item::Expire { limit: 10 }]);
    assert_eq!(kept(&mut h), [2, 3, 3]);
    assert!(matches!(
        h.state.view().message_at(at(3)).unwrap().unwrap().kind,
        ChangeKind::Delete(deletion) if deletion.cause == DeleteCause::Expired
    ));
}

#[test]
fn reading_is_bounded_and_goes_on_where_it_stopped() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for payload in ["1", "2", "3"] {
        h.run(put("a", payload));
        h.run(event("a"));
        h.run(qos(put("b", payload), 0));
    }
    let all = waiting(&mut h, 0);
    assert_eq!(all.len(), 7);
    for (rows_max, bytes_max) in [
        (0, usize::MAX),
        (1, usize::MAX),
        (2, usize::MAX),
        (4, usize::MAX),
        (9, 1),
        (9, 60),
    ] {
        let (mut found, mut position, mut reads) = (Vec::new(), MessagePosition::default(), 0);
        loop {
            let view = h.state.view();
            let waiting = view.waiting_after(position, rows_max, bytes_max).unwrap();
            assert!(waiting.rows.len() <= rows_max.max(1));
            found.extend(waiting.rows.iter().map(said));
            reads += 1;
            match waiting.next {
                Some(next) => position = next,
                None => break,
            }
            if reads == 3 {
                h.checkpoint();
            }
        }
        assert_eq!(found, all);
        assert!(reads >= 7 / rows_max.max(1), "{reads} reads of {rows_max}");
    }
}

#[test]
fn stale_rows_of_the_index_count_as_effort() {
    let mut h = Harness::new();
    for payload in ["1", "2", "3", "4"] {
        h.run(put("a", payload));
    }
    let read = |view: &StateView| view.waiting_after(MessagePosition::default(), 3, usize::MAX).unwrap();
    let waiting = read(&h.state.view());
    assert_eq!((waiting.rows.len(), waiting.next), (0, Some(at(3))));
    // They are gone with the next checkpoint.
    h.checkpoint();
    let waiting = read(&h.state.view());
    assert_eq!((waiting.rows.len(), waiting.next), (1, None));
}

#[test]
fn a_record_that_moves_between_two_reads_is_read_once() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for text in ["a", "b", "c"] {
        h.run(put(text, "1"));
    }
    let first = h
        .state
        .view()
        .waiting_after(MessagePosition::default(), 2, usize::MAX)
        .unwrap();
    assert_eq!(first.next, Some(at(2)));
    for text in ["a", "b", "c"] {
        h.run(put(text, "2"));
    }
    assert_eq!(kept(&mut h), [1, 2, 3]);
    let rest = h.state.view().waiting_after(at(2), 10, usize::MAX).unwrap();
    let revisions: Vec<_> = rest.rows.iter().map(|row| row.change.revision).collect();
    assert_eq!(revisions, [3, 4, 5, 6]);
}

#[test]
fn rows_go_when_the_last_cursor_has_passed() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for payload in ["1", "2", "3"] {
        h.run(put("a", payload));
    }
    assert!(!h.state.trim_due(FOREVER).unwrap());
    catch_up(&mut h, MessagePosition::default(), at(1));
    assert!(h.state.trim_due(FOREVER).unwrap());
    trim(&mut h, FOREVER);
    assert_eq!(kept(&mut h), [2]);
    assert!(!h.state.trim_due(FOREVER).unwrap());
    // A record behind which every cursor is does not move any more.
    catch_up(&mut h, at(1), at(3));
    h.run(put("a", "4"));
    assert_eq!(kept(&mut h), [2]);
    h.state.interest.cursors.remove(at(3));
    h.run(put("a", "5"));
    trim(&mut h, FOREVER);
    assert_eq!(kept(&mut h), []);
    assert_eq!(h.state.dropped_through(), MessagePosition::default());
}

#[test]
fn a_trim_ends_at_its_limit() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for _ in 0..5 {
        h.run(event("a"));
    }
    catch_up(&mut h, MessagePosition::default(), at(4));
    h.state.trim(3, FOREVER).unwrap();
    assert_eq!(kept(&mut h), [4, 5]);
    h.state.trim(3, FOREVER).unwrap();
    assert_eq!(kept(&mut h), [5]);
}

#[test]
fn what_is_held_stays_until_it_is_let_go() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for payload in ["1", "2", "3"] {
        h.run(put("a", payload));
    }
    h.state.hold(at(1));
    h.state.hold(at(1));
    h.state.hold(at(3));
    catch_up(&mut h, MessagePosition::default(), at(3));
    trim(&mut h, FOREVER);
    assert_eq!(kept(&mut h), [1]);
    // Held, though no cursor needs it and it is of a topic that nobody subscribed to.
    h.state.interest.unsubscribe(&filter("#"), Wants::Every);
    h.run(put("a", "4"));
    assert_eq!(kept(&mut h), [1, 3]);
    h.state.release(at(1)).unwrap();
    assert_eq!(kept(&mut h), [1, 3]);
    h.state.release(at(1)).unwrap();
    assert_eq!(kept(&mut h), [3]);
    trim(&mut h, FOREVER);
    h.checkpoint();
    h.state.release(at(3)).unwrap();
    verify(&mut h.state);
    assert_eq!(kept(&mut h), []);
}

#[test]
fn retention_drops_the_oldest_and_says_how_far() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for _ in 0..5 {
        h.run(event("a"));
    }
    h.state.hold(at(2));
    let row_bytes = h.state.message_bytes() / 5;
    let retention = Retention {
        keep_bytes: 2 * row_bytes + 1,
        ..FOREVER
    };
    assert!(h.state.trim_due(retention).unwrap());
    trim(&mut h, retention);
    assert_eq!(kept(&mut h), [2, 4, 5]);
    assert_eq!(h.state.dropped_through(), at(3));
    assert_eq!(h.state.low_water(), Some(at(3)));
    assert!(!h.state.trim_due(retention).unwrap());
    let nothing = Retention {
        keep_bytes: 0,
        ..FOREVER
    };
    trim(&mut h, nothing);
    assert_eq!(kept(&mut h), [2]);
    h.state.release(at(2)).unwrap();
    assert_eq!(h.state.message_count(), 0);
    // What a record still says is found, though its turn was dropped.
    h.run(put("a", "6"));
    assert_eq!(waiting(&mut h, 0), [row(6, "6", 1, true)]);
}

#[test]
fn age_counts_from_when_a_message_was_kept() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    let retention = Retention { keep_us: 10, ..FOREVER };
    h.run(put("a", "1"));
    h.run(event("b"));
    h.now_us += 9;
    h.run(put("a", "3"));
    assert_eq!(kept(&mut h), [1, 2]);
    trim(&mut h, retention);
    assert_eq!(kept(&mut h), [1, 2]);
    // The first became a row later, and is older all the same.
    h.now_us += 1;
    h.run(event("b"));
    assert!(h.state.trim_due(retention).unwrap());
    trim(&mut h, retention);
    assert_eq!(kept(&mut h), [4]);
    assert_eq!(h.state.dropped_through(), at(2));
}

#[test]
fn messages_that_come_and_go_between_checkpoints_are_not_written() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    h.checkpoint();
    h.run(event("a"));
    catch_up(&mut h, MessagePosition::default(), at(1));
    trim(&mut h, FOREVER);
    let batch = h.state.freeze().to_batch();
    let of_messages = |(key, _): &&(Bytes, Option<Bytes>)| key[0] == crate::keyspace::KeyKind::Message as u8;
    assert_eq!(batch.iter().filter(of_messages).count(), 0);
}

#[test]
fn counts_and_bounds_survive_a_restart() {
    let mut h = Harness::new();
    away(&mut h, "#", Wants::Every);
    for _ in 0..4 {
        h.run(event("a"));
    }
    h.state
        .trim(
            2,
            Retention {
                keep_bytes: 0,
                ..FOREVER
            },
        )
        .unwrap();
    h.checkpoint();
    let mut reopened = open(&h.store);
    assert_eq!(reopened.message_count(), 2);
    assert_eq!(reopened.message_bytes(), h.state.message_bytes());
    assert_eq!(reopened.dropped_through(), at(2));
    assert_eq!(reopened.digest(), h.state.digest());
    assert_eq!(reopened.view().full_digest().unwrap(), h.state.digest());
}
