//! Properties over random commands: order of arrival, determinism, checkpoints, and a model that says the rules again in
//! the plainest way.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::compact::TombstoneBounds;
use super::digest::RowSum;
use super::testing::*;
use super::*;
use crate::command::{BatchId, Condition, Delete, DeleteFilter, Item, Operation, Put};
use crate::keyspace::{RecordFields, Tombstone};
use crate::limits::TIMESTAMP_AHEAD_MAX_US;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::store::{MemoryStore, Store};
use crate::topic::{TopicFilter, TopicName};

const BOUNDS: TombstoneBounds = TombstoneBounds {
    age_us: 2_000_000,
    revisions: 4,
};

fn metadata() -> impl Strategy<Value = Metadata> {
    let plain = MetadataBuilder::new().content_type("text/plain").build().unwrap();
    prop_oneof![3 => Just(Metadata::empty()), 1 => Just(plain)]
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "ab", "b"]).prop_map(|text| Bytes::from_static(text.as_bytes()))
}

// ---------------------------------------------------------------------------------------------------------------------
// Order of arrival

/// A write (with payload and metadata) or delete of one topic at a timestamp.
type Arrival = (u64, Option<(Bytes, Metadata)>);

fn arrival() -> impl Strategy<Value = Arrival> {
    (1_u64..4, prop::option::weighted(0.7, (payload(), metadata())))
}

fn operation_of((timestamp_us, value): &Arrival) -> Operation {
    let timestamp_us = Some(*timestamp_us);
    match value.clone() {
        Some((payload, metadata)) => Put {
            payload,
            metadata,
            timestamp_us,
            ..put("t", "x")
        }
        .into(),
        None => Delete {
            timestamp_us,
            ..delete("t")
        }
        .into(),
    }
}

/// What topic `t` has, and the digest of the state as it would be if revisions were all 0.
fn result_of(arrivals: &[&Arrival]) -> (Arrival, u128) {
    let mut state = open(&MemoryStore::new());
    let mut items = vec![Item::OpenOrigin {
        node_id: NODE,
        nonce: 1,
    }];
    let operations: Vec<_> = arrivals.iter().map(|arrival| operation_of(arrival)).collect();
    items.push(Item::Batch(batch(
        BatchId {
            node_id: NODE,
            incarnation: 1,
            sequence: 1,
        },
        u64::MAX,
        &operations,
    )));
    state.apply(next_id(&state), &entry(START_US, &items)).unwrap();
    let view = state.view();
    let mut sum = 0;
    let winner = if let Some(record) = view.get(&topic("t")).unwrap() {
        let (timestamp_us, metadata, payload) = (record.timestamp_us(), record.metadata(), record.payload());
        let expires_at_us = record.expires_at_us();
        let fields = RecordFields {
            revision: 0,
            ordinal: 0,
            created_revision: 0,
            timestamp_us,
            expires_at_us,
            qos: record.qos(),
            publisher: record.publisher(),
            metadata: &metadata,
            payload: &payload,
        };
        sum.replace_row(b"value", None, Some(fields.encode().as_bytes()));
        (timestamp_us, Some((payload, metadata)))
    } else {
        let tombstone = view.tombstone(&topic("t")).unwrap().expect("something arrived");
        let timeless = Tombstone {
            revision: 0,
            ordinal: 0,
            ..tombstone
        };
        sum.replace_row(b"tombstone", None, Some(&timeless.encode()));
        (tombstone.timestamp_us, None)
    };
    assert_eq!(view.topic_count + view.tombstone_count, 1);
    (winner, sum)
}

