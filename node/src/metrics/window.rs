//! What was recorded lately.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Recorded;

/// What is told is of at least so long, if it is asked for that often.
const SPAN: Duration = Duration::from_secs(5);

/// Remembers what a histogram was, to tell what has come to it since. Works only when asked.
#[derive(Debug, Default)]
pub struct Window(Mutex<Option<Marks>>);

#[derive(Debug)]
struct Marks {
    before: Recorded,
    middle: Recorded,
    middle_at: Instant,
}

impl Window {
    /// What has come to a histogram, which is `current` now, in the last 5 to 10 s; since it was asked for last if that is longer
    /// ago, and all of it the first time.
    pub fn recent(&self, now: Instant, current: &Recorded) -> Recorded {
        let mut marks = self.0.lock();
        let marks = marks.get_or_insert_with(|| Marks {
            before: Recorded::default(),
            middle: current.clone(),
            middle_at: now,
        });
        let recent = current.since(&marks.before);
        if now.saturating_duration_since(marks.middle_at) >= SPAN {
            marks.before = std::mem::replace(&mut marks.middle, current.clone());
            marks.middle_at = now;
        }
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn what_is_old_is_forgotten() {
        let (window, histogram) = (Window::default(), Histogram::default());
        let start = Instant::now();
        let mut counts = Vec::new();
        for second in 0..20 {
            histogram.record(Duration::from_millis(1));
            let recent = window.recent(start + Duration::from_secs(second), &histogram.read());
            counts.push(recent.count());
        }
        assert_eq!(counts[..6], [1, 2, 3, 4, 5, 6], "all there is at first");
        assert!(counts[6..].iter().all(|count| (5..=11).contains(count)), "{counts:?}");
    }
}
