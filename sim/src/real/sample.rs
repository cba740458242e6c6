//! The black-box search for linearizability, on what of a long run it can decide.
//!
//! Requests of unknown fate may take effect at any time, which makes the search grow without end. What became of a write with
//! a serial the committed log tells, so it is filled in: it took effect before anybody was told of a later one, or never.
//! What stays unknown are deletes; topics with many of them are left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::history::{Answer, Call, Consistency, History, Operation, Serial, Time, Violation};
use crate::linearizability::black_box;
use crate::model::{Outcome, Replay, Request, matches};

/// Steps after which the search of one topic is given up.
const STEPS_MAX: u64 = 500_000;
/// Topics with more requests of unknown fate are left out.
const UNKNOWN_MAX: usize = 5;

/// What the search came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sampled {
    /// Topics that were decided.
    pub(super) decided: usize,
    /// Topics that were left out.
    pub(super) left_out: usize,
    /// Requests of the topics that were decided.
    pub(super) requests: usize,
}

/// Searches topic by topic.
///
/// # Errors
/// The first topic whose answers no order explains, or whose search was given up.
pub(super) fn search(history: &History, replay: &Replay, ended_at: Time) -> Result<Sampled, Violation> {
    let operations = filled(history, replay, ended_at);
    let topics: BTreeSet<&str> = operations
        .iter()
        .filter_map(|operation| operation.call.topic())
        .collect();
    let mut sampled = Sampled::default();
    for topic in topics {
        let operations: Vec<Operation> = operations
            .iter()
            .filter_map(|operation| of_topic(operation, topic))
            .collect();
        let unknown = operations.iter().filter(|operation| operation.is_unknown()).count();
        if unknown > UNKNOWN_MAX {
            sampled.left_out += 1;
            continue;
        }
        sampled.decided += 1;
        sampled.requests += operations.len();
        let history = History {
            operations,
            ..History::default()
        };
        let violation = |(at, message)| Violation {
            invariant: "I-11",
            at,
            message,
        };
        // What is not known is not right.
        if black_box(&history, STEPS_MAX).map_err(violation)? > 0 {
            let at = history.operations.last().map_or(0, |operation| operation.invoked_at);
            let message = format!("whether its requests can be ordered is unknown after {STEPS_MAX} steps");
            return Err(violation((at, message)));
        }
    }
    Ok(sampled)
}

/// The requests, with what the log tells of those whose answer is unknown.
fn filled(history: &History, replay: &Replay, ended_at: Time) -> Vec<Operation> {
    let told = Told::new(history, ended_at);
    let mut effects = unclaimed_effects(history, replay);
    let mut operations = Vec::new();
    for operation in &history.operations {
        let Some(serial) = operation.call.serial().filter(|_| operation.is_unknown()) else {
            operations.push(operation.clone());
            continue;
        };
        // What never took effect need not be explained.
        if let Some(revision) = effects.get_mut(&serial).and_then(VecDeque::pop_front) {
            operations.push(Operation {
                returned_at: Some(told.after(revision).max(operation.invoked_at)),
                answer: Some(Answer::Written {
                    revision,
                    superseded_by: None,
                }),
                ..operation.clone()
            });
        }
    }
    operations
}

/// The revisions of puts in the log that no acknowledgement names, by serial, ascending: what is sent again takes effect
/// after what it repeats.
fn unclaimed_effects(history: &History, replay: &Replay) -> BTreeMap<Serial, VecDeque<u64>> {
    let claimed: BTreeSet<(Serial, u64)> = history
        .operations
        .iter()
        .filter_map(|operation| Some((operation.call.serial()?, operation.effect_revision()?)))
        .collect();
    let mut effects: BTreeMap<Serial, VecDeque<u64>> = BTreeMap::new();
    for decision in replay.decisions() {
        if let (Request::Put(write), Outcome::Done { revision }) = (&decision.request, decision.outcome)
            && let Some(serial) = write.serial
            && !claimed.contains(&(serial, revision))
        {
            effects.entry(serial).or_default().push_back(revision);
        }
    }
    effects
}

