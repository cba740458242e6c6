//! Logs made by hand.

use banyan_core::command::{
    BatchBuilder, BatchId, Command, Condition, Delete, DeleteFilter, EntryBuilder, Event, Item, Operation, Put,
};
use banyan_core::metadata::Metadata;
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::Bytes;

use crate::history::{CommittedEntry, CommittedLog, LogIdSeen, Serial};

/// The origin of all operations.
pub(crate) const ORIGIN: u64 = 1;
/// Log time at the beginning.
pub(crate) const START_US: u64 = 1_000_000_000;

/// A serial of client 1.
pub(crate) fn serial(counter: u32) -> Serial {
    Serial { client: 1, counter }
}

/// A put of `serial(counter)`.
pub(crate) fn put(topic: &str, counter: u32) -> Put {
    Put {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::from(serial(counter).payload(0)),
        metadata: Metadata::empty(),
        publisher: Bytes::from_static(b"c1"),
        timestamp_us: None,
        expiry_s: None,
        condition: Condition::None,
        qos: 1,
    }
}

/// A delete.
pub(crate) fn delete(topic: &str) -> Delete {
    Delete {
        topic: TopicName::parse(topic).unwrap(),
        publisher: Bytes::from_static(b"c1"),
        timestamp_us: None,
        condition: Condition::None,
        metadata: Metadata::empty(),
        qos: 1,
    }
}

/// A delete by filter.
pub(crate) fn delete_filter(filter: &str) -> Operation {
    Operation::DeleteFilter(DeleteFilter {
        filter: TopicFilter::parse(filter).unwrap(),
        limit: 10_000,
        publisher: Bytes::from_static(b"c1"),
    })
}

/// An event with `serial(counter)`.
pub(crate) fn event(topic: &str, counter: u32) -> Operation {
    Operation::Event(Event {
        topic: TopicName::parse(topic).unwrap(),
        payload: Bytes::from(serial(counter).payload(0)),
        metadata: Metadata::empty(),
        publisher: Bytes::from_static(b"c1"),
        qos: 1,
        expiry_s: None,
    })
}

/// A log that grows entry by entry.
pub(crate) struct LogBuilder {
    pub(crate) log: CommittedLog,
    pub(crate) now_us: u64,
    pub(crate) sequence: u64,
    pub(crate) incarnation: u64,
    /// How many clients have connected, nearly.
    pub(crate) connects: u64,
    pub(crate) term: u64,
}

impl LogBuilder {
    /// A blank entry, and one that opens the origin: the next index is 2.
    pub(crate) fn new() -> Self {
        let mut log = Self {
            log: CommittedLog::new(),
            now_us: START_US,
            sequence: 0,
            incarnation: 1,
            connects: 0,
            term: 1,
        };
        log.push(None);
        log.items(&[Item::OpenOrigin {
            node_id: ORIGIN,
            nonce: 7,
        }]);
        log
    }

    /// One entry with one batch of these operations. Each takes the next revision if it changes anything.
    pub(crate) fn batch(&mut self, operations: &[Operation]) -> u64 {
        let commands: Vec<_> = operations.iter().cloned().map(Command::from).collect();
        self.commands(&commands)
    }

    /// As [`batch`](Self::batch), of commands.
    pub(crate) fn commands(&mut self, commands: &[Command]) -> u64 {
        self.sequence += 1;
        let batch = batch_of(self.incarnation, self.sequence, u64::MAX, commands);
        self.items(&[Item::Batch(batch)])
    }

    /// One entry with these items; returns its index.
    pub(crate) fn items(&mut self, items: &[Item]) -> u64 {
        let mut builder = EntryBuilder::new();
        items.iter().for_each(|item| builder.push_item(item));
        self.now_us += 1_000;
        let payload = builder.finish(self.now_us);
        self.push(Some(payload))
    }

    pub(crate) fn push(&mut self, payload: Option<Bytes>) -> u64 {
        let index = self.log.len() as u64;
        let id = LogIdSeen {
            term: self.term,
            leader: 1,
            index,
        };
        self.log.insert(
            index,
            CommittedEntry {
                index,
                id,
                payload,
                membership: None,
            },
        );
        index
    }
}

/// A batch of the origin's first life.
pub(crate) fn batch(sequence: u64, deadline_us: u64, operations: &[Operation]) -> Bytes {
    let commands: Vec<_> = operations.iter().cloned().map(Command::from).collect();
    batch_of(1, sequence, deadline_us, &commands)
}

/// A batch of any of the origin's lives.
pub(crate) fn batch_of(incarnation: u64, sequence: u64, deadline_us: u64, commands: &[Command]) -> Bytes {
    let mut builder = BatchBuilder::new();
    commands.iter().for_each(|command| builder.push(command));
    let id = BatchId {
        node_id: ORIGIN,
        incarnation,
        sequence,
    };
    builder.finish(id, deadline_us)
}

/// A command as an operation.
pub(crate) trait IntoOperation {
    /// The operation.
    fn into_operation(self) -> Operation;
}

impl IntoOperation for Put {
    fn into_operation(self) -> Operation {
        Operation::Put(self)
    }
}

impl IntoOperation for Delete {
    fn into_operation(self) -> Operation {
        Operation::Delete(self)
    }
}
