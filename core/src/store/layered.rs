//! Changes in memory above a store.
//!
//! ```text
//!   put_hot ──────► hot rows          an unordered part of the active layer
//!   put, delete ──► active layer      everything since the last freeze
//!                   frozen layer      at most one: being written to the store as one checkpoint
//!                   base              the store
//!   get, range ──►  the uppermost that knows the key decides
//! ```
//!
//! Repeated changes of one key collapse in a layer, so a checkpoint writes each changed key once. The checkpoint runs
//! beside the writer:
//!
//! 1. [`Layered::freeze`]: the active layer becomes the frozen one; changes go to a new, empty one.
//! 2. The caller writes [`FrozenLayer::to_batch`] to the store, on whatever thread.
//! 3. [`Layered::thaw`]: the store shows what the frozen layer says, so the layer is forgotten.
//!
//! Between 2 and 3 both say the same, so a view taken at any moment is right whichever of them it meets.
//!
//! A layer is a persistent map: a view is a copy of its root, and a change after it copies the nodes on one path. All
//! keys share one map: the kind in their first byte keeps kinds apart, and a map per kind would save a layer of some
//! ten thousand keys one or two of its fifteen comparisons, but cost every range over several kinds a merge.
//!
//! Rows that are read and written one by one far more often than in order go to a hash table first
//! ([`Layered::put_hot`]) and are folded into the map when somebody wants to see them in order, or when they are many:
//! so a topic that is written again and again costs a hash each time, and a place in the order once. With such a row goes
//! a note, by which the writer knows what it needs of the row without fetching its value.
//!
//! Rows that are known to be new ([`Layered::put_new`]) and live shorter than a checkpoint never reach the store.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use imbl::OrdMap;
use imbl::ordmap::RangedIter;
use xxhash_rust::xxh3::xxh3_64;

use super::{Direction, RangeIter, ReadView, Store, StoreError, WriteBatch};

/// What an entry of a layer costs beside its key and value, bytes: two handles, the share of a node that is on average
/// three quarters full, and what the allocator adds for two allocations.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// Hot rows are folded into the ordered layer at this many: what a view may have to wait for, some milliseconds.
const HOT_ROWS_MAX: usize = 16 * 1024;

/// What a layer says about a key.
#[derive(Debug, Clone)]
enum Slot {
    /// It has this value.
    Value(Bytes),
    /// It has this value, and nothing beneath this layer knows it: removed again, it leaves no trace.
    New(Bytes),
    /// It is removed.
    Removed,
}

impl Slot {
    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Value(value) | Self::New(value) => Some(value),
            Self::Removed => None,
        }
    }

    fn into_value(self) -> Option<Bytes> {
        match self {
            Self::Value(value) | Self::New(value) => Some(value),
            Self::Removed => None,
        }
    }
}

/// A row beside the ordered ones. As small as it can be: each write fetches one that is in no cache.
struct HotRow<N> {
    key: Bytes,
    /// Removed if there is none.
    value: Option<Bytes>,
    /// Came with the value; none if it was set otherwise, or removed.
    note: Option<N>,
}

impl<N> HotRow<N> {
    fn bytes(&self) -> usize {
        entry_bytes(self.key.len(), self.value.as_ref())
    }
}

/// The hash by which hot rows are found.
pub fn hash_of_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

type Layer = OrdMap<Bytes, Slot>;
type LayerIter<'a> = RangedIter<'a, Bytes, Slot, imbl::shared_ptr::DefaultSharedPtr>;

/// An ordered map whose changes stay in memory until they are written to the [`Store`] beneath as one checkpoint.
///
/// One thread changes it; any number read views. Nobody else may write to the store meanwhile, except what
/// [`FrozenLayer::to_batch`] gives.
pub struct Layered<N = ()> {
    /// Rows above those of `active`, by [`hash_of_key`].
    hot: HashTable<HotRow<N>>,
    active: Layer,
    /// Of hot rows and active layer.
    active_bytes: usize,
    frozen: Option<FrozenLayer>,
    base: Arc<dyn Store>,
    /// A view of the base as it was opened or last thawed: taken seldom, since it may cost more than the rest of a
    /// view.
    base_view: Arc<dyn ReadView>,
}

