//! Applying log entries: what a replicated write costs on every node, network and disk apart.

use std::cell::RefCell;
use std::sync::Arc;

use banyan_core::command::{BatchBuilder, BatchId, Command, Condition, EntryBuilder, Item, Operation, Put};
use banyan_core::metadata::Metadata;
use banyan_core::state::{AppliedId, State};
use banyan_core::store::MemoryStore;
use banyan_core::topic::TopicName;
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TOPICS: u64 = 10_000;
/// As in a node's default settings.
const CHECKPOINT_BYTES: usize = 32 << 20;

/// One origin writing into one state.
struct Writer {
    state: State,
    index: u64,
    sequence: u64,
    written: u64,
    topics: Vec<TopicName>,
    payload: Bytes,
}

impl Writer {
    fn new() -> Self {
        let topic = |number| TopicName::parse(&format!("bench/{number:07}")).expect("a topic name");
        let mut writer = Self {
            state: State::open(Arc::new(MemoryStore::new())).expect("an empty store"),
            index: 0,
            sequence: 0,
            written: 0,
            topics: (0..TOPICS).map(topic).collect(),
            payload: Bytes::from(vec![b'x'; 128]),
        };
        let mut entry = EntryBuilder::new();
        entry.push_item(&Item::OpenOrigin { node_id: 1, nonce: 1 });
        writer.apply(&entry.finish(1));
        while writer.written < TOPICS {
            let entry = writer.entry(100);
            writer.apply(&entry);
        }
        writer
    }

    /// The next log entry: one batch of `count` puts, topic after topic.
    fn entry(&mut self, count: u64) -> Bytes {
        let mut batch = BatchBuilder::new();
        for _ in 0..count {
            batch.push(&Command::from(Operation::Put(Put {
                topic: self.topics[(self.written * 7919 % TOPICS) as usize].clone(),
                payload: self.payload.clone(),
                metadata: Metadata::empty(),
                publisher: Bytes::from_static(b"bench"),
                timestamp_us: None,
                expiry_s: None,
                condition: Condition::None,
                qos: 1,
            })));
            self.written += 1;
        }
        self.sequence += 1;
        let id = BatchId {
            node_id: 1,
            incarnation: 1,
            sequence: self.sequence,
        };
        let mut entry = EntryBuilder::new();
        entry.push_batch(batch.finish(id, u64::MAX));
        entry.finish(self.written)
    }

    fn apply(&mut self, entry: &Bytes) -> usize {
        let id = AppliedId {
            term: 1,
            node_id: 1,
            index: self.index,
        };
        self.index += 1;
        self.state.apply(id, entry).expect("memory does not fail").changes.len()
    }

    fn checkpoint_if_due(&mut self) {
        if self.state.active_bytes() >= CHECKPOINT_BYTES {
            let frozen = self.state.freeze();
            self.state
                .base()
                .write(frozen.to_batch())
                .expect("memory does not fail");
            self.state.thaw();
        }
    }
}

fn applying(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply_put_128_bytes");
    for count in [1, 16, 256] {
        let writer = RefCell::new(Writer::new());
        assert_eq!(writer.borrow_mut().index, 1 + TOPICS / 100);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("batch_of", count), |bencher| {
            bencher.iter_batched(
                || {
                    let mut writer = writer.borrow_mut();
                    writer.checkpoint_if_due();
                    writer.entry(count)
                },
                |entry| {
                    let changes = writer.borrow_mut().apply(&entry);
                    assert_eq!(changes as u64, count);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, applying);
criterion_main!(benches);
