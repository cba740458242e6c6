//! The files of the log, as one trait: the operating system's here, a disk that forgets and tears in the simulator.
//!
//! Calls are synchronous: they run on the log's writer thread. Any error is final; nothing is retried.
//!
//! What the log assumes of a disk, and [`MemoryDisk`] can break down to: a write that was not synced may be on disk
//! whole, in part or not at all, in any order among unsynced writes; a sector is written whole or not at all; a write
//! never changes bytes outside of its range; changes of names in one directory become durable in their order.

mod memory;
mod system;

use std::io;
use std::path::Path;
use std::time::Duration;

pub use memory::MemoryDisk;
pub use system::SystemDisk;

/// How much room a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still take, bytes.
    pub free_bytes: u64,
    /// All of it, bytes.
    pub total_bytes: u64,
}

/// A directory tree of files.
pub trait Disk: Send + Sync {
    /// Creates `path` and its parents, durably (each parent directory is synced).
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Names of the entries of `dir`, sorted.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The whole contents of `path`.
    ///
    /// # Errors
    /// The operating system's; `NotFound` if there is none.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Opens `path` for positioned reads and writes, creating it if `create`.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Renames `from` to `to`, replacing it. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file `path`. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock named `path`, held until the answer is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` if another holds it; else the operating system's.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Makes created, renamed and removed names of `dir` durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How much room there is for `dir`, which exists. `None` where nobody can tell: nothing is then made of it.
    ///
    /// # Errors
    /// The operating system's. Unlike every other, it says nothing about what is stored.
    fn space(&self, dir: &Path) -> io::Result<Option<Space>> {
        let _ = dir;
        Ok(None)
    }

    /// How long the next write and sync take on a disk whose own calls return at once, as a simulated one's do. `None`, as on
    /// every real disk: calls block for as long as they take.
    fn latency(&self) -> Option<Duration> {
        None
    }
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "files of the log are never empty")]
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// The operating system's; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, extending the file where needed. Not durable before [`DiskFile::sync`].
    ///
    /// # Errors
    /// The operating system's.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// The operating system's. Afterwards the file must not be trusted.
    fn sync(&self) -> io::Result<()>;

    /// Length of the file, bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends the file (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Takes the room for a file of `len` bytes, of arbitrary contents, so that nobody else can have it.
    ///
    /// # Errors
    /// The operating system's; `StorageFull` if there is not so much.
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// An exclusive lock, released when dropped.
pub trait DiskLock: Send + Sync {}
