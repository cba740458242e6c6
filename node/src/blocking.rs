//! Work that blocks on a disk, off the tasks that serve. The one place to run it on the simulator's thread.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::simulation;

/// How much less of a busy processor background work gets (see `nice(1)`): about a tenth of what those who serve do.
const BACKGROUND_NICE: i32 = 10;

/// Runs `work` where it may block, and returns what it returns. It runs to its end also if this is cancelled.
///
/// # Panics
/// If `work` does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn(work, tokio::task::spawn_blocking).await
}

/// As [`run`], for work that nobody waits for while serving: where the processor is short it comes after those who serve.
///
/// # Panics
/// If `work` does.
pub async fn run_in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn(work, |work| background().spawn_blocking(work)).await
}

async fn spawn<T, W>(work: W, spawn_blocking: impl FnOnce(W) -> JoinHandle<T>) -> T
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let task = match simulation::blocking_delay() {
        None => spawn_blocking(work),
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

/// The threads for background work, which come and go as there is some: a runtime that runs nothing else.
fn background() -> &'static Handle {
    static BACKGROUND: OnceLock<Runtime> = OnceLock::new();
    let runtime = BACKGROUND.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        builder
            .thread_name("banyan-background")
            .on_thread_start(yield_to_others);
        builder.build().expect("without drivers it asks nothing of the system")
    });
    runtime.handle()
}

/// Runs `work`, whose threads that stay behind are to do background work, and waits for it.
///
/// # Panics
/// If `work` does.
pub fn run_where_workers_yield<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let ended = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            yield_to_others();
            work()
        });
        thread.join()
    });
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// From now on this thread, and every thread that it starts, comes after those who serve.
fn yield_to_others() {
    // Elsewhere than on Linux it would be the whole process. That it fails changes nothing but speed.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}
