//! I-46: a sync that fails ends the process. Nothing succeeds on the same files after it: what the system could not write it
//! takes for written.

use std::collections::BTreeMap;

use crate::history::{Invariant, Observation, Time, Violation};

const ID: &str = "I-46";

/// The gauge that counts failed syncs of a node's disk.
pub(crate) const SYNC_ERRORS: &str = "failed syncs";
/// How long a process may take to end, microseconds.
const END_US: Time = 2_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ErrorsEnd {
    /// Of each node: its life, failed syncs when it began, and when one more was seen.
    seen: BTreeMap<u64, (u32, u64, Option<Time>)>,
}

impl Invariant for ErrorsEnd {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            let errors = node.gauges.get(SYNC_ERRORS).copied().unwrap_or(0);
            let seen = self.seen.entry(node.node).or_insert((node.life, errors, None));
            if seen.0 != node.life {
                *seen = (node.life, errors, None);
            }
            if errors > seen.1 {
                let since = *seen.2.get_or_insert(observation.at);
                if observation.at > since + END_US {
                    return Err(Violation {
                        invariant: ID,
                        at: observation.at,
                        message: format!("a sync of node {} failed, and it goes on", node.node),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(life_after: u32) -> bool {
        let mut invariant = ErrorsEnd::default();
        for (second, errors, life) in [(0, 3, 0), (1, 4, 0), (4, 4, life_after), (8, 4, life_after)] {
            let mut node = node(1, 1, 5);
            node.life = life;
            node.gauges.insert(SYNC_ERRORS, errors);
            if invariant.observe(&moment(second * 1_000_000, &[node], &[])).is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_failed_sync_ends_the_process() {
        assert!(check(1));
        assert!(!check(0));
    }
}
