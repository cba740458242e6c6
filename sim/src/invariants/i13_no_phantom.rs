//! I-13: every value that is seen was written by somebody, with the topic and at the revision that was seen; and what a
//! client was told about its write is what the log made of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Call, Finished, History, Invariant, Operation, Seen, Serial, Time, Violation};
use crate::model::{Decision, Outcome, Replay, Request};

const ID: &str = "I-13";

/// See the module.
#[derive(Debug)]
pub(super) struct NoPhantom;

impl Invariant for NoPhantom {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let attempts: BTreeSet<(&str, Serial)> = finished
            .history
            .operations
            .iter()
            .filter_map(|operation| Some((operation.call.topic()?, operation.call.serial()?)))
            .chain(finished.history.wills.iter().map(|(topic, serial)| (&**topic, *serial)))
            .collect();
        // Without a log, what was seen first is what is true.
        let mut first_seen = BTreeMap::new();
        for (at, topic, seen) in sightings(finished.history) {
            let wrong = match seen.serial {
                Some(serial) if !attempts.contains(&(topic, serial)) => Some("nobody wrote there"),
                _ => match finished.replay {
                    Some(replay) => (!is_in_log(replay, topic, seen)).then_some("the log does not have there"),
                    None => (*first_seen.entry((topic, seen.revision)).or_insert(seen.serial) != seen.serial)
                        .then_some("was another value before"),
                },
            };
            if let Some(wrong) = wrong {
                let serial = seen
                    .serial
                    .map_or_else(|| "a value".to_owned(), |serial| serial.to_string());
                return violation(
                    at,
                    format!("{topic} showed {serial} of revision {}, which {wrong}", seen.revision),
                );
            }
        }
        match finished.replay {
            Some(replay) => {
                attempted(replay, &attempts, finished.at)?;
                answers_are_outcomes(finished.history, replay)
            }
            None => Ok(()),
        }
    }
}

fn violation(at: Time, message: String) -> Result<(), Violation> {
    Err(Violation {
        invariant: ID,
        at,
        message,
    })
}

/// Every value of a topic that a client saw.
fn sightings(history: &History) -> impl Iterator<Item = (Time, &str, Seen)> {
    let answers = history.operations.iter().flat_map(|operation| {
        let at = operation.returned_at.unwrap_or(operation.invoked_at);
        let seen: Vec<(&str, Seen)> = match (&operation.call, &operation.answer) {
            (Call::Get { topic, .. }, Some(Answer::Value(Some(seen)))) => vec![(topic, *seen)],
            (_, Some(Answer::Rows { rows, .. })) => rows.iter().map(|(topic, seen)| (topic.as_str(), *seen)).collect(),
            _ => Vec::new(),
        };
        seen.into_iter().map(move |(topic, seen)| (at, topic, seen))
    });
    let deliveries = history.subscriptions.iter().flat_map(|subscription| {
        let values = subscription
            .deliveries
            .iter()
            .filter(|delivery| delivery.serial.is_some());
        values.filter_map(|delivery| {
            let seen = Seen {
                serial: delivery.serial,
                revision: delivery.revision?,
            };
            Some((delivery.at, delivery.topic.as_str(), seen))
        })
    });
    answers.chain(deliveries)
}

fn is_in_log(replay: &Replay, topic: &str, seen: Seen) -> bool {
    let mut changes = replay.changes_at(seen.revision).iter();
    changes.any(|change| change.topic == topic && change.serial() == seen.serial)
}

/// Every write in the log was asked for by a client.
fn attempted(replay: &Replay, attempts: &BTreeSet<(&str, Serial)>, at: Time) -> Result<(), Violation> {
    for decision in replay.decisions() {
        let (Request::Put(crate::model::Write { topic, .. }) | Request::Event { topic, .. }) = &decision.request else {
            continue;
        };
        let serial = decision.request.serial();
        if !serial.is_some_and(|serial| attempts.contains(&(topic.as_str(), serial))) {
            return violation(
                at,
                format!(
                    "log index {} holds a write of {topic} that no client made",
                    decision.index
                ),
            );
        }
    }
    Ok(())
}

