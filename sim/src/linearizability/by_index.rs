//! Against the log, whose order is the order of the requests.
//!
//! - A write takes effect above everything that anybody had seen before it was sent.
//! - A linearizable read shows a state that is not below what anybody had seen before it was sent, and not above the first
//!   write that was sent after it had returned.
//! - A write that changed nothing (superseded, condition failed, nothing to delete) found a state of that kind.

use std::collections::BTreeMap;

use super::Floors;
use crate::history::{Answer, Call, Condition, Consistency, History, Operation, Seen, Time};
use crate::model::{Change, Replay, held_within, matches};

/// Holds every answer against the log.
///
/// # Errors
/// When and what contradicts the order of the log.
pub fn by_index(history: &History, replay: &Replay) -> Result<(), (Time, String)> {
    let check = Check {
        floors: Floors::of(history),
        ceilings: Ceilings::of(history),
        histories: replay.topic_histories(),
        last_revision: replay.last_revision(),
    };
    for operation in &history.operations {
        if let Some(wrong) = check.operation(operation) {
            let at = operation.returned_at.unwrap_or(operation.invoked_at);
            let answer = operation.answer.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err((
                at,
                format!(
                    "{} at node {} was answered `{answer}`: {wrong}",
                    operation.call, operation.node
                ),
            ));
        }
    }
    Ok(())
}

struct Check<'a> {
    floors: Floors,
    ceilings: Ceilings,
    histories: BTreeMap<&'a str, Vec<&'a Change>>,
    last_revision: u64,
}

impl Check<'_> {
    fn operation(&self, operation: &Operation) -> Option<String> {
        let (answer, returned_at) = (operation.answer.as_ref()?, operation.returned_at?);
        let floor = self.floors.before(operation.invoked_at);
        if let Some(revision) = operation.effect_revision() {
            // A write that is sent again with the same timestamp is answered with the revision of the first.
            let may_be_old = matches!(
                operation.call,
                Call::Put {
                    timestamp_us: Some(_),
                    ..
                } | Call::Delete {
                    timestamp_us: Some(_),
                    ..
                }
            );
            let is_old = revision <= floor && !may_be_old;
            return is_old.then(|| format!("revision {floor} had been seen before it was sent"));
        }
        let ceiling = self.ceilings.after(returned_at).min(self.last_revision);
        match (&operation.call, answer) {
            (
                Call::Get {
                    topic,
                    consistency: Consistency::Linearizable,
                },
                Answer::Value(seen),
            ) => self.shows(topic, *seen, floor, ceiling),
            (
                Call::List {
                    consistency: Consistency::Linearizable,
                    ..
                },
                Answer::Rows { revision, .. },
            ) => outside(*revision, floor, ceiling),
            (
                Call::Put { topic, condition, .. } | Call::Delete { topic, condition, .. },
                Answer::ConditionFailed { current },
            ) => {
                // A met condition may fail too, if there was a timestamp.
                self.had_revision(topic, *current, floor, ceiling)
                    .or_else(|| self.condition_was_met(operation, *condition, *current))
            }
            (
                Call::Put { topic, .. },
                Answer::Written {
                    superseded_by: Some(winner),
                    ..
                },
            ) => self.stood(topic, *winner, floor, ceiling),
            (
                Call::Delete {
                    topic,
                    timestamp_us: None,
                    ..
                },
                Answer::Deleted { revision: None },
            ) => self.shows(topic, None, floor, ceiling),
            (Call::DeleteFilter { filter }, Answer::Deleted { revision: None }) => {
                let topics = self.histories.keys().filter(|topic| matches(filter, topic));
                topics
                    .into_iter()
                    .find_map(|topic| self.shows(topic, None, floor, ceiling))
            }
            _ => None,
        }
    }

    fn history(&self, topic: &str) -> &[&Change] {
        self.histories.get(topic).map_or(&[][..], Vec::as_slice)
    }

    /// The topic held `seen` at some revision from `floor` to `ceiling`.
    fn shows(&self, topic: &str, seen: Option<Seen>, floor: u64, ceiling: u64) -> Option<String> {
        let held = held_within(self.history(topic), seen, floor, ceiling);
        (!held).then(|| format!("the topic held no such value at any revision from {floor} to {ceiling}"))
    }

    /// The topic's value had revision `current` (0: none) at some revision from `floor` to `ceiling`.
    fn had_revision(&self, topic: &str, current: u64, floor: u64, ceiling: u64) -> Option<String> {
        let change = self.history(topic).iter().find(|change| change.revision == current);
        let seen = change.and_then(|change| crate::model::seen(change));
        if current > 0 && seen.is_none() {
            return Some(format!("revision {current} never was a value of the topic"));
        }
        self.shows(topic, seen, floor, ceiling)
    }

    fn condition_was_met(&self, operation: &Operation, condition: Condition, current: u64) -> Option<String> {
        let has_timestamp = matches!(
            operation.call,
            Call::Put {
                timestamp_us: Some(_),
                ..
            } | Call::Delete {
                timestamp_us: Some(_),
                ..
            }
        );
        let met = condition.is_met((current > 0).then_some(current));
        (met && !has_timestamp).then(|| "the condition was met".to_owned())
    }

    /// What revision `winner` made of the topic stood at some revision from `floor` to `ceiling`.
    fn stood(&self, topic: &str, winner: u64, floor: u64, ceiling: u64) -> Option<String> {
        let history = self.history(topic);
        let place = history.iter().position(|change| change.revision == winner);
        let Some(place) = place else {
            return Some(format!("revision {winner} never changed the topic"));
        };
        let end = history.get(place + 1).map_or(u64::MAX, |next| next.revision - 1);
        (winner > ceiling || end < floor)
            .then(|| format!("revision {winner} did not stand at any revision from {floor} to {ceiling}"))
    }
}

