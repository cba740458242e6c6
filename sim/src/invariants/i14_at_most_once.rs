//! I-14: each request is applied at most once; one that a client sends again counts as often as it was sent.
//!
//! A batch that its origin sends again, or out of order, stands in the log and must be stepped over: a node whose revision
//! is ahead of the model's has applied it.

use std::collections::BTreeMap;

use super::divergence::Revisions;
use crate::history::{Answer, Finished, Invariant, Observation, Serial, Violation};
use crate::model::Outcome;

const ID: &str = "I-14";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AtMostOnce {
    revisions: Revisions,
}

impl Invariant for AtMostOnce {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        self.revisions.add(observation);
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let mut attempts: BTreeMap<Serial, usize> = BTreeMap::new();
        for operation in &finished.history.operations {
            if let Some(serial) = operation.call.serial() {
                // Refused attempts have a promise of their own.
                let counts = !matches!(operation.answer, Some(Answer::Refused(_)));
                *attempts.entry(serial).or_default() += usize::from(counts);
            }
        }
        for (serial, decisions) in replay.decisions_by_serial() {
            let done = |outcome: Outcome| matches!(outcome, Outcome::Done { .. });
            let effects: Vec<u64> = decisions
                .iter()
                .filter(|one| done(one.outcome))
                .map(|one| one.index)
                .collect();
            let allowed = attempts.get(&serial).copied().unwrap_or(0);
            if effects.len() > allowed && allowed > 0 {
                return violation(
                    finished,
                    format!("{serial} was sent {allowed} times and applied at log indexes {effects:?}"),
                );
            }
        }
        if let Some(indexes) = self.revisions.first_excess(finished)
            && let Some((index, batch)) = replay.skipped().iter().find(|(index, _)| indexes.contains(index))
        {
            let message = format!(
                "nodes made more changes than the log has: it was sequence {} of node {} at log index {index}, if not an \
                 entry near it, that had to be stepped over",
                batch.sequence, batch.node_id
            );
            return violation(finished, message);
        }
        Ok(())
    }
}

fn violation(finished: &Finished<'_>, message: String) -> Result<(), Violation> {
    Err(Violation {
        invariant: ID,
        at: finished.at,
        message,
    })
}

#[cfg(test)]
mod tests {
    use banyan_core::command::Item;

    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, batch, put};

    #[test]
    fn as_often_as_it_was_sent() {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.log.batch(&[put("a", 1).into_operation()]);
        run.operation(put_call("a", 1), 0, 1, unknown());
        assert!(run.finish(&mut AtMostOnce::default()).is_err());
        run.operation(put_call("a", 1), 2, 3, refused());
        assert!(run.finish(&mut AtMostOnce::default()).is_err());
        run.operation(put_call("a", 1), 2, 3, written(2));
        assert!(run.finish(&mut AtMostOnce::default()).is_ok());
    }

    #[test]
    fn a_node_applies_what_was_to_be_stepped_over() {
        let mut run = Run::new();
        run.operation(put_call("a", 1), 0, 1, written(1));
        let again = batch(1, u64::MAX, &[put("a", 1).into_operation()]);
        run.log.items(&[Item::Batch(again.clone()), Item::Batch(again)]);
        run.converge();
        assert!(run.finish(&mut AtMostOnce::default()).is_ok());
        run.nodes[0].revision += 1;
        assert!(run.finish(&mut AtMostOnce::default()).is_err());
    }
}
