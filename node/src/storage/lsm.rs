//! The checkpointed state, in fjall.
//!
//! The store is written by whole checkpoints: one fjall batch each, followed by a sync of everything. The log is the only
//! write-ahead log; what a crash takes from here is rebuilt from it, because the log is purged only up to a checkpoint
//! whose sync has returned.
//!
//! Contents live in the fjall keyspace (here: *lsm*) `state-N`; the lsm `store` says under `current` which N counts. A
//! replacement (an installed snapshot) is loaded into `state-N+1` and becomes the contents by one synced write of
//! `current`; whatever is not current is removed at the next start, or when the last view of it is gone.

use std::path::Path;
use std::sync::Arc;

use banyan_core::store::{Direction, RangeIter, ReadView, Replacement, Store, StoreError, WriteBatch};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use parking_lot::RwLock;

use crate::blocking;
use crate::components::Stores;

const CURRENT_KEY: &[u8] = b"current";
const STORE_LSM: &str = "store";
/// Fewest and most bytes of a replacement that become one file, in order: few enough that the log's syncs hardly wait for the
/// file's, enough that a large state has no more files than it needs.
const LOAD_FILE_BYTES: (usize, usize) = (4 * 1024 * 1024, 64 * 1024 * 1024);
/// A file takes this share of what has been loaded before it, within [`LOAD_FILE_BYTES`].
const LOAD_FILE_SHARE: usize = 64;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LsmOpenError {
    /// Another process has it open.
    #[error("the state store is in use by another process; stop it, or choose another data_dir")]
    InUse,
    /// Its files are damaged or unreadable.
    #[error(
        "the state store is damaged: {0}; move the data directory aside and let the node join again under a new id"
    )]
    Damaged(String),
}

/// A [`Store`] in a directory.
pub struct LsmStore {
    database: Database,
    store: Keyspace,
    current: Arc<RwLock<Current>>,
}

#[derive(Clone)]
struct Current {
    generation: u64,
    lsm: Keyspace,
}

impl LsmStore {
    /// Opens the store in `directory`, creating it if there is none.
    ///
    /// `cache_bytes` bounds the block cache.
    ///
    /// # Errors
    /// It is in use, or its files are damaged.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<Self, LsmOpenError> {
        let open_error = |error: fjall::Error| match error {
            fjall::Error::Locked => LsmOpenError::InUse,
            other => LsmOpenError::Damaged(other.to_string()),
        };
        let open = || {
            Database::builder(directory)
                .cache_size(cache_bytes)
                .worker_threads(1)
                .manual_journal_persist(true)
                .open()
        };
        let database = blocking::run_where_workers_yield(open).map_err(open_error)?;
        let store = database
            .keyspace(STORE_LSM, KeyspaceCreateOptions::default)
            .map_err(open_error)?;
        let generation = match store.get(CURRENT_KEY).map_err(open_error)? {
            None => 0,
            Some(value) => u64::from_be_bytes(
                value
                    .as_ref()
                    .try_into()
                    .map_err(|_| LsmOpenError::Damaged("the name of the current contents is unreadable".to_owned()))?,
            ),
        };
        let current = state_name(generation);
        for name in database.list_keyspace_names() {
            if name.as_ref() != STORE_LSM && name.as_ref() != current.as_str() {
                let abandoned = database
                    .keyspace(&name, KeyspaceCreateOptions::default)
                    .map_err(open_error)?;
                database.delete_keyspace(abandoned).map_err(open_error)?;
            }
        }
        let lsm = database
            .keyspace(&current, KeyspaceCreateOptions::default)
            .map_err(open_error)?;
        Ok(Self {
            database,
            store,
            current: Arc::new(RwLock::new(Current { generation, lsm })),
        })
    }

    fn lsm(&self) -> Keyspace {
        self.current.read().lsm.clone()
    }
}

/// [`LsmStore`]s: what a node that is no simulation keeps its state in.
#[derive(Debug, Default)]
pub struct LsmStores;

