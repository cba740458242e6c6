//! Nodes at the same place of the log count with the same members.
//!
//! A node that takes over a snapshot takes over the members that it names; otherwise it would elect and commit by a majority of
//! others than everybody else, and two majorities need not meet. The last membership of a node's log that it has applied is
//! that of every node that has applied as much.

use std::collections::BTreeMap;

use crate::history::{Invariant, MembershipSeen, Observation, Time, Violation};

const ID: &str = "membership";

/// A node tells its members a moment after it has applied what brings them.
const SETTLED_US: Time = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SameMembers {
    /// Of each node: its life, and since when it differs.
    differs: BTreeMap<u64, (u32, Time)>,
}

impl Invariant for SameMembers {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        // The last membership that is committed, by each node's own account.
        let known = observation.nodes.iter().filter_map(|node| {
            let membership = node.membership.as_ref()?;
            let applied = node.applied?.index;
            (membership.index <= applied).then_some((node.node, applied, membership))
        });
        let known: Vec<(u64, u64, &MembershipSeen)> = known.collect();
        for node in observation.nodes {
            // One that has just begun has not heard of anybody.
            let Some(applied) = node.applied.map(|applied| applied.index) else {
                continue;
            };
            let own = node.membership.as_ref();
            let lacks = |(_, _, other): &&(u64, u64, &MembershipSeen)| {
                other.index <= applied
                    && own.is_none_or(|own| own.index < other.index || (own.index == other.index && own != *other))
            };
            let Some((other, _, members)) = known.iter().find(lacks) else {
                self.differs.remove(&node.node);
                continue;
            };
            let (life, since) = *self.differs.entry(node.node).or_insert((node.life, observation.at));
            if life != node.life {
                self.differs.insert(node.node, (node.life, observation.at));
            } else if observation.at >= since + SETTLED_US {
                let own = own.map_or_else(
                    || "no members".to_owned(),
                    |own| format!("{own} of index {}", own.index),
                );
                return Err(Violation {
                    invariant: ID,
                    at: observation.at,
                    message: format!(
                        "node {} has applied index {applied} and counts with {own}; node {other} counts with {members} of \
                         index {}",
                        node.node, members.index
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

    /// Node 1 has applied up to 9 and counts with {1, 2, 4} since index 5; node 2 has applied up to `applied`.
    fn check(applied: u64, members: Option<MembershipSeen>, seconds: u64) -> bool {
        let mut invariant = SameMembers::default();
        let mut one = node(1, 1, 9);
        one.membership = Some(membership(5, &[1, 2, 4], &[]));
        let mut two = node(2, 1, applied);
        two.membership = members;
        (0..=seconds).all(|second| {
            let nodes = [one.clone(), two.clone()];
            invariant.observe(&moment(second * 1_000_000, &nodes, &[])).is_ok()
        })
    }

    #[test]
    fn the_same_or_not() {
        let former = Some(membership(0, &[1, 2, 3], &[]));
        assert!(check(9, Some(membership(5, &[1, 2, 4], &[])), 3));
        assert!(check(4, former.clone(), 3), "not there yet");
        assert!(check(6, former.clone(), 0), "just there");
        assert!(!check(6, former, 3));
        assert!(!check(6, Some(membership(5, &[1, 2, 3], &[])), 3));
        assert!(!check(6, None, 3));
        assert!(
            check(6, Some(membership(8, &[1, 2], &[])), 3),
            "not committed by its own account"
        );
    }

    #[test]
    fn who_has_just_begun_knows_nobody() {
        let mut one = node(1, 1, 9);
        one.membership = Some(membership(0, &[1, 2, 3], &[]));
        let mut new = node(3, 1, 0);
        new.applied = None;
        let mut invariant = SameMembers::default();
        for second in 0..3 {
            let nodes = [one.clone(), new.clone()];
            assert!(invariant.observe(&moment(second * 1_000_000, &nodes, &[])).is_ok());
        }
    }
}
