//! The model by itself, and against the state machine that ships.

use std::sync::Arc;

use banyan_core::command::{
    Command, Condition, Connect, Delete, Disconnect, Item, Kick, Operation, Put, Release, SessionSubscription,
    Subscribe, SubscriptionOptions, Unsubscribe, Will,
};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::state::{AppliedId, State, TombstoneBounds};
use banyan_core::store::MemoryStore;
use banyan_core::topic::{SubscriptionFilter, TopicName};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::testing::*;
use super::*;
use crate::history::{CommittedLog, Seen};

/// Digest and revision of the shipped state after each entry.
fn shipped(log: &CommittedLog, bounds: TombstoneBounds) -> Vec<(u64, u128)> {
    let mut state = State::open_bounded(Arc::new(MemoryStore::new()), bounds).unwrap();
    let step = |entry: &crate::history::CommittedEntry| {
        let id = AppliedId {
            term: 1,
            node_id: 1,
            index: entry.index,
        };
        match &entry.payload {
            Some(payload) => drop(state.apply(id, payload).unwrap()),
            None => state.apply_blank(id),
        }
        (state.revision(), state.topics_digest().as_u128())
    };
    log.values().map(step).collect()
}

fn outcomes(log: &LogBuilder) -> Vec<Outcome> {
    let replay = Replay::of(&log.log).unwrap();
    replay.decisions().iter().map(|decision| decision.outcome).collect()
}

#[test]
fn the_past_can_be_asked() {
    let mut log = LogBuilder::new();
    log.batch(&[put("a", 1).into_operation(), put("b/c", 2).into_operation()]);
    log.batch(&[event("e", 3)]);
    log.batch(&[delete("a").into_operation(), put("b/c", 4).into_operation()]);
    log.batch(&[delete_filter("b/#")]);
    let replay = Replay::of(&log.log).unwrap();
    assert_eq!((replay.last_revision(), replay.last_index()), (6, Some(5)));
    assert_eq!(replay.index_of_revision(2), Some(2));
    assert_eq!(replay.index_of_revision(3), Some(3));
    assert_eq!(replay.index_of_revision(7), None);
    let seen = |counter, revision| Seen {
        serial: Some(serial(counter)),
        revision,
    };
    assert_eq!(
        replay.topics_at(3, "#"),
        [("a", seen(1, 1)), ("b/c", seen(2, 2))].into_iter().collect()
    );
    assert_eq!(replay.topics_at(5, "#"), [("b/c", seen(4, 5))].into_iter().collect());
    assert!(replay.topics_at(6, "#").is_empty());
    let revisions: Vec<_> = replay.changes_after(2, "#").map(|change| change.revision).collect();
    assert_eq!(revisions, [3, 4, 5, 6]);
    let latest = replay.latest_changes(2, 5, "#");
    assert_eq!(latest.keys().copied().collect::<Vec<_>>(), ["a", "b/c"]);
    assert_eq!(latest["a"].serial(), None);
}

#[test]
fn batches_are_taken_in_order_and_in_time() {
    let mut log = LogBuilder::new();
    let of = |sequence, deadline_us, counter| {
        Item::Batch(batch(sequence, deadline_us, &[put("a", counter).into_operation()]))
    };
    log.items(&[of(2, u64::MAX, 1)]);
    log.items(&[of(1, u64::MAX, 2), of(1, u64::MAX, 2), of(2, START_US, 3)]);
    log.items(&[of(3, u64::MAX, 4)]);
    let replay = Replay::of(&log.log).unwrap();
    let decided: Vec<_> = replay.decisions().iter().map(|one| (one.index, one.outcome)).collect();
    let expected = [
        (3, Outcome::Done { revision: 1 }),
        (3, Outcome::TooLate),
        (4, Outcome::Done { revision: 2 }),
    ];
    assert_eq!(decided, expected);
    assert_eq!(replay.skipped().len(), 2);
}

