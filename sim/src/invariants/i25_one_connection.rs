//! I-25: one connection of a session has the say, the one that came last. What a connection sends to its client was put in flight
//! while it was in force: whatever comes over one that was replaced is from before, and what comes over its successor is the
//! successor's own, or said to come again.

use std::collections::{BTreeMap, BTreeSet};

use super::sessions::{name, number_of};
use crate::history::{Finished, Invariant, Violation};
use crate::model::SessionWhat;

const ID: &str = "I-25";

/// See the module.
#[derive(Debug)]
pub(super) struct OneConnection;

impl Invariant for OneConnection {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let mut fences = BTreeMap::new();
        // By client: connections with the messages that they have put in flight.
        let mut sent: BTreeMap<u32, BTreeSet<(u64, u64)>> = BTreeMap::new();
        for step in replay.session_steps() {
            match step.what {
                SessionWhat::Connected {
                    fence,
                    will: Some(will),
                    ..
                } => drop(fences.insert(will, fence)),
                SessionWhat::Sent { fence, revision } => {
                    if let Some(client) = number_of(&step.client_id) {
                        sent.entry(client).or_default().insert((revision, fence));
                    }
                }
                _ => {}
            }
        }
        let mut revisions: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for change in replay.changes() {
            revisions.entry(change.serial()).or_default().push(change.revision);
        }
        for receipt in &finished.history.receipts {
            // Only sessions that outlive their connections put anything in flight.
            let is_session = finished.history.moments.contains_key(&receipt.client);
            let (true, Some(fence)) = (is_session, fences.get(&receipt.connection).copied()) else {
                continue;
            };
            let of_client = sent.entry(receipt.client).or_default();
            let mut revisions = revisions.get(&receipt.serial).into_iter().flatten();
            let was_in_flight = revisions.any(|&revision| {
                let is_own = of_client.contains(&(revision, fence));
                is_own || (receipt.dup && of_client.range((revision, 0)..(revision, fence)).next().is_some())
            });
            if !was_in_flight {
                return Err(Violation {
                    invariant: ID,
                    at: receipt.at,
                    message: format!(
                        "client {} received {} over connection {} from node {}, which did not have it in flight while it was \
                         in force",
                        receipt.client,
                        name(receipt.serial),
                        receipt.connection,
                        receipt.node
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::{connect, connected, receipt, run, sent};
    use super::*;
    use crate::history::Receipt;

    #[test]
    fn what_was_in_flight_while_it_was_in_force() {
        let mut run = run();
        run.log.commands(&[sent(1, 1)]);
        run.log.commands(&[connect(2, 5)]);
        run.log.commands(&[sent(2, 2), sent(1, 3)]);
        connected(&mut run, 2, true);
        let again = |receipt| Receipt { dup: true, ..receipt };
        let late = |receipt| Receipt {
            is_late: true,
            ..receipt
        };
        for (receipt, ok) in [
            (receipt(1, 1), true),
            (late(receipt(1, 1)), true),
            (again(receipt(2, 1)), true),
            (receipt(2, 2), true),
            // Without a word.
            (receipt(2, 1), false),
            // By the one that was replaced.
            (late(receipt(1, 2)), false),
            (again(receipt(1, 2)), false),
            (late(receipt(1, 3)), false),
            // By nobody.
            (receipt(2, 3), false),
        ] {
            run.history.receipts = vec![receipt];
            assert_eq!(run.finish(&mut OneConnection).is_ok(), ok, "{receipt:?}");
        }
    }
}