/// A put's answer is one of the outcomes that the log has for its serial. Which attempt is which cannot be told.
fn answers_are_outcomes(history: &History, replay: &Replay) -> Result<(), Violation> {
    let decisions = replay.decisions_by_serial();
    for operation in &history.operations {
        let (Some(serial), Some(answer)) = (operation.call.serial(), &operation.answer) else {
            continue;
        };
        if !answer.is_certain() {
            continue;
        }
        let of_serial = decisions.get(&serial).map_or(&[][..], Vec::as_slice);
        if !of_serial.iter().any(|decision| agrees(operation, answer, decision)) {
            let outcomes: Vec<_> = of_serial.iter().map(|decision| decision.outcome).collect();
            return violation(
                operation.returned_at.unwrap_or(operation.invoked_at),
                format!(
                    "{} was answered `{answer}`, and the log made of it {outcomes:?}",
                    operation.call
                ),
            );
        }
    }
    Ok(())
}

fn agrees(operation: &Operation, answer: &Answer, decision: &Decision) -> bool {
    match (answer, decision.outcome) {
        (
            Answer::Written {
                revision,
                superseded_by: None,
            },
            Outcome::Done { revision: told } | Outcome::Unchanged { revision: told },
        ) => *revision == told,
        (
            Answer::Written {
                superseded_by: Some(winner),
                ..
            },
            Outcome::Superseded { winner: told },
        ) => *winner == told,
        (Answer::ConditionFailed { current }, Outcome::ConditionFailed { current: told }) => *current == told,
        (Answer::Event { revision }, Outcome::Done { revision: told }) => {
            revision.is_none_or(|revision| revision == told)
        }
        _ => !matches!(operation.call, Call::Put { .. } | Call::Event { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::Consistency;
    use crate::model::testing::{IntoOperation, put};

    fn run() -> Run {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("b", 2).into_operation()]);
        run.operation(put_call("a", 1), 0, 1, written(1));
        run.operation(put_call("b", 2), 0, 1, unknown());
        run
    }

    fn check(run: &Run) -> [bool; 2] {
        [
            run.finish(&mut NoPhantom).is_ok(),
            run.finish_without_log(&mut NoPhantom).is_ok(),
        ]
    }

    #[test]
    fn what_was_written_may_be_seen() {
        let mut run = run();
        run.operation(get_call("b", Consistency::Local), 2, 3, value(2, 2));
        run.subscription("#", 0).deliveries = vec![delivery(11, "a", 1, 1), delivery(12, "b", 2, 2)];
        assert_eq!(check(&run), [true, true]);
    }

    #[test]
    fn what_nobody_wrote() {
        let mut run = run();
        run.operation(get_call("b", Consistency::Local), 2, 3, value(1, 1));
        assert_eq!(check(&run), [false, false]);
    }

    #[test]
    fn what_was_written_elsewhere_in_the_log() {
        let mut run = run();
        run.operation(get_call("a", Consistency::Local), 2, 3, value(1, 2));
        assert_eq!(check(&run), [false, true]);
        let mut run = self::run();
        run.subscription("#", 0).deliveries = vec![delivery(11, "a", 1, 2)];
        assert_eq!(check(&run), [false, true]);
    }

    #[test]
    fn one_revision_shows_two_values() {
        let mut run = run();
        run.operation(put_call("a", 3), 0, 1, unknown());
        run.operation(get_call("a", Consistency::Local), 2, 3, value(1, 1));
        assert_eq!(check(&run), [true, true]);
        run.operation(get_call("a", Consistency::Local), 2, 3, value(3, 1));
        assert_eq!(check(&run), [false, false]);
    }

    #[test]
    fn the_log_has_what_nobody_asked_for() {
        let mut run = run();
        run.log.batch(&[put("c", 7).into_operation()]);
        assert_eq!(check(&run), [false, true]);
    }

    #[test]
    fn the_answer_is_not_the_outcome() {
        let mut run = run();
        run.history.operations[0].answer = Some(Answer::ConditionFailed { current: 4 });
        assert_eq!(check(&run), [false, true]);
    }
}
