//! Keeps a fault that repeats from filling the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// Of a fault that lasts, at least one line in this time.
const FADED_INTERVAL: Duration = Duration::from_secs(60);

/// Lets the first of many equal events through, then one every ten seconds.
pub(crate) struct LogLimit {
    interval_max: Duration,
    state: Mutex<State>,
}

struct State {
    next: Option<Instant>,
    /// From the next line to the one after it.
    interval: Duration,
    suppressed: u64,
}

impl State {
    const NEW: Self = Self {
        next: None,
        interval: INTERVAL,
        suppressed: 0,
    };
}

impl Default for LogLimit {
    fn default() -> Self {
        Self {
            interval_max: INTERVAL,
            state: Mutex::new(State::NEW),
        }
    }
}

impl LogLimit {
    /// For a fault that may last for days: after each line it is silent for twice as long, up to a minute, until a
    /// [reset](Self::reset).
    pub(crate) fn fading() -> Self {
        Self {
            interval_max: FADED_INTERVAL,
            ..Self::default()
        }
    }

    /// Whether to log now; if so, how many events were kept back since the last line.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.next.is_some_and(|next| now < next) {
            state.suppressed += 1;
            return None;
        }
        state.next = Some(now + state.interval);
        state.interval = (state.interval * 2).min(self.interval_max);
        Some(std::mem::take(&mut state.suppressed))
    }

    /// The fault is over: the next event is logged at once.
    pub(crate) fn reset(&self) {
        *self.state.lock() = State::NEW;
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

    #[test]
    fn fades_until_it_is_reset() {
        let limit = LogLimit::fading();
        let begun = Instant::now();
        let lines = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            let passes = |second: &u64| limit.pass_at(begun + Duration::from_secs(*second)).is_some();
            seconds.filter(passes).collect()
        };
        assert_eq!(lines(0..200), [0, 10, 30, 70, 130, 190]);
        limit.reset();
        assert_eq!(lines(200..215), [200, 210]);
    }
}
