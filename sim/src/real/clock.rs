//! A node's clock, set off from the true one.
//!
//! A library loaded into the node answers its questions for the time of day and reads the offset from a file, so the clock
//! jumps while the node runs. The monotonic clock, which timers use, is left alone: no operating system lets it jump.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::RealError;

/// The clock of one node.
#[derive(Debug)]
pub(super) struct Clock {
    library: PathBuf,
    offset_file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub(super) fn new(library: &Path, offset_file: PathBuf) -> Result<Self, RealError> {
        let clock = Self {
            library: library.to_owned(),
            offset_file,
        };
        clock.set(0.0)?;
        Ok(clock)
    }

    /// From now on (within a second) the node's time of day is `offset_s` seconds ahead of the true one.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub(super) fn set(&self, offset_s: f64) -> Result<(), RealError> {
        // Renamed into place: the node must never read half of it.
        let new = self.offset_file.with_extension("new");
        fs::write(&new, format!("{offset_s:+.3}\n")).map_err(RealError::file(&new))?;
        fs::rename(&new, &self.offset_file).map_err(RealError::file(&self.offset_file))
    }

    /// Lets the program run by this clock.
    pub(super) fn apply_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset_file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1");
    }
}

/// Removes what the library of a killed process has left in shared memory.
pub(super) fn forget(pid: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _gone = fs::remove_file(format!("/dev/shm/{name}{pid}"));
    }
}
