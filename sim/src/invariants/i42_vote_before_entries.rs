//! I-42: no node has an entry of a later term than the vote on its disk. The vote comes first, whatever is lost in between.

use crate::history::{Invariant, Observation, Violation};

const ID: &str = "I-42";

/// See the module.
#[derive(Debug)]
pub(super) struct VoteBeforeEntries;

impl Invariant for VoteBeforeEntries {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        let early = observation.nodes.iter().find(|node| node.last_log.term > node.term);
        let Some(node) = early else { return Ok(()) };
        Err(Violation {
            invariant: ID,
            at: observation.at,
            message: format!(
                "node {} has entry {} in its log, and its vote on disk is of term {}",
                node.node, node.last_log, node.term
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_vote_comes_first() {
        assert!(observe(&mut VoteBeforeEntries, &[vec![node(1, 2, 5)]]).is_ok());
        let mut early = node(1, 2, 5);
        early.term = 1;
        assert!(observe(&mut VoteBeforeEntries, &[vec![early]]).is_err());
    }
}
