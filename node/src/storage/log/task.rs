//! The writer as a task, for a disk that says how long it takes instead of blocking for as long: the simulator's.
//!
//! What is queued while the task waits for the disk goes with what it waits for, as it does with the thread.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::writer::Writer;

/// A writer that is driven by a task of the current runtime.
pub(super) struct WriterTask {
    writer: Arc<Mutex<Box<Writer>>>,
    wake: Arc<Notify>,
}

impl WriterTask {
    pub(super) fn start(writer: Box<Writer>, mark_idle: Duration) -> Self {
        let task = Self {
            writer: Arc::new(Mutex::new(writer)),
            wake: Arc::default(),
        };
        tokio::spawn(run(Arc::clone(&task.writer), Arc::clone(&task.wake), mark_idle));
        task
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Carries out all that is queued, now.
    pub(super) fn drain(&self) {
        // A completion of the writer that ends the log runs within the writer: what is left is its to carry out.
        if let Some(mut writer) = self.writer.try_lock() {
            writer.drain_queue();
        }
    }
}

async fn run(writer: Arc<Mutex<Box<Writer>>>, wake: Arc<Notify>, mark_idle: Duration) {
    let (disk, shared) = {
        let writer = writer.lock();
        (Arc::clone(&writer.disk), Arc::clone(&writer.shared))
    };
    loop {
        let woken = tokio::time::timeout(mark_idle, wake.notified()).await;
        if woken.is_err() {
            writer.lock().idle();
        } else {
            shared.syncs.begin();
            tokio::time::sleep(disk.latency().unwrap_or_default()).await;
            shared.syncs.end();
            writer.lock().drain_queue();
        }
        let state = shared.state.lock();
        if state.queue.is_empty() && (state.stopping || state.failure.is_some()) {
            return;
        }
    }
}
