//! A new data directory. It is built beside its place and moved there when all of it is on disk and has been read back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banyan_core::keyspace::meta::{MEMBERSHIP_KEY, POSITION_KEY, Position};
use banyan_core::state::{Digest, State, founding_id, push_indexed};
use banyan_core::store::{Store, WriteBatch};
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{CACHE_BYTES, OfflineError};
use crate::consensus::checkpoint_mark::CheckpointMark;
use crate::consensus::founding::encode_members;
use crate::settings::data_dir;
use crate::storage::disk::SystemDisk;
use crate::storage::lsm::LsmStore;

/// Bytes written to the store at a time.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Who a new data directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The node.
    pub node_id: u64,
    /// The new cluster.
    pub cluster_id: u64,
    /// All initial members with the addresses of their peer listeners, the node among them.
    pub members: BTreeMap<u64, String>,
}

/// A data directory that is being written. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub struct NewDir {
    path: PathBuf,
    temporary: PathBuf,
    store: Option<LsmStore>,
    batch: WriteBatch,
    batch_bytes: usize,
    is_done: bool,
    _lock: File,
}

impl NewDir {
    /// Begins one at `path`, where nothing is yet.
    ///
    /// # Errors
    /// Something is there, or the disk refuses.
    pub fn create(path: &Path) -> Result<Self, OfflineError> {
        check_absent(path)?;
        let temporary = beside(path, "unfinished")?;
        fs::create_dir_all(&temporary).map_err(OfflineError::io(&temporary))?;
        // Whoever is at it now holds the lock; what an earlier attempt has left is of no use.
        let lock = data_dir::lock(&temporary)?;
        let state = temporary.join("state");
        if state.exists() {
            fs::remove_dir_all(&state).map_err(OfflineError::io(&state))?;
        }
        let store = LsmStore::open(&state, CACHE_BYTES)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            store: Some(store),
            batch: WriteBatch::new(),
            batch_bytes: 0,
            is_done: false,
            _lock: lock,
        })
    }

    /// Adds a row of an image, and the rows of the indexes that follow from it.
    ///
    /// # Errors
    /// The row is malformed, or the disk refuses.
    pub fn push(&mut self, key: Bytes, value: Bytes) -> Result<(), OfflineError> {
        self.batch_bytes += key.len() + value.len();
        push_indexed(key, value, &mut self.batch)?;
        if self.batch_bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), OfflineError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        match &self.store {
            Some(store) => Ok(store.write(batch)?),
            None => Ok(()),
        }
    }

    /// Completes it: a state at `position`, but founded, of the cluster and node that `founding` names. Reads all of it back
    /// and compares its digest with that of the position before it takes its place.
    ///
    /// # Errors
    /// The rows are not those of the position, the disk refuses, or something has appeared in its place meanwhile.
    pub fn finish(mut self, position: &Position, founding: &Founding) -> Result<Digest, OfflineError> {
        let applied = founding_id(position.applied.map_or(0, |applied| applied.index));
        let position = Position {
            applied: Some(applied),
            ..*position
        };
        let membership = encode_members(&founding.members, applied);
        let membership = membership.map_err(|error| OfflineError::Refused(error.to_string()))?;
        self.batch
            .push((Bytes::from_static(&POSITION_KEY), Some(position.encode())));
        self.batch.push((Bytes::from_static(&MEMBERSHIP_KEY), Some(membership)));
        self.write()?;
        drop(self.store.take());
        let digest = read_back(&self.temporary)?;

        let disk = Arc::new(SystemDisk);
        let io = |path: &Path| OfflineError::io(path.to_owned());
        let mark = CheckpointMark::new(disk, &self.temporary);
        mark.write(applied.index).map_err(io(&self.temporary))?;
        write_line(&self.temporary, "node-id", founding.node_id)?;
        write_line(&self.temporary, "cluster-id", founding.cluster_id)?;
        sync_dir(&self.temporary)?;
        renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::NOREPLACE).map_err(|error| match error {
            rustix::io::Errno::EXIST => OfflineError::Exists(self.path.clone()),
            error => io(&self.path)(error.into()),
        })?;
        self.is_done = true;
        sync_dir(&parent_of(&self.path)?)?;
        Ok(digest)
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if !self.is_done {
            drop(self.store.take());
            // What cannot be removed now is when the next attempt is made.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// The digest of the state in `directory`, found by reading every row.
fn read_back(directory: &Path) -> Result<Digest, OfflineError> {
    let store = LsmStore::open(&directory.join("state"), CACHE_BYTES)?;
    let mut state = State::open(Arc::new(store))?;
    let view = state.view();
    let found = view.full_digest()?;
    if found == view.digest {
        return Ok(found);
    }
    let expected = view.digest;
    let text = format!("the new state was written but reads back otherwise: digest {found}, not {expected}");
    Err(OfflineError::Damaged(text))
}

/// Refuses a `path` where something is.
///
/// # Errors
/// [`OfflineError::Exists`].
pub fn check_absent(path: &Path) -> Result<(), OfflineError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(OfflineError::Exists(path.to_owned())),
        Err(_) => Ok(()),
    }
}

/// `path` with `.what` behind its name: in the same directory, so that a rename is enough.
pub(super) fn beside(path: &Path, what: &str) -> Result<PathBuf, OfflineError> {
    let name = path
        .file_name()
        .ok_or_else(|| OfflineError::Refused(format!("{} is no name for a data directory", path.display())))?;
    let mut name = name.to_owned();
    name.push(".");
    name.push(what);
    Ok(path.with_file_name(name))
}

pub(super) fn parent_of(path: &Path) -> Result<PathBuf, OfflineError> {
    let path = std::path::absolute(path).map_err(OfflineError::io(path))?;
    Ok(path.parent().unwrap_or(Path::new("/")).to_owned())
}

pub(super) fn sync_dir(path: &Path) -> Result<(), OfflineError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(OfflineError::io(path))
}

fn write_line(directory: &Path, name: &str, number: u64) -> Result<(), OfflineError> {
    let path = directory.join(name);
    let written = fs::write(&path, format!("{number}\n")).and_then(|()| File::open(&path)?.sync_all());
    written.map_err(OfflineError::io(&path))
}
