//! I-15: a read with `at_least` shows a state that is not older than the revision it names, on any node. So a client that
//! passes on the greatest revision it has seen reads monotonically and reads its own writes.

use crate::history::{Answer, Call, Consistency, Finished, Invariant, Violation};
use crate::model::held_within;

const ID: &str = "I-15";

/// See the module.
#[derive(Debug)]
pub(super) struct AtLeast;

impl Invariant for AtLeast {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let histories = finished.replay.map(crate::model::Replay::topic_histories);
        for operation in &finished.history.operations {
            let (Call::Get {
                consistency: Consistency::AtLeast(floor),
                ..
            }
            | Call::List {
                consistency: Consistency::AtLeast(floor),
                ..
            }) = &operation.call
            else {
                continue;
            };
            let keeps = match (&operation.call, &operation.answer) {
                (_, Some(Answer::Rows { revision, .. })) => revision >= floor,
                (Call::Get { topic, .. }, Some(Answer::Value(seen))) => histories.as_ref().is_none_or(|histories| {
                    let history = histories.get(topic.as_str()).map_or(&[][..], Vec::as_slice);
                    held_within(history, *seen, *floor, u64::MAX)
                }),
                _ => true,
            };
            if let (false, Some(answer)) = (keeps, &operation.answer) {
                return Err(Violation {
                    invariant: ID,
                    at: operation.returned_at.unwrap_or(operation.invoked_at),
                    message: format!(
                        "{} at node {} showed an older state: {answer}",
                        operation.call, operation.node
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
    use crate::model::testing::{IntoOperation, delete, put};

    fn check(call: Call, answer: Answer) -> bool {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("a", 2).into_operation()]);
        run.log.batch(&[delete("a").into_operation()]);
        run.operation(call, 0, 1, answer);
        run.finish(&mut AtLeast).is_ok()
    }

    #[test]
    fn gets() {
        let get = |floor| get_call("a", Consistency::AtLeast(floor));
        assert!(check(get(1), value(1, 1)));
        assert!(check(get(1), value(2, 2)));
        assert!(!check(get(2), value(1, 1)));
        assert!(check(get(2), Answer::Value(None)));
        assert!(check(get(0), Answer::Value(None)));
        assert!(!check(get(3), value(2, 2)));
        assert!(check(get(9), refused()));
    }

    #[test]
    fn lists() {
        let list = |floor| list_call("#", Consistency::AtLeast(floor));
        let rows = Answer::Rows {
            revision: 2,
            rows: Vec::new(),
        };
        assert!(check(list(2), rows.clone()));
        assert!(!check(list(3), rows));
    }
}
