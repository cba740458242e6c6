//! I-12: no acknowledged write is lost.
//!
//! With the log: it holds the write at exactly the acknowledged revision, and in the end every node holds exactly what the
//! log says. Without it: every topic holds the newest acknowledged value or something newer, or was deleted since.

use crate::history::{Answer, Call, FinalState, Finished, History, Invariant, Operation, Violation};
use crate::model::{Change, Replay, What, matches};

const ID: &str = "I-12";

/// See the module.
#[derive(Debug)]
pub(super) struct NothingLost;

impl Invariant for NothingLost {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        if let Some(replay) = finished.replay {
            for operation in &finished.history.operations {
                in_the_log(operation, replay)?;
            }
        }
        for node in finished.nodes {
            let lost = match finished.replay {
                Some(replay) => not_as_the_log_says(node, replay),
                None => not_as_acknowledged(node, finished.history),
            };
            if let Some(message) = lost {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message,
                });
            }
        }
        Ok(())
    }
}

/// What was acknowledged stands in the log at its revision.
fn in_the_log(operation: &Operation, replay: &Replay) -> Result<(), Violation> {
    let violation = |message| {
        Err(Violation {
            invariant: ID,
            at: operation.returned_at.unwrap_or(operation.invoked_at),
            message,
        })
    };
    if let (
        Call::Put { topic, .. },
        Some(Answer::Written {
            superseded_by: Some(winner),
            ..
        }),
    ) = (&operation.call, &operation.answer)
    {
        let stands = replay
            .changes_at(*winner)
            .iter()
            .any(|change| change.topic == *topic && change.is_state());
        if !stands {
            return violation(format!(
                "{} was answered with being superseded by revision {winner}, which changed no such topic",
                operation.call
            ));
        }
    }
    let Some(revision) = operation.effect_revision() else {
        return Ok(());
    };
    let changes = replay.changes_at(revision);
    if changes.iter().any(|change| is_effect(&operation.call, change)) {
        return Ok(());
    }
    let instead = match changes {
        [] => "nothing".to_owned(),
        [change, ..] => match change.serial() {
            Some(serial) => format!("{} = {serial}", change.topic),
            None => format!("a deletion of {}", change.topic),
        },
    };
    violation(format!(
        "{} was acknowledged by node {} with revision {revision}, where the committed log has {instead}",
        operation.call, operation.node
    ))
}

fn is_effect(call: &Call, change: &Change) -> bool {
    match (call, &change.what) {
        (Call::Put { topic, serial, .. }, What::Put { .. }) | (Call::Event { topic, serial }, What::Event { .. }) => {
            change.topic == *topic && change.serial() == Some(*serial)
        }
        (Call::Delete { topic, .. }, What::Delete { .. }) => change.topic == *topic,
        (Call::DeleteFilter { filter }, What::Delete { .. }) => matches(filter, &change.topic),
        _ => false,
    }
}

fn not_as_the_log_says(node: &FinalState, replay: &Replay) -> Option<String> {
    let (topics, applied) = (node.topics.as_ref()?, node.applied?);
    let expected = replay.topics_at(replay.revision_at_index(applied.index)?, "#");
    for (topic, seen) in &expected {
        match topics.get(*topic) {
            Some(held) if held == seen => {}
            Some(held) => {
                return Some(format!(
                    "node {} holds {topic} of revision {} in the end, and the log says {}",
                    node.node, held.revision, seen.revision
                ));
            }
            None => {
                return Some(format!(
                    "node {} lacks {topic} in the end, which the log has at revision {}",
                    node.node, seen.revision
                ));
            }
        }
    }
    let more = topics
        .keys()
        .find(|topic| !expected.contains_key(topic.as_str()) && !topic.starts_with('$'))?;
    Some(format!(
        "node {} holds {more} in the end, which the log does not have",
        node.node
    ))
}

