//! How many of something there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what comes and goes; cheap to clone, clones count together.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// Counted for as long as it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Gauge {
    /// Counts one more until the answer is dropped.
    #[must_use]
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
