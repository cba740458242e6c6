//! How fast one client is sent retained messages, where there is a limit.

use std::time::Duration;

use tokio::time::Instant;

/// What a client may be ahead of its rate: the bytes of so long may leave at once.
const BURST: Duration = Duration::from_millis(100);

/// The pace of the retained messages of one connection.
#[derive(Debug)]
pub struct ReplayPace {
    /// 0: no limit.
    bytes_per_s: u64,
    /// When everything that was sent would have been sent at this rate.
    due: Option<Instant>,
    /// Nothing is sent before.
    paused_until: Option<Instant>,
}

impl ReplayPace {
    /// At most `bytes_per_s`, 0: as fast as the client takes it.
    #[must_use]
    pub fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s,
            due: None,
            paused_until: None,
        }
    }

    /// Whether more may be sent now. If not, [`deadline`](Self::deadline) says when.
    pub fn may_send(&mut self, now: Instant) -> bool {
        self.paused_until = self.due.and_then(|due| due.checked_sub(BURST)).filter(|at| *at > now);
        self.paused_until.is_none()
    }

    /// So many bytes were sent.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        let us = (bytes as u64).saturating_mul(1_000_000).checked_div(self.bytes_per_s);
        if let Some(us) = us {
            let from = self.due.map_or(now, |due| due.max(now));
            self.due = Some(from + Duration::from_micros(us));
        }
    }

    /// When more may be sent, if something waits for that.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Nothing waits.
    pub fn rest(&mut self) {
        self.paused_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn without_a_limit_nothing_waits() {
        let (mut pace, now) = (ReplayPace::new(0), Instant::now());
        pace.sent(usize::MAX, now);
        assert!(pace.may_send(now));
        assert_eq!(pace.deadline(), None);
    }

    #[test]
    fn what_is_sent_at_once_is_waited_for() {
        let (mut pace, now) = (ReplayPace::new(1_000), Instant::now());
        pace.sent(100, now);
        assert!(pace.may_send(now), "a burst");
        pace.sent(500, now);
        assert!(!pace.may_send(now));
        assert_eq!(pace.deadline(), Some(now + 500 * MS));
        assert!(!pace.may_send(now + 499 * MS));
        assert!(pace.may_send(now + 500 * MS));
        assert_eq!(pace.deadline(), None);
        pace.sent(200, now + 5_000 * MS);
        assert!(!pace.may_send(now + 5_000 * MS), "what was not used is not saved");
        pace.rest();
        assert_eq!(pace.deadline(), None);
    }
}
