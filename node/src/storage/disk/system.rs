//! The operating system's files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{Disk, DiskFile, DiskLock, Space};

/// The operating system's files, by [`std::fs`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut ancestor = path;
        while !ancestor.as_os_str().is_empty() && !ancestor.exists() {
            missing.push(ancestor.to_path_buf());
            match ancestor.parent() {
                Some(parent) => ancestor = parent,
                None => break,
            }
        }
        fs::create_dir_all(path)?;
        for created in &missing {
            self.sync_dir(parent_of(created))?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(SystemLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Option<Space>> {
        let status = statvfs(dir)?;
        // What is kept back for root does not count.
        Ok(Some(Space {
            free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
            total_bytes: status.f_blocks.saturating_mul(status.f_frsize),
        }))
    }
}

/// The directory that holds the name of `path`; `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file of the operating system.
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(fallocate(&self.0, FallocateFlags::empty(), 0, len)?)
    }
}

/// An advisory lock, held as long as the file is open.
struct SystemLock {
    _file: File,
}

impl DiskLock for SystemLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_reads_renames_and_removes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        SystemDisk.create_dir_all(&dir).unwrap();
        let file = SystemDisk.open(&dir.join("x"), true).unwrap();
        file.write_at(4, b"four").unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut four = [0; 4];
        file.read_at(4, &mut four).unwrap();
        assert_eq!(&four, b"four");
        assert_eq!(
            file.read_at(6, &mut four).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        SystemDisk.rename(&dir.join("x"), &dir.join("y")).unwrap();
        SystemDisk.sync_dir(&dir).unwrap();
        assert_eq!(SystemDisk.list(&dir).unwrap(), ["y"]);
        assert_eq!(SystemDisk.read(&dir.join("y")).unwrap(), b"\0\0\0\0four");
        SystemDisk.remove(&dir.join("y")).unwrap();
        assert_eq!(
            SystemDisk.read(&dir.join("y")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_is_allocated_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let space = SystemDisk.space(root.path()).unwrap().unwrap();
        assert!(
            0 < space.free_bytes && space.free_bytes <= space.total_bytes,
            "{space:?}"
        );
        let file = SystemDisk.open(&root.path().join("x"), true).unwrap();
        file.allocate(64 * 1024).unwrap();
        assert_eq!(file.len().unwrap(), 64 * 1024);
        assert!(file.allocate(u64::MAX / 4).is_err(), "more than there is");
    }

    #[test]
    fn a_lock_excludes_until_dropped() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = SystemDisk.lock(&path).unwrap();
        assert_eq!(SystemDisk.lock(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        SystemDisk.lock(&path).unwrap();
    }
}