#[test]
fn conditions_then_timestamps() {
    let mut log = LogBuilder::new();
    let at = |timestamp_us, counter| Put {
        timestamp_us: Some(timestamp_us),
        ..put("a", counter)
    };
    let absent = Put {
        condition: Condition::Absent,
        ..at(9, 1)
    };
    let delete_at = |timestamp_us| Delete {
        timestamp_us: Some(timestamp_us),
        ..delete("a")
    };
    log.batch(&[
        absent.clone().into_operation(),
        absent.clone().into_operation(),
        at(9, 1).into_operation(),
        at(8, 2).into_operation(),
        delete_at(9).into_operation(),
        at(9, 3).into_operation(),
        at(u64::MAX, 4).into_operation(),
        delete("a").into_operation(),
        delete("a").into_operation(),
        absent.into_operation(),
    ]);
    let expected = [
        Outcome::Done { revision: 1 },
        Outcome::ConditionFailed { current: 1 },
        Outcome::Unchanged { revision: 1 },
        Outcome::Superseded { winner: 1 },
        Outcome::Superseded { winner: 1 },
        Outcome::Done { revision: 2 },
        Outcome::TimestampAhead,
        Outcome::Done { revision: 3 },
        Outcome::NothingThere,
        // The condition is met and the timestamp loses against the tombstone.
        Outcome::ConditionFailed { current: 0 },
    ];
    assert_eq!(outcomes(&log), expected);
}

#[test]
fn gaps_and_damage_are_told() {
    let mut log = LogBuilder::new();
    log.batch(&[put("a", 1).into_operation()]);
    log.batch(&[put("a", 2).into_operation()]);
    let mut gap = log.log.clone();
    gap.remove(&2);
    assert_eq!(Replay::of(&gap).unwrap_err(), ReplayError::Missing(2));
    let mut damaged = log.log;
    damaged.get_mut(&3).unwrap().payload = Some(Bytes::from_static(b"?"));
    assert!(matches!(
        Replay::of(&damaged),
        Err(ReplayError::Malformed { index: 3, .. })
    ));
}

/// Random logs: the model and the shipped state agree on every revision and digest on the way.
#[test]
fn agrees_with_the_state_that_ships() {
    let (mut forgotten, mut fenced, mut doubled, mut wills) = (0, 0, 0, 0);
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut log = LogBuilder::new();
        for _ in 0..60 {
            random_entry(&mut log, &mut rng);
        }
        let bounds = TombstoneBounds {
            age_us: rng.random_range(0..20_000_000),
            revisions: rng.random_range(0..40),
        };
        let replay = Replay::bounded(&log.log, bounds).unwrap();
        forgotten += replay.forgotten().len();
        let outcomes = || replay.decisions().iter().map(|decision| decision.outcome);
        fenced += outcomes().filter(|outcome| *outcome == Outcome::Fenced).count();
        doubled += outcomes().filter(|outcome| *outcome == Outcome::Duplicate).count();
        let steps = replay.session_steps().iter();
        wills += steps
            .filter(|step| matches!(step.what, SessionWhat::Will { .. }))
            .count();
        for (index, (revision, digest)) in (0..).zip(shipped(&log.log, bounds)) {
            assert_eq!(
                replay.revision_at_index(index),
                Some(revision),
                "seed {seed} index {index}"
            );
            assert_eq!(
                replay.topics_digest_at_index(index),
                Some(digest),
                "seed {seed} index {index}"
            );
        }
    }
    assert!(forgotten > 10, "{forgotten}");
    assert!(
        fenced > 100 && doubled > 20 && wills > 100,
        "{fenced} fenced, {doubled} doubled, {wills} wills"
    );
}

fn random_entry(log: &mut LogBuilder, rng: &mut StdRng) {
    log.now_us += rng.random_range(0..2_000_000);
    let mut items = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let operations: Vec<_> = (0..rng.random_range(1..4)).map(|_| random_command(log, rng)).collect();
        // Sometimes sent twice, or with one missing before it, or too late.
        let deadline_us = if rng.random_bool(0.1) { log.now_us - 1 } else { u64::MAX };
        let step = if rng.random_bool(0.05) { 2 } else { 1 };
        let batch = batch_of(log.incarnation, log.sequence + step, deadline_us, &operations);
        items.push(Item::Batch(batch.clone()));
        if step == 1 {
            log.sequence += 1;
            if rng.random_bool(0.1) {
                items.push(Item::Batch(batch));
            }
        }
    }
    if rng.random_bool(0.3) {
        let limit = rng.random_range(1..5);
        items.push(Item::Expire { limit });
    }
    if rng.random_bool(0.1) {
        items.push(Item::Compact { limit: 5 });
    }
    if rng.random_bool(0.05) {
        let nonce = rng.random();
        items.push(Item::OpenOrigin { node_id: 2, nonce });
    }
    if rng.random_bool(0.3) {
        let limit = rng.random_range(1..5);
        items.push(Item::EndDue { limit });
    }
    if rng.random_bool(0.05) {
        items.push(Item::LoseNode {
            node_id: ORIGIN,
            through_fence: rng.random_range(0..20),
            limit: rng.random_range(1..5),
        });
    }
    if rng.random_bool(0.03) {
        items.push(Item::OpenOrigin {
            node_id: ORIGIN,
            nonce: rng.random(),
        });
        log.incarnation += 1;
        log.sequence = 0;
    }
    log.items(&items);
}

