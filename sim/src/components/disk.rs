//! The disk of a node: [`MemoryDisk`] with faults by chance, and with time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use banyan_node::storage::disk::{Disk, DiskFile, DiskLock, MemoryDisk, Space};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use super::clock::simulated_us;
use super::failpoint::{Edge, Point};

/// What a healthy disk takes for a write and its sync, microseconds.
const HEALTHY_US: (u64, u64) = (50, 2_000);

/// Size of a disk, as far as the node is told.
const TOTAL_BYTES: u64 = 1024 * 1024 * 1024 * 1024;

/// A disk that outlives its node. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    memory: MemoryDisk,
    state: Arc<Mutex<State>>,
}

struct State {
    random: StdRng,
    /// Shortest and longest time of a write and its sync.
    latency_us: (u64, u64),
    /// Probability that a sync fails.
    sync_error: f64,
    /// Probability that a write fails.
    write_error: f64,
    /// Whether hardly anything is free.
    is_low: bool,
    /// When the last operation that was begun is done, simulated microseconds.
    busy_until_us: u64,
    /// Counts losses of power: handles from before one are dead.
    life: u64,
    /// An armed loss of power has come.
    is_lost: bool,
    /// Where the power goes when the node comes there.
    armed: Option<(Point, Edge)>,
    /// Where it has gone.
    reached: Option<(Point, Edge)>,
    counters: DiskCounters,
}

/// What has gone wrong on a disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskCounters {
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
}

impl SimDisk {
    /// An empty, healthy disk whose chance is `random`.
    #[must_use]
    pub fn new(random: StdRng) -> Self {
        let state = State {
            random,
            latency_us: HEALTHY_US,
            sync_error: 0.0,
            write_error: 0.0,
            is_low: false,
            busy_until_us: 0,
            life: 0,
            is_lost: false,
            armed: None,
            reached: None,
            counters: DiskCounters::default(),
        };
        Self {
            memory: MemoryDisk::new(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The bytes beneath.
    #[must_use]
    pub fn memory(&self) -> &MemoryDisk {
        &self.memory
    }

    /// Sets how long a write and its sync take; `None`: as a healthy disk.
    pub fn set_latency(&self, latency_us: Option<(u64, u64)>) {
        self.state.lock().latency_us = latency_us.unwrap_or(HEALTHY_US);
    }

    /// Sets with which probability syncs and writes fail.
    pub fn set_errors(&self, sync_error: f64, write_error: f64) {
        let mut state = self.state.lock();
        state.sync_error = sync_error;
        state.write_error = write_error;
    }

    /// Sets whether hardly anything is free, as far as the node is told.
    pub fn set_low(&self, is_low: bool) {
        self.state.lock().is_low = is_low;
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn counters(&self) -> DiskCounters {
        self.state.lock().counters
    }

    /// When the last operation that was begun is done, simulated microseconds: one that was begun while the disk was slow
    /// takes as long as it then had to.
    #[must_use]
    pub fn busy_until_us(&self) -> u64 {
        self.state.lock().busy_until_us
    }

    /// Lets the power go in the middle of the change after the next `changes`.
    pub fn lose_power_after(&self, changes: u64) {
        self.memory.lose_power_at(self.memory.calls() + changes);
    }

    /// Whether an armed loss of power has come: the node must not go on.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state.lock().is_lost
    }

    /// The power goes, now at the latest, and comes back. Of what was not synced, `keep` decides ([`MemoryDisk::crash`]).
    pub fn crash(&self, keep: &mut dyn FnMut(u64) -> u64) {
        self.memory.crash(keep);
        let mut state = self.state.lock();
        state.life += 1;
        state.is_lost = false;
        state.armed = None;
        state.reached = None;
    }

    /// Lets the power go when the node comes to `point`, on that side of it.
    pub fn lose_power_at(&self, point: Point, edge: Edge) {
        self.state.lock().armed = Some((point, edge));
    }

    /// Where the power has gone, if it was to go at a named step.
    #[must_use]
    pub fn reached(&self) -> Option<(Point, Edge)> {
        self.state.lock().reached
    }

    /// Carries out a step, unless the power goes before it. If it goes after it, the node does not hear of it.
    pub(super) fn step<T>(&self, point: Point, step: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.pass(point, Edge::Before)?;
        let done = self.noticing_power(step())?;
        self.pass(point, Edge::After)?;
        Ok(done)
    }

    fn pass(&self, point: Point, edge: Edge) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.armed != Some((point, edge)) {
            return Ok(());
        }
        state.armed = None;
        state.reached = Some((point, edge));
        state.is_lost = true;
        self.memory.lose_power_at(self.memory.calls());
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "power lost"))
    }

    pub(super) fn life(&self) -> u64 {
        self.state.lock().life
    }

    pub(super) fn is_powered(&self, life: u64) -> bool {
        let state = self.state.lock();
        state.life == life && !state.is_lost
    }

    /// Files as they would be found if the power went now and took all that is not synced.
    #[must_use]
    pub fn durable_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.memory.durable_files()
    }

    fn noticing_power<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.state.lock().is_lost = true;
        }
        result
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.noticing_power(self.memory.create_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.memory.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.memory.read(path)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.noticing_power(self.memory.open(path, create))?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            file,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Point::SegmentRoll, || self.memory.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Point::Purge, || self.memory.remove(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.memory.lock(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(Point::DirectorySync, || self.memory.sync_dir(dir))
    }

    fn space(&self, _dir: &Path) -> io::Result<Option<Space>> {
        let free_bytes = match self.state.lock().is_low {
            true => TOTAL_BYTES / 1_000,
            false => TOTAL_BYTES / 2,
        };
        Ok(Some(Space {
            free_bytes,
            total_bytes: TOTAL_BYTES,
        }))
    }

    fn latency(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let (min_us, max_us) = state.latency_us;
        let takes_us = state.random.random_range(min_us..=max_us);
        state.busy_until_us = simulated_us() + takes_us;
        Some(Duration::from_micros(takes_us))
    }
}

/// An open file.
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        {
            let mut state = self.disk.state.lock();
            let probability = state.write_error;
            if probability > 0.0 && state.random.random_bool(probability) {
                state.counters.write_errors += 1;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        self.disk
            .step(Point::of_write(&self.path), || self.file.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        {
            let mut state = self.disk.state.lock();
            let probability = state.sync_error;
            if probability > 0.0 && state.random.random_bool(probability) {
                state.counters.sync_errors += 1;
                self.disk
                    .memory
                    .fail_once_at(self.disk.memory.calls(), io::ErrorKind::Other);
            }
        }
        self.disk.step(Point::of_sync(&self.path), || self.file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.noticing_power(self.file.set_len(len))
    }
}