fn not_as_acknowledged(node: &FinalState, history: &History) -> Option<String> {
    let topics = node.topics.as_ref()?;
    for operation in &history.operations {
        let (Call::Put { topic, .. }, Some(revision)) = (&operation.call, operation.effect_revision()) else {
            continue;
        };
        let held = topics.get(topic).map(|seen| seen.revision);
        let lost = match held {
            Some(held) => held < revision,
            None => !may_have_been_deleted(topic, revision, history),
        };
        if lost {
            let held = held.map_or_else(|| "nothing".to_owned(), |held| format!("revision {held}"));
            return Some(format!(
                "{} was acknowledged with revision {revision}, and node {} holds {held} in the end",
                operation.call, node.node
            ));
        }
    }
    None
}

/// Whether anything can have deleted `topic` after `revision`.
fn may_have_been_deleted(topic: &str, revision: u64, history: &History) -> bool {
    history.operations.iter().any(|operation| match &operation.call {
        Call::Put {
            topic: other,
            expiry_s: Some(_),
            ..
        } => other == topic,
        Call::Delete { topic: other, .. } if other == topic => is_after(operation, revision),
        Call::DeleteFilter { filter } if matches(filter, topic) => is_after(operation, revision),
        _ => false,
    })
}

fn is_after(delete: &Operation, revision: u64) -> bool {
    match &delete.answer {
        Some(Answer::Deleted {
            revision: Some(deleted),
        }) => *deleted > revision,
        answer => answer
            .as_ref()
            .is_none_or(|answer| matches!(answer, Answer::Unknown(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, delete, event, put};

    fn run() -> Run {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("a", 2).into_operation()]);
        run.log.batch(&[
            put("b", 3).into_operation(),
            delete("b").into_operation(),
            event("e", 4),
        ]);
        run.converge();
        run
    }

    #[test]
    fn everything_is_there() {
        let mut run = run();
        run.operation(put_call("a", 1), 0, 1, written(1));
        run.operation(delete_call("b"), 0, 1, Answer::Deleted { revision: Some(4) });
        run.operation(put_call("b", 3), 0, 1, written(3));
        assert!(run.finish(&mut NothingLost).is_ok());
        assert!(run.finish_without_log(&mut NothingLost).is_ok());
    }

    #[test]
    fn acknowledged_and_not_in_the_log() {
        for revision in [1, 3, 99] {
            let mut run = run();
            run.operation(put_call("a", 2), 0, 1, written(revision));
            assert!(run.finish(&mut NothingLost).is_err(), "{revision}");
        }
        let mut run = run();
        run.operation(delete_call("a"), 0, 1, Answer::Deleted { revision: Some(4) });
        assert!(run.finish(&mut NothingLost).is_err());
    }

    #[test]
    fn superseded_by_what_is_not_there() {
        let superseded = |winner| Answer::Written {
            revision: winner,
            superseded_by: Some(winner),
        };
        for (winner, ok) in [(2, true), (4, false), (99, false)] {
            let mut run = run();
            run.operation(put_call("a", 9), 0, 1, superseded(winner));
            assert_eq!(run.finish(&mut NothingLost).is_ok(), ok, "{winner}");
        }
    }

    #[test]
    fn nodes_hold_something_else() {
        let mut lacks = run();
        lacks.nodes[1].topics.as_mut().unwrap().clear();
        let mut old = run();
        old.nodes[1].topics.as_mut().unwrap().insert("a".to_owned(), seen(1, 1));
        let mut more = run();
        more.nodes[1]
            .topics
            .as_mut()
            .unwrap()
            .insert("b".to_owned(), seen(3, 3));
        for run in [lacks, old, more] {
            assert!(run.finish(&mut NothingLost).is_err());
        }
    }

    #[test]
    fn without_a_log() {
        let mut run = run();
        run.operation(put_call("a", 2), 0, 1, written(2));
        run.nodes[1].topics.as_mut().unwrap().insert("a".to_owned(), seen(1, 1));
        assert!(run.finish_without_log(&mut NothingLost).is_err());
        run.nodes[1].topics.as_mut().unwrap().clear();
        assert!(run.finish_without_log(&mut NothingLost).is_err());
        run.operation(delete_call("a"), 0, 1, unknown());
        assert!(run.finish_without_log(&mut NothingLost).is_ok());
    }
}
