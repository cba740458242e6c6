//! What the last checkpoint was, kept beside the store that it was written to.
//!
//! fjall's recovery takes an unparsable byte in its journal for the end and drops what follows without a word. A checkpoint
//! that was synced and then dropped so would bring the node back with an older state, whose log may be purged already. So
//! each checkpoint leaves its log index here once it is synced, and a store that opens before it is refused. Rows that are
//! missing *within* a state are found by recomputing its digest ([`super::replica`]).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | log index of the checkpoint, big-endian |
//! | 8 | 4 | CRC-32C of the above, big-endian |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::disk::Disk;

const FILE: &str = "checkpoint";
const FILE_NEW: &str = "checkpoint.new";
const BYTES: usize = 12;

/// The mark in a data directory. Cheap to clone.
#[derive(Clone)]
pub struct CheckpointMark {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

impl CheckpointMark {
    /// The mark of the store in `directory`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self {
            disk,
            directory: directory.to_path_buf(),
        }
    }

    /// Log index of the last checkpoint that was synced, 0 before the first.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn read(&self) -> io::Result<u64> {
        let bytes = match self.disk.read(&self.directory.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checkpoint mark is damaged");
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| damaged())?;
        let (index, crc) = bytes.split_at(8);
        if crc32c::crc32c(index).to_be_bytes() != crc {
            return Err(damaged());
        }
        index.try_into().map(u64::from_be_bytes).map_err(|_| damaged())
    }

    /// Notes that a checkpoint at `index` is synced. Durable and atomic.
    ///
    /// # Errors
    /// The disk's; the node must stop.
    pub fn write(&self, index: u64) -> io::Result<()> {
        let index = index.to_be_bytes();
        let mut bytes = index.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&index).to_be_bytes());
        let temporary = self.directory.join(FILE_NEW);
        let file = self.disk.open(&temporary, true)?;
        file.set_len(0)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        drop(file);
        self.disk.rename(&temporary, &self.directory.join(FILE))?;
        self.disk.sync_dir(&self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::SystemDisk;

    #[test]
    fn a_mark_is_read_back_and_damage_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let mark = CheckpointMark::new(Arc::new(SystemDisk), directory.path());
        assert_eq!(mark.read().expect("none yet"), 0);
        mark.write(7).expect("writes");
        mark.write(4711).expect("writes again");
        assert_eq!(mark.read().expect("readable"), 4711);

        let path = directory.path().join(FILE);
        let bytes = std::fs::read(&path).expect("the file");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).expect("writes");
            assert!(mark.read().is_err(), "byte {at}");
            std::fs::write(&path, &bytes[..at]).expect("writes");
            assert!(mark.read().is_err(), "cut at {at}");
        }
    }
}
