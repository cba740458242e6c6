//! I-2: at equal index, any two committed logs hold the same entry, at the purge boundary too.
//!
//! Disks take no part: a follower knows an entry to be committed before its own disk has it, and has an older one there until
//! then.

use std::collections::BTreeMap;

use crate::history::{Invariant, LogIdSeen, Observation, Violation};

const ID: &str = "I-2";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LogMatching;

impl Invariant for LogMatching {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        let mut known: BTreeMap<u64, (u64, LogIdSeen)> = BTreeMap::new();
        let mut note = |node: u64, id: LogIdSeen| {
            let (first, other) = *known.entry(id.index).or_insert((node, id));
            if other == id {
                return Ok(());
            }
            Err(Violation {
                invariant: ID,
                at: observation.at,
                message: format!("node {first} has {other} committed where node {node} has {id}"),
            })
        };
        for node in observation.nodes {
            for id in [node.committed, node.applied, node.snapshot, node.purged]
                .into_iter()
                .flatten()
            {
                note(node.node, id)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn equal_logs() {
        let moments = [vec![node(1, 2, 5), node(2, 2, 5), node(3, 1, 4)]];
        assert!(observe(&mut LogMatching, &moments).is_ok());
    }

    #[test]
    fn another_entry_at_the_same_index() {
        let moments = [vec![node(1, 2, 5), node(2, 1, 5)]];
        assert!(observe(&mut LogMatching, &moments).is_err());
    }

    #[test]
    fn the_purge_boundary_counts() {
        let mut purged = node(2, 2, 9);
        purged.purged = Some(id(1, 5));
        assert!(observe(&mut LogMatching, &[vec![node(1, 2, 5), purged]]).is_err());
    }
}
