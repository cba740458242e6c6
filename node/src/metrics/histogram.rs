//! Durations, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, nanoseconds; one more bucket is for all that is longer. From what the cache answers to what
/// times out: the same for every histogram, so that they can be compared.
const BOUNDS_NS: [u64; 19] = {
    let us = 1_000;
    let ms = 1_000 * us;
    [
        10 * us,
        25 * us,
        50 * us,
        100 * us,
        250 * us,
        500 * us,
        ms,
        2 * ms + 500 * us,
        5 * ms,
        10 * ms,
        25 * ms,
        50 * ms,
        100 * ms,
        250 * ms,
        500 * ms,
        1_000 * ms,
        2_500 * ms,
        5_000 * ms,
        10_000 * ms,
    ]
};

/// Buckets, the unbounded one included.
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Counts durations. Everybody may add at the same time.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// Durations counted by one party, to be added to a [`Histogram`] at once.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: [u32; BUCKETS],
    sum_ns: u64,
}

/// A [`Histogram`] at one moment, or the difference of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

fn bucket(ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let ns = nanoseconds(duration);
        if let Some(count) = self.counts.get(bucket(ns)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Adds what was counted apart.
    pub fn add(&self, tally: &Tally) {
        for (total, count) in self.counts.iter().zip(tally.counts).filter(|(_, count)| *count > 0) {
            total.fetch_add(u64::from(count), Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(tally.sum_ns, Ordering::Relaxed);
    }

    /// What it has come to.
    #[must_use]
    pub fn read(&self) -> Recorded {
        Recorded {
            counts: std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

impl Tally {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let ns = nanoseconds(duration);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }
}

impl Recorded {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, seconds.
    #[must_use]
    pub fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// Upper bound in seconds, and how many there are in each bucket; the last is unbounded.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|at| self.counts[at] + other.counts[at]),
            sum_ns: self.sum_ns.saturating_add(other.sum_ns),
        }
    }

    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at])),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }

    /// The duration that `share` of them (0 to 1) do not exceed, estimated within its bucket as Prometheus does; `None` without
    /// any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share * self.count() as f64;
        let (mut lower_s, mut below) = (0.0, 0_u64);
        for (upper_s, count) in self.buckets().filter(|_| self.count() > 0) {
            if count > 0 && (below + count) as f64 >= rank {
                if upper_s.is_infinite() {
                    return Some(Duration::from_secs_f64(lower_s));
                }
                let within = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(lower_s + (upper_s - lower_s) * within));
            }
            below += count;
            lower_s = upper_s;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_bucket() {
        let histogram = Histogram::default();
        for us in [10, 11, 1_000, 20_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let recorded = histogram.read();
        let counts: Vec<_> = recorded.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(10e-6, 1), (25e-6, 1), (1e-3, 1), (f64::INFINITY, 1)]);
        assert!((recorded.sum_s() - 20.001_021).abs() < 1e-9, "{}", recorded.sum_s());
    }

    #[test]
    fn a_tally_is_the_same_as_its_parts() {
        let (apart, at_once) = (Histogram::default(), Histogram::default());
        let mut tally = Tally::default();
        for us in [1, 70, 70, 3_000, 99_000_000] {
            apart.record(Duration::from_micros(us));
            tally.record(Duration::from_micros(us));
        }
        at_once.add(&tally);
        assert_eq!(apart.read(), at_once.read());
        assert_eq!(apart.read().since(&at_once.read()).count(), 0);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.99), None);
        for _ in 0..99 {
            histogram.record(Duration::from_micros(80));
        }
        histogram.record(Duration::from_millis(30));
        let recorded = histogram.read();
        let median = recorded.quantile(0.5).unwrap();
        assert!(
            median > Duration::from_micros(50) && median <= Duration::from_micros(100),
            "{median:?}"
        );
        let most = recorded.quantile(1.0).unwrap();
        assert!(
            most > Duration::from_millis(25) && most <= Duration::from_millis(50),
            "{most:?}"
        );
    }
}