/// Calls `check` with every order of `items` (Heap's algorithm).
fn permutations<T>(items: &mut [T], length: usize, check: &mut impl FnMut(&[T])) {
    if length <= 1 {
        return check(items);
    }
    for i in 0..length {
        permutations(items, length - 1, check);
        items.swap(if length.is_multiple_of(2) { i } else { 0 }, length - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// I-17: whatever the order of arrival, the same write or delete stands, and all else is the same.
    #[test]
    fn every_order_of_arrival_ends_alike(arrivals in prop::collection::vec(arrival(), 1..=6)) {
        // (timestamp, value over delete, payload, metadata): `None` is less than any `Some`.
        let greatest = arrivals.iter().max().unwrap().clone();
        let expected = result_of(&arrivals.iter().collect::<Vec<_>>());
        assert_eq!(expected.0, greatest);
        let mut order: Vec<_> = arrivals.iter().collect();
        let count = order.len();
        permutations(&mut order, count, &mut |order| assert_eq!(result_of(order), expected));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A plain model

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    Value {
        revision: u64,
        created_revision: u64,
        rank: Rank,
        expires_at_us: Option<u64>,
    },
    Tombstone {
        revision: u64,
        ordinal: u32,
        timestamp_us: u64,
        deleted_at_us: u64,
    },
}

/// What is compared to find the winner.
type Rank = (u64, Option<(Bytes, Bytes)>);

impl Slot {
    fn rank(&self) -> Rank {
        match self {
            Self::Value { rank, .. } => rank.clone(),
            Self::Tombstone { timestamp_us, .. } => (*timestamp_us, None),
        }
    }

    fn revision(&self) -> u64 {
        match self {
            Self::Value { revision, .. } | Self::Tombstone { revision, .. } => *revision,
        }
    }
}

/// The rules of `apply`, without indexes, layers or formats. Topics are in key order.
#[derive(Debug, Default)]
struct Model {
    slots: BTreeMap<String, Slot>,
    revision: u64,
    now_us: u64,
    incarnation: u64,
    nonce: u64,
    next_sequence: u64,
}

fn stored(topic: &TopicName) -> String {
    topic.as_str().replace('/', "\0")
}

impl Model {
    fn value_revision(&self, topic: &TopicName) -> Option<u64> {
        match self.slots.get(&stored(topic)) {
            Some(Slot::Value { revision, .. }) => Some(*revision),
            _ => None,
        }
    }

    /// The rank with which a write or delete takes effect, or why it does not.
    fn decide(
        &self,
        topic: &TopicName,
        condition: Condition,
        timestamp_us: Option<u64>,
        content: Option<(Bytes, Bytes)>,
    ) -> Result<Rank, Outcome> {
        let current = self.value_revision(topic);
        let failed = Outcome::ConditionFailed {
            current: current.unwrap_or(0),
        };
        let met = match condition {
            Condition::None => true,
            Condition::Revision(revision) => current.unwrap_or(0) == revision,
            Condition::Absent => current.is_none(),
            Condition::Present => current.is_some(),
        };
        if !met {
            return Err(failed);
        }
        let latest = self.slots.get(&stored(topic));
        let Some(timestamp_us) = timestamp_us else {
            let after = latest.map_or(0, |slot| slot.rank().0 + 1);
            return Ok((self.now_us.max(after), content));
        };
        if timestamp_us > self.now_us + TIMESTAMP_AHEAD_MAX_US {
            return Err(Outcome::TimestampAhead {
                ahead_us: timestamp_us - self.now_us,
            });
        }
        let rank = (timestamp_us, content);
        match latest {
            Some(slot) if slot.rank() == rank => Err(Outcome::Unchanged {
                revision: slot.revision(),
            }),
            Some(slot) if slot.rank() > rank && condition == Condition::None => Err(Outcome::Superseded {
                winner: slot.revision(),
            }),
            Some(slot) if slot.rank() > rank => Err(failed),
            _ => Ok(rank),
        }
    }

    fn bury(&mut self, key: String, ordinal: u32, timestamp_us: u64) {
        let tombstone = Slot::Tombstone {
            revision: self.revision,
            ordinal,
            timestamp_us,
            deleted_at_us: self.now_us,
        };
        self.slots.insert(key, tombstone);
    }

    fn put(&mut self, put: &Put) -> Result<Outcome, Outcome> {
        let content = (put.payload.clone(), put.metadata.as_bytes().clone());
        let rank = self.decide(&put.topic, put.condition, put.timestamp_us, Some(content))?;
        self.revision += 1;
        let created_revision = match self.slots.get(&stored(&put.topic)) {
            Some(Slot::Value { created_revision, .. }) => *created_revision,
            _ => self.revision,
        };
        let expires_at_us = put
            .expiry_s
            .map(|expiry_s| self.now_us + u64::from(expiry_s) * 1_000_000);
        let slot = Slot::Value {
            revision: self.revision,
            created_revision,
            rank,
            expires_at_us,
        };
        self.slots.insert(stored(&put.topic), slot);
        Ok(Outcome::Applied {
            revision: self.revision,
            created: created_revision == self.revision,
        })
    }

    fn delete(&mut self, delete: &Delete) -> Result<Outcome, Outcome> {
        let (timestamp_us, _) = self.decide(&delete.topic, delete.condition, delete.timestamp_us, None)?;
        if delete.timestamp_us.is_none() && self.value_revision(&delete.topic).is_none() {
            return Err(Outcome::NotFound);
        }
        self.revision += 1;
        self.bury(stored(&delete.topic), 0, timestamp_us);
        Ok(Outcome::Deleted {
            revision: self.revision,
        })
    }

    fn delete_filter(&mut self, delete: &DeleteFilter) -> Outcome {
        let matches = |key: &String| delete.filter.matches(&topic(&key.replace('\0', "/")));
        let values = self
            .slots
            .iter()
            .filter(|(key, slot)| matches!(slot, Slot::Value { .. }) && matches(key));
        let mut found: Vec<_> = values.map(|(key, slot)| (key.clone(), slot.rank().0)).collect();
        let more = found.len() > delete.limit as usize;
        found.truncate(delete.limit as usize);
        if !found.is_empty() {
            self.revision += 1;
        }
        let count = found.len() as u32;
        for (ordinal, (key, timestamp_us)) in (0..).zip(found) {
            self.bury(key, ordinal, self.now_us.max(timestamp_us + 1));
        }
        Outcome::DeletedMany {
            revision: self.revision,
            count,
            more,
        }
    }

    fn operation(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Put(put) => self.put(put).unwrap_or_else(|outcome| outcome),
            Operation::Delete(delete) => self.delete(delete).unwrap_or_else(|outcome| outcome),
            Operation::DeleteFilter(delete) => self.delete_filter(delete),
            Operation::Event(_) => {
                self.revision += 1;
                Outcome::Published {
                    revision: self.revision,
                }
            }
            other => unreachable!("of a session, see `session_model_test`: {other:?}"),
        }
    }

    fn expire(&mut self, limit: u32) {
        let mut due: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Value {
                    expires_at_us: Some(time),
                    rank,
                    ..
                } if *time <= self.now_us => Some((*time, key.clone(), rank.0)),
                _ => None,
            })
            .collect();
        due.sort();
        due.truncate(limit as usize);
        self.revision += u64::from(!due.is_empty());
        for (ordinal, (_, key, timestamp_us)) in (0..).zip(due) {
            self.bury(key, ordinal, timestamp_us);
        }
    }

    fn compact(&mut self, limit: u32) {
        let mut old: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Tombstone {
                    revision,
                    ordinal,
                    deleted_at_us,
                    ..
                } if self.revision - revision >= BOUNDS.revisions && self.now_us - deleted_at_us >= BOUNDS.age_us => {
                    Some(((*revision, *ordinal), key.clone()))
                }
                _ => None,
            })
            .collect();
        old.sort();
        old.iter()
            .take(limit as usize)
            .for_each(|(_, key)| drop(self.slots.remove(key)));
    }

    fn assert_same(&self, state: &mut State) {
        assert_eq!((self.revision, self.now_us), (state.revision(), state.log_time_us()));
        let view = state.view();
        assert_eq!(self.slots.len() as u64, view.topic_count + view.tombstone_count);
        for (key, slot) in &self.slots {
            let topic = topic(&key.replace('\0', "/"));
            let found = if let Some(record) = view.get(&topic).unwrap() {
                let content = (record.payload(), record.metadata().as_bytes().clone());
                Slot::Value {
                    revision: record.revision(),
                    created_revision: record.created_revision(),
                    rank: (record.timestamp_us(), Some(content)),
                    expires_at_us: record.expires_at_us(),
                }
            } else {
                let Tombstone {
                    revision,
                    ordinal,
                    timestamp_us,
                    deleted_at_us,
                    ..
                } = view.tombstone(&topic).unwrap().unwrap();
                Slot::Tombstone {
                    revision,
                    ordinal,
                    timestamp_us,
                    deleted_at_us,
                }
            };
            assert_eq!(&found, slot, "{topic}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Random logs

fn topic_name() -> impl Strategy<Value = TopicName> {
    prop::sample::select(vec!["a", "a/b", "a/b/c", "a/d", "b", "$x/a"]).prop_map(topic)
}

fn timestamp() -> impl Strategy<Value = Option<u64>> {
    // Few distinct values, so that ties happen; the greatest may be too far ahead.
    prop::option::of((0_u64..8).prop_map(|step| START_US - 2_000_000 + step * 2_000_000))
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        6 => Just(Condition::None),
        1 => (0_u64..12).prop_map(Condition::Revision),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let fields = (
        topic_name(),
        payload(),
        metadata(),
        timestamp(),
        prop::option::weighted(0.3, 0_u32..4),
        condition(),
    );
    let put = fields.prop_map(|(topic, payload, metadata, timestamp_us, expiry_s, condition)| {
        Operation::Put(Put {
            topic,
            payload,
            metadata,
            timestamp_us,
            expiry_s,
            condition,
            ..put("x", "x")
        })
    });
    let delete = (topic_name(), timestamp(), condition()).prop_map(|(topic, timestamp_us, condition)| {
        Operation::Delete(Delete {
            topic,
            timestamp_us,
            condition,
            ..delete("x")
        })
    });
    let filter = prop::sample::select(vec!["#", "a/#", "a/+", "+/b/#", "b", "$x/#"]);
    let delete_filter = (filter, 0_u32..4).prop_map(|(filter, limit)| {
        let filter = TopicFilter::parse(filter).unwrap();
        Operation::DeleteFilter(DeleteFilter {
            filter,
            limit,
            publisher: Bytes::new(),
        })
    });
    prop_oneof![10 => put, 4 => delete, 1 => delete_filter, 1 => Just(event("a"))]
}

#[derive(Debug, Clone)]
enum Step {
    /// A batch whose sequence and incarnation are off by these, and whose deadline has passed or not.
    Batch {
        operations: Vec<Operation>,
        sequence_off: i64,
        incarnation_off: i64,
        late: bool,
    },
    Open {
        nonce: u64,
    },
    Expire {
        limit: u32,
    },
    Compact {
        limit: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let off = || prop_oneof![8 => Just(0_i64), 1 => Just(-1), 1 => Just(1)];
    let batch = (
        prop::collection::vec(operation(), 0..6),
        off(),
        off(),
        prop::bool::weighted(0.05),
    );
    let batch = batch.prop_map(|(operations, sequence_off, incarnation_off, late)| Step::Batch {
        operations,
        sequence_off,
        incarnation_off,
        late,
    });
    prop_oneof![
        8 => batch,
        1 => (1_u64..4).prop_map(|nonce| Step::Open { nonce }),
        2 => (0_u32..4).prop_map(|limit| Step::Expire { limit }),
        2 => (0_u32..4).prop_map(|limit| Step::Compact { limit }),
    ]
}

/// Entries: by how much log time moves (back, too), and what they hold.
fn steps() -> impl Strategy<Value = Vec<(i64, Vec<Step>)>> {
    prop::collection::vec((-500_000_i64..1_500_000, prop::collection::vec(step(), 0..4)), 1..30)
}

/// The entry that holds `steps`, and what the model expects of it. The model has applied them when this returns.
fn entry_of(model: &mut Model, time_us: u64, steps: &[Step]) -> (Bytes, Vec<Disposition>, Vec<OriginOpened>) {
    model.now_us = model.now_us.max(time_us);
    let (mut items, mut dispositions, mut opened) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Batch {
                operations,
                sequence_off,
                incarnation_off,
                late,
            } => {
                let id = BatchId {
                    node_id: NODE,
                    incarnation: model.incarnation.saturating_add_signed(*incarnation_off),
                    sequence: model.next_sequence.saturating_add_signed(*sequence_off),
                };
                let deadline_us = model.now_us - u64::from(*late);
                items.push(Item::Batch(batch(id, deadline_us, operations)));
                dispositions.push(if model.incarnation == 0 || *incarnation_off != 0 {
                    Disposition::Fenced {
                        incarnation: model.incarnation,
                    }
                } else if *sequence_off < 0 {
                    Disposition::Duplicate
                } else if *sequence_off > 0 {
                    Disposition::Gap {
                        expected: model.next_sequence,
                    }
                } else {
                    model.next_sequence += 1;
                    let outcomes = operations.iter();
                    let outcome = |operation| {
                        if *late {
                            Outcome::TooLate
                        } else {
                            model.operation(operation)
                        }
                    };
                    Disposition::Taken(outcomes.map(outcome).collect())
                });
            }
            Step::Open { nonce } => {
                items.push(Item::OpenOrigin {
                    node_id: NODE,
                    nonce: *nonce,
                });
                if model.incarnation == 0 || model.nonce != *nonce {
                    (model.incarnation, model.nonce, model.next_sequence) = (model.incarnation + 1, *nonce, 1);
                }
                let Model {
                    incarnation,
                    next_sequence,
                    ..
                } = *model;
                opened.push(OriginOpened {
                    node_id: NODE,
                    nonce: *nonce,
                    incarnation,
                    next_sequence,
                });
            }
            Step::Expire { limit } => {
                items.push(Item::Expire { limit: *limit });
                model.expire(*limit);
            }
            Step::Compact { limit } => {
                items.push(Item::Compact { limit: *limit });
                model.compact(*limit);
            }
        }
    }
    (entry(time_us, &items), dispositions, opened)
}

/// A state that begins and ends checkpoints as a pattern of bits says.
struct Checkpointed {
    state: State,
    store: MemoryStore,
    frozen: Option<FrozenState>,
}

impl Checkpointed {
    fn new(store: MemoryStore) -> Self {
        let mut state = open(&store);
        state.tombstone_bounds = BOUNDS;
        Self {
            state,
            store,
            frozen: None,
        }
    }

    fn apply(&mut self, entry: &Bytes, act: u8) -> Applied {
        if act == 0 {
            match self.frozen.take() {
                None => self.frozen = Some(self.state.freeze()),
                Some(frozen) => {
                    self.store.write(frozen.to_batch()).unwrap();
                    self.state.thaw();
                    verify_store(&self.store);
                }
            }
        }
        self.state.apply(next_id(&self.state), entry).unwrap()
    }

    /// The state after a crash now: what the store has, and the rest of the log.
    fn recovered(&self, log: &[Bytes]) -> State {
        let mut recovered = Self::new(self.store.fork());
        let from = recovered
            .state
            .applied()
            .map_or(0, |applied| applied.index as usize + 1);
        for entry in &log[from..] {
            recovered.apply(entry, 1);
        }
        recovered.state
    }
}

fn assert_equal(one: &mut State, other: &mut State) {
    assert_eq!(one.position, other.position);
    assert_eq!(one.origins, other.origins);
    assert_eq!(rows(one), rows(other));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// I-7, I-8, I-18: two nodes with different checkpoints agree on everything at every entry, with the model, and with
    /// themselves after a crash.
    #[test]
    fn the_same_log_gives_the_same_everything(
        entries in steps(),
        acts in prop::collection::vec((0_u8..4, 0_u8..7), 31),
        crash_at in any::<prop::sample::Index>(),
    ) {
        let mut model = Model::default();
        let mut one = Checkpointed::new(MemoryStore::new());
        let mut other = Checkpointed::new(MemoryStore::new());
        let mut log = Vec::new();
        let mut time_us = START_US;
        let crash_at = crash_at.index(entries.len());
        let first = vec![Step::Open { nonce: 1 }];
        let entries = std::iter::once((0, first)).chain(entries);
        for (at, ((delta_us, steps), acts)) in entries.zip(acts).enumerate() {
            time_us = time_us.saturating_add_signed(delta_us);
            let (entry, dispositions, opened) = entry_of(&mut model, time_us, &steps);
            log.push(entry.clone());
            let applied = one.apply(&entry, acts.0);
            prop_assert_eq!(&other.apply(&entry, acts.1), &applied);
            prop_assert_eq!(one.state.digest(), other.state.digest());
            let found: Vec<_> = applied.batches.iter().map(|batch| batch.disposition.clone()).collect();
            prop_assert_eq!(found, dispositions);
            prop_assert_eq!(&applied.origins, &opened);
            let positions = applied.changes.iter().map(|change| (change.revision, change.ordinal));
            prop_assert!(positions.is_sorted_by(|one, next| one < next));
            verify(&mut one.state);
            model.assert_same(&mut one.state);
            if at == crash_at {
                assert_equal(&mut one.recovered(&log), &mut one.state);
            }
        }
        verify(&mut other.state);
        assert_equal(&mut one.state, &mut other.state);
        assert_equal(&mut one.recovered(&log), &mut one.state);
        assert_equal(&mut other.recovered(&log), &mut one.state);
    }
}