impl Stores for LsmStores {
    fn open(&self, directory: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, LsmOpenError> {
        Ok(Arc::new(LsmStore::open(directory, cache_bytes)?))
    }
}

fn state_name(generation: u64) -> String {
    format!("state-{generation}")
}

fn store_error(error: &fjall::Error) -> StoreError {
    StoreError(error.to_string())
}

impl Store for LsmStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.current.read().lsm.get(key).map_err(|error| store_error(&error))?;
        Ok(value.map(Bytes::from))
    }

    fn view(&self) -> Arc<dyn ReadView> {
        let lsm = self.lsm();
        Arc::new(LsmView {
            snapshot: self.database.snapshot(),
            lsm,
        })
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let lsm = self.lsm();
        let mut lsm_batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in batch {
            match value {
                Some(value) => lsm_batch.insert(&lsm, key, value),
                None => lsm_batch.remove(&lsm, key),
            }
        }
        lsm_batch.commit().map_err(|error| store_error(&error))
    }

    fn begin_replacement(&self) -> Result<Box<dyn Replacement>, StoreError> {
        // A transfer that broke off may have left contents under the next number: start from nothing.
        let generation = self.current.read().generation + 1;
        let name = state_name(generation);
        if self.database.keyspace_exists(&name) {
            let abandoned = self
                .database
                .keyspace(&name, KeyspaceCreateOptions::default)
                .map_err(|error| store_error(&error))?;
            self.database
                .delete_keyspace(abandoned)
                .map_err(|error| store_error(&error))?;
        }
        let lsm = self
            .database
            .keyspace(&name, KeyspaceCreateOptions::default)
            .map_err(|error| store_error(&error))?;
        Ok(Box::new(LsmReplacement {
            database: self.database.clone(),
            store: self.store.clone(),
            current: Arc::clone(&self.current),
            next: Current { generation, lsm },
            last_key: None,
            pending: Vec::new(),
            pending_bytes: 0,
            loaded_bytes: 0,
        }))
    }
}

struct LsmView {
    snapshot: Snapshot,
    lsm: Keyspace,
}

impl ReadView for LsmView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.snapshot.get(&self.lsm, key).map_err(|error| store_error(&error))?;
        Ok(value.map(Bytes::from))
    }

    fn range<'a>(&'a self, lower: &[u8], upper: Option<&[u8]>, direction: Direction) -> RangeIter<'a> {
        let rows = match upper {
            Some(upper) if upper <= lower => return Box::new(std::iter::empty()),
            Some(upper) => self.snapshot.range(&self.lsm, lower..upper),
            None => self.snapshot.range(&self.lsm, lower..),
        };
        let read = |guard: fjall::Guard| match guard.into_inner() {
            Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
            Err(error) => Err(store_error(&error)),
        };
        match direction {
            Direction::Ascending => Box::new(rows.map(read)),
            Direction::Descending => Box::new(rows.rev().map(read)),
        }
    }
}

struct LsmReplacement {
    database: Database,
    store: Keyspace,
    current: Arc<RwLock<Current>>,
    next: Current,
    last_key: Option<Bytes>,
    pending: Vec<(Bytes, Bytes)>,
    pending_bytes: usize,
    loaded_bytes: usize,
}

impl LsmReplacement {
    /// Makes a sorted, synced file of what is pending, past journal and memtable: it is written once.
    fn flush(&mut self) -> Result<(), StoreError> {
        let load = |pending: &mut Vec<(Bytes, Bytes)>| {
            let mut ingestion = self.next.lsm.start_ingestion()?;
            for (key, value) in pending.drain(..) {
                ingestion.write(key, value)?;
            }
            ingestion.finish()
        };
        load(&mut self.pending).map_err(|error: fjall::Error| store_error(&error))?;
        self.loaded_bytes += std::mem::take(&mut self.pending_bytes);
        Ok(())
    }
}

