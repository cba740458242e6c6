//! I-23: over all its connections, wherever they were, a session receives exactly what it is owed, in that order and without a
//! gap. What comes again says so, and comes under the identifier that it had.

use std::collections::BTreeSet;

use super::protocol::no_error;
use super::sessions::{device_sessions, name, story};
use crate::history::{Finished, Invariant, Violation};

const ID: &str = "I-23";

/// See the module.
#[derive(Debug)]
pub(super) struct NoGap;

impl Invariant for NoGap {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        no_error(finished, ID)?;
        for session in device_sessions(finished) {
            let expected = &session.expected;
            let mut seen = BTreeSet::new();
            // How many of those expected have come or been left out. A message with QoS 1 may be in the log twice, and each of
            // them may come again: then it can be one or the other.
            let mut places: BTreeSet<usize> = [0].into();
            for receipt in session.received {
                let next = places
                    .last()
                    .and_then(|place| expected.get((*place).max(session.early)));
                let is_repeated = receipt.dup && receipt.qos == 1 && seen.contains(&receipt.serial);
                let reachable = places.iter().flat_map(|place| *place..=session.early.max(*place));
                let new = reachable.filter(|place| expected.get(*place) == Some(&receipt.serial));
                let mut new: BTreeSet<usize> = new.map(|place| place + 1).collect();
                if is_repeated {
                    new.extend(&places);
                }
                if new.is_empty() {
                    return Err(Violation {
                        invariant: ID,
                        at: receipt.at,
                        message: format!(
                            "client {} received {} from node {}, where {} was next ({})",
                            session.client,
                            name(receipt.serial),
                            receipt.node,
                            next.map_or_else(|| "nothing".to_owned(), |next| name(*next)),
                            next.map_or_else(String::new, |next| story(finished, session.client, *next))
                        ),
                    });
                }
                seen.insert(receipt.serial);
                places = new;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::{receipt, run, with};
    use super::*;
    use crate::history::{ProtocolError, Receipt};
    use crate::model::testing::event;

    #[test]
    fn a_piece_without_a_gap_and_in_order() {
        for (counters, ok) in [
            (&[][..], true),
            (&[1, 2], true),
            (&[1, 1, 2], false),
            (&[1, 3], false),
            (&[2, 1], false),
            (&[1, 2, 3, 4], false),
        ] {
            assert_eq!(with(counters).finish(&mut NoGap).is_ok(), ok, "{counters:?}");
        }
    }

    #[test]
    fn what_comes_again_with_qos_1_says_so() {
        let once = |counter, dup| Receipt {
            dup,
            qos: 1,
            ..receipt(1, counter)
        };
        for (receipts, ok) in [
            (vec![once(1, false), once(1, true), once(2, false)], true),
            (vec![once(1, true), once(2, true), once(1, true), once(3, false)], true),
            (vec![once(1, false), once(1, false)], false),
            (vec![once(2, true)], false),
        ] {
            let mut run = run();
            run.history.receipts = receipts;
            assert_eq!(run.finish(&mut NoGap).is_ok(), ok, "{:?}", run.history.receipts);
        }
    }

    #[test]
    fn what_is_in_the_log_twice() {
        let mut run = run();
        run.log.batch(&[event("device/1", 3), event("device/1", 4)]);
        let once = |counter, dup| Receipt {
            dup,
            qos: 1,
            ..receipt(1, counter)
        };
        let before = [once(1, false), once(2, false), once(3, false)];
        for (after, ok) in [
            (vec![once(3, false), once(4, false)], true),
            (vec![once(3, true), once(4, false)], true),
            (vec![once(3, true), once(3, false), once(4, false)], true),
            (vec![once(4, false)], false),
        ] {
            run.history.receipts = before.iter().copied().chain(after).collect();
            assert_eq!(run.finish(&mut NoGap).is_ok(), ok, "{:?}", run.history.receipts);
        }
    }

    #[test]
    fn what_clients_saw_of_identifiers() {
        let mut run = run();
        run.history.protocol_errors.push(ProtocolError {
            at: 1,
            client: 1,
            node: 1,
            invariant: ID,
            what: "sent 1 again without DUP".to_owned(),
        });
        assert!(run.finish(&mut NoGap).is_err());
    }
}
