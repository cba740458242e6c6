//! I-20: when nothing fails any more, every session receives what it is owed.
//!
//! In the end each client sends a last message, and waits for those of all others: whatever the log has before them must have
//! come.

use std::collections::BTreeSet;

use super::sessions::{device_sessions, name, story};
use crate::history::{Finished, Invariant, Violation};

const ID: &str = "I-20";

/// See the module.
#[derive(Debug)]
pub(super) struct SessionsHaveAll;

impl Invariant for SessionsHaveAll {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for session in device_sessions(finished) {
            let received: BTreeSet<_> = session.received.iter().map(|receipt| receipt.serial).collect();
            let owed = session.owed();
            let missing: Vec<_> = owed.iter().filter(|one| !received.contains(one)).collect();
            if let Some(first) = missing.first() {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "client {} has not received {} of {} messages, the first of them {} ({})",
                        session.client,
                        missing.len(),
                        owed.len(),
                        name(**first),
                        story(finished, session.client, **first)
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::with;
    use super::*;
    use crate::model::testing::serial;

    #[test]
    fn what_is_owed_has_come_in_the_end() {
        for (received, last, ok) in [
            (&[1, 2][..], None, true),
            (&[1, 2], Some(3), false),
            (&[1, 2], Some(2), true),
            (&[1, 3], Some(3), false),
            (&[1, 2, 3], Some(3), true),
        ] {
            let mut run = with(received);
            run.history.last_messages.extend(last.map(|last| (1, serial(last))));
            assert_eq!(run.finish(&mut SessionsHaveAll).is_ok(), ok, "{received:?} {last:?}");
        }
    }
}