impl Replacement for LsmReplacement {
    fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(StoreError("the keys of a replacement do not increase".to_owned()));
        }
        self.last_key = Some(key.clone());
        self.pending_bytes += key.len() + value.len();
        self.pending.push((key, value));
        let (fewest, most) = LOAD_FILE_BYTES;
        if self.pending_bytes >= (self.loaded_bytes / LOAD_FILE_SHARE).clamp(fewest, most) {
            self.flush()?;
        }
        Ok(())
    }

    fn install(mut self: Box<Self>) -> Result<(), StoreError> {
        self.flush()?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.store, CURRENT_KEY, self.next.generation.to_be_bytes().to_vec());
        batch.commit().map_err(|error| store_error(&error))?;
        let former = {
            let mut current = self.current.write();
            assert!(
                current.generation < self.next.generation,
                "a replacement was installed over a later one"
            );
            std::mem::replace(&mut *current, self.next.clone())
        };
        // Its files go when the last view of it does.
        self.database
            .delete_keyspace(former.lsm)
            .map_err(|error| store_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(view: &dyn ReadView, direction: Direction) -> Vec<(Bytes, Bytes)> {
        view.range(b"", None, direction)
            .collect::<Result<_, _>>()
            .expect("readable")
    }

    fn put(key: &'static str, value: &'static str) -> (Bytes, Option<Bytes>) {
        (Bytes::from(key), Some(Bytes::from(value)))
    }

    #[test]
    fn a_written_batch_survives_reopening() {
        let directory = tempfile::tempdir().expect("a directory");
        {
            let store = LsmStore::open(directory.path(), 1 << 20).expect("opens");
            store.write(vec![put("a", "1"), put("b", "2")]).expect("writes");
            store.write(vec![(Bytes::from("a"), None)]).expect("writes");
        }
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens again");
        assert_eq!(store.get(b"a"), Ok(None));
        assert_eq!(store.get(b"b"), Ok(Some(Bytes::from("2"))));
    }

    #[test]
    fn a_view_does_not_see_later_writes_and_reads_both_ways() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens");
        store.write(vec![put("a", "1"), put("b", "2")]).expect("writes");
        let view = store.view();
        store.write(vec![put("a", "9"), put("c", "3")]).expect("writes");
        let ascending = pairs(view.as_ref(), Direction::Ascending);
        assert_eq!(ascending, vec![("a".into(), "1".into()), ("b".into(), "2".into())]);
        let mut descending = pairs(view.as_ref(), Direction::Descending);
        descending.reverse();
        assert_eq!(ascending, descending);
        assert_eq!(view.range(b"b", Some(b"a"), Direction::Ascending).count(), 0);
    }

    #[test]
    fn a_replacement_shows_only_once_installed_and_survives_reopening() {
        let directory = tempfile::tempdir().expect("a directory");
        {
            let store = LsmStore::open(directory.path(), 1 << 20).expect("opens");
            store.write(vec![put("old", "1")]).expect("writes");
            let before = store.view();

            let mut dropped = store.begin_replacement().expect("begins");
            dropped.push(Bytes::from("never"), Bytes::from("x")).expect("pushes");
            drop(dropped);

            let mut replacement = store.begin_replacement().expect("begins");
            replacement.push(Bytes::from("new"), Bytes::from("2")).expect("pushes");
            assert_eq!(store.get(b"new"), Ok(None));
            replacement.install().expect("installs");
            assert_eq!(store.get(b"old"), Ok(None));
            assert_eq!(before.get(b"old"), Ok(Some(Bytes::from("1"))));
            store.write(vec![put("later", "3")]).expect("writes");
        }
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens again");
        let all = pairs(store.view().as_ref(), Direction::Ascending);
        assert_eq!(all, vec![("later".into(), "3".into()), ("new".into(), "2".into())]);
    }

    #[test]
    fn a_replacement_of_many_files_is_read_and_written_like_any_contents() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes());
        let value = Bytes::from(vec![7; 64 * 1024]);
        let count = 5 * (LOAD_FILE_BYTES.0 / value.len()) as u32;
        {
            let store = LsmStore::open(directory.path(), 1 << 20).expect("opens");
            let mut replacement = store.begin_replacement().expect("begins");
            for n in 0..count {
                replacement.push(key(n), value.clone()).expect("pushes");
            }
            replacement.install().expect("installs");
            assert_eq!(pairs(store.view().as_ref(), Direction::Ascending).len(), count as usize);
        }
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens again");
        assert_eq!(pairs(store.view().as_ref(), Direction::Ascending).len(), count as usize);
        store
            .write(vec![(key(0), None), (key(1), Some(Bytes::from("new")))])
            .expect("writes");
        drop(store);
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens once more");
        let all = pairs(store.view().as_ref(), Direction::Ascending);
        assert_eq!(all.len(), count as usize - 1);
        assert_eq!(all[0], (key(1), Bytes::from("new")));
    }

    #[test]
    fn keys_of_a_replacement_must_increase() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LsmStore::open(directory.path(), 1 << 20).expect("opens");
        let mut replacement = store.begin_replacement().expect("begins");
        replacement.push(Bytes::from("b"), Bytes::new()).expect("pushes");
        assert!(replacement.push(Bytes::from("a"), Bytes::new()).is_err());
    }
}
