//! What operators do to data directories while no node runs on them: a new one made of a backup, or of what one node of a
//! lost cluster still holds.
//!
//! | module | responsibility |
//! |---|---|
//! | `new_dir` | a new data directory, there whole or not at all |
//! | [`restore`] | one made of a backup |
//! | [`recover`] | one made of another, for a cluster of that node alone |
//!
//! Both make a *new cluster*: its id is new, so that no node of the old one can be taken for a member, and its log begins
//! behind the state with the membership written there. The rows of the state are those of the old cluster, origins and
//! connections in force included, so its digest is the same; the new cluster's own first entries end what is not there any
//! more.

pub mod new_dir;
pub mod recover;
pub mod restore;

#[cfg(test)]
mod offline_test;

use std::io;
use std::path::PathBuf;

use banyan_core::keyspace::FormatError;
use banyan_core::state::OpenError;
use banyan_core::store::StoreError;

use crate::backup::BackupError;
use crate::settings::data_dir::DataDirError;
use crate::storage::log::LogError;
use crate::storage::lsm::LsmOpenError;

/// Why it could not be done. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// Something is in the way of the new data directory.
    #[error("{0} exists already; a data directory is never overwritten, so choose another or move this one aside")]
    Exists(PathBuf),
    /// The backup.
    #[error("the snapshot {0}")]
    Backup(#[from] BackupError),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Lsm(#[from] LsmOpenError),
    /// What is stored cannot be used.
    #[error("{0}")]
    Damaged(String),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl OfflineError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

impl From<StoreError> for OfflineError {
    fn from(error: StoreError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<FormatError> for OfflineError {
    fn from(error: FormatError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<OpenError> for OfflineError {
    fn from(error: OpenError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Block cache while a directory is worked on: each row is read once.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
