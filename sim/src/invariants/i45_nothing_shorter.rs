//! I-45: damage to what was synced is refused, never taken for a shorter log. What was committed and on a node's disk is in
//! its log whenever it runs. (That a node which nobody has damaged does not refuse is seen by the run itself.)

use std::collections::BTreeMap;

use crate::history::{Invariant, LogIdSeen, Observation, Violation};

const ID: &str = "I-45";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NothingShorter {
    /// Of each node the last entry that it knew to be committed and had on its disk.
    kept: BTreeMap<u64, LogIdSeen>,
}

impl Invariant for NothingShorter {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            if let Some(kept) = self
                .kept
                .get(&node.node)
                .filter(|kept| node.last_log.index < kept.index)
            {
                return Err(Violation {
                    invariant: ID,
                    at: observation.at,
                    message: format!(
                        "the log of node {} ends at {}, and had the committed entry {kept} on its disk",
                        node.node, node.last_log
                    ),
                });
            }
        }
        for disk in observation.disks {
            // By its own account: what another node has committed at an index may replace what this one has there.
            let node = observation.nodes.iter().find(|node| node.node == disk.node);
            let committed = node.and_then(|node| node.committed);
            if let Some(committed) = committed.filter(|committed| disk.entries.contains(committed)) {
                self.kept.insert(disk.node, committed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(last_after: u64) -> bool {
        let mut invariant = NothingShorter::default();
        let before = [leader(1, 1, 5), node(2, 1, 5)];
        let disks = [disk(1, 1, 1..=5), disk(2, 1, 1..=5)];
        invariant.observe(&moment(0, &before, &disks)).unwrap();
        let mut after = node(2, 1, 5);
        after.life = 1;
        after.last_log = id(1, last_after);
        invariant.observe(&moment(1, &[after], &[])).is_ok()
    }

    #[test]
    fn a_log_comes_back_whole() {
        assert!(check(5) && check(7));
        assert!(!check(4));
    }
}
