//! The change ring: changes in order on their way to the dispatcher, in memory, bounded by bytes.
//!
//! The state machine writes it, one batch of changes a log entry; the dispatcher reads it, and what it has read is let go:
//! memory that is used again at once is in the processor's cache, and a ring kept full never is. A reader that falls out of
//! the ring, or meets an installed snapshot, is told so ([`Read::Gap`]) and must make up for it or close what it serves.

use std::collections::VecDeque;
use std::sync::Arc;

use banyan_core::state::{Change, ChangeKind};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The changes of one log entry, in order.
#[derive(Debug)]
pub struct ChangeBatch {
    /// Log time of the entry, microseconds since the epoch.
    pub log_time_us: u64,
    /// The changes, at least one.
    pub changes: Vec<Change>,
}

/// What a reader gets.
#[derive(Debug)]
pub enum Read {
    /// Batches from the asked position on, and the position after them.
    Batches(Vec<Arc<ChangeBatch>>, u64),
    /// Changes are missing: go on at `next`, where everything up to `revision` has been.
    Gap {
        /// Position of the oldest batch that is still held.
        next: u64,
        /// Revision before that batch.
        revision: u64,
    },
}

/// A bounded ring of change batches, addressed by position. Positions start at 0 with the process and grow by one a batch.
pub struct ChangeRing {
    bytes_max: usize,
    inner: Mutex<Inner>,
    end: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    batches: VecDeque<(Arc<ChangeBatch>, usize)>,
    /// Position of the oldest batch held.
    first: u64,
    /// Revision before it.
    revision_before: u64,
    bytes: usize,
}

impl Inner {
    fn drop_oldest(&mut self) {
        self.first += 1;
        if let Some((batch, bytes)) = self.batches.pop_front() {
            self.bytes -= bytes;
            if let Some(last) = batch.changes.last() {
                self.revision_before = last.revision;
            }
        }
    }
}

/// Memory of a change beside its topic and payload, bytes, roughly.
const CHANGE_OVERHEAD_BYTES: usize = 160;

fn bytes_of(change: &Change) -> usize {
    let held = match &change.kind {
        ChangeKind::Put { record, .. } => record.as_bytes().len(),
        ChangeKind::Delete(_) => 0,
        ChangeKind::Event { event, .. } => event.payload.len() + event.metadata.as_bytes().len(),
    };
    CHANGE_OVERHEAD_BYTES + change.topic.len() + held
}

impl ChangeRing {
    /// A ring that holds at most about `bytes_max` bytes (one batch may exceed it alone).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
            end: watch::Sender::new(0),
        }
    }

    /// Bytes that it holds, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Appends a batch, dropping the oldest ones that no longer fit.
    pub fn push(&self, batch: ChangeBatch) {
        let bytes = batch.changes.iter().map(bytes_of).sum();
        let mut inner = self.inner.lock();
        inner.batches.push_back((Arc::new(batch), bytes));
        inner.bytes += bytes;
        while inner.bytes > self.bytes_max && inner.batches.len() > 1 {
            inner.drop_oldest();
        }
        let end = inner.first + inner.batches.len() as u64;
        drop(inner);
        self.end.send_replace(end);
    }

    /// Notes that changes up to `revision` happened which nobody saw one by one: every reader gets a [`Read::Gap`].
    pub fn skip(&self, revision: u64) {
        let mut inner = self.inner.lock();
        inner.first += inner.batches.len() as u64 + 1;
        inner.batches.clear();
        inner.revision_before = revision;
        inner.bytes = 0;
        let end = inner.first;
        drop(inner);
        self.end.send_replace(end);
    }

    /// Reads up to `count_max` batches from `position` on, and drops those before it.
    #[must_use]
    pub fn read(&self, position: u64, count_max: usize) -> Read {
        let mut inner = self.inner.lock();
        if position < inner.first {
            return Read::Gap {
                next: inner.first,
                revision: inner.revision_before,
            };
        }
        while inner.first < position {
            inner.drop_oldest();
        }
        let batches: Vec<_> = inner
            .batches
            .iter()
            .take(count_max)
            .map(|(batch, _)| Arc::clone(batch))
            .collect();
        let next = position + batches.len() as u64;
        Read::Batches(batches, next)
    }

    /// Follows the position after the newest batch.
    #[must_use]
    pub fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::state::{DeleteCause, Deletion};
    use banyan_core::topic::TopicName;
    use bytes::Bytes;

    use super::*;

    fn batch(revision: u64) -> ChangeBatch {
        let topic = TopicName::parse("a").expect("a topic");
        let kind = ChangeKind::Delete(Box::new(Deletion {
            timestamp_us: 0,
            publisher: Bytes::new(),
            metadata: banyan_core::metadata::Metadata::default(),
            qos: 0,
            cause: DeleteCause::Client,
        }));
        ChangeBatch {
            log_time_us: 0,
            changes: vec![Change {
                revision,
                ordinal: 0,
                topic,
                kind,
            }],
        }
    }

    fn revisions(read: &Read) -> Vec<u64> {
        match read {
            Read::Batches(batches, _) => batches.iter().map(|batch| batch.changes[0].revision).collect(),
            Read::Gap { .. } => panic!("a gap"),
        }
    }

    #[test]
    fn a_reader_gets_batches_in_order_and_continues() {
        let ring = ChangeRing::new(1 << 20);
        (1..=5).for_each(|revision| ring.push(batch(revision)));
        let first = ring.read(0, 3);
        assert_eq!(revisions(&first), [1, 2, 3]);
        let Read::Batches(_, next) = first else { unreachable!() };
        assert_eq!(revisions(&ring.read(next, 10)), [4, 5]);
        assert_eq!(revisions(&ring.read(5, 10)), [] as [u64; 0]);
        assert_eq!(*ring.end().borrow(), 5);
    }

    #[test]
    fn what_was_read_is_let_go() {
        let ring = ChangeRing::new(1 << 20);
        (1..=5).for_each(|revision| ring.push(batch(revision)));
        let Read::Batches(_, next) = ring.read(0, 3) else {
            panic!("a gap")
        };
        assert_eq!(ring.inner.lock().batches.len(), 5, "read, but perhaps not handled yet");
        assert_eq!(revisions(&ring.read(next, 10)), [4, 5]);
        assert_eq!(ring.inner.lock().batches.len(), 2);
        let _ = ring.read(5, 1);
        let inner = ring.inner.lock();
        assert_eq!((inner.batches.len(), inner.bytes), (0, 0));
    }

    #[test]
    fn a_reader_that_fell_out_is_told() {
        let ring = ChangeRing::new(2 * (CHANGE_OVERHEAD_BYTES + 1));
        (1..=5).for_each(|revision| ring.push(batch(revision)));
        let Read::Gap { next, revision } = ring.read(0, 10) else {
            panic!("no gap")
        };
        assert_eq!(revision, 3);
        assert_eq!(revisions(&ring.read(next, 10)), [4, 5]);
    }

    #[test]
    fn a_skip_is_a_gap_for_everyone_even_at_the_end() {
        let ring = ChangeRing::new(1 << 20);
        ring.push(batch(1));
        ring.skip(8);
        let Read::Gap { next, revision: 8 } = ring.read(1, 10) else {
            panic!("no gap")
        };
        ring.push(batch(9));
        assert_eq!(revisions(&ring.read(next, 10)), [9]);
    }
}
