//! A disk in memory that can fail, forget and tear: for tests and the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock};

/// What is written whole or not at all, bytes.
const SECTOR_BYTES: u64 = 512;

/// How calls fail once the power is lost.
const POWER_LOST: io::ErrorKind = io::ErrorKind::BrokenPipe;

/// A disk in memory. Clones share it.
///
/// It keeps apart what was written and what would survive a loss of power. [`MemoryDisk::crash`] leaves what survives:
/// all that was synced, and of what was not an arbitrary part, sector by sector. A fault is armed by the number of a
/// call that changes something ([`MemoryDisk::calls`]), so that a test can walk through all of them.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// Names as a reader sees them.
    names: BTreeMap<PathBuf, u64>,
    /// Names as they would be found after a loss of power.
    names_durable: BTreeMap<PathBuf, u64>,
    /// Changes of names that no `sync_dir` has covered, in order.
    name_changes: Vec<(PathBuf, NameChange)>,
    files: BTreeMap<u64, Contained>,
    file_next: u64,
    locks: BTreeSet<PathBuf>,
    /// Counts restarts: handles from before a crash are dead.
    life: u64,
    calls: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
}

/// A file's bytes.
#[derive(Clone, Default)]
struct Contained {
    visible: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What goes wrong at an armed call.
#[derive(Clone, Copy)]
enum Fault {
    /// This call and every later one fails: the power is gone.
    PowerLoss,
    /// This one call fails, later ones succeed.
    Once(io::ErrorKind),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk holding `files`, all durable.
    pub fn from_files(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let disk = Self::default();
        {
            let mut contents = disk.0.lock();
            for (path, bytes) in files {
                let id = contents.add_file(Contained {
                    visible: bytes.clone(),
                    durable: bytes,
                    pending: Vec::new(),
                });
                contents.names.insert(path.clone(), id);
                contents.names_durable.insert(path, id);
            }
        }
        disk
    }

    /// Names and bytes as a reader sees them now.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents = self.0.lock();
        contents
            .names
            .iter()
            .map(|(path, id)| (path.clone(), contents.files[id].visible.clone()))
            .collect()
    }

