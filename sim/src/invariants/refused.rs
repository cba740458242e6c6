//! What was refused did not happen: a write answered with 503, or with any other refusal, has no effect in the log,
//! and a batch that comes to the log after its deadline has none at all.

use std::collections::BTreeMap;

use banyan_core::command::BatchId;

use super::divergence::Revisions;
use crate::history::{Answer, Finished, Invariant, Observation, Operation, Serial, Violation};
use crate::model::{Decision, Outcome};

const ID: &str = "refused";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused {
    revisions: Revisions,
}

impl Invariant for Refused {
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
        if let Some(indexes) = self.revisions.first_excess(finished) {
            let is_late = |one: &&Decision| one.outcome == Outcome::TooLate && indexes.contains(&one.index);
            let is_stepped_over = |(index, _): &(u64, BatchId)| indexes.contains(index);
            // Which is a promise of its own.
            let stepped_over = replay.skipped().iter().any(is_stepped_over);
            if let Some(late) = replay.decisions().iter().find(is_late).filter(|_| !stepped_over) {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "nodes made more changes than the log has, where a batch at log index {} came after its deadline",
                        late.index
                    ),
                });
            }
        }
        let mut attempts: BTreeMap<Serial, Vec<&Operation>> = BTreeMap::new();
        for operation in &finished.history.operations {
            if let Some(serial) = operation.call.serial() {
                attempts.entry(serial).or_default().push(operation);
            }
        }
        for (serial, decisions) in replay.decisions_by_serial() {
            let Some(effect) = decisions.iter().find(|one| matches!(one.outcome, Outcome::Done { .. })) else {
                continue;
            };
            let of_serial = attempts.get(&serial).map_or(&[][..], Vec::as_slice);
            let is_refused = |operation: &&Operation| matches!(operation.answer, Some(Answer::Refused(_)));
            if let Some(last) = of_serial.last().filter(|_| of_serial.iter().all(is_refused)) {
                let answer = last.answer.as_ref().map(ToString::to_string).unwrap_or_default();
                return Err(Violation {
                    invariant: ID,
                    at: last.returned_at.unwrap_or(last.invoked_at),
                    message: format!("{} was {answer}, and applied at log index {}", last.call, effect.index),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::command::Item;

    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, batch, put};

    #[test]
    fn refused_and_applied() {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.operation(put_call("a", 2), 0, 1, refused());
        run.operation(put_call("a", 1), 0, 1, unknown());
        assert!(run.finish(&mut Refused::default()).is_ok());
        run.history.operations[1].answer = Some(refused());
        assert!(run.finish(&mut Refused::default()).is_err());
        // Sent again, and then maybe applied.
        run.operation(put_call("a", 1), 2, 3, unknown());
        assert!(run.finish(&mut Refused::default()).is_ok());
    }

    #[test]
    fn too_late_and_applied() {
        let mut run = Run::new();
        run.log
            .items(&[Item::Batch(batch(1, 1, &[put("a", 1).into_operation()]))]);
        run.converge();
        assert!(run.finish(&mut Refused::default()).is_ok());
        run.nodes[0].revision += 1;
        assert!(run.finish(&mut Refused::default()).is_err());
    }
}
