//! I-22: what one client publishes on one topic over one connection takes effect in the order in which it was published.
//!
//! A message that was acknowledged is before everything the client sent later. One whose fate is unknown is before what was
//! sent later over the same connection: before the client gave up on it. Serials that were sent more than once are left out,
//! since their attempts cannot be told apart.

use std::collections::BTreeMap;

use crate::history::{Finished, Invariant, Operation, Serial, Transport, Violation};
use crate::model::{Decision, Outcome};

const ID: &str = "I-22";

/// See the module.
#[derive(Debug)]
pub(super) struct PublisherOrder;

impl Invariant for PublisherOrder {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let decisions = replay.decisions_by_serial();
        let mut attempts: BTreeMap<Serial, usize> = BTreeMap::new();
        for serial in finished
            .history
            .operations
            .iter()
            .filter_map(|operation| operation.call.serial())
        {
            *attempts.entry(serial).or_default() += 1;
        }
        // Per client and topic: what was sent before, with its revision.
        let mut before: BTreeMap<(u32, &str), Vec<(&Operation, u64)>> = BTreeMap::new();
        for operation in &finished.history.operations {
            let (Transport::Mqtt, Some(serial), Some(topic)) =
                (operation.transport, operation.call.serial(), operation.call.topic())
            else {
                continue;
            };
            let of_serial = decisions.get(&serial).map_or(&[][..], Vec::as_slice);
            let Some(revision) = effect(of_serial).filter(|_| attempts.get(&serial) == Some(&1)) else {
                continue;
            };
            let earlier = before.entry((operation.client, topic)).or_default();
            let overtaken = earlier
                .iter()
                .find(|(former, former_revision)| must_be_before(former, operation) && *former_revision > revision);
            if let Some((former, former_revision)) = overtaken {
                return Err(Violation {
                    invariant: ID,
                    at: operation.invoked_at,
                    message: format!(
                        "client {} sent `{}` and then `{}`, which took effect at {revision}, before the former at \
                         {former_revision}",
                        operation.client, former.call, operation.call
                    ),
                });
            }
            earlier.push((operation, revision));
        }
        Ok(())
    }
}

/// Whether `former` was sent over the same connection as `later`, or was acknowledged at all.
fn must_be_before(former: &Operation, later: &Operation) -> bool {
    !former.is_unknown()
        || former
            .returned_at
            .is_none_or(|gave_up_at| later.invoked_at < gave_up_at)
}

/// The revision of the effect of a serial that has exactly one.
fn effect(decisions: &[&Decision]) -> Option<u64> {
    match decisions {
        [one] => match one.outcome {
            Outcome::Done { revision } => Some(revision),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    /// `first` and then `second` are sent; the log has the second before the first.
    fn check(first_returned_at: u64, first_is_unknown: bool, second_invoked_at: u64) -> bool {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 2).into_operation(), put("a", 1).into_operation()]);
        let answer = if first_is_unknown { unknown() } else { written(2) };
        run.operation(put_call("a", 1), 0, first_returned_at, answer);
        run.operation(put_call("a", 2), second_invoked_at, 90, written(1));
        run.finish(&mut PublisherOrder).is_ok()
    }

    #[test]
    fn overtaken() {
        assert!(!check(50, false, 10));
        assert!(!check(50, true, 10));
        assert!(!check(50, false, 60));
    }

    #[test]
    fn on_another_connection_what_was_given_up_may_come_later() {
        assert!(check(50, true, 60));
    }

    #[test]
    fn in_order_and_other_topics() {
        let mut run = Run::new();
        run.log.batch(&[
            put("b", 3).into_operation(),
            put("a", 1).into_operation(),
            put("a", 2).into_operation(),
        ]);
        run.operation(put_call("a", 1), 0, 9, written(2));
        run.operation(put_call("a", 2), 1, 9, written(3));
        run.operation(put_call("b", 3), 2, 9, written(1));
        assert!(run.finish(&mut PublisherOrder).is_ok());
    }
}
