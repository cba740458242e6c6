//! How long syncs have taken lately: what a slow disk is known by.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What was longer ago counts no more.
const WINDOW: Duration = Duration::from_secs(3);
/// Nor does what more syncs than this have followed.
const SYNCS_MAX: usize = 512;

/// Notes when syncs of the log begin and end.
#[derive(Default)]
pub(super) struct SyncTimes(Mutex<Times>);

#[derive(Default)]
struct Times {
    begun: Option<Instant>,
    /// When each ended, and how long it took; oldest first.
    ended: VecDeque<(Instant, Duration)>,
}

/// What the syncs of the last seconds have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLatency {
    /// How many there were.
    pub count: usize,
    /// Half of them took at least as long.
    pub median: Duration,
}

impl SyncTimes {
    pub(super) fn begin(&self) {
        self.0.lock().begun = Some(Instant::now());
    }

    pub(super) fn end(&self) {
        let now = Instant::now();
        let mut times = self.0.lock();
        if let Some(begun) = times.begun.take() {
            times.ended.push_back((now, now - begun));
        }
        times.forget(now);
    }

    /// `None` if there was no sync within the last seconds. One that has not ended counts for as long as it has taken so far.
    pub(super) fn read(&self) -> Option<SyncLatency> {
        let now = Instant::now();
        let mut times = self.0.lock();
        times.forget(now);
        let under_way = times.begun.map(|begun| now - begun);
        let mut taken: Vec<_> = times.ended.iter().map(|(_, taken)| *taken).chain(under_way).collect();
        drop(times);
        taken.sort_unstable();
        let median = *taken.get(taken.len() / 2)?;
        Some(SyncLatency {
            count: taken.len(),
            median,
        })
    }
}

impl Times {
    fn forget(&mut self, now: Instant) {
        while self.ended.len() > SYNCS_MAX || self.ended.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sync(times: &SyncTimes, ms: u64) {
        times.begin();
        tokio::time::advance(Duration::from_millis(ms)).await;
        times.end();
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_of_the_last_seconds() {
        let times = SyncTimes::default();
        assert_eq!(times.read(), None);
        for ms in [1, 2, 900] {
            sync(&times, ms).await;
        }
        let median = times.read().unwrap();
        assert_eq!((median.count, median.median), (3, Duration::from_millis(2)));
        tokio::time::advance(WINDOW).await;
        assert_eq!(times.read().unwrap().count, 1, "the last ended just within the window");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(times.read(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sync_that_hangs_is_seen_before_it_ends() {
        let times = SyncTimes::default();
        times.begin();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(times.read().unwrap().median, Duration::from_secs(30));
    }
}