    /// Names and bytes as they would be found after a loss of power that takes all that is not synced.
    pub fn durable_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents = self.0.lock();
        contents
            .names_durable
            .iter()
            .map(|(path, id)| (path.clone(), contents.files[id].durable.clone()))
            .collect()
    }

    /// Changes the bits `mask` of the byte at `offset` of `path` behind everybody's back, where there is such a byte.
    pub fn damage(&self, path: &Path, offset: usize, mask: u8) {
        let mut contents = self.0.lock();
        let Ok(id) = contents.id(path) else { return };
        if let Some(file) = contents.files.get_mut(&id) {
            for bytes in [&mut file.visible, &mut file.durable] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// Makes `path` hold `bytes` behind everybody's back, as if that had always been synced; `None`: removes it.
    pub fn replace(&self, path: &Path, bytes: Option<Vec<u8>>) {
        let mut guard = self.0.lock();
        let contents = &mut *guard;
        contents.names.remove(path);
        contents.names_durable.remove(path);
        if let Some(bytes) = bytes {
            let id = contents.add_file(Contained {
                visible: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            });
            contents.names.insert(path.to_path_buf(), id);
            contents.names_durable.insert(path.to_path_buf(), id);
        }
    }

    /// Number of calls so far that write, sync, rename, remove or create.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Number of files and directories synced so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Lets call number `call` (0: the first) and all later ones fail, as if the power went in the middle of it.
    pub fn lose_power_at(&self, call: u64) {
        self.0.lock().fault = Some((call, Fault::PowerLoss));
    }

    /// Lets call number `call` fail with `kind`, and later ones succeed.
    pub fn fail_once_at(&self, call: u64, kind: io::ErrorKind) {
        self.0.lock().fault = Some((call, Fault::Once(kind)));
    }

    /// Restarts after a loss of power: open files and locks are gone, and of what was not synced `keep(n)`, a number
    /// below `n`, decides: it is asked with 2 for each unsynced sector (1 = kept), and once for how many changes of
    /// names stay.
    pub fn crash(&self, keep: &mut dyn FnMut(u64) -> u64) {
        let mut guard = self.0.lock();
        let contents = &mut *guard;
        contents.life += 1;
        contents.locks.clear();
        contents.fault = None;
        for file in contents.files.values_mut() {
            for change in std::mem::take(&mut file.pending) {
                tear(&mut file.durable, &change, keep);
            }
            file.visible = file.durable.clone();
        }
        let changes = std::mem::take(&mut contents.name_changes);
        let kept = keep(changes.len() as u64 + 1) as usize;
        for (_, change) in changes.into_iter().take(kept) {
            apply_name(&mut contents.names_durable, change);
        }
        contents.names = contents.names_durable.clone();
    }
}

/// Applies those sectors of `change` that `keep` wants.
fn tear(bytes: &mut Vec<u8>, change: &Change, keep: &mut dyn FnMut(u64) -> u64) {
    match change {
        Change::SetLen(_) => {
            if keep(2) == 1 {
                apply(bytes, change);
            }
        }
        Change::Write(offset, written) => {
            let mut from = 0;
            while from < written.len() {
                let sector_left = SECTOR_BYTES - (offset + from as u64) % SECTOR_BYTES;
                let to = written.len().min(from + sector_left as usize);
                if keep(2) == 1 {
                    apply(bytes, &Change::Write(offset + from as u64, written[from..to].to_vec()));
                }
                from = to;
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
        Change::Write(offset, written) => {
            let (from, to) = (*offset as usize, *offset as usize + written.len());
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(written);
        }
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
    match change {
        NameChange::Add(path, id) => {
            names.insert(path, id);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
    }
}

impl Contents {
    fn add_file(&mut self, file: Contained) -> u64 {
        let id = self.file_next;
        self.file_next += 1;
        self.files.insert(id, file);
        id
    }

    /// Counts a call that changes something.
    fn count(&mut self) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        match self.fault {
            Some((at, Fault::PowerLoss)) if call >= at => Err(io::Error::new(POWER_LOST, "power lost")),
            Some((at, Fault::Once(kind))) if call == at => Err(io::Error::from(kind)),
            _ => Ok(()),
        }
    }

    fn change_name(&mut self, dir: &Path, change: NameChange) {
        apply_name(&mut self.names, change.clone());
        self.name_changes.push((dir.to_path_buf(), change));
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn is_power_lost(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == POWER_LOST)
}

fn dir_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        self.0.lock().count()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let contents = self.0.lock();
        let inside = contents.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let contents = self.0.lock();
        let id = contents.id(path)?;
        Ok(contents.files[&id].visible.clone())
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut contents = self.0.lock();
        let id = match contents.id(path) {
            Ok(id) => id,
            Err(_) if create => {
                contents.count()?;
                let id = contents.add_file(Contained::default());
                contents.change_name(&dir_of(path), NameChange::Add(path.to_path_buf(), id));
                id
            }
            Err(error) => return Err(error),
        };
        let life = contents.life;
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            id,
            life,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.id(from)?;
        let counted = contents.count();
        if counted.is_ok() || is_power_lost(&counted) {
            contents.change_name(&dir_of(to), NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
        }
        counted
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut contents = self.0.lock();
        contents.id(path)?;
        let counted = contents.count();
        if counted.is_ok() || is_power_lost(&counted) {
            contents.change_name(&dir_of(path), NameChange::Remove(path.to_path_buf()));
        }
        counted
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut contents = self.0.lock();
        if !contents.locks.insert(path.to_path_buf()) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let life = contents.life;
        Ok(Box::new(MemoryLock {
            disk: self.clone(),
            path: path.to_path_buf(),
            life,
        }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.0.lock();
        let contents = &mut *guard;
        contents.count()?;
        contents.syncs += 1;
        let (covered, left) = std::mem::take(&mut contents.name_changes)
            .into_iter()
            .partition(|(of, _)| of == dir);
        contents.name_changes = left;
        let covered: Vec<(PathBuf, NameChange)> = covered;
        for (_, change) in covered {
            apply_name(&mut contents.names_durable, change);
        }
        Ok(())
    }
}

/// An open file of a [`MemoryDisk`].
struct MemoryFile {
    disk: MemoryDisk,
    id: u64,
    life: u64,
}

impl MemoryFile {
    /// Runs `act` on the file, as a counted call if `counted`; `act` learns whether the call is to fail.
    fn with<T>(
        &self,
        counted: bool,
        act: impl FnOnce(&mut Contained, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut guard = self.disk.0.lock();
        let contents = &mut *guard;
        if contents.life != self.life {
            return Err(io::Error::other("opened before the crash"));
        }
        let allowed = if counted { contents.count() } else { Ok(()) };
        let file = contents
            .files
            .get_mut(&self.id)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        act(file, allowed)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.with(true, |file, allowed| {
            // A call during which the power goes may have been carried out in part; any other that fails does nothing.
            if allowed.is_ok() || is_power_lost(&allowed) {
                apply(&mut file.visible, &change);
                file.pending.push(change);
            }
            allowed
        })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(false, |file, _| {
            let bytes = file.visible.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(true, |file, allowed| {
            if allowed.is_err() && !is_power_lost(&allowed) {
                // As Linux does: what could not be written stays readable, and no later sync tries it again.
                file.pending.clear();
            }
            allowed?;
            for change in std::mem::take(&mut file.pending) {
                apply(&mut file.durable, &change);
            }
            Ok(())
        })?;
        self.disk.0.lock().syncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.with(false, |file, _| Ok(file.visible.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut contents = self.disk.0.lock();
        if contents.life == self.life {
            contents.locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_tears_the_rest_by_sector() {
        let disk = MemoryDisk::new();
        let path = Path::new("d/x");
        let file = disk.open(path, true).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(0, &[1; 1024]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; 1024]).unwrap();
        let mut asked = 0;
        disk.crash(&mut |_| {
            asked += 1;
            u64::from(asked == 2)
        });
        let bytes = disk.read(path).unwrap();
        assert_eq!((bytes[0], bytes[511], bytes[512], bytes[1023]), (1, 1, 2, 2));
        assert!(file.sync().is_err(), "handles die with the crash");
    }

    #[test]
    fn names_need_a_directory_sync() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("d/x"), true).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync().unwrap();
        disk.crash(&mut |_| 0);
        assert!(disk.read(Path::new("d/x")).is_err());
    }

    #[test]
    fn power_goes_in_the_middle_of_a_write() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("d/x"), true).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        disk.lose_power_at(disk.calls());
        assert!(file.write_at(0, b"x").is_err());
        assert!(file.sync().is_err());
        disk.crash(&mut |_| 1);
        assert_eq!(disk.read(Path::new("d/x")).unwrap(), b"x");
    }
}
