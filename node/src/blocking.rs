//! Work that blocks on a disk, off the tasks that serve. The one place to run it on the simulator's thread.

use crate::simulation;

/// Runs `work` where it may block, and returns what it returns. It runs to its end also if this is cancelled.
///
/// # Panics
/// If `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let task = match simulation::blocking_delay() {
        None => tokio::task::spawn_blocking(work),
        Some(delay) => tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            work()
        }),
    };
    match task.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
