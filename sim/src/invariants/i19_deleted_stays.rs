//! I-19: a deleted topic never comes back without a newer write.
//!
//! Whoever is known to have reached a revision at or after the delete must not see a value from before it: lists, reads with
//! `at_least`, subscribers after what they were sent before, and nodes in the end. And a late write with a timestamp older
//! than the delete must not be taken.

use std::collections::BTreeMap;

use crate::history::{Answer, Call, Consistency, Finished, History, Invariant, Time, Violation};
use crate::model::{Outcome, Replay, What};

const ID: &str = "I-19";

/// See the module.
#[derive(Debug)]
pub(super) struct DeletedStays;

/// A value of a topic that somebody saw.
struct Sighting<'a> {
    at: Time,
    topic: &'a str,
    /// Of the value.
    revision: u64,
    /// Who saw it had reached this revision.
    reached: u64,
    who: String,
}

impl Invariant for DeletedStays {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let deletes = match finished.replay {
            Some(replay) => deletes_of_log(replay),
            None => deletes_of_answers(finished.history),
        };
        for sighting in sightings(finished) {
            let of_topic = deletes.get(sighting.topic).map_or(&[][..], Vec::as_slice);
            let between = |delete: &&u64| sighting.revision < **delete && **delete <= sighting.reached;
            if let Some(delete) = of_topic.iter().find(between) {
                return Err(Violation {
                    invariant: ID,
                    at: sighting.at,
                    message: format!(
                        "{} showed {} of revision {} when it had reached {}, although it was deleted at {delete}",
                        sighting.who, sighting.topic, sighting.revision, sighting.reached
                    ),
                });
            }
        }
        match finished.replay {
            Some(replay) => late_writes(finished.history, replay),
            None => Ok(()),
        }
    }
}

fn deletes_of_log(replay: &Replay) -> BTreeMap<&str, Vec<u64>> {
    let mut deletes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for change in replay.changes() {
        if matches!(change.what, What::Delete { .. } | What::Expired { .. }) {
            deletes.entry(&change.topic).or_default().push(change.revision);
        }
    }
    deletes
}

fn deletes_of_answers(history: &History) -> BTreeMap<&str, Vec<u64>> {
    let mut deletes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for operation in &history.operations {
        if let (Call::Delete { topic, .. }, Some(revision)) = (&operation.call, operation.effect_revision()) {
            deletes.entry(topic).or_default().push(revision);
        }
    }
    deletes
}

fn sightings<'a>(finished: &Finished<'a>) -> Vec<Sighting<'a>> {
    let mut sightings = Vec::new();
    for operation in &finished.history.operations {
        let at = operation.returned_at.unwrap_or(operation.invoked_at);
        let mut see = |topic: &'a str, revision, reached| {
            sightings.push(Sighting {
                at,
                topic,
                revision,
                reached,
                who: format!("{} at node {}", operation.call, operation.node),
            });
        };
        match (&operation.call, &operation.answer) {
            (_, Some(Answer::Rows { revision, rows })) => {
                rows.iter()
                    .for_each(|(topic, seen)| see(topic, seen.revision, *revision));
            }
            (Call::Get { topic, consistency }, Some(Answer::Value(Some(seen)))) => {
                let reached = match consistency {
                    Consistency::AtLeast(floor) => *floor,
                    Consistency::Linearizable | Consistency::Local => seen.revision,
                };
                see(topic, seen.revision, reached);
            }
            _ => {}
        }
    }
    for subscription in &finished.history.subscriptions {
        // Retained messages are all of one moment, live ones in order.
        let Some((_, granted)) = subscription.granted else {
            continue;
        };
        let mut reached = granted.max(subscription.marker.map_or(0, |(_, revision)| revision));
        if !subscription.resets.is_empty() && subscription.marker.is_none() {
            reached = granted;
        }
        for delivery in &subscription.deliveries {
            let Some(revision) = delivery.revision else { continue };
            if delivery.serial.is_some() {
                // What a replay showed before it began anew may be older than the new moment.
                let reached = match subscription.resets.is_empty() {
                    true => reached,
                    false => revision.max(granted),
                };
                sightings.push(Sighting {
                    at: delivery.at,
                    topic: &delivery.topic,
                    revision,
                    reached,
                    who: format!(
                        "client {}'s subscription of {} at node {}",
                        subscription.client, subscription.filter, subscription.node
                    ),
                });
            }
            reached = reached.max(revision);
        }
    }
    for node in finished.nodes {
        for (topic, seen) in node.topics.iter().flatten() {
            sightings.push(Sighting {
                at: finished.at,
                topic,
                revision: seen.revision,
                reached: node.revision,
                who: format!("node {} in the end", node.node),
            });
        }
    }
    sightings
}

