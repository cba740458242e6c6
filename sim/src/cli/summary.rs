//! What a set of seeds came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::apart::Told;
use crate::faults::plan::Class;
use crate::invariants::coverage::Coverage;

/// A set of this many seeds must have seen everything that a set must see.
const SEEDS_THAT_COUNT: u64 = 100;

/// Sums over seeds.
pub(super) struct Summary {
    started: Instant,
    pub(super) seeds: u64,
    pub(super) failures: Vec<(u64, String)>,
    simulated_us: u64,
    cpu_s: f64,
    /// By name, in the order of the table of faults: seeds that had it, times it struck.
    injected: BTreeMap<(usize, String), (u64, u64)>,
    crashes: u64,
    torn: u64,
    restarts: u64,
    stops: u64,
    coverage: Coverage,
}

#[expect(
    clippy::disallowed_methods,
    reason = "seeds are counted by the minute of the real clock"
)]
impl Default for Summary {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            seeds: 0,
            failures: Vec::new(),
            simulated_us: 0,
            cpu_s: 0.0,
            injected: BTreeMap::new(),
            crashes: 0,
            torn: 0,
            restarts: 0,
            stops: 0,
            coverage: Coverage::default(),
        }
    }
}

impl Summary {
    pub(super) fn add(&mut self, told: &Told) {
        self.seeds += 1;
        if let Some(violation) = &told.violation {
            self.failures.push((told.seed, violation.invariant.clone()));
        }
        self.simulated_us += told.simulated_us;
        self.cpu_s += told.cpu_s;
        for (name, times) in &told.faults {
            let place = Class::ALL.iter().position(|(class, _)| class.name() == name);
            let place = place.unwrap_or(usize::MAX);
            let (seeds, struck) = self.injected.entry((place, name.clone())).or_default();
            *seeds += 1;
            *struck += times;
        }
        self.crashes += told.counters.crashes;
        self.torn += told.counters.torn;
        self.restarts += told.counters.restarts;
        self.stops += told.counters.stops;
        self.coverage.merge(&told.coverage);
    }

    /// Seeds a minute.
    pub(super) fn pace(&self) -> f64 {
        self.seeds as f64 * 60.0 / self.started.elapsed().as_secs_f64()
    }

    fn simulated_s(&self) -> f64 {
        self.simulated_us as f64 / 1e6
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {:.2} simulated hours, {:.1} seeds a minute, {:.1} simulated seconds a second of processor time",
            self.seeds,
            self.simulated_s() / 3600.0,
            self.pace(),
            self.simulated_s() / self.cpu_s.max(0.001),
        )?;
        writeln!(
            f,
            "crashes {}, of which in the middle of a write {}; restarts {}; nodes that stopped by themselves {}",
            self.crashes, self.torn, self.restarts, self.stops
        )?;
        writeln!(f, "faults (seeds, times):")?;
        for ((_, name), (seeds, times)) in &self.injected {
            writeln!(f, "  {name:<16} {seeds:>6} {times:>8}")?;
        }
        writeln!(f, "coverage:")?;
        for (name, count) in self.coverage.iter() {
            writeln!(f, "  {name:<26} {count:>8}")?;
        }
        let missing = self.coverage.missing();
        if !missing.is_empty() && self.seeds >= SEEDS_THAT_COUNT {
            writeln!(f, "never seen, so these seeds prove little: {}", missing.join(", "))?;
        }
        if self.failures.is_empty() {
            return writeln!(f, "no promise was broken");
        }
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|(seed, invariant)| format!("{seed} ({invariant})"))
            .collect();
        writeln!(f, "PROMISES BROKEN by seeds {}", failures.join(", "))
    }
}