impl<N> Layered<N> {
    /// No changes above `base`.
    pub fn new(base: Arc<dyn Store>) -> Self {
        let base_view = base.view();
        Self {
            hot: HashTable::new(),
            active: Layer::new(),
            active_bytes: 0,
            frozen: None,
            base,
            base_view,
        }
    }

    /// The present value of `key`.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(row) = self.hot_row(key, hash_of_key(key)) {
            return Ok(row.value.clone());
        }
        if let Some(slot) = self.active.get(key) {
            return Ok(slot.value().cloned());
        }
        if let Some(slot) = self.frozen.as_ref().and_then(|frozen| frozen.layer.get(key)) {
            return Ok(slot.value().cloned());
        }
        self.base.get(key)
    }

    /// The note that came with the value of `key`, if it has one and was put by [`put_hot`](Self::put_hot) last, and not
    /// long ago.
    pub fn note(&self, key: &[u8], hash: u64) -> Option<&N> {
        self.hot_row(key, hash)?.note.as_ref()
    }

    fn hot_row(&self, key: &[u8], hash: u64) -> Option<&HotRow<N>> {
        self.hot.find(hash, |row| row.key == key)
    }

    /// Sets `key` to `value`. Both are kept as they are: slices of a larger buffer keep that buffer alive.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        let is_new = matches!(self.active.get(&key), Some(Slot::New(_))) && !self.is_hot(&key);
        self.set(key, if is_new { Slot::New(value) } else { Slot::Value(value) });
    }

    /// Sets `key`, which has no value now, to `value`. What is put so and deleted before the next freeze is never written to
    /// the store, nor that it was removed.
    pub fn put_new(&mut self, key: Bytes, value: Bytes) {
        debug_assert_eq!(self.get(&key), Ok(None), "a new key has no value");
        // Where this layer has removed it already, the layers beneath may know it.
        let slot = if self.active.contains_key(&key) || self.is_hot(&key) {
            Slot::Value(value)
        } else {
            Slot::New(value)
        };
        self.set(key, slot);
    }

    /// As [`put`](Self::put), for rows that are written again and again and seldom read in order. `hash` is
    /// [`hash_of_key`] of `key`. Returns the key as it is kept, to be shared instead of `key` by whoever keeps it too.
    pub fn put_hot(&mut self, key: Bytes, hash: u64, value: Bytes, note: N) -> Bytes {
        debug_assert_eq!(hash, hash_of_key(&key));
        if let Some(row) = self.hot.find_mut(hash, |row| row.key == key) {
            self.active_bytes -= row.bytes();
            row.value = Some(value);
            row.note = Some(note);
            self.active_bytes += row.bytes();
            return row.key.clone();
        }
        if self.hot.len() == HOT_ROWS_MAX {
            self.fold();
        }
        let row = HotRow {
            key: key.clone(),
            value: Some(value),
            note: Some(note),
        };
        self.active_bytes += row.bytes();
        self.hot.insert_unique(hash, row, |row| hash_of_key(&row.key));
        key
    }

    /// Removes `key`, present or not.
    pub fn delete(&mut self, key: Bytes) {
        if let Some(Slot::New(value)) = self.active.get(&key)
            && !self.is_hot(&key)
        {
            self.active_bytes -= key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
            self.active.remove(&key);
            return;
        }
        self.set(key, Slot::Removed);
    }

    fn set(&mut self, key: Bytes, slot: Slot) {
        if let Some(row) = self.hot.find_mut(hash_of_key(&key), |row| row.key == key) {
            self.active_bytes -= row.bytes();
            // What is hot was put before: this layer knows it, so it is never new.
            row.value = slot.into_value();
            row.note = None;
            self.active_bytes += row.bytes();
        } else {
            self.set_ordered(key, slot);
        }
    }

    fn set_ordered(&mut self, key: Bytes, slot: Slot) {
        let key_bytes = key.len();
        self.active_bytes += entry_bytes(key_bytes, slot.value());
        if let Some(replaced) = self.active.insert(key, slot) {
            self.active_bytes -= entry_bytes(key_bytes, replaced.value());
        }
    }

    fn is_hot(&self, key: &Bytes) -> bool {
        self.hot_row(key, hash_of_key(key)).is_some()
    }

    /// Moves the hot rows into the ordered layer.
    fn fold(&mut self) {
        // In whatever order the table has them: the map is the same in the end.
        let mut hot = std::mem::take(&mut self.hot);
        for row in hot.drain() {
            self.active_bytes -= row.bytes();
            self.set_ordered(row.key, row.value.map_or(Slot::Removed, Slot::Value));
        }
        // Empty again, with its memory.
        self.hot = hot;
    }

    /// The present state, unchanged by whatever follows. O(1) beside the hot rows that changed since the last view.
    pub fn view(&mut self) -> LayeredView {
        self.fold();
        self.settled_view()
    }

    /// As [`view`](Self::view), except that rows written by [`put_hot`](Self::put_hot) may show as they were at an earlier
    /// moment, or not at all. O(1).
    pub fn settled_view(&self) -> LayeredView {
        LayeredView {
            active: self.active.clone(),
            frozen: self
                .frozen
                .as_ref()
                .map(|frozen| frozen.layer.clone())
                .unwrap_or_default(),
            base: Arc::clone(&self.base_view),
        }
    }

    /// Memory that the active layer takes, bytes, nearly: keys, present values, and a fixed amount per entry.
    pub fn active_bytes(&self) -> usize {
        self.active_bytes
    }

    /// Makes the active layer the frozen one, and starts an empty active one. Costs as much as a view.
    ///
    /// # Panics
    /// If a layer is frozen already.
    pub fn freeze(&mut self) -> FrozenLayer {
        assert!(
            self.frozen.is_none(),
            "a layer is frozen already: its checkpoint must be thawed first"
        );
        self.fold();
        let frozen = FrozenLayer {
            layer: std::mem::take(&mut self.active),
            bytes: std::mem::take(&mut self.active_bytes),
        };
        self.frozen = Some(frozen.clone());
        frozen
    }

    /// Whether a layer is frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Forgets the frozen layer: the store has durably taken [`FrozenLayer::to_batch`].
    ///
    /// Whoever drops the last [`FrozenLayer`] or view of it frees its memory, which takes time: keep the one from
    /// [`Layered::freeze`] until after this, on a thread that may wait.
    ///
    /// # Panics
    /// If no layer is frozen.
    pub fn thaw(&mut self) {
        assert!(self.frozen.take().is_some(), "no layer is frozen");
        self.base_view = self.base.view();
    }

    /// The view of the store that views of this map read beneath the layers.
    pub fn base_view(&self) -> &Arc<dyn ReadView> {
        &self.base_view
    }

    /// The store beneath.
    pub fn base(&self) -> &Arc<dyn Store> {
        &self.base
    }
}

