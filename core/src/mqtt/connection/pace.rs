//! How fast a client may publish, where there is a limit: who is faster is read no further for a while, and refused nothing.

/// What a client may be ahead of its rate, microseconds: the messages of one second may come at once.
const BURST_US: u64 = 1_000_000;

/// The pace of one client. Times are of the driver's monotonic clock.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time that one message takes, microseconds; 0: no limit.
    message_us: u64,
    /// When everything that came would have come at the rate allowed, microseconds.
    due_us: u64,
    /// The client is read again from then on.
    paused_until_ms: Option<u64>,
}

impl Pace {
    /// At most `rate_max` messages a second, 0: any number.
    pub(super) fn new(rate_max: u32) -> Self {
        Self {
            message_us: 1_000_000_u64.checked_div(u64::from(rate_max)).unwrap_or(0),
            due_us: 0,
            paused_until_ms: None,
        }
    }

    /// A message came.
    pub(super) fn message_received(&mut self, now_ms: u64) {
        if self.message_us == 0 {
            return;
        }
        let now_us = now_ms.saturating_mul(1_000);
        self.due_us = self.due_us.max(now_us).saturating_add(self.message_us);
        let free_us = self.due_us.saturating_sub(BURST_US);
        if free_us > now_us {
            self.paused_until_ms = Some(free_us.div_ceil(1_000));
        }
    }

    /// Whether the client is to wait.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until_ms.is_some()
    }

    /// When the client is read again, if it waits.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.paused_until_ms
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.paused_until_ms = self.paused_until_ms.filter(|until_ms| now_ms < *until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut pace = Pace::new(0);
        (0..100_000).for_each(|_| pace.message_received(5));
        assert!(!pace.is_paused());
    }

    #[test]
    fn a_second_at_once_then_one_by_one() {
        let mut pace = Pace::new(10);
        (0..10).for_each(|_| pace.message_received(0));
        assert!(!pace.is_paused(), "a burst of one second");
        let mut now_ms = 0;
        for _ in 0..20 {
            pace.message_received(now_ms);
            assert_eq!(pace.deadline_ms(), Some(now_ms + 100));
            pace.tick(now_ms + 99);
            assert!(pace.is_paused());
            now_ms += 100;
            pace.tick(now_ms);
            assert!(!pace.is_paused());
        }
    }
}
