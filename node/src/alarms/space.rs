//! Room on the disk: the floor below which writes are not taken any more, and the reserve that is given up last.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::vitals::DiskSpace;
use crate::storage::disk::{Disk, Space};

/// File in the data directory that takes room, so that there is some when there is none otherwise.
const RESERVE: &str = "reserve";
/// The reserve is given up when less than this part of it is free besides, or less than half of what the node works with.
const GIVEN_UP_BELOW: u64 = 4;
/// Room is enough again when this part of the floor is free above it.
const ENOUGH_ABOVE: u64 = 10;

/// Settings of the watch.
#[derive(Debug, Clone, Copy)]
pub struct SpaceSettings {
    /// Least free bytes; 0: no floor.
    pub free_min_bytes: u64,
    /// But no more than this part of the file system.
    pub free_min_percent: u64,
    /// Bytes of the reserve; 0: none.
    pub reserve_bytes: u64,
    /// What the node may need at once to keep house: the floor is never less.
    pub working_bytes: u64,
}

impl SpaceSettings {
    /// The floor on a file system of `total_bytes`.
    fn floor_bytes(&self, total_bytes: u64) -> u64 {
        if self.free_min_bytes == 0 {
            return 0;
        }
        let part = total_bytes / 100 * self.free_min_percent;
        self.free_min_bytes.min(part).max(self.working_bytes)
    }
}

/// Watches the room of one directory.
pub(super) struct SpaceWatch {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: SpaceSettings,
    has_reserve: bool,
    /// Here no file can be made that takes room.
    is_without: bool,
    is_low: bool,
}

impl SpaceWatch {
    /// Of `dir`, which exists.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, settings: SpaceSettings) -> Self {
        let has_reserve = disk.open(&dir.join(RESERVE), false).is_ok();
        Self {
            disk,
            dir: dir.to_owned(),
            settings,
            has_reserve,
            is_without: false,
            is_low: false,
        }
    }

    /// Looks once, and gives up the reserve or makes it anew. `None` if nobody can tell. Blocks.
    pub(super) fn look(&mut self) -> io::Result<Option<DiskSpace>> {
        let Some(Space {
            free_bytes,
            total_bytes,
        }) = self.disk.space(&self.dir)?
        else {
            return Ok(None);
        };
        let floor_bytes = self.settings.floor_bytes(total_bytes);
        let enough_bytes = floor_bytes.saturating_add(floor_bytes / ENOUGH_ABOVE);
        self.is_low = free_bytes < if self.is_low { enough_bytes } else { floor_bytes };
        self.keep_reserve(free_bytes, floor_bytes, enough_bytes);
        Ok(Some(DiskSpace {
            free_bytes,
            total_bytes,
            floor_bytes,
            is_low: self.is_low,
        }))
    }

    fn keep_reserve(&mut self, free_bytes: u64, floor_bytes: u64, enough_bytes: u64) {
        // On a small file system it takes no more than the floor does.
        let reserve_bytes = self.settings.reserve_bytes.min(floor_bytes);
        let path = self.dir.join(RESERVE);
        let last_bytes = (reserve_bytes / GIVEN_UP_BELOW).max(self.settings.working_bytes / 2);
        if self.has_reserve && (free_bytes < last_bytes || reserve_bytes == 0) {
            match self.disk.remove(&path) {
                Ok(()) => {
                    self.has_reserve = false;
                    if reserve_bytes > 0 {
                        tracing::error!(
                            free_bytes,
                            "the disk is all but full: the reserve is given up; when it is used up, this node stops"
                        );
                    }
                }
                Err(error) => tracing::warn!(%error, "the reserve cannot be given up"),
            }
        } else if !self.has_reserve
            && !self.is_without
            && reserve_bytes > 0
            && free_bytes >= enough_bytes.saturating_add(reserve_bytes)
        {
            let file = self.disk.open(&path, true);
            match file.and_then(|file| file.allocate(reserve_bytes)) {
                Ok(()) => self.has_reserve = true,
                Err(error) => {
                    tracing::warn!(%error, "no reserve can be made on this disk: there is none until the next start");
                    self.is_without = true;
                    let _ = self.disk.remove(&path); // not made to begin with, or of no use
                }
            }
        }
    }
}

