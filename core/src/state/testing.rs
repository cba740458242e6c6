//! A state with its log, driven by tests.

use std::sync::Arc;

use bytes::Bytes;

use super::compact::TombstoneBounds;
use super::{
    Applied, AppliedId, BatchOutcome, Disposition, ImageSum, Outcome, Session, State, StateView, founding_id,
    push_indexed,
};
use crate::command::{
    BatchBuilder, BatchId, Command, Condition, Connect, Delete, DeleteFilter, Disconnect, EntryBuilder, Event, Item,
    Operation, Put, SessionSubscription, Subscribe, SubscriptionOptions, Will,
};
use crate::feature::FeatureLevel;
use crate::keyspace::change::{change_key, change_of_key};
use crate::keyspace::expiry::expiry_of_key;
use crate::keyspace::group::{GroupKey, group_of_key};
use crate::keyspace::member::{MemberKey, MemberRow, TokenRow, member_of_key};
use crate::keyspace::message::message_of_key;
use crate::keyspace::meta::{POSITION_KEY, Position};
use crate::keyspace::tombstone::{tombstone_age_key, tombstone_age_of_key};
use crate::keyspace::topic::stored_topic;
use crate::keyspace::{GroupRow, KeyKind, Message, MessageContent, Tombstone, TopicRecord};
use crate::metadata::Metadata;
use crate::store::{Direction, MemoryStore, ReadView, Store, WriteBatch};
use crate::topic::{SubscriptionFilter, TopicFilter, TopicName};

mod checks;

pub(super) use checks::*;

/// The origin that [`Harness`] opens.
pub(super) const NODE: u64 = 7;
/// Log time at which a [`Harness`] starts.
pub(super) const START_US: u64 = 1_000_000_000;

pub(super) fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

pub(super) fn put(text: &str, payload: &str) -> Put {
    Put {
        topic: topic(text),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        metadata: Metadata::empty(),
        publisher: Bytes::from_static(b"writer"),
        timestamp_us: None,
        expiry_s: None,
        condition: Condition::None,
        qos: 1,
    }
}

pub(super) fn delete(text: &str) -> Delete {
    Delete {
        topic: topic(text),
        publisher: Bytes::from_static(b"writer"),
        timestamp_us: None,
        condition: Condition::None,
        metadata: Metadata::empty(),
        qos: 1,
    }
}

pub(super) fn delete_filter(filter: &str, limit: u32) -> Operation {
    let filter = TopicFilter::parse(filter).unwrap();
    Operation::DeleteFilter(DeleteFilter {
        filter,
        limit,
        publisher: Bytes::from_static(b"writer"),
    })
}

pub(super) fn event(text: &str) -> Operation {
    Operation::Event(Event {
        topic: topic(text),
        payload: Bytes::from_static(b"now"),
        metadata: Metadata::empty(),
        publisher: Bytes::from_static(b"writer"),
        qos: 1,
        expiry_s: None,
    })
}

pub(super) fn subscribe(filter: &str, qos: u8) -> Subscribe {
    let options = SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
    };
    let subscription = SessionSubscription {
        filter: SubscriptionFilter::parse(filter).unwrap(),
        options,
        latest: false,
        subscription_id: None,
        replay: None,
    };
    Subscribe {
        subscriptions: vec![subscription],
    }
}

/// A connection that a [`Harness`] has made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) fence: u64,
    pub(super) present: bool,
}

pub(super) fn batch(id: BatchId, deadline_us: u64, operations: &[Operation]) -> Bytes {
    let commands: Vec<_> = operations.iter().cloned().map(Command::from).collect();
    command_batch(id, deadline_us, &commands)
}

pub(super) fn command_batch(id: BatchId, deadline_us: u64, commands: &[Command]) -> Bytes {
    let mut builder = BatchBuilder::new();
    commands.iter().for_each(|command| builder.push(command));
    builder.finish(id, deadline_us)
}

pub(super) fn entry(time_us: u64, items: &[Item]) -> Bytes {
    let mut builder = EntryBuilder::new();
    items.iter().for_each(|item| builder.push_item(item));
    builder.finish(time_us)
}

pub(super) fn open(store: &MemoryStore) -> State {
    State::open(Arc::new(store.clone())).unwrap()
}

/// The log id of the entry after the last applied one.
pub(super) fn next_id(state: &State) -> AppliedId {
    AppliedId {
        term: 1,
        node_id: 1,
        index: state.applied().map_or(0, |applied| applied.index + 1),
    }
}

/// A state over a memory store, with one origin opened.
pub(super) struct Harness {
    pub(super) state: State,
    pub(super) store: MemoryStore,
    pub(super) now_us: u64,
    sequence: u64,
}

impl Harness {
    /// At the last level.
    pub(super) fn new() -> Self {
        Self::at(FeatureLevel::KNOWN)
    }

