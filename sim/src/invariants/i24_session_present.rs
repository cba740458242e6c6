//! I-24: CONNACK tells the truth about the session: it is there exactly if it was there and had not expired. (That it then has its
//! subscriptions and messages is I-20.)

use std::collections::BTreeMap;

use super::protocol::no_error;
use crate::history::{Finished, Invariant, Violation};
use crate::model::SessionWhat;

const ID: &str = "I-24";

/// See the module.
#[derive(Debug)]
pub(super) struct SessionPresent;

impl Invariant for SessionPresent {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        no_error(finished, ID)?;
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let mut present = BTreeMap::new();
        for step in replay.session_steps() {
            if let SessionWhat::Connected {
                session_present,
                will: Some(will),
                ..
            } = step.what
            {
                present.insert(will, session_present);
            }
        }
        for connection in &finished.history.connections {
            let told = connection.session_present;
            let message = match present.get(&connection.will) {
                Some(there) if *there == told => continue,
                Some(true) => "was told that it has no session, but it has",
                Some(false) => "was told that it has a session, but it has none",
                None => "was accepted, and the log does not have it",
            };
            return Err(Violation {
                invariant: ID,
                at: connection.at,
                message: format!(
                    "connection {} of client {} at node {} {message}",
                    connection.will, connection.client, connection.node
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::{connect, connected, run};
    use super::*;

    #[test]
    fn truth_and_lies() {
        for (second, told, ok) in [(2, true, true), (2, false, false), (3, true, false)] {
            let mut run = run();
            run.log.commands(&[connect(2, 5)]);
            connected(&mut run, second, told);
            assert_eq!(run.finish(&mut SessionPresent).is_ok(), ok);
        }
        let mut run = run();
        run.history.connections[0].session_present = true;
        assert!(run.finish(&mut SessionPresent).is_err());
    }
}