fn entry_bytes(key_bytes: usize, value: Option<&Bytes>) -> usize {
    key_bytes + value.map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES
}

/// The changes of one checkpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FrozenLayer {
    layer: Layer,
    bytes: usize,
}

impl FrozenLayer {
    /// The changes as one batch, in key order.
    pub fn to_batch(&self) -> WriteBatch {
        self.changes()
            .map(|(key, value)| (key.clone(), value.cloned()))
            .collect()
    }

    /// The changed keys in order with what they have now; `None` if they were removed.
    pub fn changes(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.layer.iter().map(|(key, slot)| (key, slot.value()))
    }

    /// Memory that the layer takes, bytes; see [`Layered::active_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of changed keys.
    pub fn len(&self) -> usize {
        self.layer.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.layer.is_empty()
    }
}

/// A frozen state of a [`Layered`]. Cheap to clone.
#[derive(Clone)]
pub struct LayeredView {
    active: Layer,
    /// Empty if no layer was frozen.
    frozen: Layer,
    base: Arc<dyn ReadView>,
}

impl ReadView for LayeredView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.active.get(key).or_else(|| self.frozen.get(key)) {
            Some(slot) => Ok(slot.value().cloned()),
            None => self.base.get(key),
        }
    }

    fn range<'a>(&'a self, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> RangeIter<'a> {
        let base = self.base.range(lower, upper, direction);
        let active = LayerCursor::new(&self.active, lower, upper, direction);
        let frozen = LayerCursor::new(&self.frozen, lower, upper, direction);
        if active.head.is_none() && frozen.head.is_none() {
            return base;
        }
        let layers = Layers::new(active, frozen, direction);
        Box::new(Merge {
            layers,
            base,
            base_head: None,
            base_ended: false,
        })
    }
}

