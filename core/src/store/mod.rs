//! The ordered map beneath the state.
//!
//! [`Store`] is what a node keeps on disk (fjall in `node/storage`, [`MemoryStore`] in tests and simulation). It is written
//! by whole checkpoints only; between two checkpoints the changes live in [`Layered`], which reads through to the store.
//!
//! Every error is final: a store that failed once is not used again, and the node stops.

mod layered;
mod memory;

use bytes::Bytes;

pub use layered::{FrozenLayer, Layered, LayeredView, hash_of_key};
pub use memory::MemoryStore;

/// What a range yields: keys and values in key order, or the error that ends the iteration.
pub type RangeIter<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + 'a>;

/// One atomic change of a store: keys with their new value, or `None` to remove them. Each key occurs once.
pub type WriteBatch = Vec<(Bytes, Option<Bytes>)>;

/// The store could not be read or written. The node must stop: what it holds is no longer known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct StoreError(pub String);

/// The order in which a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Greatest key first.
    Descending,
}

/// A frozen state of an ordered map: later writes do not show.
pub trait ReadView: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// All pairs with `lower <= key < upper`, in `direction`. `upper` of `None` is the end of the map.
    fn range<'a>(&'a self, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> RangeIter<'a>;
}

/// A durable ordered map, written by one thread at a time.
pub trait Store: Send + Sync {
    /// The value of `key`, latest written.
    ///
    /// # Errors
    /// The store could not be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// A view of the present state. Cheap; holds back reclamation of what it sees until dropped.
    fn view(&self) -> std::sync::Arc<dyn ReadView>;

    /// Writes `batch` atomically and makes it durable: when this returns it survives power loss, whole.
    ///
    /// # Errors
    /// Any failure is final for the store.
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError>;

    /// Starts to build a complete replacement of the contents beside the present one.
    ///
    /// # Errors
    /// The store could not be written.
    fn begin_replacement(&self) -> Result<Box<dyn Replacement>, StoreError>;
}

/// New contents of a [`Store`], loaded in key order and switched to at once. Dropped without [`Replacement::install`], it
/// leaves no trace.
pub trait Replacement: Send {
    /// Adds the next pair. Keys must strictly increase over all calls.
    ///
    /// # Errors
    /// The store could not be written, or the keys do not increase.
    fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError>;

    /// Makes the new contents durable, then makes them the contents of the store, in one synced step. Views taken before
    /// keep showing the old ones.
    ///
    /// # Errors
    /// Any failure is final for the store; the old contents stay.
    fn install(self: Box<Self>) -> Result<(), StoreError>;
}
