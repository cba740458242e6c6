//! The data directory as a whole: one process at a time, and the node id that belongs to it.
//!
//! | name | holds |
//! |---|---|
//! | `lock` | the pid of the process that has or had it open; locked while a node runs |
//! | `node-id` | the node id, decimal, one line; written once |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::components::Random;

const LOCK: &str = "lock";
const NODE_ID: &str = "node-id";

/// An opened data directory: no other node can open it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    node_id: u64,
    _lock: File,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it open. Exit code 3.
    #[error("data directory {path} is in use by process {pid}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, as far as it said.
        pid: String,
    },
    /// It belongs to another node than the settings say. Exit code 2.
    #[error(
        "data directory {path} belongs to node {kept}, but the settings say `node_id = {given}`; write `node_id = {kept}`, \
         or give node {given} a directory of its own"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The id it holds.
        kept: u64,
        /// The id that was given.
        given: u64,
    },
    /// The kept id cannot be understood. Exit code 3.
    #[error("{0} does not hold a node id; the directory is damaged or belongs to something else")]
    Damaged(PathBuf),
    /// The operating system refused. Exit code 3.
    #[error("{path}: {error}")]
    Io {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

impl DataDirError {
    /// The exit code that the process ends with: 2 settings, 3 storage damaged or in use.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OtherNode { .. } => 2,
            Self::InUse { .. } | Self::Damaged(_) | Self::Io { .. } => 3,
        }
    }
}

impl DataDir {
    /// Creates `path` if it is missing (for its owner alone), locks it, and finds its node id: the kept one, or else
    /// `given`, or else one drawn from `random`, which is then durable before this returns.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path, given: Option<u64>, random: &dyn Random) -> Result<Self, DataDirError> {
        let failed = |error| DataDirError::Io {
            path: path.to_owned(),
            error,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let lock = lock(path)?;
        let node_id = match (read_node_id(path)?, given) {
            (Some(kept), Some(given)) if kept != given => {
                return Err(DataDirError::OtherNode {
                    path: path.to_owned(),
                    kept,
                    given,
                });
            }
            (Some(kept), _) => kept,
            (None, given) => {
                let node_id = given.unwrap_or_else(|| draw_node_id(random));
                keep_node_id(path, node_id).map_err(failed)?;
                node_id
            }
        };
        Ok(Self { node_id, _lock: lock })
    }

    /// The id of the node that the directory belongs to.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.node_id
    }
}

/// Locks the directory `path`, which exists, until the file is dropped or the process ends, however it ends.
///
/// # Errors
/// [`DataDirError::InUse`], [`DataDirError::Io`].
pub fn lock(path: &Path) -> Result<File, DataDirError> {
    let failed = |error| DataDirError::Io {
        path: path.join(LOCK),
        error,
    };
    let mut options = OpenOptions::new();
    let mut lock = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path.join(LOCK))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0).map_err(failed)?;
            write!(lock, "{}", std::process::id()).map_err(failed)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _pid_is_a_hint = lock.take(20).read_to_string(&mut pid);
            Err(DataDirError::InUse {
                path: path.to_owned(),
                pid,
            })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A positive id that also fits into a TOML integer, so that it can be written into a settings file.
fn draw_node_id(random: &dyn Random) -> u64 {
    (random.next_u64() >> 1).max(1)
}

fn read_node_id(dir: &Path) -> Result<Option<u64>, DataDirError> {
    let path = dir.join(NODE_ID);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim_end_matches('\n').parse() {
            Ok(id) if id != 0 => Ok(Some(id)),
            _ => Err(DataDirError::Damaged(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(DataDirError::Damaged(path)),
        Err(error) => Err(DataDirError::Io { path, error }),
    }
}

/// Writes the id so that a crash leaves either none or all of it.
fn keep_node_id(dir: &Path, node_id: u64) -> io::Result<()> {
    let temporary = dir.join("node-id.new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{node_id}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(NODE_ID))?;
    File::open(dir)?.sync_all()?;
    if let Some(parent) = dir.canonicalize()?.parent() {
        File::open(parent)?.sync_all()?; // the directory itself may be new
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);

    impl Random for Fixed {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn an_id_is_drawn_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        assert_eq!(DataDir::open(&path, None, &Fixed(84)).unwrap().node_id(), 42);
        assert_eq!(DataDir::open(&path, None, &Fixed(7)).unwrap().node_id(), 42);
        assert_eq!(DataDir::open(&path, Some(42), &Fixed(7)).unwrap().node_id(), 42);
    }

    #[test]
    fn a_given_id_is_kept_and_another_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::open(dir.path(), Some(3), &Fixed(0)).unwrap().node_id(), 3);
        let error = DataDir::open(dir.path(), Some(4), &Fixed(0)).unwrap_err();
        assert!(
            matches!(error, DataDirError::OtherNode { kept: 3, given: 4, .. }),
            "{error}"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_second_opening_is_refused_while_the_first_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), None, &Fixed(0)).unwrap();
        let error = DataDir::open(dir.path(), None, &Fixed(0)).unwrap_err();
        let own_pid = std::process::id().to_string();
        assert!(
            matches!(&error, DataDirError::InUse { pid, .. } if *pid == own_pid),
            "{error}"
        );
        assert_eq!(error.exit_code(), 3);
        drop(first);
        DataDir::open(dir.path(), None, &Fixed(0)).unwrap();
    }

    #[test]
    fn a_damaged_id_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in ["", "0\n", "x", "12 3"] {
            fs::write(dir.path().join(NODE_ID), damaged).unwrap();
            let error = DataDir::open(dir.path(), Some(3), &Fixed(0)).unwrap_err();
            assert!(matches!(error, DataDirError::Damaged(_)), "{damaged:?}: {error}");
            assert_eq!(error.exit_code(), 3);
        }
    }
}