/// When clients were told of revisions.
struct Told {
    /// Revisions, ascending, with the first time at which anybody was told of this or a later one.
    first: Vec<(u64, Time)>,
    ended_at: Time,
}

impl Told {
    fn new(history: &History, ended_at: Time) -> Self {
        let mut first: Vec<(u64, Time)> = history
            .operations
            .iter()
            .filter_map(|operation| Some((operation.effect_revision()?, operation.returned_at?)))
            .collect();
        first.sort_unstable();
        let mut earliest = ended_at;
        for (_, at) in first.iter_mut().rev() {
            earliest = earliest.min(*at);
            *at = earliest;
        }
        Self { first, ended_at }
    }

    /// When somebody was first told of a revision after `revision`.
    fn after(&self, revision: u64) -> Time {
        let place = self.first.partition_point(|(told, _)| *told <= revision);
        self.first.get(place).map_or(self.ended_at, |(_, at)| *at)
    }
}

/// `operation` as far as it concerns `topic`.
fn of_topic(operation: &Operation, topic: &str) -> Option<Operation> {
    match (&operation.call, &operation.answer) {
        (Call::DeleteFilter { filter }, _) => matches(filter, topic).then(|| operation.clone()),
        (Call::List { filter, consistency }, Some(Answer::Rows { rows, .. })) => {
            let is_comparable = *consistency == Consistency::Linearizable && matches(filter, topic);
            let row = rows.iter().find(|(name, _)| name == topic);
            is_comparable.then(|| Operation {
                call: Call::Get {
                    topic: topic.to_owned(),
                    consistency: Consistency::Linearizable,
                },
                answer: Some(Answer::Value(row.map(|(_, seen)| *seen))),
                ..operation.clone()
            })
        }
        (Call::List { .. }, _) => None,
        (call, _) => {
            (call.topic() == Some(topic) && !(call.is_read() && operation.is_unknown())).then(|| operation.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Condition, Seen, Transport};
    use crate::model::testing::{IntoOperation, LogBuilder, put};

    fn operation(invoked_at: Time, call: Call, answer: Option<Answer>) -> Operation {
        Operation {
            client: 1,
            node: 1,
            transport: Transport::Http,
            call,
            invoked_at,
            returned_at: answer.is_some().then_some(invoked_at + 5),
            answer,
        }
    }

    fn put_call(counter: u32) -> Call {
        Call::Put {
            topic: "a".to_owned(),
            serial: Serial { client: 1, counter },
            timestamp_us: None,
            condition: Condition::None,
            expiry_s: None,
        }
    }

    fn written(revision: u64) -> Option<Answer> {
        Some(Answer::Written {
            revision,
            superseded_by: None,
        })
    }

    fn read(counter: u32, revision: u64) -> Option<Answer> {
        let serial = Some(Serial { client: 1, counter });
        Some(Answer::Value(Some(Seen { serial, revision })))
    }

    /// A write of unknown fate, one that was acknowledged after it, and a read at the end.
    fn check(last: Option<Answer>) -> Result<Sampled, Violation> {
        let mut log = LogBuilder::new();
        log.batch(&[put("a", 1).into_operation(), put("a", 2).into_operation()]);
        let replay = Replay::of(&log.log).unwrap();
        let get = Call::Get {
            topic: "a".to_owned(),
            consistency: Consistency::Linearizable,
        };
        let history = History {
            operations: vec![
                operation(0, put_call(1), None),
                operation(10, put_call(2), written(2)),
                operation(20, put_call(3), None),
                operation(30, get, last),
            ],
            ..History::default()
        };
        search(&history, &replay, 100)
    }

    #[test]
    fn the_log_tells_what_became_of_unknown_writes() {
        let sampled = check(read(2, 2)).unwrap();
        assert_eq!(
            (sampled.decided, sampled.requests),
            (1, 3),
            "the write that is not in the log is left out"
        );
        check(read(1, 1)).unwrap_err();
        check(read(3, 3)).unwrap_err();
    }
}
