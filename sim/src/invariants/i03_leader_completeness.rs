//! I-3: a later leader has every entry that was committed earlier.

use std::collections::BTreeMap;

use crate::history::{Invariant, LogIdSeen, Observation, Violation};

const ID: &str = "I-3";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    /// The last committed entry of each leader id (term, leader).
    committed: BTreeMap<(u64, u64), LogIdSeen>,
}

impl Invariant for LeaderCompleteness {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for id in observation.nodes.iter().filter_map(|node| node.committed) {
            let last = self.committed.entry((id.term, id.leader)).or_insert(id);
            if last.index < id.index {
                *last = id;
            }
        }
        for leader in observation.nodes.iter().filter(|node| node.leads()) {
            let earlier = self.committed.range(..(leader.term, leader.node));
            let Some(last) = earlier.map(|(_, id)| *id).max_by_key(|id| id.index) else {
                continue;
            };
            if leader.last_log.index < last.index {
                return Err(Violation {
                    invariant: ID,
                    at: observation.at,
                    message: format!(
                        "node {} leads in term {} without {last}, which was committed before; its log ends with {}",
                        leader.node, leader.term, leader.last_log
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

    #[test]
    fn a_later_leader_has_it_all() {
        let moments = [vec![leader(1, 1, 5)], vec![leader(1, 1, 5), leader(2, 2, 6)]];
        assert!(observe(&mut LeaderCompleteness::default(), &moments).is_ok());
    }

    #[test]
    fn a_later_leader_lacks_an_entry() {
        let moments = [vec![leader(1, 1, 5)], vec![leader(2, 2, 4)]];
        assert!(observe(&mut LeaderCompleteness::default(), &moments).is_err());
    }

    #[test]
    fn a_deposed_leader_may_lack_what_came_later() {
        let moments = [vec![leader(2, 2, 9)], vec![leader(1, 1, 5), leader(2, 2, 9)]];
        assert!(observe(&mut LeaderCompleteness::default(), &moments).is_ok());
    }
}
