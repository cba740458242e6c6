//! The mark of a data directory whose state has diverged: no node starts on it again.

use std::io;
use std::path::Path;

use crate::storage::disk::Disk;

/// File in the data directory that holds the reason, for people.
const MARK: &str = "diverged";

/// Why the directory must not be used, if it is marked.
///
/// # Errors
/// The mark cannot be read.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Option<String>> {
    match disk.read(&data_dir.join(MARK)) {
        Ok(reason) => Ok(Some(String::from_utf8_lossy(&reason).trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks the directory, durably.
///
/// # Errors
/// The operating system's.
pub fn write(disk: &dyn Disk, data_dir: &Path, reason: &str) -> io::Result<()> {
    let file = disk.open(&data_dir.join(MARK), true)?;
    file.write_at(0, reason.as_bytes())?;
    file.write_at(reason.len() as u64, b"\n")?;
    file.sync()?;
    disk.sync_dir(data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::MemoryDisk;

    #[test]
    fn the_mark_stays_and_says_why() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        assert_eq!(read(&disk, dir).unwrap(), None);
        write(&disk, dir, "it differs").unwrap();
        disk.crash(&mut |_| 0);
        assert_eq!(read(&disk, dir).unwrap().as_deref(), Some("it differs"));
    }
}
