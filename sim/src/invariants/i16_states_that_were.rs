//! I-16: a list shows exactly the state of the revision that it names, over all its pages; a local read shows a value that
//! the topic held at some time.

use crate::history::{Answer, Call, Consistency, Finished, Invariant, Operation, Seen, Violation};
use crate::model::{Replay, held_within, matches};

const ID: &str = "I-16";

/// See the module.
#[derive(Debug)]
pub(super) struct StatesThatWere;

impl Invariant for StatesThatWere {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let histories = finished.replay.map(Replay::topic_histories);
        for operation in &finished.history.operations {
            let wrong = match (&operation.call, &operation.answer) {
                (Call::List { filter, .. }, Some(Answer::Rows { revision, rows })) => {
                    malformed(filter, *revision, rows).or_else(|| {
                        finished
                            .replay
                            .and_then(|replay| differs(replay, filter, *revision, rows))
                    })
                }
                (
                    Call::Get {
                        topic,
                        consistency: Consistency::Local,
                    },
                    Some(Answer::Value(seen)),
                ) => histories.as_ref().and_then(|histories| {
                    let history = histories.get(topic.as_str()).map_or(&[][..], Vec::as_slice);
                    (!held_within(history, *seen, 0, u64::MAX)).then(|| "which the topic never held".to_owned())
                }),
                _ => None,
            };
            if let Some(wrong) = wrong {
                return Err(violation(operation, &wrong));
            }
        }
        Ok(())
    }
}

fn violation(operation: &Operation, wrong: &str) -> Violation {
    let answer = operation.answer.as_ref().map(ToString::to_string).unwrap_or_default();
    Violation {
        invariant: ID,
        at: operation.returned_at.unwrap_or(operation.invoked_at),
        message: format!("{} at node {} gave {answer}, {wrong}", operation.call, operation.node),
    }
}

/// What cannot be a list, whatever the log says.
fn malformed(filter: &str, revision: u64, rows: &[(String, Seen)]) -> Option<String> {
    let key = |topic: &str| topic.replace('/', "\0");
    let foreign = rows.iter().find(|(topic, _)| !matches(filter, topic));
    let newer = rows.iter().find(|(_, seen)| seen.revision > revision);
    let disorder = rows.windows(2).find(|pair| key(&pair[0].0) >= key(&pair[1].0));
    match (foreign, newer, disorder) {
        (Some((topic, _)), _, _) => Some(format!("with {topic}, which does not match")),
        (_, Some((topic, seen)), _) => Some(format!("with {topic} of the later revision {}", seen.revision)),
        (_, _, Some(pair)) => Some(format!("with {} before {}", pair[0].0, pair[1].0)),
        _ => None,
    }
}

fn differs(replay: &Replay, filter: &str, revision: u64, rows: &[(String, Seen)]) -> Option<String> {
    if revision > replay.last_revision() {
        return Some("of a revision that was never reached".to_owned());
    }
    let expected = replay.topics_at(revision, filter);
    if let Some((topic, _)) = rows
        .iter()
        .find(|(topic, seen)| expected.get(topic.as_str()) != Some(seen))
    {
        return Some(format!("with {topic} as it was not at that revision"));
    }
    let missing = expected
        .keys()
        .find(|topic| !rows.iter().any(|(row, _)| row == *topic))?;
    Some(format!("without {missing}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, delete, put};

    fn check(call: Call, answer: Answer) -> bool {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("b/c", 2).into_operation()]);
        run.log.batch(&[delete("a").into_operation()]);
        run.operation(call, 0, 1, answer);
        run.finish(&mut StatesThatWere).is_ok()
    }

    fn list(revision: u64, rows: &[(&str, u32, u64)]) -> bool {
        let rows = rows
            .iter()
            .map(|(topic, counter, at)| ((*topic).to_owned(), seen(*counter, *at)));
        let rows = rows.collect();
        check(list_call("#", Consistency::Local), Answer::Rows { revision, rows })
    }

    #[test]
    fn lists_of_one_revision() {
        assert!(list(2, &[("a", 1, 1), ("b/c", 2, 2)]));
        assert!(list(1, &[("a", 1, 1)]));
        assert!(list(3, &[("b/c", 2, 2)]));
    }

    #[test]
    fn lists_that_are_of_none() {
        assert!(!list(2, &[("a", 1, 1)]), "a row is missing");
        assert!(!list(3, &[("a", 1, 1), ("b/c", 2, 2)]), "a row is too old");
        assert!(!list(1, &[("a", 1, 1), ("b/c", 2, 2)]), "a row is too new");
        assert!(!list(2, &[("b/c", 2, 2), ("a", 1, 1)]), "out of order");
        assert!(!list(2, &[("a", 1, 1), ("a", 1, 1), ("b/c", 2, 2)]), "twice");
        assert!(!list(9, &[("b/c", 2, 2)]), "never reached");
    }

    #[test]
    fn local_gets() {
        let get = |answer| check(get_call("a", Consistency::Local), answer);
        assert!(get(value(1, 1)));
        assert!(get(Answer::Value(None)));
        assert!(!get(value(1, 2)));
    }
}