/// A write that came after a delete with a newer timestamp is not taken.
fn late_writes(history: &History, replay: &Replay) -> Result<(), Violation> {
    let decisions = replay.decisions_by_serial();
    for operation in &history.operations {
        let (
            Some(serial),
            Some(Answer::Written {
                revision,
                superseded_by: None,
            }),
        ) = (operation.call.serial(), &operation.answer)
        else {
            continue;
        };
        let of_serial = decisions.get(&serial).map_or(&[][..], Vec::as_slice);
        let delete = |winner: u64| {
            replay.changes_at(winner).iter().any(|change| {
                Some(change.topic.as_str()) == operation.call.topic()
                    && matches!(change.what, What::Delete { .. } | What::Expired { .. })
            })
        };
        let lost = of_serial.iter().find_map(|decision| match decision.outcome {
            Outcome::Superseded { winner } if delete(winner) => Some(winner),
            _ => None,
        });
        let was_taken = of_serial
            .iter()
            .any(|decision| matches!(decision.outcome, Outcome::Done { .. } | Outcome::Unchanged { .. }));
        if let (Some(winner), false) = (lost, was_taken) {
            return Err(Violation {
                invariant: ID,
                at: operation.returned_at.unwrap_or(operation.invoked_at),
                message: format!(
                    "{} was taken at revision {revision}, although it is older than the delete at {winner}",
                    operation.call
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use banyan_core::command::Put;

    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, delete, put};

    /// Revision 1 writes `a`, revision 2 deletes it, revision 3 writes `b`.
    fn run() -> Run {
        let mut run = Run::new();
        run.log.batch(&[
            put("a", 1).into_operation(),
            delete("a").into_operation(),
            put("b", 2).into_operation(),
        ]);
        run.operation(delete_call("a"), 0, 1, Answer::Deleted { revision: Some(2) });
        run.converge();
        run
    }

    fn check(run: &Run) -> [bool; 2] {
        [
            run.finish(&mut DeletedStays).is_ok(),
            run.finish_without_log(&mut DeletedStays).is_ok(),
        ]
    }

    fn with_list(revision: u64) -> Run {
        let mut run = run();
        let rows = vec![("a".to_owned(), seen(1, 1))];
        run.operation(
            list_call("#", Consistency::Local),
            0,
            1,
            Answer::Rows { revision, rows },
        );
        run
    }

    #[test]
    fn lists_before_and_after_the_delete() {
        assert_eq!(check(&with_list(1)), [true, true]);
        assert_eq!(check(&with_list(2)), [false, false]);
        let mut run = run();
        run.operation(get_call("a", Consistency::AtLeast(3)), 0, 1, value(1, 1));
        assert_eq!(check(&run), [false, false]);
    }

    #[test]
    fn subscribers_that_are_past_the_delete() {
        let mut run = run();
        run.subscription("#", 0).deliveries = vec![
            delivery(11, "a", 1, 1),
            delivery(12, "a", 0, 2),
            delivery(13, "b", 2, 3),
        ];
        assert_eq!(check(&run), [true, true]);
        run.history.subscriptions[0].deliveries.push(delivery(14, "a", 1, 1));
        assert_eq!(check(&run), [false, false]);
        run.history.subscriptions[0].deliveries.remove(0);
        run.history.subscriptions[0].granted = Some((10, 2));
        assert_eq!(check(&run), [false, false]);
    }

    #[test]
    fn nodes_in_the_end() {
        let mut run = run();
        run.nodes[0].topics.as_mut().unwrap().insert("a".to_owned(), seen(1, 1));
        assert_eq!(check(&run), [false, false]);
    }

    #[test]
    fn a_late_write_is_taken() {
        let mut run = run();
        let late = Put {
            timestamp_us: Some(5),
            ..put("a", 3)
        };
        run.log.batch(&[late.into_operation()]);
        run.operation(
            put_call("a", 3),
            0,
            1,
            Answer::Written {
                revision: 2,
                superseded_by: Some(2),
            },
        );
        assert_eq!(check(&run), [true, true]);
        run.operation(put_call("a", 3), 0, 1, written(4));
        assert_eq!(check(&run), [false, true]);
    }
}
