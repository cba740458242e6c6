//! Where a node keeps its data: a directory, on a volume of its own where that is possible, so that it can be filled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::error::RealError;
use super::machine::Machine;
use super::tool;

/// What fills the volume, beside the node's own directory.
const FILLER: &str = "filler";
/// The node's own directory on the volume.
const DATA: &str = "data";

/// One node's volume.
#[derive(Debug)]
pub(super) struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Makes the directory `path`, and mounts a tmpfs of `mib` MiB there if `machine` lets us. The stage unmounts it.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub(super) fn new(path: PathBuf, machine: &Machine, mib: u32) -> Result<Self, RealError> {
        fs::create_dir(&path).map_err(RealError::file(&path))?;
        if machine.volumes.is_ok() {
            let options = format!("size={mib}m,mode=700");
            tool::run(
                "mount",
                &["-t", "tmpfs", "-o", &options, "tmpfs", &path.display().to_string()],
            )?;
        }
        Ok(Self { path })
    }

    /// The node's `data_dir`. The node itself creates it.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Takes all the space there is. What the node has allocated before, it keeps.
    ///
    /// # Errors
    /// Another than that the volume is full.
    pub(super) fn fill(&self) -> Result<(), RealError> {
        let path = self.path.join(FILLER);
        let filler = File::create(&path).map_err(RealError::file(&path))?;
        // In ever smaller pieces: the node may write meanwhile.
        let mut at = 0;
        loop {
            let free = free_bytes(&self.path).map_err(RealError::file(&self.path))?;
            if free == 0 {
                return Ok(());
            }
            match fallocate(&filler, FallocateFlags::empty(), at, free) {
                Ok(()) => at += free,
                Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(RealError::file(&path)(error.into())),
            }
        }
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// The filler cannot be removed.
    pub(super) fn free(&self) -> Result<(), RealError> {
        let path = self.path.join(FILLER);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RealError::file(&path)(error)),
            _ => Ok(()),
        }
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let status = statvfs(path)?;
    Ok(status.f_bavail * status.f_frsize)
}
