//! What was refused did not happen: a write answered with 503, or with any other refusal, has no effect in the log.

use std::collections::BTreeMap;

use crate::history::{Answer, Finished, Invariant, Operation, Serial, Violation};
use crate::model::Outcome;

const ID: &str = "refused";

/// See the module.
#[derive(Debug)]
pub(super) struct Refused;

impl Invariant for Refused {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
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
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    #[test]
    fn refused_and_applied() {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.operation(put_call("a", 2), 0, 1, refused());
        run.operation(put_call("a", 1), 0, 1, unknown());
        assert!(run.finish(&mut Refused).is_ok());
        run.history.operations[1].answer = Some(refused());
        assert!(run.finish(&mut Refused).is_err());
        // Sent again, and then maybe applied.
        run.operation(put_call("a", 1), 2, 3, unknown());
        assert!(run.finish(&mut Refused).is_ok());
    }
}
