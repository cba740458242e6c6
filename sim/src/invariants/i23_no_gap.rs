//! I-23: over all its connections, wherever they were, a session receives for the first time exactly what it is owed, in that
//! order and without a gap.

use std::collections::BTreeSet;

use super::sessions::{device_sessions, name};
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
        for session in device_sessions(finished) {
            let mut seen = BTreeSet::new();
            let first = session.received.iter().filter(|receipt| seen.insert(receipt.serial));
            let mut owed = session.owed.iter();
            for receipt in first {
                let next = owed.next().copied();
                if next != Some(receipt.serial) {
                    return Err(Violation {
                        invariant: ID,
                        at: receipt.at,
                        message: format!(
                            "client {} received {} from node {}, where {} was next",
                            session.client,
                            name(receipt.serial),
                            receipt.node,
                            next.map_or_else(|| "nothing".to_owned(), name)
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::with;
    use super::*;

    #[test]
    fn a_piece_without_a_gap_and_in_order() {
        for (counters, ok) in [
            (&[][..], true),
            (&[1, 2], true),
            (&[1, 1, 2], true),
            (&[1, 3], false),
            (&[2, 1], false),
            (&[1, 2, 3, 4], false),
        ] {
            assert_eq!(with(counters).finish(&mut NoGap).is_ok(), ok, "{counters:?}");
        }
    }
}