/// What a person reads of it.
impl std::fmt::Display for DiskSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} free of {}, the floor is {}",
            human_bytes(self.free_bytes),
            human_bytes(self.total_bytes),
            human_bytes(self.floor_bytes)
        )
    }
}

/// Bytes in the largest unit of which there is at least one: `1.5 GiB`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::storage::disk::{DiskFile, DiskLock, MemoryDisk};

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    /// A disk of which a test says how much is free; the reserve counts.
    #[derive(Clone)]
    struct Sized {
        memory: MemoryDisk,
        free_bytes: Arc<Mutex<u64>>,
        total_bytes: u64,
    }

    impl Disk for Sized {
        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            self.memory.create_dir_all(path)
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            self.memory.list(dir)
        }
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.memory.read(path)
        }
        fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
            self.memory.open(path, create)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.memory.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.memory.remove(path)
        }
        fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
            self.memory.lock(path)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.memory.sync_dir(dir)
        }
        fn space(&self, dir: &Path) -> io::Result<Option<Space>> {
            let reserve = self.memory.open(&dir.join(RESERVE), false);
            let taken = reserve.map_or(0, |file| file.len().unwrap());
            Ok(Some(Space {
                free_bytes: self.free_bytes.lock().saturating_sub(taken),
                total_bytes: self.total_bytes,
            }))
        }
    }

    fn watch(total_bytes: u64, free_bytes: u64) -> (SpaceWatch, impl Fn(u64), Sized) {
        let disk = Sized {
            memory: MemoryDisk::new(),
            free_bytes: Arc::new(Mutex::new(free_bytes)),
            total_bytes,
        };
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        let settings = SpaceSettings {
            free_min_bytes: 2 * GIB,
            free_min_percent: 5,
            reserve_bytes: 256 * MIB,
            working_bytes: 64 * MIB,
        };
        let free = Arc::clone(&disk.free_bytes);
        let watch = SpaceWatch::new(Arc::new(disk.clone()), dir, settings);
        (watch, move |bytes| *free.lock() = bytes, disk)
    }

    fn has_reserve(disk: &Sized) -> bool {
        disk.memory.open(&Path::new("/data").join(RESERVE), false).is_ok()
    }

    #[test]
    fn the_floor_is_the_lesser_of_bytes_and_percent_but_what_the_node_works_with() {
        for (total_bytes, floor_bytes) in [(10_000 * GIB, 2 * GIB), (10 * GIB, 10 * GIB / 100 * 5), (GIB, 64 * MIB)] {
            let (mut watch, _, _) = watch(total_bytes, total_bytes);
            assert_eq!(watch.look().unwrap().unwrap().floor_bytes, floor_bytes);
        }
    }

    #[test]
    fn low_below_the_floor_and_enough_well_above_it() {
        let (mut watch, set_free, _) = watch(1000 * GIB, 500 * GIB);
        let mut is_low = |free_bytes| {
            set_free(free_bytes);
            watch.look().unwrap().unwrap().is_low
        };
        let reserve = 256 * MIB;
        assert!(!is_low(500 * GIB));
        assert!(!is_low(2 * GIB + reserve));
        assert!(is_low(2 * GIB + reserve - 1));
        assert!(is_low(2 * GIB + reserve + 100 * MIB), "not far above yet");
        assert!(!is_low(2 * GIB + reserve + 205 * MIB));
    }

    #[test]
    fn the_reserve_is_given_up_last_and_made_again() {
        let (mut watch, set_free, disk) = watch(1000 * GIB, 500 * GIB);
        watch.look().unwrap();
        assert!(has_reserve(&disk));
        let reserve = 256 * MIB;
        set_free(reserve + 100 * MIB);
        assert!(watch.look().unwrap().unwrap().is_low);
        assert!(has_reserve(&disk), "the floor is passed first");
        set_free(reserve + 60 * MIB);
        watch.look().unwrap();
        assert!(!has_reserve(&disk));
        assert_eq!(watch.look().unwrap().unwrap().free_bytes, reserve + 60 * MIB);
        set_free(2 * GIB + 300 * MIB);
        assert!(!watch.look().unwrap().unwrap().is_low);
        assert!(!has_reserve(&disk), "it would bring the disk back to where it is low");
        set_free(3 * GIB);
        watch.look().unwrap();
        assert!(has_reserve(&disk));
        assert!(!watch.look().unwrap().unwrap().is_low);
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(2 * GIB), "2.0 GiB");
    }
}
