//! I-20: a session that is connected in the end, and for which nothing comes any more, has received everything that it is owed.

use std::collections::BTreeSet;

use super::sessions::{device_sessions, name};
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
            if !finished.history.drained.contains(&session.client) {
                continue;
            }
            let received: BTreeSet<_> = session.received.iter().map(|receipt| receipt.serial).collect();
            let missing: Vec<_> = session.owed.iter().filter(|one| !received.contains(one)).collect();
            if let Some(first) = missing.first() {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "client {} has not received {} of {} messages, the first of them {}",
                        session.client,
                        missing.len(),
                        session.owed.len(),
                        name(**first)
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

    #[test]
    fn what_is_owed_has_come_in_the_end() {
        let mut run = with(&[1, 2]);
        assert!(run.finish(&mut SessionsHaveAll).is_ok());
        run.history.drained.push(1);
        assert!(run.finish(&mut SessionsHaveAll).is_err());
        let mut run = with(&[1, 2, 3]);
        run.history.drained.push(1);
        assert!(run.finish(&mut SessionsHaveAll).is_ok());
    }
}
