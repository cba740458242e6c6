//! I-7: two nodes that have applied the same log id have the same state, digest and revision; and it is the one that the log
//! gives, whatever became of the node afterwards.

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
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        for (applied, (digest, revision, node)) in &self.known {
            let (Some(log_digest), Some(log_revision)) = (
                replay.digest_at_index(applied.index),
                replay.revision_at_index(applied.index),
            ) else {
                continue;
            };
            if (*digest, *revision) != (log_digest, log_revision) {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "at {applied} node {node} had digest {digest:032x} and revision {revision}, and the log gives \
                         {log_digest:032x} and {log_revision}"
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
    use crate::model::testing::{IntoOperation, put};

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
    fn what_a_node_showed_must_come_of_the_log() {
        let mut run = Run::new();
        let index = run.log.batch(&[put("a", 1).into_operation()]);
        run.converge();
        for (digest, ok) in [(run.nodes[0].digest, true), (7, false)] {
            let mut invariant = EqualState::default();
            let mut shown = node(1, 1, index);
            (shown.digest, shown.revision) = (digest, run.nodes[0].revision);
            // Nobody else is there to differ.
            shown.applied = Some(LogIdSeen {
                leader: 9,
                ..id(1, index)
            });
            observe(&mut invariant, &[vec![shown]]).unwrap();
            assert_eq!(run.finish(&mut invariant).is_ok(), ok);
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
