//! Keeps a fault that repeats from filling the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets the first of many equal events through, then one every ten seconds.
#[derive(Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Default)]
struct State {
    next: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Whether to log now; if so, how many events were kept back since the last line.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state.next.is_some_and(|next| now < next) {
            state.suppressed += 1;
            return None;
        }
        state.next = Some(now + INTERVAL);
        Some(std::mem::take(&mut state.suppressed))
    }

    /// The fault is over: the next event is logged at once.
    pub(crate) fn reset(&self) {
        *self.0.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_one_through_and_counts_the_rest() {
        let limit = LogLimit::default();
        let now = Instant::now();
        assert_eq!(limit.pass_at(now), Some(0));
        assert_eq!(limit.pass_at(now), None);
        assert_eq!(limit.pass_at(now), None);
        assert_eq!(limit.pass_at(now + INTERVAL), Some(2));
        assert_eq!(limit.pass_at(now + INTERVAL), None);
        limit.reset();
        assert_eq!(limit.pass_at(now + INTERVAL), Some(0));
    }
}
