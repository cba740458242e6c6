//! Deadlines in time during which this machine ran.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two looks that counts at most. More means that this process was not run meanwhile, and neither were the
/// nodes, perhaps.
const LOOK_MAX: Duration = Duration::from_secs(4);

/// How long somebody goes on waiting. It has to be asked often.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    /// Waits for `time` from now.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            left: time,
            looked: Instant::now(),
        }
    }

    /// Whether the time is over.
    pub(super) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.left = self.left.saturating_sub((now - self.looked).min(LOOK_MAX));
        self.looked = now;
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standstill_costs_no_more_than_a_look() {
        let mut patience = Patience::new(Duration::from_secs(10));
        assert!(!patience.is_over());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(!patience.is_over());
        for _ in 0..6 {
            assert!(!patience.is_over());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(patience.is_over());
    }
}
