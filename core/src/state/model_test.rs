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
use model::Model;

mod arrival;
mod model;

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
        verify_image(&mut one.state, 200);
        assert_equal(&mut one.state, &mut other.state);
        assert_equal(&mut one.recovered(&log), &mut one.state);
        assert_equal(&mut other.recovered(&log), &mut one.state);
    }
}
