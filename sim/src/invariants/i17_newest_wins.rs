//! I-17: newest timestamp wins, whatever the order of arrival.
//!
//! Of all writes and deletes of a topic that were accepted, the greatest by (timestamp, value over delete, payload,
//! metadata) stands in the end; order of arrival takes no part. Writes without a timestamp count with the stamp that they
//! got. An expiry ends what was before it: its tombstone has the value's timestamp.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::{FinalState, Finished, Invariant, Serial, Violation};
use crate::model::{Outcome, Replay, Request, What};

const ID: &str = "I-17";

/// See the module.
#[derive(Debug)]
pub(super) struct NewestWins;

/// By this the members of a topic are ordered.
type Rank = (u64, bool, Bytes, Bytes);

impl Invariant for NewestWins {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let winners = winners(replay);
        let at_the_end = |node: &&FinalState| node.applied.map(|applied| applied.index) == replay.last_index();
        for node in finished.nodes.iter().filter(at_the_end) {
            let Some(topics) = &node.topics else { continue };
            for (topic, (timestamp_us, is_value, payload, _)) in &winners {
                let held = topics.get(topic).map(|seen| seen.serial);
                let wins = is_value.then(|| Serial::of_payload(payload));
                if held != wins {
                    return Err(Violation {
                        invariant: ID,
                        at: finished.at,
                        message: format!(
                            "node {} holds {} for {topic}, and the newest accepted is {} with timestamp {timestamp_us}",
                            node.node,
                            name(held),
                            name(wins)
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

fn name(value: Option<Option<Serial>>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(None) => "a foreign value".to_owned(),
        Some(Some(serial)) => serial.to_string(),
    }
}

/// The member of each topic that must stand in the end.
fn winners(replay: &Replay) -> BTreeMap<String, Rank> {
    let mut members: BTreeMap<String, Vec<Rank>> = BTreeMap::new();
    // Where a topic's delete was last forgotten: what came before it takes no part any more.
    let forgotten: BTreeMap<&str, u64> = replay
        .forgotten()
        .iter()
        .map(|(index, topic)| (&**topic, *index))
        .collect();
    let counts = |topic: &str, index: u64| forgotten.get(topic).is_none_or(|at| index > *at);
    // Revision of each topic's last expiry.
    let mut expired: BTreeMap<&str, u64> = BTreeMap::new();
    for change in replay.changes() {
        if let What::Expired { timestamp_us } = change.what
            && counts(&change.topic, change.index)
        {
            expired.insert(&change.topic, change.revision);
            let tombstone = (timestamp_us, false, Bytes::new(), Bytes::new());
            members.insert(change.topic.clone(), vec![tombstone]);
        }
    }
    let is_after_expiry = |topic: &str, revision: u64| expired.get(topic).is_none_or(|at| revision >= *at);
    for decision in replay.decisions() {
        let (write, is_value) = match &decision.request {
            Request::Put(write) => (write, true),
            Request::Delete(write) => (write, false),
            Request::DeleteFilter { .. } => {
                let Outcome::Done { revision } = decision.outcome else {
                    continue;
                };
                for change in replay.changes_at(revision) {
                    if let What::Delete { timestamp_us } = change.what
                        && is_after_expiry(&change.topic, decision.revision_before)
                        && counts(&change.topic, decision.index)
                    {
                        let delete = (timestamp_us, false, Bytes::new(), Bytes::new());
                        members.entry(change.topic.clone()).or_default().push(delete);
                    }
                }
                continue;
            }
            Request::Event { .. } => continue,
        };
        let is_accepted = matches!(
            decision.outcome,
            Outcome::Done { .. } | Outcome::Unchanged { .. } | Outcome::Superseded { .. }
        );
        if let (true, Some(timestamp_us)) = (is_accepted, decision.timestamp_us)
            && is_after_expiry(&write.topic, decision.revision_before)
            && counts(&write.topic, decision.index)
        {
            // The metadata of a delete are not kept.
            let metadata = if is_value { write.metadata.clone() } else { Bytes::new() };
            let rank = (timestamp_us, is_value, write.payload.clone(), metadata);
            members.entry(write.topic.clone()).or_default().push(rank);
        }
    }
    members
        .into_iter()
        .filter_map(|(topic, ranks)| Some((topic, ranks.into_iter().max()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use banyan_core::command::{Delete, Item, Put};
    use banyan_core::state::TombstoneBounds;

    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, START_US, delete, delete_filter, put};

    fn at(timestamp_us: u64, counter: u32) -> banyan_core::command::Operation {
        let put = Put {
            timestamp_us: Some(timestamp_us),
            ..put("a", counter)
        };
        put.into_operation()
    }

    /// The model agrees by itself; then a node holds another value.
    fn check(mut run: Run, other: u32) {
        run.converge();
        run.finish(&mut NewestWins).unwrap();
        let topics = run.nodes[1].topics.as_mut().unwrap();
        topics.insert("a".to_owned(), seen(other, 1));
        assert!(run.finish(&mut NewestWins).is_err());
        if run.nodes[0].topics.as_ref().unwrap().contains_key("a") {
            run.nodes[1].topics.as_mut().unwrap().clear();
            assert!(run.finish(&mut NewestWins).is_err());
        }
    }

    #[test]
    fn the_order_of_arrival_takes_no_part() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut run = Run::new();
            run.log.batch(&order.map(|counter| at(u64::from(counter), counter)));
            check(run, 2);
        }
    }

    #[test]
    fn stamps_deletes_and_filters_are_members() {
        let mut run = Run::new();
        run.log
            .batch(&[at(START_US + 4_000_000, 1), put("a", 2).into_operation(), at(5, 3)]);
        check(run, 1);
        let mut run = Run::new();
        let delete = Delete {
            timestamp_us: Some(9),
            ..delete("a")
        };
        run.log.batch(&[delete.into_operation(), at(8, 1)]);
        check(run, 1);
        let mut run = Run::new();
        run.log.batch(&[at(8, 1), delete_filter("#"), at(9, 2)]);
        check(run, 2);
    }

    #[test]
    fn what_came_before_a_forgotten_delete_takes_no_part() {
        let mut run = Run::new();
        run.settings.tombstone_bounds = TombstoneBounds {
            age_us: 0,
            revisions: 0,
        };
        run.log.batch(&[at(9, 1), delete("a").into_operation()]);
        run.log.items(&[Item::Compact { limit: 10 }]);
        run.log.batch(&[at(7, 3)]);
        check(run, 1);
    }

    #[test]
    fn an_expiry_ends_what_was_before() {
        let mut run = Run::new();
        let expiring = Put {
            timestamp_us: Some(8),
            expiry_s: Some(0),
            ..put("a", 1)
        };
        run.log.batch(&[at(3, 2), expiring.clone().into_operation()]);
        run.log.items(&[Item::Expire { limit: 10 }]);
        run.log.batch(&[at(7, 3)]);
        check(run, 1);
    }
}