/// What clients ask for, by connections that may be in force, or by none.
fn random_command(log: &mut LogBuilder, rng: &mut StdRng) -> Command {
    let now_us = log.now_us;
    let client_id = Bytes::from_static([&b"c1"[..], b"c2", b"c3"].choose(rng).unwrap());
    let fence = (log.connects + 1).saturating_sub(rng.random_range(0..6)).max(1);
    let filter = SubscriptionFilter::parse(["#", "a/#", "$share/g/#"].choose(rng).unwrap()).unwrap();
    match rng.random_range(0..20) {
        0..3 => {
            log.connects += 1;
            Command::from(Operation::from(Connect {
                client_id,
                clean_start: rng.random_bool(0.2),
                expiry_s: *[0, 1, 4, u32::MAX].choose(rng).unwrap(),
                will: rng.random_bool(0.5).then(|| random_will(rng)),
            }))
        }
        3..5 => Command::of(
            fence,
            Disconnect {
                expiry_s: rng.random_bool(0.5).then(|| rng.random_range(0..3)),
                publishes_will: rng.random_bool(0.5),
            },
        ),
        5 => Command::of(
            fence,
            Subscribe {
                subscriptions: vec![SessionSubscription {
                    filter,
                    options: SubscriptionOptions {
                        qos: rng.random_range(0..3),
                        no_local: false,
                        retain_as_published: true,
                    },
                    latest: rng.random_bool(0.3),
                    subscription_id: None,
                    replay: None,
                }],
            },
        ),
        6 => Command::of(fence, Unsubscribe { filters: vec![filter] }),
        7 => Command::of(
            fence,
            Release {
                packet_id: rng.random_range(1..3),
            },
        ),
        8 if rng.random_bool(0.2) => Command::from(Operation::from(Kick { client_id })),
        8..14 => {
            let operation = random_operation(now_us, rng);
            let has_packet_id = !matches!(operation, Operation::DeleteFilter(_)) && rng.random_bool(0.5);
            let packet_id = has_packet_id.then(|| rng.random_range(1..3));
            Command {
                sender: Some(Sender { fence, packet_id }),
                operation,
            }
        }
        _ => Command::from(random_operation(now_us, rng)),
    }
}

fn random_will(rng: &mut StdRng) -> Will {
    let is_empty = rng.random_bool(0.3);
    Will {
        topic: TopicName::parse(["a", "b/c", "w"].choose(rng).unwrap()).unwrap(),
        payload: if is_empty {
            Bytes::new()
        } else {
            Bytes::from(serial(rng.random_range(0..5)).payload(0))
        },
        metadata: Metadata::empty(),
        qos: rng.random_range(0..3),
        retain: rng.random_bool(0.6),
        delay_s: rng.random_range(0..4),
        expiry_s: rng.random_bool(0.3).then_some(2),
    }
}

fn random_operation(now_us: u64, rng: &mut StdRng) -> Operation {
    let topic = *["a", "a/b", "a!", "b", "b/c"].choose(rng).unwrap();
    let timestamp_us = rng
        .random_bool(0.5)
        .then(|| now_us + rng.random_range(0..8_000_000) - 1_000_000)
        .map(|us| us / 1_000_000 * 1_000_000);
    let condition = match rng.random_range(0..8) {
        0 => Condition::Absent,
        1 => Condition::Present,
        2 => Condition::Revision(rng.random_range(0..40)),
        _ => Condition::None,
    };
    let mut metadata = MetadataBuilder::new();
    if rng.random_bool(0.3) {
        metadata.user_property("unit", "K");
    }
    let counter = rng.random_range(0..5);
    match rng.random_range(0..10) {
        0 => event(topic, counter),
        1 => delete_filter(["#", "a/#", "+", "b/+"].choose(rng).unwrap()),
        2 | 3 => Operation::Delete(Delete {
            timestamp_us,
            condition,
            ..delete(topic)
        }),
        _ => Operation::Put(Put {
            timestamp_us,
            condition,
            expiry_s: rng.random_bool(0.3).then(|| rng.random_range(0..4)),
            metadata: metadata.build().unwrap(),
            ..put(topic, counter)
        }),
    }
}
