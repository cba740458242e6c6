//! I-7: two nodes that have applied the same log id have the same state, digest and revision; and as far as the model goes, it
//! is the one that the log gives, whatever became of the node afterwards.

use std::collections::BTreeMap;

use crate::history::{Finished, Invariant, LogIdSeen, Observation, Time, Violation};

const ID: &str = "I-7";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct EqualState {
    /// What was shown first at an applied log id.
    known: BTreeMap<LogIdSeen, Shown>,
}

/// What a node shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    node: u64,
    digest: u128,
    topics_digest: Option<u128>,
    revision: u64,
}

impl EqualState {
    fn note(&mut self, at: Time, applied: LogIdSeen, shown: Shown) -> Result<(), Violation> {
        let first = *self.known.entry(applied).or_insert(shown);
        let of = |shown: Shown| (shown.digest, shown.topics_digest, shown.revision);
        if of(first) == of(shown) {
            return Ok(());
        }
        Err(Violation {
            invariant: ID,
            at,
            message: format!(
                "at {applied} node {} had digest {:032x} and revision {}, node {} has {:032x} and {}",
                first.node, first.digest, first.revision, shown.node, shown.digest, shown.revision
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
                let shown = Shown {
                    node: node.node,
                    digest: node.digest,
                    topics_digest: node.topics_digest,
                    revision: node.revision,
                };
                self.note(observation.at, applied, shown)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for node in finished.nodes {
            if let Some(applied) = node.applied {
                let shown = Shown {
                    node: node.node,
                    digest: node.digest,
                    topics_digest: node.topics_digest,
                    revision: node.revision,
                };
                self.note(finished.at, applied, shown)?;
            }
        }
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        for (applied, shown) in &self.known {
            let (Some(log_digest), Some(log_revision)) = (
                replay.topics_digest_at_index(applied.index),
                replay.revision_at_index(applied.index),
            ) else {
                continue;
            };
            let digest = shown.topics_digest.unwrap_or(log_digest);
            if (digest, shown.revision) != (log_digest, log_revision) {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "at {applied} node {} had digest {digest:032x} without sessions and revision {}, and the log gives \
                         {log_digest:032x} and {log_revision}",
                        shown.node, shown.revision
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
            (shown.topics_digest, shown.revision) = (Some(digest), run.nodes[0].revision);
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
