//! I-61: no request is left without an end, and some time after the healing the nodes of the core serve every request.

use crate::history::{Call, Consistency, Finished, Invariant, Operation, Time, Violation};

const ID: &str = "I-61";

/// Time after the healing in which requests may still be refused: an election, and nodes that catch up, microseconds.
const GRACE_US: Time = 20_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct RequestsAnswered;

impl Invariant for RequestsAnswered {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let violation = |operation: &Operation, what: &str| Violation {
            invariant: ID,
            at: operation.returned_at.unwrap_or(finished.at),
            message: format!(
                "{} of client {} at node {}, sent at {:.3} s, {what}",
                operation.call,
                operation.client,
                operation.node,
                operation.invoked_at as f64 / 1e6
            ),
        };
        for operation in &finished.history.operations {
            if operation.answer.is_none() {
                return Err(violation(operation, "was never answered nor given up"));
            }
        }
        let Some(served_from) = finished.settings.healed_at.map(|at| at + GRACE_US) else {
            return Ok(());
        };
        let late = finished.history.operations.iter().filter(|operation| {
            operation.invoked_at >= served_from && finished.settings.core.contains(&operation.node)
        });
        let (mut writes, mut reads) = ([0; 2], [0; 2]);
        for operation in late {
            let answer = operation.answer.as_ref();
            if let Some(answer) = answer.filter(|answer| answer.is_unavailable()) {
                return Err(violation(operation, &format!("long after the healing, was {answer}")));
            }
            let counts = match &operation.call {
                Call::Get { consistency, .. } | Call::List { consistency, .. } => match consistency {
                    Consistency::Linearizable => &mut reads,
                    Consistency::Local | Consistency::AtLeast(_) => continue,
                },
                _ => &mut writes,
            };
            counts[usize::from(answer.is_some_and(crate::history::Answer::is_certain))] += 1;
        }
        for (name, [unserved, served]) in [("write", writes), ("linearizable read", reads)] {
            // A few may have been the client's own fault.
            if served == 0 && unserved > 3 {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!("of {unserved} {name}s long after the healing none succeeded"),
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
    use crate::history::{Answer, KILLED};

    fn check(at: Time, answer: Answer) -> bool {
        let mut run = Run::new();
        run.settings.healed_at = Some(0);
        run.operation(put_call("a", 1), at, at + 1, answer);
        run.finish(&mut RequestsAnswered).is_ok()
    }

    #[test]
    fn served_after_the_grace() {
        assert!(check(GRACE_US, written(1)));
        assert!(check(GRACE_US, Answer::Unknown(KILLED.to_owned())));
        assert!(check(GRACE_US, Answer::Refused("422: timestamp".to_owned())));
        assert!(!check(GRACE_US, refused()));
        assert!(!check(GRACE_US, unknown()));
        assert!(check(GRACE_US - 1, unknown()));
    }

    #[test]
    fn outside_the_core_nothing_is_promised() {
        let mut run = Run::new();
        run.settings.healed_at = Some(0);
        run.settings.core = vec![2, 3];
        run.operation(put_call("a", 1), GRACE_US, GRACE_US + 1, refused());
        assert!(run.finish(&mut RequestsAnswered).is_ok());
    }

    #[test]
    fn every_request_ends() {
        let mut run = Run::new();
        run.operation(put_call("a", 1), 0, 1, unknown()).answer = None;
        assert!(run.finish(&mut RequestsAnswered).is_err());
    }

    #[test]
    fn some_must_succeed() {
        let mut run = Run::new();
        run.settings.healed_at = Some(0);
        for _ in 0..4 {
            let killed = Answer::Unknown(KILLED.to_owned());
            run.operation(put_call("a", 1), GRACE_US, GRACE_US + 1, killed);
        }
        assert!(run.finish(&mut RequestsAnswered).is_err());
    }
}
