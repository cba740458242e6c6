//! What was measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longest latency that is told apart, µs.
const LATENCY_US_MAX: u64 = 10 * 60 * 1_000_000;

/// Measurements of all connections. Those of the warm-up are not taken.
#[derive(Debug)]
pub(crate) struct Record {
    /// When the warm-up ends and measuring begins.
    pub(crate) begin: Instant,
    /// Time from PUBLISH to PUBACK, µs.
    pub(crate) latency_us: Histogram<u64>,
    /// Acknowledged as done.
    pub(crate) acknowledged: u64,
    /// Of these, before sending ended. What is answered later says nothing about the rate.
    pub(crate) acknowledged_in_time: u64,
    /// Of these, by address.
    pub(crate) acknowledged_by_address: Vec<u64>,
    /// Acknowledged with a reason code that means failure, by its name.
    pub(crate) refused: BTreeMap<String, u64>,
    /// In flight when their connection or the run ended: may have been done or not.
    pub(crate) unacknowledged: u64,
    /// Connections that ended, and connections that were not made, by reason.
    pub(crate) connection_errors: BTreeMap<String, u64>,
    /// Connections made again after a failure.
    pub(crate) reconnects: u64,
    /// Longest time without an acknowledgement on any connection.
    pub(crate) longest_gap: Duration,
    /// When that began, since measuring began.
    pub(crate) longest_gap_at: Duration,
    last_acknowledgement: Instant,
    ended: bool,
}

impl Record {
    /// An empty record of what happens from `begin` on at `addresses` addresses.
    pub(crate) fn new(begin: Instant, addresses: usize) -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants");
        Self {
            begin,
            latency_us,
            acknowledged: 0,
            acknowledged_in_time: 0,
            acknowledged_by_address: vec![0; addresses],
            refused: BTreeMap::new(),
            unacknowledged: 0,
            connection_errors: BTreeMap::new(),
            reconnects: 0,
            longest_gap: Duration::ZERO,
            longest_gap_at: Duration::ZERO,
            last_acknowledgement: begin,
            ended: false,
        }
    }

    /// A PUBACK arrived at `now` for what was sent at `sent` to address number `address`.
    pub(crate) fn acknowledge(&mut self, sent: Instant, now: Instant, address: usize) {
        if now >= self.begin && !self.ended {
            self.note_gap(now);
            self.last_acknowledgement = now;
        }
        if sent < self.begin {
            return;
        }
        self.acknowledged += 1;
        self.acknowledged_in_time += u64::from(!self.ended);
        self.acknowledged_by_address[address] += 1;
        let latency_us = (now - sent).as_micros() as u64;
        self.latency_us.saturating_record(latency_us.max(1));
    }

    /// A PUBACK said no to what was sent at `sent`.
    pub(crate) fn refuse(&mut self, sent: Instant, reason: &str) {
        if sent >= self.begin {
            *self.refused.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// The connection, or the run, ended with what was sent at `sent` in flight.
    pub(crate) fn give_up(&mut self, sent: Instant) {
        if sent >= self.begin {
            self.unacknowledged += 1;
        }
    }

    /// A connection ended or was not made.
    pub(crate) fn connection_error(&mut self, reason: &str) {
        *self.connection_errors.entry(reason.to_owned()).or_default() += 1;
    }

    /// Sending ended at `now`: a silence that lasted until here counts too.
    pub(crate) fn end(&mut self, now: Instant) {
        self.note_gap(now);
        self.ended = true;
    }

    fn note_gap(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last_acknowledgement);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.longest_gap_at = self.last_acknowledgement - self.begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_not_measured_and_the_longest_silence_is() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut record = Record::new(at(100), 1);
        record.acknowledge(at(10), at(20), 0);
        record.acknowledge(at(90), at(110), 0);
        assert_eq!(record.acknowledged, 0);
        record.acknowledge(at(111), at(113), 0);
        record.acknowledge(at(113), at(163), 0);
        record.give_up(at(99));
        record.give_up(at(163));
        assert_eq!(record.longest_gap, Duration::from_millis(50));
        assert_eq!(record.longest_gap_at, Duration::from_millis(13));
        record.end(at(400));
        assert_eq!(record.longest_gap, Duration::from_millis(237));
        record.acknowledge(at(390), at(900), 0);
        assert_eq!(record.longest_gap, Duration::from_millis(237));
        assert_eq!(
            (record.acknowledged, record.acknowledged_in_time, record.unacknowledged),
            (3, 2, 1)
        );
    }
}
