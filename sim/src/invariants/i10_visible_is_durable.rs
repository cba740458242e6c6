//! I-10: nothing is seen by a client before it is durable on a quorum.
//!
//! Disks are looked at from time to time. What a client saw at some time must have been durable at the first look after it,
//! which is a little more than the promise allows and never less. What a quorum holds there need not be committed: whoever
//! knew may be gone.

use super::quorum::Disks;
use crate::history::{Answer, Finished, History, Invariant, Observation, Time, Violation};

const ID: &str = "I-10";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct VisibleIsDurable {
    /// At a time, the greatest index that was durable on a quorum. Both increase.
    durable: Vec<(Time, u64)>,
    disks: Disks,
}

impl Invariant for VisibleIsDurable {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        if observation.disks.is_empty() {
            return Ok(());
        }
        self.disks.look(observation);
        let before = self.durable.last().map_or(0, |(_, index)| *index);
        let last = self.disks.last_on_quorum(observation);
        let now = last.map_or(before, |id| id.index.max(before));
        self.durable.push((observation.at, now));
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        for (at, revision, what) in visible(finished.history) {
            let look = self.durable.partition_point(|(time, _)| *time < at);
            // After the last look nothing can be said.
            let Some((_, durable)) = self.durable.get(look) else {
                continue;
            };
            let Some(index) = replay.index_of_revision(revision) else {
                continue;
            };
            if index > *durable {
                return Err(Violation {
                    invariant: ID,
                    at,
                    message: format!(
                        "{what} showed revision {revision} of log index {index}, when index {durable} was the last that a \
                         quorum had on disk"
                    ),
                });
            }
        }
        Ok(())
    }
}

/// When a client saw which revision, and where.
pub(super) fn visible(history: &History) -> impl Iterator<Item = (Time, u64, String)> {
    let answers = history.operations.iter().filter_map(|operation| {
        let revision = match operation.answer.as_ref()? {
            Answer::Written { revision, .. } | Answer::Rows { revision, .. } => *revision,
            Answer::Deleted { revision } | Answer::Event { revision } => (*revision)?,
            Answer::Value(seen) => (*seen)?.revision,
            Answer::ConditionFailed { current } => *current,
            Answer::Refused(_) | Answer::Unknown(_) => return None,
        };
        Some((
            operation.returned_at?,
            revision,
            format!("the answer to {}", operation.call),
        ))
    });
    let deliveries = history.subscriptions.iter().flat_map(|subscription| {
        let granted = subscription
            .granted
            .map(|(at, revision)| (at, revision, "a SUBACK".to_owned()));
        let deliveries = subscription.deliveries.iter().filter_map(|delivery| {
            Some((
                delivery.at,
                delivery.revision?,
                format!("a message of {}", delivery.topic),
            ))
        });
        granted.into_iter().chain(deliveries)
    });
    answers.chain(deliveries)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    /// A write at index 2 and revision 1 that is acknowledged at time 15; disks are looked at at times 10 and 20.
    fn check(second: u64, acknowledged_at: Time) -> bool {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.operation(put_call("a", 1), 5, acknowledged_at, written(1));
        let mut invariant = VisibleIsDurable::default();
        for (at, second) in [(10, 1), (20, second)] {
            let nodes = [leader(1, 1, 2)];
            let disks = [disk(1, 1, 0..=2), disk(2, 1, 0..=second), disk(3, 1, 0..=0)];
            invariant.observe(&moment(at, &nodes, &disks)).unwrap();
        }
        run.finish(&mut invariant).is_ok()
    }

    #[test]
    fn durable_at_the_next_look() {
        assert!(check(2, 15));
        assert!(check(1, 25), "after the last look nothing can be said");
    }

    #[test]
    fn seen_too_early() {
        assert!(!check(1, 15));
        assert!(!check(2, 10));
    }
}
