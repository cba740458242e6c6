//! The state machine: any commands on several states with different checkpoints.
//!
//! Input: steps, each u8 and what it needs; see [`Run::step`].
//!
//! What must hold:
//!
//! - No panic, and no error but for a store.
//! - A state that never makes a checkpoint, one that makes them at any moment, and one that is opened anew from its
//!   checkpoints or from a copy of the other's, answer the same and end with the same rows and digest.
//! - The digest kept is the digest of the rows, and the index rows follow from the topic rows.
//! - Sessions, who is connected where and what is due are the same in all of them.

use std::sync::{Arc, LazyLock};

use banyan_core::command::{
    BatchBuilder, BatchId, Command, Condition, Delete, DeleteFilter, EntryBuilder, Event, Item, Operation, Put,
};
use banyan_core::keyspace::change::change_of_key;
use banyan_core::keyspace::expiry::expiry_of_key;
use banyan_core::keyspace::meta::{POSITION_KEY, Position};
use banyan_core::keyspace::tombstone::tombstone_age_of_key;
use banyan_core::keyspace::topic::stored_topic;
use banyan_core::keyspace::{KeyKind, Selection, Tombstone, TopicRecord};
use banyan_core::limits::{TIMESTAMP_AHEAD_MAX_US, TOMBSTONE_AGE_MIN_US, TOMBSTONE_REVISIONS_MIN};
use banyan_core::metadata::{Metadata, MetadataBuilder};
use banyan_core::state::{AppliedId, Disposition, FrozenState, State};
use banyan_core::store::{Direction, MemoryStore, ReadView, Store};
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::Bytes;

use crate::choices::Choices;

mod sessions;

const NODES: [u64; 2] = [1, 2];
/// Log time of the first entry.
const START_US: u64 = 1_000_000_000;
/// Entries of one input.
const ENTRIES_MAX: usize = 200;

const NAMES: [&str; 10] = ["a", "a/b", "a/b/c", "b", "b/b", "a!", "a/", "/", "$a", "é/b"];
const FILTERS: [&str; 9] = ["#", "+", "a/#", "+/b", "a/+/c", "a", "$a", "+/+/#", "b/b"];
const CONDITIONS: [Condition; 4] = [
    Condition::None,
    Condition::Absent,
    Condition::Present,
    Condition::Revision(0),
];

/// A store that has seen more revisions than a tombstone is kept for, so that compaction has something to do: what it
/// holds are the tombstones of two topics.
static BASE: LazyLock<MemoryStore> = LazyLock::new(|| {
    let store = MemoryStore::new();
    let mut state = open(&store);
    let commands: Vec<Command> = ["a", "b"]
        .into_iter()
        .map(|name| delete(name, Some(1)).into())
        .collect();
    let mut builder = EntryBuilder::new();
    builder.push_item(&Item::OpenOrigin { node_id: 9, nonce: 9 });
    let id = BatchId {
        node_id: 9,
        incarnation: 1,
        sequence: 1,
    };
    builder.push_batch(batch(id, u64::MAX, &commands));
    state
        .apply(next_id(&state), &builder.finish(START_US))
        .expect("a legal entry");
    checkpoint(&mut state, &store);
    let row = store
        .get(&POSITION_KEY)
        .expect("memory")
        .expect("a checkpoint was made");
    let position = Position {
        revision: 2 * TOMBSTONE_REVISIONS_MIN,
        ..Position::parse(&row).expect("as written")
    };
    let rows = vec![(Bytes::from_static(&POSITION_KEY), Some(position.encode()))];
    store.write(rows).expect("memory");
    store
});

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut run = Run::new();
    let mut choices = Choices::new(data);
    while !choices.is_empty() && run.entries < ENTRIES_MAX {
        run.step(&mut choices);
    }
    run.finish();
}

/// A state with its store.
struct Replica {
    store: MemoryStore,
    state: State,
    /// A checkpoint that the store has not got.
    frozen: Option<FrozenState>,
}

