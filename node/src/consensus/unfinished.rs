//! Snapshots on their way that may have to be taken up again.
//!
//! A transfer that broke off goes on where it was, if sender and receiver still have what they had. The receiver keeps what it
//! has loaded; the sender keeps the view, and hands out the same snapshot again instead of its latest, for a while. It knows
//! what the pairs came to at the last few chunks, so a receiver that says how far it got need not be believed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::state_machine::CurrentSnapshot;
use super::types::{NodeId, SnapshotMeta};

/// A transfer that has come no further for this long is forgotten, at both ends.
pub(super) const UNFINISHED_TIMEOUT: Duration = Duration::from_secs(60);

/// Places remembered: more than can be on their way.
const PLACES_MAX: usize = 8;

/// What all pairs of a snapshot up to a place come to, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) pairs: u64,
    pub(super) check: u32,
}

impl Sum {
    pub(super) fn add(&mut self, pairs: u64, encoded: &[u8]) {
        self.pairs += pairs;
        self.check = crc32c::crc32c_append(self.check, encoded);
    }
}

/// Between two chunks.
#[derive(Debug, Clone)]
struct Place {
    sum: Sum,
    /// First key that is not sent yet; `None` at the end.
    next: Option<Bytes>,
}

struct Transfers {
    snapshot: CurrentSnapshot,
    /// By receiver.
    places: BTreeMap<NodeId, VecDeque<Place>>,
    progressed_at: Instant,
}

/// The transfers that this node sends, as far as they must be remembered.
#[derive(Default)]
pub struct Unfinished(Mutex<Option<Transfers>>);

impl Unfinished {
    /// The snapshot that is being sent, or was not long ago.
    pub(super) fn snapshot(&self) -> Option<CurrentSnapshot> {
        let mut transfers = self.0.lock();
        if transfers
            .as_ref()
            .is_some_and(|transfers| transfers.progressed_at.elapsed() >= UNFINISHED_TIMEOUT)
        {
            *transfers = None;
        }
        transfers.as_ref().map(|transfers| transfers.snapshot.clone())
    }

    /// `to` is being sent `snapshot`; up to the key `next` its pairs come to `sum`.
    pub(super) fn note(&self, to: NodeId, snapshot: &CurrentSnapshot, sum: Sum, next: Option<Bytes>) {
        let mut transfers = self.0.lock();
        let same = transfers.take().filter(|former| former.snapshot.meta == snapshot.meta);
        let transfers = transfers.insert(same.unwrap_or_else(|| Transfers {
            snapshot: snapshot.clone(),
            places: BTreeMap::new(),
            progressed_at: Instant::now(),
        }));
        transfers.progressed_at = Instant::now();
        let places = transfers.places.entry(to).or_default();
        if places.len() == PLACES_MAX {
            places.pop_front();
        }
        places.push_back(Place { sum, next });
    }

    /// Where the transfer of the snapshot `meta` to `to` goes on, if the receiver has what came to `sum`.
    pub(super) fn next_after(&self, to: NodeId, meta: &SnapshotMeta, sum: Sum) -> Option<Option<Bytes>> {
        let transfers = self.0.lock();
        let transfers = transfers
            .as_ref()
            .filter(|transfers| transfers.snapshot.meta == *meta)?;
        let place = transfers.places.get(&to)?.iter().find(|place| place.sum == sum)?;
        Some(place.next.clone())
    }

    /// `to` has all of it, or wants none.
    pub(super) fn forget(&self, to: NodeId) {
        let mut transfers = self.0.lock();
        if let Some(present) = transfers.as_mut() {
            present.places.remove(&to);
            if present.places.is_empty() {
                *transfers = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use banyan_core::store::{MemoryStore, Store};

    use super::*;

    fn snapshot(snapshot_index: u64) -> CurrentSnapshot {
        let applied = banyan_core::state::founding_id(snapshot_index);
        let meta = SnapshotMeta {
            last_log_id: Some(super::super::state_machine::log_id_of(applied)),
            ..SnapshotMeta::default()
        };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        CurrentSnapshot {
            meta,
            view: store.view(),
        }
    }

    fn sum(pairs: u64) -> Sum {
        Sum { pairs, check: 7 }
    }

    fn key(pairs: u64) -> Option<Bytes> {
        Some(Bytes::from(pairs.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_places_of_one_snapshot_are_known_until_it_is_there_or_given_up() {
        let (unfinished, old, new) = (Unfinished::default(), snapshot(1), snapshot(2));
        assert!(unfinished.snapshot().is_none());
        for pairs in 1..=20 {
            unfinished.note(5, &old, sum(pairs), key(pairs));
        }
        let meta = |snapshot: &CurrentSnapshot| snapshot.meta.clone();
        assert_eq!(unfinished.next_after(5, &meta(&old), sum(20)), Some(key(20)));
        assert_eq!(unfinished.next_after(5, &meta(&old), sum(19)), Some(key(19)));
        assert_eq!(unfinished.next_after(5, &meta(&old), sum(1)), None, "too long ago");
        assert_eq!(unfinished.next_after(5, &meta(&old), Sum { pairs: 20, check: 8 }), None);
        assert_eq!(unfinished.next_after(6, &meta(&old), sum(20)), None, "another receiver");
        assert_eq!(unfinished.next_after(5, &meta(&new), sum(20)), None, "another snapshot");

        unfinished.note(6, &old, sum(1), key(1));
        unfinished.forget(5);
        assert_eq!(unfinished.snapshot().map(|known| known.meta), Some(meta(&old)));
        unfinished.note(6, &new, sum(1), None);
        assert_eq!(unfinished.snapshot().map(|known| known.meta), Some(meta(&new)));
        unfinished.forget(6);
        assert!(unfinished.snapshot().is_none());

        unfinished.note(6, &new, sum(1), None);
        tokio::time::advance(UNFINISHED_TIMEOUT).await;
        assert!(unfinished.snapshot().is_none());
    }
}
