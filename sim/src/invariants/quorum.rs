//! What is durable on a quorum.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{DurableLog, LogIdSeen, MembershipSeen, Observation, in_effect_from};

/// Disks over time, as far as they can be relied on.
///
/// Faults may take away what a disk had: the promise is about what was there, so a disk that has lost something counts as
/// holding everything until it has caught up again.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// Last index of each disk at the last look.
    last: BTreeMap<u64, u64>,
    /// Disks that have lost something.
    damaged: BTreeSet<u64>,
    /// The greatest index that any node knew to be committed.
    committed: u64,
}

impl Disks {
    /// Takes in a look at the disks.
    pub(super) fn look(&mut self, observation: &Observation<'_>) {
        let committed = observation.nodes.iter().filter_map(|node| node.committed);
        self.committed = committed.map(|id| id.index).fold(self.committed, u64::max);
        let voters: BTreeSet<u64> = observation
            .memberships
            .iter()
            .flat_map(|one| one.voters.iter().flatten())
            .copied()
            .collect();
        for voter in voters {
            let log = observation.disks.iter().find(|log| log.node == voter);
            let end = log.map(end);
            let before = self.last.get(&voter).copied().unwrap_or(0);
            if end.is_none_or(|end| end < before && end < self.committed) {
                self.damaged.insert(voter);
            } else if end.is_some_and(|end| end >= self.committed) {
                self.damaged.remove(&voter);
            }
            self.last.insert(voter, end.unwrap_or(before));
        }
    }

    /// The nodes that hold `id`, of the disks last looked at.
    pub(super) fn holders(&self, observation: &Observation<'_>, id: LogIdSeen) -> BTreeSet<u64> {
        let logs = observation.disks.iter();
        let holders = logs.filter(|log| holds(log, id)).map(|log| log.node);
        holders.chain(self.damaged.iter().copied()).collect()
    }

    /// The last entry that a quorum holds.
    pub(super) fn last_on_quorum(&self, observation: &Observation<'_>) -> Option<LogIdSeen> {
        let ids = observation
            .disks
            .iter()
            .flat_map(|log| log.entries.iter().chain(&log.purged));
        let mut ids: Vec<LogIdSeen> = ids.copied().collect();
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(id.index));
        ids.into_iter()
            .find(|id| is_quorum(observation.memberships, id.index, &self.holders(observation, *id)))
    }
}

/// Whether `nodes` were enough to commit the entry at `index`, by one of the memberships that may have been in effect then.
pub(super) fn is_quorum(memberships: &[MembershipSeen], index: u64, nodes: &BTreeSet<u64>) -> bool {
    in_effect_from(memberships, index)
        .iter()
        .any(|one| one.is_quorum(nodes))
}

fn end(log: &DurableLog) -> u64 {
    let last = log.entries.last().or(log.purged.as_ref());
    last.map_or(0, |id| id.index)
}

/// Whether `log` holds `id`, or has it behind its purge point.
fn holds(log: &DurableLog, id: LogIdSeen) -> bool {
    if log.purged.is_some_and(|purged| purged.index >= id.index) {
        return true;
    }
    let Some(first) = log.entries.first() else {
        return false;
    };
    // What the log leaves out at its beginning counts as durable.
    id.index < first.index || log.entries.get((id.index - first.index) as usize) == Some(&id)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn what_a_quorum_holds() {
        let disks = [disk(1, 1, 0..=5), disk(2, 1, 0..=4), disk(3, 2, 0..=3)];
        let nodes = [leader(1, 1, 4)];
        let observation = moment(0, &nodes, &disks);
        let mut tracked = Disks::default();
        tracked.look(&observation);
        assert_eq!(tracked.last_on_quorum(&observation), Some(id(1, 4)));
        assert_eq!(tracked.holders(&observation, id(2, 3)), [3].into());
    }

    #[test]
    fn the_membership_in_effect_says_what_is_enough() {
        let all = [
            membership(0, &[1, 2, 3], &[]),
            membership(7, &[1, 2, 3], &[1, 4, 5]),
            membership(9, &[1, 4, 5], &[]),
        ];
        let enough = |index, nodes: &[u64]| is_quorum(&all, index, &nodes.iter().copied().collect());
        assert!(enough(5, &[2, 3]), "as it was");
        assert!(enough(5, &[4, 5]), "by what came later");
        assert!(!enough(7, &[2, 3]) && enough(7, &[1, 2, 4]), "both sets");
        assert!(!enough(9, &[2, 3]) && enough(12, &[4, 5]));
    }

    #[test]
    fn a_damaged_disk_counts_until_it_has_caught_up() {
        let nodes = [leader(1, 1, 5)];
        let whole = [disk(1, 1, 0..=5), disk(2, 1, 0..=5), disk(3, 1, 0..=1)];
        let lost = [disk(1, 1, 0..=1), disk(2, 1, 0..=5), disk(3, 1, 0..=1)];
        let mut tracked = Disks::default();
        for (disks, holders) in [(&whole[..], 2), (&lost[..], 2), (&lost[1..], 2), (&whole[..], 2)] {
            let observation = moment(0, &nodes, disks);
            tracked.look(&observation);
            assert_eq!(tracked.holders(&observation, id(1, 5)).len(), holders);
        }
        // Never written is not lost.
        let observation = moment(0, &nodes, &lost);
        let mut tracked = Disks::default();
        tracked.look(&observation);
        assert_eq!(tracked.holders(&observation, id(1, 5)).len(), 1);
    }
}