impl Replica {
    fn new() -> Self {
        let store = BASE.fork();
        let state = open(&store);
        Self {
            store,
            state,
            frozen: None,
        }
    }

    /// Begins a checkpoint, or ends the one begun.
    fn checkpoint_half(&mut self) {
        match self.frozen.take() {
            None => self.frozen = Some(self.state.freeze()),
            Some(frozen) => {
                self.store.write(frozen.to_batch()).expect("memory");
                self.state.thaw();
            }
        }
    }
}

struct Run {
    /// Never makes a checkpoint.
    plain: Replica,
    /// Makes them in two halves, with entries between.
    frozen: Replica,
    /// Is opened anew.
    reopened: Replica,
    entries: usize,
    now_us: u64,
    /// The next batch of each node.
    sequences: [u64; 2],
    incarnations: [u64; 2],
    /// The connections of each client that there have been, the last one first.
    fences: [[u64; 2]; sessions::CLIENTS.len()],
}

impl Run {
    fn new() -> Self {
        Self {
            plain: Replica::new(),
            frozen: Replica::new(),
            reopened: Replica::new(),
            entries: 0,
            now_us: START_US,
            sequences: [1; 2],
            incarnations: [0; 2],
            fences: Default::default(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.u8() {
            0..0xA0 => self.entry(choices),
            0xA0..0xC0 => self.frozen.checkpoint_half(),
            0xC0..0xD0 => {
                checkpoint(&mut self.reopened.state, &self.reopened.store);
                self.reopened.state = open(&self.reopened.store);
            }
            0xD0..0xD8 => self.replace(),
            0xD8..0xE0 => {
                let id = next_id(&self.plain.state);
                for state in self.states() {
                    state.apply_blank(id);
                }
            }
            0xE0..0xE8 => {
                let id = next_id(&self.plain.state);
                let membership = Bytes::copy_from_slice(choices.bytes());
                for state in self.states() {
                    state.set_membership(id, membership.clone());
                }
            }
            0xE8..0xF0 => self.check_digests(),
            0xF0..0xF8 => {
                let filter = choices.one_of(&FILTERS);
                self.check_scan(filter, choices.bool());
            }
            0xF8.. => self.now_us = self.now_us.saturating_add(TOMBSTONE_AGE_MIN_US / 2),
        }
    }

    fn states(&mut self) -> [&mut State; 3] {
        [&mut self.plain.state, &mut self.frozen.state, &mut self.reopened.state]
    }

    /// One entry of a few items.
    fn entry(&mut self, choices: &mut Choices<'_>) {
        self.entries += 1;
        self.now_us += u64::from(choices.u8()) * 10_000;
        let mut builder = EntryBuilder::new();
        for _ in 0..=choices.below(3) {
            let item = self.item(choices);
            builder.push_item(&item);
        }
        // A leader's clock may step back.
        let time_us = if choices.below(8) == 0 {
            self.now_us / 2
        } else {
            self.now_us
        };
        let entry = builder.finish(time_us);
        let id = next_id(&self.plain.state);
        let [first, second, third] = self.states().map(|state| state.apply(id, &entry));
        assert_eq!(first, second);
        assert_eq!(first, third);
        let applied = first.expect("every command is legal and no store is damaged");
        for opened in &applied.origins {
            if let Some(node) = NODES.iter().position(|node| *node == opened.node_id) {
                (self.incarnations[node], self.sequences[node]) = (opened.incarnation, opened.next_sequence);
            }
        }
        for batch in &applied.batches {
            let node = NODES.iter().position(|node| *node == batch.id.node_id);
            if let (Some(node), Disposition::Taken(_)) = (node, &batch.disposition) {
                self.sequences[node] = batch.id.sequence + 1;
            }
        }
        self.note_connections();
        let mut last = None;
        for change in &applied.changes {
            let place = Some((change.revision, change.ordinal));
            assert!(last < place, "{place:?} after {last:?}");
            last = place;
        }
    }

    fn item(&mut self, choices: &mut Choices<'_>) -> Item {
        let kind = choices.u8();
        let node = usize::from(kind & 1);
        match kind >> 1 {
            0..12 => Item::OpenOrigin {
                node_id: NODES[node],
                nonce: u64::from(choices.u8() & 3),
            },
            12..20 => Item::Expire {
                limit: u32::from(choices.u8() & 7),
            },
            20..28 => Item::Compact {
                limit: u32::from(choices.u8() & 7),
            },
            28..36 => self.session_item(NODES[node], choices),
            _ => {
                let form = choices.u8();
                let id = BatchId {
                    node_id: NODES[node],
                    incarnation: self.incarnations[node].wrapping_add(u64::from(form & 0x1F == 1)),
                    sequence: match form & 0x1F {
                        2 => self.sequences[node] + 1,
                        3 => self.sequences[node] - 1,
                        _ => self.sequences[node],
                    },
                };
                let deadline_us = if form & 0xE0 == 0 { START_US } else { u64::MAX };
                let commands: Vec<Command> = (0..choices.below(5)).map(|_| self.command(choices)).collect();
                Item::Batch(batch(id, deadline_us, &commands))
            }
        }
    }

    /// A write or event.
    fn operation(&self, kind: u8, choices: &mut Choices<'_>) -> Operation {
        let form = choices.u8();
        let topic = name(choices.one_of(&NAMES));
        let publisher = Bytes::from_static(if form & 1 == 0 { b"writer" } else { b"" });
        let metadata = if form & 2 == 0 {
            Metadata::empty()
        } else {
            text_metadata()
        };
        let qos = (form >> 2 & 3).min(2);
        let timestamp_us = match choices.below(8) {
            0..4 => None,
            4 => Some(u64::from(choices.u8() & 3)),
            5 => Some(self.now_us + u64::from(choices.u8() & 3)),
            6 => Some(self.now_us + TIMESTAMP_AHEAD_MAX_US + u64::from(choices.u8() & 3)),
            _ => Some(choices.u64()),
        };
        let condition = match choices.below(16) {
            number @ ..4 => CONDITIONS[number],
            4 => Condition::Revision(self.plain.state.revision()),
            5 => Condition::Revision(u64::from(choices.u8()) + 2 * TOMBSTONE_REVISIONS_MIN),
            _ => Condition::None,
        };
        let expiry_s = match choices.below(8) {
            0 => Some(u32::from(choices.u8() & 3)),
            1 => Some(u32::MAX),
            _ => None,
        };
        match kind & 7 {
            0..4 => Operation::Put(Put {
                topic,
                payload: Bytes::copy_from_slice(&[b'a', b'b', b'c'][..1 + choices.below(3)]),
                metadata,
                publisher,
                timestamp_us,
                expiry_s,
                condition,
                qos,
            }),
            4 | 5 => Operation::Delete(Delete {
                topic,
                publisher,
                timestamp_us,
                condition,
                metadata,
                qos,
            }),
            6 => Operation::DeleteFilter(DeleteFilter {
                filter: TopicFilter::parse(choices.one_of(&FILTERS)).expect("a filter"),
                limit: u32::from(choices.u8() & 7),
                publisher,
            }),
            _ => Operation::Event(Event {
                topic,
                payload: Bytes::copy_from_slice(choices.bytes()),
                metadata,
                publisher,
                qos,
                expiry_s,
            }),
        }
    }

    /// Opens anew from a copy of another's checkpoint: what a snapshot is.
    fn replace(&mut self) {
        if self.frozen.frozen.is_some() {
            self.frozen.checkpoint_half();
        }
        checkpoint(&mut self.frozen.state, &self.frozen.store);
        let view = self.frozen.store.view();
        let mut replacement = self.reopened.store.begin_replacement().expect("memory");
        for row in view.range(&[], None, Direction::Ascending) {
            let (key, value) = row.expect("memory");
            replacement.push(key, value).expect("memory");
        }
        replacement.install().expect("memory");
        self.reopened.state = open(&self.reopened.store);
    }

    /// A scan, forward or back and in chunks, finds what looking at every topic finds.
    fn check_scan(&mut self, filter: &str, ascending: bool) {
        let filter = TopicFilter::parse(filter).expect("a filter");
        let view = self.frozen.state.view();
        let matching = |text: &&str| filter.matches(&name(text));
        let mut expected: Vec<_> = NAMES
            .iter()
            .filter(|text| matching(text))
            .filter_map(|text| Some((name(text), view.get(&name(text)).expect("memory")?)))
            .collect();
        expected.sort_by_key(|(topic, _)| topic.as_str().replace('/', "\0"));
        let direction = match ascending {
            true => Direction::Ascending,
            false => {
                expected.reverse();
                Direction::Descending
            }
        };
        let mut found = Vec::new();
        let selection = Selection::Filter(filter);
        let mut scan = view.scan(selection.clone(), direction);
        while scan.next_chunk(2, 64, &mut found).expect("memory") {
            let (last, _) = found.last().expect("a chunk that is not the last has rows");
            scan = view.resume_scan(selection.clone(), direction, last);
        }
        assert_eq!(found, expected);
    }

    fn check_digests(&mut self) {
        let digests = self.states().map(|state| {
            assert_eq!(state.view().full_digest().expect("memory"), state.digest());
            state.digest()
        });
        assert_eq!(digests, [digests[0]; 3]);
        let sessions = self.states().map(sessions::of);
        assert!(sessions.iter().all(|of| *of == sessions[0]), "{sessions:?}");
    }

    fn finish(&mut self) {
        self.check_digests();
        if self.frozen.frozen.is_some() {
            self.frozen.checkpoint_half();
        }
        let rows = rows(&mut self.plain.state);
        check_indexes(&mut self.plain.state, &rows);
        for state in self.states() {
            assert_eq!(self::rows(state), rows);
        }
        // What a checkpoint leaves is the whole state.
        self.frozen.checkpoint_half();
        self.frozen.checkpoint_half();
        check_store(&self.frozen.store);
        let mut opened = open(&self.frozen.store);
        assert_eq!(format!("{opened:?}"), format!("{:?}", self.plain.state));
        assert_eq!(opened.membership(), self.plain.state.membership());
        assert_eq!(sessions::of(&mut opened), sessions::of(&mut self.plain.state));
        assert_eq!(self::rows(&mut opened), rows);
    }
}

fn open(store: &MemoryStore) -> State {
    State::open(Arc::new(store.clone())).expect("a store that a checkpoint has written")
}

fn checkpoint(state: &mut State, store: &MemoryStore) {
    store.write(state.freeze().to_batch()).expect("memory");
    state.thaw();
}

fn next_id(state: &State) -> AppliedId {
    AppliedId {
        term: 1,
        node_id: 1,
        index: state.applied().map_or(0, |applied| applied.index + 1),
    }
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a topic name")
}

fn text_metadata() -> Metadata {
    MetadataBuilder::new()
        .content_type("t")
        .user_property("k", "v")
        .build()
        .expect("legal metadata")
}

fn delete(text: &str, timestamp_us: Option<u64>) -> Operation {
    Operation::Delete(Delete {
        topic: name(text),
        publisher: Bytes::new(),
        timestamp_us,
        condition: Condition::None,
        metadata: Metadata::empty(),
        qos: 0,
    })
}

fn batch(id: BatchId, deadline_us: u64, commands: &[Command]) -> Bytes {
    let mut builder = BatchBuilder::new();
    commands.iter().for_each(|command| builder.push(command));
    builder.finish(id, deadline_us)
}

/// All but the indexes by position. Those are whole in a store only.
fn rows(state: &mut State) -> Vec<(Bytes, Bytes)> {
    let view = state.view();
    stored_rows(view.read_view())
        .into_iter()
        .filter(|(key, _)| !matches!(KeyKind::of_key(key), Some(KeyKind::Change | KeyKind::TombstoneAge)))
        .collect()
}

/// All rows but those of meta and origins, which between checkpoints are elsewhere.
fn stored_rows(view: &dyn ReadView) -> Vec<(Bytes, Bytes)> {
    let rows = view.range(&[KeyKind::Topic as u8], None, Direction::Ascending);
    rows.collect::<Result<_, _>>().expect("memory")
}

/// What the rows of topics and tombstones say that the indexes must hold.
#[derive(Default)]
struct Indexes {
    changes: Vec<((u64, u32), Bytes)>,
    expiries: Vec<(u64, Bytes)>,
    ages: Vec<((u64, u32), Bytes)>,
    topic_count: u64,
    tombstone_count: u64,
}

impl Indexes {
    fn of(rows: &[(Bytes, Bytes)]) -> Self {
        let mut indexes = Self::default();
        for (key, value) in rows {
            let stored = key.slice(1..);
            match KeyKind::of_key(key).expect("a kind") {
                KeyKind::Topic => {
                    indexes.topic_count += 1;
                    let record = TopicRecord::parse(value.clone()).expect("a record");
                    assert!(record.created_revision() <= record.revision());
                    indexes
                        .changes
                        .push(((record.revision(), record.ordinal()), stored.clone()));
                    let expiry = record.expires_at_us().map(|time_us| (time_us, stored));
                    indexes.expiries.extend(expiry);
                }
                KeyKind::Tombstone => {
                    indexes.tombstone_count += 1;
                    let tombstone = Tombstone::parse(value).expect("a tombstone");
                    let position = (tombstone.revision, tombstone.ordinal);
                    indexes.changes.push((position, stored.clone()));
                    indexes.ages.push((position, stored));
                }
                _ => {}
            }
        }
        indexes.changes.sort();
        indexes.expiries.sort();
        indexes.ages.sort();
        indexes
    }
}

/// After a checkpoint every index has the rows that follow from topics and tombstones, and no other.
fn check_store(store: &MemoryStore) {
    let rows = stored_rows(&*store.view());
    let of_kind = |kind| rows.iter().filter(move |(key, _)| KeyKind::of_key(key) == Some(kind));
    let expected = Indexes::of(&rows);
    let changes: Vec<_> = of_kind(KeyKind::Change)
        .map(|(key, stored)| (change_of_key(key).expect("a key"), stored.clone()))
        .collect();
    assert_eq!(changes, expected.changes, "index of changes");
    let ages: Vec<_> = of_kind(KeyKind::TombstoneAge)
        .map(|(key, stored)| (tombstone_age_of_key(key).expect("a key"), stored.clone()))
        .collect();
    assert_eq!(ages, expected.ages, "index of tombstones");
}

/// Index rows, counts and positions follow from the rows of topics and tombstones.
fn check_indexes(state: &mut State, rows: &[(Bytes, Bytes)]) {
    let Indexes {
        changes,
        expiries,
        topic_count,
        tombstone_count,
        ..
    } = Indexes::of(rows);
    let expiry_rows: Vec<_> = rows
        .iter()
        .filter(|(key, _)| KeyKind::of_key(key) == Some(KeyKind::Expiry))
        .map(|(key, _)| {
            let (time_us, stored) = expiry_of_key(key).expect("a key");
            (time_us, Bytes::copy_from_slice(stored))
        })
        .collect();
    assert_eq!(expiry_rows, expiries, "index of expiries");
    let view = state.view();
    assert_eq!((view.topic_count, view.tombstone_count), (topic_count, tombstone_count));
    assert_eq!(
        state.next_expiry_us().expect("memory"),
        expiries.first().map(|(time_us, _)| *time_us)
    );
    // Resumed anywhere, the changes are those after that place.
    let all = view.changes_after(0, 0, usize::MAX).expect("memory");
    let found: Vec<_> = all
        .iter()
        .map(|change| ((change.revision, change.ordinal), stored_topic(&change.topic)))
        .collect();
    assert_eq!(found, changes, "changes");
    for (at, change) in all.iter().enumerate() {
        let after = view
            .changes_after(change.revision, change.ordinal, usize::MAX)
            .expect("memory");
        assert_eq!(after, all[at + 1..]);
    }
}
