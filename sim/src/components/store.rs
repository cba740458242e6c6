//! The store beneath a node's state: in memory, kept over restarts.
//!
//! It has the crash semantics of the shipped one: a checkpoint whose write has returned survives, whole; of any other, nothing
//! does. A snapshot replaces the contents at once, or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use banyan_core::store::{MemoryStore, ReadView, Replacement, Store, StoreError, WriteBatch};
use banyan_node::components::Stores;
use banyan_node::storage::lsm::LsmOpenError;
use bytes::Bytes;

use super::disk::SimDisk;
use super::failpoint::Point;

/// The stores of one node: one, on its disk.
pub struct SimStores {
    disk: SimDisk,
    store: MemoryStore,
}

impl SimStores {
    /// An empty store on `disk`.
    #[must_use]
    pub fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            store: MemoryStore::new(),
        }
    }

    /// Makes it empty.
    pub fn wipe(&self) {
        let emptied = self.store.begin_replacement().and_then(Replacement::install);
        emptied.expect("memory does not fail");
    }

    /// What the store holds, whether or not the node runs.
    #[must_use]
    pub fn contents(&self) -> MemoryStore {
        self.store.clone()
    }
}

impl Stores for SimStores {
    fn open(&self, _directory: &Path, _cache_bytes: u64) -> Result<Arc<dyn Store>, LsmOpenError> {
        Ok(Arc::new(SimStore {
            life: self.disk.life(),
            disk: self.disk.clone(),
            store: self.store.clone(),
        }))
    }
}

/// A handle of one life of the node.
#[derive(Clone)]
struct SimStore {
    life: u64,
    disk: SimDisk,
    store: MemoryStore,
}

impl SimStore {
    /// A disk without power takes nothing any more.
    fn check_power(&self) -> Result<(), StoreError> {
        if self.disk.is_powered(self.life) {
            Ok(())
        } else {
            Err(StoreError("power lost".to_owned()))
        }
    }

    /// As [`SimDisk::step`].
    fn step(&self, point: Point, step: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let failed = |error: StoreError| io::Error::other(error.to_string());
        let done = self.disk.step(point, || step().map_err(failed));
        done.map_err(|error| StoreError(error.to_string()))
    }
}

impl Store for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn view(&self) -> Arc<dyn ReadView> {
        self.store.view()
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.check_power()?;
        self.step(Point::Checkpoint, || self.store.write(batch))
    }

    fn begin_replacement(&self) -> Result<Box<dyn Replacement>, StoreError> {
        self.check_power()?;
        Ok(Box::new(SimReplacement {
            store: self.clone(),
            replacement: self.store.begin_replacement()?,
        }))
    }
}

struct SimReplacement {
    store: SimStore,
    replacement: Box<dyn Replacement>,
}

impl Replacement for SimReplacement {
    fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.replacement.push(key, value)
    }

    fn install(self: Box<Self>) -> Result<(), StoreError> {
        let Self { store, replacement } = *self;
        store.check_power()?;
        store.step(Point::SnapshotInstall, || replacement.install())
    }
}
