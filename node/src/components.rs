//! What a node takes from outside: time, chance, network, disk and store.
//!
//! Settings are values and can be written down; components are things that run. The simulator replaces every one of them,
//! so that the code above is the code that ships. Monotonic time is tokio's clock, which the simulator controls itself.

use std::path::Path;
use std::sync::Arc;

use banyan_core::state::TombstoneBounds;
use banyan_core::store::Store;

use crate::net::Net;
use crate::storage::disk::Disk;
use crate::storage::lsm::LsmOpenError;

/// Wall-clock time.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch. May jump; nothing that must be safe depends on it.
    fn now_us(&self) -> u64;
}

/// Randomness, not for secrets.
pub trait Random: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others use")]
    fn now_us(&self) -> u64 {
        let elapsed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The operating system's randomness, stretched by a generator of each thread.
#[derive(Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// Opens the store beneath a node's state.
pub trait Stores: Send + Sync {
    /// Opens the store in `directory`, creating it if there is none. `cache_bytes` bounds what it caches.
    ///
    /// # Errors
    /// It is in use, or damaged.
    fn open(&self, directory: &Path, cache_bytes: u64) -> Result<Arc<dyn Store>, LsmOpenError>;
}

/// Everything a node needs beside its settings.
#[derive(Clone)]
pub struct Components {
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Listening and connecting.
    pub net: Arc<dyn Net>,
    /// Files: the log, and what is kept beside it.
    pub disk: Arc<dyn Disk>,
    /// The checkpointed state.
    pub stores: Arc<dyn Stores>,
    /// How long deletes are remembered. The same on every node, always; only a simulation has other than the default, so
    /// that it lives to see them forgotten.
    pub tombstone_bounds: TombstoneBounds,
}
