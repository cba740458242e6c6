//! I-5: what a leader takes for committed is durable on a quorum of the voters, of both sets while one replaces the other; seen
//! on their disks and not in memory. Voters that are down count by their disk; what faults have taken from a disk counts as if it were there.

use super::quorum::{Disks, is_quorum};
use crate::history::{Invariant, Observation, Violation, in_effect_from};

const ID: &str = "I-5";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DurableOnQuorum {
    /// Up to this index it was checked. A disk that is lost later takes nothing back.
    checked: Option<u64>,
    disks: Disks,
}

impl Invariant for DurableOnQuorum {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        if observation.disks.is_empty() {
            return Ok(());
        }
        self.disks.look(observation);
        let leaders = observation.nodes.iter().filter(|node| node.leads());
        let Some((leader, id)) = leaders
            .filter_map(|leader| Some((leader.node, leader.committed?)))
            .max_by_key(|(_, id)| id.index)
            .filter(|(_, id)| self.checked.is_none_or(|checked| id.index > checked))
        else {
            return Ok(());
        };
        self.checked = Some(id.index);
        let nodes = self.disks.holders(observation, id);
        if is_quorum(observation.memberships, id.index, &nodes) {
            return Ok(());
        }
        let in_effect = in_effect_from(observation.memberships, id.index);
        let voters: Vec<_> = in_effect.iter().map(ToString::to_string).collect();
        Err(Violation {
            invariant: ID,
            at: observation.at,
            message: format!(
                "leader {leader} has {id} committed, which is durable on {nodes:?} only; voters are {}",
                voters.join(", then ")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn two_of_three() {
        let disks = [disk(1, 1, 1..=5), disk(2, 1, 1..=5), disk(3, 1, 1..=2)];
        let nodes = [leader(1, 1, 5)];
        assert!(DurableOnQuorum::default().observe(&moment(0, &nodes, &disks)).is_ok());
    }

    #[test]
    fn one_of_three() {
        let disks = [disk(1, 1, 1..=5), disk(2, 1, 1..=4), disk(3, 2, 1..=9)];
        let nodes = [leader(1, 1, 5)];
        assert!(DurableOnQuorum::default().observe(&moment(0, &nodes, &disks)).is_err());
    }

    #[test]
    fn purged_counts_and_what_was_checked_is_not_checked_again() {
        let mut purged = disk(2, 1, 9..=9);
        purged.purged = Some(id(1, 8));
        let nodes = [leader(1, 1, 5)];
        let mut invariant = DurableOnQuorum::default();
        let disks = [disk(1, 1, 1..=5), purged, disk(3, 1, 0..=0)];
        assert!(invariant.observe(&moment(0, &nodes, &disks)).is_ok());
        assert!(invariant.observe(&moment(1, &nodes, &disks[..1])).is_ok());
    }
}
