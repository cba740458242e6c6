//! Spare segment files: prefilled ahead of need, or recycled.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::error::{IoContext, LogError};
use crate::storage::disk::Disk;

/// Zeros are written in pieces.
const PIECE_BYTES: usize = 1024 * 1024;

/// The spare files of a log directory.
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    count_max: usize,
    ready: Vec<PathBuf>,
    /// A file being prefilled.
    coming: Option<JoinHandle<Result<PathBuf, LogError>>>,
    name_next: u64,
}

impl Spares {
    /// Takes over the spare files among `names`; removes what is none, or too many.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        bytes: u64,
        count_max: usize,
        names: &[String],
    ) -> Result<Self, LogError> {
        let mut spares = Self {
            disk,
            dir: dir.to_path_buf(),
            bytes,
            count_max,
            ready: Vec::new(),
            coming: None,
            name_next: 1,
        };
        for name in names.iter().filter(|name| name.starts_with("spare-")) {
            let path = dir.join(name);
            let number = name
                .strip_prefix("spare-")
                .and_then(|digits| digits.parse::<u64>().ok());
            let len = spares
                .disk
                .open(&path, false)
                .and_then(|file| file.len())
                .context("open", &path)?;
            match number {
                Some(number) if len == bytes && spares.ready.len() < count_max => {
                    spares.name_next = spares.name_next.max(number + 1);
                    spares.ready.push(path);
                }
                _ => spares.disk.remove(&path).context("remove", &path)?,
            }
        }
        Ok(spares)
    }

    /// Begins to prefill a file on a thread of its own, unless one is ready or coming.
    ///
    /// # Errors
    /// No thread can be started; or the file that was coming could not be prefilled. That must be known soon, and not only
    /// when the file is needed, perhaps hours later.
    pub(super) fn prepare(&mut self) -> Result<(), LogError> {
        if let Some(prefilled) = self.coming.take_if(|coming| coming.is_finished()) {
            self.ready.push(join(prefilled)?);
        }
        if self.coming.is_some() || !self.ready.is_empty() {
            return Ok(());
        }
        let path = self.next_path();
        let (disk, bytes) = (Arc::clone(&self.disk), self.bytes);
        let named = std::thread::Builder::new().name("banyan-log-prefill".to_owned());
        let prefill = {
            let path = path.clone();
            move || create(&*disk, &path, bytes, true).map(|()| path)
        };
        self.coming = Some(named.spawn(prefill).context("start a thread to prefill", &path)?);
        Ok(())
    }

    /// A file of `bytes` (at least), whose content is arbitrary.
    pub(super) fn take(&mut self, bytes: u64) -> Result<PathBuf, LogError> {
        if bytes == self.bytes {
            if let Some(path) = self.ready.pop() {
                return Ok(path);
            }
            if let Some(coming) = self.coming.take() {
                return join(coming);
            }
        }
        let path = self.next_path();
        create(&*self.disk, &path, bytes, false)?;
        Ok(path)
    }

    /// Keeps the segment file `path` of `bytes` for another use, or removes it. Durable after the directory is synced,
    /// which must happen before [`Spares::take`].
    pub(super) fn recycle(&mut self, path: &Path, bytes: u64) -> Result<(), LogError> {
        if bytes != self.bytes || self.ready.len() >= self.count_max {
            return self.disk.remove(path).context("remove", path);
        }
        let spare = self.next_path();
        self.disk.rename(path, &spare).context("rename", path)?;
        self.ready.push(spare);
        Ok(())
    }

    fn next_path(&mut self) -> PathBuf {
        let path = self.dir.join(format!("spare-{}", self.name_next));
        self.name_next += 1;
        path
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(coming) = self.coming.take() {
            // What became of it does not matter any more; that it has ended does, since the directory is about to be
            // unlocked.
            let _ = coming.join();
        }
    }
}

fn join(prefilled: JoinHandle<Result<PathBuf, LogError>>) -> Result<PathBuf, LogError> {
    prefilled.join().unwrap_or_else(|_| {
        Err(LogError::Poisoned {
            reason: "the thread that prefills segments panicked".to_owned(),
        })
    })
}

/// Writes a file of `bytes` zeros; it has its name only once it is complete.
///
/// `gently`: each piece is synced, so that the log's own syncs do not queue behind all of it.
fn create(disk: &dyn Disk, path: &Path, bytes: u64, gently: bool) -> Result<(), LogError> {
    let beside = path.with_extension("new");
    let file = disk.open(&beside, true).context("create", &beside)?;
    let zeros = vec![0; PIECE_BYTES.min(bytes as usize)];
    let mut offset = 0;
    while offset < bytes {
        let piece = zeros.len().min((bytes - offset) as usize);
        file.write_at(offset, &zeros[..piece]).context("write", &beside)?;
        offset += piece as u64;
        if gently || offset == bytes {
            file.sync().context("sync", &beside)?;
        }
    }
    disk.rename(&beside, path).context("rename", &beside)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::storage::disk::MemoryDisk;

    fn wait_for_prefill(spares: &Spares) {
        while !spares.coming.as_ref().is_some_and(JoinHandle::is_finished) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_prefill_that_failed_is_told_of_before_the_file_is_needed() {
        let disk = MemoryDisk::new();
        let dir = Path::new("log");
        disk.create_dir_all(dir).unwrap();
        let mut spares = Spares::open(Arc::new(disk.clone()), dir, 8192, 2, &[]).unwrap();

        disk.fail_once_at(disk.calls() + 2, io::ErrorKind::StorageFull);
        spares.prepare().unwrap();
        wait_for_prefill(&spares);
        assert!(spares.prepare().is_err());

        spares.prepare().unwrap();
        wait_for_prefill(&spares);
        spares.prepare().unwrap();
        assert!(spares.coming.is_none(), "one is ready");
        let taken = spares.take(8192).unwrap();
        assert_eq!(disk.read(&taken).unwrap().len(), 8192);
    }
}
