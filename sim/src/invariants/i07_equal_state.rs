//! I-7: two nodes that have applied the same log id have the same state: digest and revision.

use std::collections::BTreeMap;

use crate::history::{Finished, Invariant, LogIdSeen, Observation, Time, Violation};

const ID: &str = "I-7";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EqualState {
    /// Digest and revision at an applied log id, and the node that showed them first.
    known: BTreeMap<LogIdSeen, (u128, u64, u64)>,
}

impl EqualState {
    fn note(&mut self, at: Time, node: u64, applied: LogIdSeen, digest: u128, revision: u64) -> Result<(), Violation> {
        let (first_digest, first_revision, first) = *self.known.entry(applied).or_insert((digest, revision, node));
        if (first_digest, first_revision) == (digest, revision) {
            return Ok(());
        }
        Err(Violation {
            invariant: ID,
            at,
            message: format!(
                "at {applied} node {first} had digest {first_digest:032x} and revision {first_revision}, node {node} has \
                 {digest:032x} and {revision}"
            ),
        })
    }
}

impl Invariant for EqualState {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            if let Some(applied) = node.applied {
                self.note(observation.at, node.node, applied, node.digest, node.revision)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for node in finished.nodes {
            if let Some(applied) = node.applied {
                self.note(finished.at, node.node, applied, node.digest, node.revision)?;
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
    fn equal_states_at_different_times() {
        let moments = [vec![node(1, 1, 5), node(2, 1, 4)], vec![node(2, 1, 5)]];
        assert!(observe(&mut EqualState::default(), &moments).is_ok());
    }

    #[test]
    fn another_digest_or_revision() {
        let mut digest = node(2, 1, 5);
        digest.digest = 0;
        let mut revision = node(2, 1, 5);
        revision.revision = 6;
        for other in [digest, revision] {
            assert!(observe(&mut EqualState::default(), &[vec![node(1, 1, 5)], vec![other]]).is_err());
        }
    }

    #[test]
    fn the_end_counts() {
        let mut run = Run::new();
        run.converge();
        assert!(run.finish(&mut EqualState::default()).is_ok());
        run.nodes[2].digest += 1;
        assert!(run.finish(&mut EqualState::default()).is_err());
    }
}