/// A range of one layer with its next entry.
struct LayerCursor<'a> {
    rows: LayerIter<'a>,
    direction: Direction,
    head: Option<(&'a Bytes, &'a Slot)>,
}

impl<'a> LayerCursor<'a> {
    fn new(layer: &'a Layer, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> Self {
        let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = layer.range::<_, [u8]>((Bound::Included(lower), upper));
        let mut cursor = Self {
            rows,
            direction,
            head: None,
        };
        cursor.advance();
        cursor
    }

    fn advance(&mut self) {
        self.head = match self.direction {
            Direction::Ascending => self.rows.next(),
            Direction::Descending => self.rows.next_back(),
        };
    }
}

/// The entries of both layers in order; of equal keys, the active layer's.
struct Layers<'a> {
    active: LayerCursor<'a>,
    frozen: LayerCursor<'a>,
    direction: Direction,
    head: Option<(&'a Bytes, &'a Slot)>,
}

impl<'a> Layers<'a> {
    fn new(active: LayerCursor<'a>, frozen: LayerCursor<'a>, direction: Direction) -> Self {
        let mut layers = Self {
            active,
            frozen,
            direction,
            head: None,
        };
        layers.advance();
        layers
    }

    fn advance(&mut self) {
        let order = match (self.active.head, self.frozen.head) {
            (Some((active, _)), Some((frozen, _))) => compare(self.direction, active, frozen),
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        self.head = match order {
            Ordering::Less | Ordering::Equal => self.active.head,
            Ordering::Greater => self.frozen.head,
        };
        if order != Ordering::Greater {
            self.active.advance();
        }
        if order != Ordering::Less {
            self.frozen.advance();
        }
    }
}

/// How `one` and `other` follow each other when read in `direction`.
fn compare(direction: Direction, one: &Bytes, other: &Bytes) -> Ordering {
    match direction {
        Direction::Ascending => one.cmp(other),
        Direction::Descending => other.cmp(one),
    }
}

/// The rows of the layers and the base in order; of equal keys, the layers' entry counts.
struct Merge<'a> {
    layers: Layers<'a>,
    base: RangeIter<'a>,
    /// The next row of the base, if fetched already.
    base_head: Option<(Bytes, Bytes)>,
    /// The base has no more rows, or has failed.
    base_ended: bool,
}

impl Merge<'_> {
    fn next_of_base(&mut self) -> Option<Result<(Bytes, Bytes), StoreError>> {
        if self.base_ended {
            return None;
        }
        let next = self.base.next();
        match &next {
            Some(Ok(_)) => {}
            None => self.base_ended = true,
            Some(Err(_)) => {
                // What the layers still hold is not the whole truth: nothing follows the error.
                self.base_ended = true;
                self.layers.head = None;
            }
        }
        next
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((key, slot)) = self.layers.head else {
                return self.base_head.take().map(Ok).or_else(|| self.next_of_base());
            };
            if self.base_head.is_none() {
                match self.next_of_base() {
                    Some(Ok(row)) => self.base_head = Some(row),
                    Some(Err(error)) => return Some(Err(error)),
                    None => {}
                }
            }
            let order = match &self.base_head {
                Some((base_key, _)) => compare(self.layers.direction, key, base_key),
                None => Ordering::Less,
            };
            if order == Ordering::Greater {
                return self.base_head.take().map(Ok);
            }
            if order == Ordering::Equal {
                self.base_head = None;
            }
            self.layers.advance();
            if let Some(value) = slot.value() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
#[path = "layered_test.rs"]
mod tests;
