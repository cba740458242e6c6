//! I-60: within ten election timeouts of the healing there is a leader that a majority of the voters follows.
//!
//! A write that a slow disk had begun before the healing takes as long as it did then, ten seconds at most: a node that saves
//! its vote behind it cannot be elected, nor elect, before it is done. Time counts from there.

use std::collections::BTreeSet;

use crate::history::{Finished, Invariant, NodeObservation, Observation, Time, Violation};

const ID: &str = "I-60";

/// Election timeouts that finding a leader may take.
const TIMEOUTS: u64 = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaderAfterHealing {
    /// From each time on, who led with a majority; `None`: nobody.
    leaders: Vec<(Time, Option<u64>)>,
}

impl Invariant for LeaderAfterHealing {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        let follow = |leader: u64| -> BTreeSet<u64> {
            let followers = observation.nodes.iter().filter(|node| node.leader == Some(leader));
            followers.map(|node| node.node).collect()
        };
        // By the members that the leader itself counts.
        let leads = |leader: &NodeObservation| {
            let membership = leader.membership.as_ref().or(observation.memberships.last());
            membership.is_some_and(|membership| membership.is_quorum(&follow(leader.node)))
        };
        let leaders = observation.nodes.iter().filter(|node| node.is_leader);
        let leader = leaders.filter(|leader| leads(leader)).map(|leader| leader.node).next();
        if self.leaders.last().is_none_or(|(_, last)| *last != leader) {
            self.leaders.push((observation.at, leader));
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let settings = finished.settings;
        let Some(healed_at) = settings.disks_healed_at.max(settings.healed_at) else {
            return Ok(());
        };
        let bound = healed_at + TIMEOUTS * settings.election_timeout_us;
        if finished.at < bound {
            return Ok(());
        }
        let ends = self.leaders.iter().skip(1).map(|(at, _)| *at).chain([Time::MAX]);
        let led = |((from, leader), until): (&(Time, Option<u64>), Time)| {
            leader.is_some() && *from <= bound && until > healed_at
        };
        if self.leaders.iter().zip(ends).any(led) {
            return Ok(());
        }
        Err(Violation {
            invariant: ID,
            at: bound,
            message: format!(
                "no leader with a majority within {TIMEOUTS} election timeouts of the healing at {:.3} s",
                healed_at as f64 / 1e6
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// A leader from `from` to `until`; the bound is at 20 million.
    fn check(from: Time, until: Time) -> bool {
        let mut run = Run::new();
        run.settings.healed_at = Some(10_000_000);
        let mut invariant = LeaderAfterHealing::default();
        let mut none = node(2, 1, 1);
        none.leader = None;
        let moments = [
            (0, vec![none.clone()]),
            (from, vec![leader(1, 1, 1), node(2, 1, 1)]),
            (until, vec![leader(1, 1, 1), none]),
        ];
        for (at, nodes) in moments {
            invariant.observe(&moment(at, &nodes, &[])).unwrap();
        }
        run.finish(&mut invariant).is_ok()
    }

    #[test]
    fn in_time_or_not() {
        assert!(check(5_000_000, 30_000_000));
        assert!(check(19_000_000, 30_000_000));
        assert!(!check(5_000_000, 9_000_000), "only before the healing");
        assert!(!check(21_000_000, 30_000_000), "too late");
    }

    #[test]
    fn a_write_that_was_slow_before_the_healing_is_waited_for() {
        let mut run = Run::new();
        run.settings.healed_at = Some(10_000_000);
        let mut invariant = LeaderAfterHealing::default();
        let mut none = node(2, 1, 1);
        none.leader = None;
        for (at, nodes) in [(0, vec![none]), (24_000_000, vec![leader(1, 1, 1), node(2, 1, 1)])] {
            invariant.observe(&moment(at, &nodes, &[])).unwrap();
        }
        assert!(run.finish(&mut invariant).is_err());
        run.settings.disks_healed_at = Some(15_000_000);
        assert!(run.finish(&mut invariant).is_ok());
    }
}
