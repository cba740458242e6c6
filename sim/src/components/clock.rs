//! The wall clock of a node.

use banyan_node::components::Clock;
use parking_lot::Mutex;

/// What the clocks of a healthy cluster show when a run begins, microseconds since the Unix epoch.
pub const EPOCH_US: u64 = 1_800_000_000_000_000;

/// Simulated time, microseconds since the run began: of the host that is running, else of the last step.
#[must_use]
pub fn simulated_us() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// A wall clock that can be wrong.
#[derive(Debug, Default)]
pub struct SimClock(Mutex<Error>);

#[derive(Debug, Default)]
struct Error {
    /// How far it is ahead.
    offset_us: i64,
    /// How much faster it runs, parts per million.
    drift_ppm: i64,
    /// What it shows for as long as it stands still.
    stopped_at_us: Option<u64>,
}

impl SimClock {
    /// Sets how far the clock is ahead, microseconds.
    pub fn set_offset(&self, offset_us: i64) {
        self.0.lock().offset_us = offset_us;
    }

    /// Moves the clock.
    pub fn jump(&self, by_us: i64) {
        let mut error = self.0.lock();
        error.offset_us = error.offset_us.saturating_add(by_us);
    }

    /// Sets how much faster than time the clock runs, parts per million.
    pub fn set_drift(&self, drift_ppm: i64) {
        self.0.lock().drift_ppm = drift_ppm;
    }

    /// Stops the clock at what it shows at simulated time `at_us`.
    pub fn stop(&self, at_us: u64) {
        let mut error = self.0.lock();
        error.stopped_at_us = Some(error.shown(at_us));
    }

    /// Lets the clock show the time again.
    pub fn resume(&self) {
        self.0.lock().stopped_at_us = None;
    }

    /// Makes the clock right.
    pub fn repair(&self) {
        *self.0.lock() = Error::default();
    }
}

impl Error {
    fn shown(&self, at_us: u64) -> u64 {
        let drift_us = at_us as i64 / 1_000_000 * self.drift_ppm;
        EPOCH_US
            .saturating_add(at_us)
            .saturating_add_signed(drift_us.saturating_add(self.offset_us))
    }
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        let error = self.0.lock();
        error.stopped_at_us.unwrap_or_else(|| error.shown(simulated_us()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_as_it_is_told() {
        let clock = SimClock::default();
        assert_eq!(clock.now_us(), EPOCH_US);
        clock.jump(-5);
        assert_eq!(clock.now_us(), EPOCH_US - 5);
        clock.set_drift(200);
        assert_eq!(clock.0.lock().shown(10_000_000), EPOCH_US + 10_000_000 + 2_000 - 5);
        clock.stop(7);
        assert_eq!(clock.now_us(), EPOCH_US + 2);
        clock.repair();
        assert_eq!(clock.now_us(), EPOCH_US);
    }
}
