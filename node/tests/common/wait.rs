//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `look` gives something.
///
/// # Panics
/// If nothing was there within `timeout`: "no {what} within …".
#[track_caller]
pub fn until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {timeout:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Lets the cluster work for `time`, where time passing is itself the load (writers run meanwhile).
pub fn let_run(time: Duration) {
    std::thread::sleep(time);
}