    pub(super) fn at(level: FeatureLevel) -> Self {
        let store = MemoryStore::new();
        let mut harness = Self {
            state: open(&store),
            store,
            now_us: START_US,
            sequence: 0,
        };
        let opened = Item::OpenOrigin {
            node_id: NODE,
            nonce: 1,
        };
        harness.items(&[Item::RaiseLevel(level), opened]);
        harness
    }

    pub(super) fn items(&mut self, items: &[Item]) -> Applied {
        let applied = self
            .state
            .apply(next_id(&self.state), &entry(self.now_us, items))
            .unwrap();
        verify(&mut self.state);
        applied
    }

    /// Applies one batch, the next of the origin.
    pub(super) fn batch(&mut self, operations: &[Operation]) -> (Vec<Outcome>, Applied) {
        let commands: Vec<_> = operations.iter().cloned().map(Command::from).collect();
        self.commands(&commands)
    }

    /// As [`batch`](Self::batch).
    pub(super) fn commands(&mut self, commands: &[Command]) -> (Vec<Outcome>, Applied) {
        self.commands_until(u64::MAX, commands)
    }

    /// As [`batch`](Self::batch), with a deadline.
    pub(super) fn commands_until(&mut self, deadline_us: u64, commands: &[Command]) -> (Vec<Outcome>, Applied) {
        self.sequence += 1;
        let id = BatchId {
            node_id: NODE,
            incarnation: 1,
            sequence: self.sequence,
        };
        let applied = self.items(&[Item::Batch(command_batch(id, deadline_us, commands))]);
        let [
            BatchOutcome {
                disposition: Disposition::Taken(outcomes),
                ..
            },
        ] = &applied.batches[..]
        else {
            panic!("{applied:?}")
        };
        (outcomes.clone(), applied)
    }

    /// Applies one operation and gives its outcome. One that changes nothing must leave everything as it is.
    pub(super) fn run(&mut self, operation: impl Into<Operation>) -> Outcome {
        self.run_changes(operation).0
    }

    pub(super) fn run_changes(&mut self, operation: impl Into<Operation>) -> (Outcome, Vec<super::Change>) {
        let (revision, rows) = (self.state.revision(), rows(&mut self.state));
        let (mut outcomes, applied) = self.batch(&[operation.into()]);
        let outcome = outcomes.remove(0);
        let changed = match &outcome {
            Outcome::Applied { .. } | Outcome::Deleted { .. } | Outcome::Published { .. } => true,
            Outcome::DeletedMany { count, .. } => *count > 0,
            _ => false,
        };
        assert_eq!(self.state.revision(), revision + u64::from(changed), "{outcome:?}");
        assert_eq!(applied.changes.is_empty(), !changed, "{outcome:?}");
        if !changed {
            assert_eq!(self::rows(&mut self.state), rows, "{outcome:?}");
        }
        (outcome, applied.changes)
    }

    pub(super) fn session(&self, client: &str) -> Option<Arc<Session>> {
        self.state.sessions.get(client.as_bytes())
    }

    pub(super) fn connect(&mut self, client: &str, clean_start: bool, expiry_s: u32) -> Connection {
        self.connect_as(client, clean_start, expiry_s, None).0
    }

    pub(super) fn connect_as(
        &mut self,
        client: &str,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
    ) -> (Connection, Applied) {
        let connect = Connect {
            client_id: Bytes::copy_from_slice(client.as_bytes()),
            clean_start,
            expiry_s,
            will,
        };
        let (outcomes, applied) = self.batch(&[connect.into()]);
        let [Outcome::Connected { fence, session_present }] = outcomes[..] else {
            panic!("{outcomes:?}")
        };
        let present = session_present;
        (Connection { fence, present }, applied)
    }

    /// Applies one operation of a connection.
    pub(super) fn send(&mut self, connection: Connection, operation: impl Into<Operation>) -> Outcome {
        self.commands(&[Command::of(connection.fence, operation)]).0.remove(0)
    }

    pub(super) fn subscribe(&mut self, connection: Connection, filter: &str, qos: u8) {
        let outcome = self.send(connection, subscribe(filter, qos));
        assert!(matches!(outcome, Outcome::Subscribed { .. }), "{outcome:?}");
    }

    /// The connection is lost.
    pub(super) fn leave(&mut self, connection: Connection) {
        let disconnect = Disconnect {
            expiry_s: None,
            publishes_will: true,
        };
        assert_eq!(self.send(connection, disconnect), Outcome::SessionChanged);
    }

    pub(super) fn get(&mut self, text: &str) -> Option<TopicRecord> {
        self.state.view().get(&topic(text)).unwrap()
    }

    pub(super) fn tombstone(&mut self, text: &str) -> Option<Tombstone> {
        self.state.view().tombstone(&topic(text)).unwrap()
    }

    pub(super) fn checkpoint(&mut self) {
        checkpoint(&mut self.state, &self.store);
    }
}

pub(super) fn checkpoint(state: &mut State, store: &MemoryStore) {
    let frozen = state.freeze();
    store.write(frozen.to_batch()).unwrap();
    state.thaw();
    verify_store(store);
}
