//! I-64: no number of tasks and no queue grows without bound in the last thirty seconds.

use std::collections::{BTreeMap, VecDeque};

use crate::history::{Finished, Invariant, Observation, Time, Violation};

const ID: &str = "I-64";

/// What is looked at, and the parts of it that are compared, microseconds.
const WINDOW_US: Time = 30_000_000;
const PART_US: Time = WINDOW_US / 3;
/// Between two samples, microseconds.
const SAMPLE_US: Time = 500_000;
/// Growth below this is never without bound.
const SLACK: u64 = 256;

/// One gauge of one life of one node.
type Gauge = (u64, u32, &'static str);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bounded {
    samples: BTreeMap<Gauge, VecDeque<(Time, u64)>>,
    sampled_at: Option<Time>,
}

impl Invariant for Bounded {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        if self.sampled_at.is_some_and(|at| observation.at < at + SAMPLE_US) {
            return Ok(());
        }
        self.sampled_at = Some(observation.at);
        for node in observation.nodes {
            for (name, value) in &node.gauges {
                let samples = self.samples.entry((node.node, node.life, name)).or_default();
                samples.push_back((observation.at, *value));
                while samples.front().is_some_and(|(at, _)| at + WINDOW_US < observation.at) {
                    samples.pop_front();
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for ((node, _, name), samples) in &self.samples {
            let (Some((start, _)), Some((end, _))) = (samples.front(), samples.back()) else {
                continue;
            };
            if end - start + SAMPLE_US < WINDOW_US {
                continue;
            }
            let part = |number: Time| {
                let (from, until) = (start + number * PART_US, start + (number + 1) * PART_US);
                let values = samples.iter().filter(move |(at, _)| from <= *at && *at < until);
                let values: Vec<u64> = values.map(|(_, value)| *value).collect();
                (
                    values.iter().copied().min().unwrap_or(0),
                    values.iter().copied().max().unwrap_or(0),
                )
            };
            let [(_, most), (middle_least, middle_most), (least, _)] = [part(0), part(1), part(2)];
            // Each part lies wholly above the one before.
            if most < middle_least && middle_most < least && least > most + SLACK {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "{name} of node {node} grew from at most {most} to at least {least} in {} s",
                        WINDOW_US / 1_000_000
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(value: impl Fn(u64) -> u64, seconds: u64) -> bool {
        let mut invariant = Bounded::default();
        for second in 0..seconds {
            let mut node = node(1, 1, 1);
            node.gauges.insert("tasks", value(second));
            invariant.observe(&moment(second * 1_000_000, &[node], &[])).unwrap();
        }
        Run::new().finish(&mut invariant).is_ok()
    }

    #[test]
    fn growth() {
        assert!(check(|second| second, 60));
        assert!(check(|second| second % 7 * 1_000, 60));
        assert!(!check(|second| second * 100, 60));
        assert!(check(|second| (second * 100).min(4_500), 60));
        assert!(check(|second| second * 100, 20), "too short to tell");
    }
}
