//! Work that blocks on a disk, off the tasks that serve. The one place to run it inline under the simulator.

/// Runs `work` where it may block, and returns what it returns.
///
/// # Panics
/// If `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