fn outside(revision: u64, floor: u64, ceiling: u64) -> Option<String> {
    (revision < floor || revision > ceiling)
        .then(|| format!("a linearizable read shows a revision from {floor} to {ceiling} here"))
}

/// Revisions of writes by the time they were sent: whoever had returned before cannot have seen them.
struct Ceilings {
    /// By time: the least revision of all writes sent at that time or later.
    steps: Vec<(Time, u64)>,
}

impl Ceilings {
    fn of(history: &History) -> Self {
        let mut sent: Vec<(Time, u64)> = history
            .operations
            .iter()
            // What is sent again may be answered with the revision of an earlier attempt.
            .filter(|operation| {
                !matches!(
                    operation.call,
                    Call::Put {
                        timestamp_us: Some(_),
                        ..
                    } | Call::Delete {
                        timestamp_us: Some(_),
                        ..
                    }
                )
            })
            .filter_map(|operation| Some((operation.invoked_at, operation.effect_revision()?)))
            .collect();
        sent.sort_unstable();
        let mut least = u64::MAX;
        for (_, revision) in sent.iter_mut().rev() {
            least = least.min(*revision);
            *revision = least;
        }
        Self { steps: sent }
    }

    /// The greatest revision that can have been there at `at`.
    fn after(&self, at: Time) -> u64 {
        let place = self.steps.partition_point(|(time, _)| *time <= at);
        self.steps.get(place).map_or(u64::MAX, |(_, revision)| revision - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Serial, Transport};
    use crate::model::testing::{IntoOperation, LogBuilder, delete, put};

    /// `a` is written at 1 and 2 and deleted at 3; `b` is written at 4.
    fn replay() -> Replay {
        let mut log = LogBuilder::new();
        log.batch(&[put("a", 1).into_operation(), put("a", 2).into_operation()]);
        log.batch(&[delete("a").into_operation(), put("b", 3).into_operation()]);
        Replay::of(&log.log).unwrap()
    }

    fn put_call(topic: &str, counter: u32, condition: Condition) -> Call {
        Call::Put {
            topic: topic.to_owned(),
            serial: Serial { client: 1, counter },
            timestamp_us: None,
            condition,
            expiry_s: None,
        }
    }

    fn get(consistency: Consistency) -> Call {
        Call::Get {
            topic: "a".to_owned(),
            consistency,
        }
    }

    fn written(revision: u64) -> Answer {
        Answer::Written {
            revision,
            superseded_by: None,
        }
    }

    fn value(counter: u32, revision: u64) -> Answer {
        Answer::Value(Some(Seen {
            serial: Some(Serial { client: 1, counter }),
            revision,
        }))
    }

    fn check(operations: &[(Time, Time, Call, Answer)]) -> bool {
        let operations = operations.iter().map(|(from, to, call, answer)| Operation {
            client: 1,
            node: 1,
            transport: Transport::Http,
            call: call.clone(),
            invoked_at: *from,
            returned_at: Some(*to),
            answer: Some(answer.clone()),
        });
        let history = History {
            operations: operations.collect(),
            ..History::default()
        };
        by_index(&history, &replay()).is_ok()
    }

    fn plain(topic: &str, counter: u32) -> Call {
        put_call(topic, counter, Condition::None)
    }

    #[test]
    fn writes_keep_real_time() {
        let one = |from, to| (from, to, plain("a", 1), written(1));
        let two = |from, to| (from, to, plain("a", 2), written(2));
        assert!(check(&[one(0, 1), two(2, 3)]));
        assert!(check(&[two(0, 3), one(2, 5)]));
        assert!(!check(&[two(0, 1), one(2, 3)]));
        // What a local read showed counts.
        assert!(!check(&[(0, 1, get(Consistency::Local), value(2, 2)), one(2, 3)]));
    }

    #[test]
    fn linearizable_reads_are_fresh() {
        let write = (0, 1, plain("a", 2), written(2));
        let read = |answer| (2, 3, get(Consistency::Linearizable), answer);
        assert!(check(&[write.clone(), read(value(2, 2))]));
        assert!(check(&[write.clone(), read(Answer::Value(None))]), "deleted meanwhile");
        assert!(!check(&[write.clone(), read(value(1, 1))]));
        assert!(check(&[write, (2, 3, get(Consistency::Local), value(1, 1))]));
        // Above what was sent after it had returned nothing can be seen.
        let later = (9, 10, plain("a", 2), written(2));
        assert!(!check(&[read(value(2, 2)), later.clone()]));
        assert!(!check(&[
            read(Answer::Value(None)),
            (0, 1, plain("a", 1), written(1)),
            later
        ]));
    }

    #[test]
    fn lists_are_fresh() {
        let list = |revision| {
            let call = Call::List {
                filter: "#".to_owned(),
                consistency: Consistency::Linearizable,
            };
            let rows = Vec::new();
            (2, 3, call, Answer::Rows { revision, rows })
        };
        let write = (0, 1, plain("a", 2), written(2));
        assert!(check(&[write.clone(), list(2)]));
        assert!(!check(&[write, list(1)]));
        assert!(!check(&[list(9)]));
    }

    #[test]
    fn failed_conditions_found_what_they_say() {
        let failed = |condition, current| (2, 3, put_call("a", 9, condition), Answer::ConditionFailed { current });
        let write = (0, 1, plain("a", 2), written(2));
        assert!(check(&[failed(Condition::Absent, 1)]));
        assert!(
            !check(&[write.clone(), failed(Condition::Absent, 1)]),
            "it was overwritten"
        );
        assert!(
            check(&[write.clone(), failed(Condition::Present, 0)]),
            "deleted meanwhile"
        );
        assert!(!check(&[failed(Condition::Present, 2)]), "it was met");
        assert!(!check(&[failed(Condition::Absent, 4)]), "of another topic");
    }

    #[test]
    fn what_was_superseded_or_missing() {
        let superseded = |winner| {
            let answer = Answer::Written {
                revision: winner,
                superseded_by: Some(winner),
            };
            (2, 3, plain("a", 9), answer)
        };
        let write = (0, 1, plain("a", 2), written(2));
        assert!(check(&[write.clone(), superseded(3)]));
        assert!(!check(&[write.clone(), superseded(1)]));
        let missing = |topic: &str| {
            let call = Call::Delete {
                topic: topic.to_owned(),
                timestamp_us: None,
                condition: Condition::None,
            };
            (2, 3, call, Answer::Deleted { revision: None })
        };
        assert!(check(&[write.clone(), missing("a")]));
        let read = (0, 1, plain("b", 3), written(4));
        assert!(!check(&[read.clone(), missing("b")]));
        let filter = Call::DeleteFilter { filter: "#".to_owned() };
        assert!(!check(&[read, (2, 3, filter, Answer::Deleted { revision: None })]));
    }
}
