//! I-26: a will is published once when its connection has ended without a word and its delay has passed, whatever became of the
//! node; and never after a clean DISCONNECT, or if the client has come back in time.
//!
//! The log tells which are due, by what it says of connections. Who receives another one has seen it published wrongly. In the end
//! every connection has ended and no will waits.

use std::collections::BTreeSet;

use super::sessions::name;
use crate::history::{Finished, Invariant, Violation};
use crate::model::{SessionWhat, Unfinished};
use crate::workload::WILL_CLIENTS;

const ID: &str = "I-26";
/// So long after the healing every connection of a dead node has ended, and every will is published.
pub(crate) const SETTLED_US: u64 = 30_000_000;
/// How late a will may be.
const LATE_US: u64 = 10_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Wills;

impl Invariant for Wills {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let violation = |at, message| {
            Err(Violation {
                invariant: ID,
                at,
                message,
            })
        };
        let mut published = BTreeSet::new();
        for step in replay.session_steps() {
            if let SessionWhat::Will { serial } = step.what
                && serial.is_some()
                && !published.insert(serial)
            {
                return violation(finished.at, format!("will {} is published twice", name(serial)));
            }
        }
        let mut seen = BTreeSet::new();
        for receipt in finished.history.receipts.iter().filter(|receipt| !receipt.is_late) {
            let is_will = receipt.serial.is_some_and(|serial| serial.client > WILL_CLIENTS);
            let again = !seen.insert((receipt.client, receipt.serial)) && receipt.qos == 2;
            if is_will && (again || !published.contains(&receipt.serial)) {
                let message = format!(
                    "client {} received will {}{}",
                    receipt.client,
                    name(receipt.serial),
                    if again {
                        " again"
                    } else {
                        ", which was not to be published"
                    }
                );
                return violation(receipt.at, message);
            }
        }
        let is_settled = finished
            .settings
            .healed_at
            .is_some_and(|healed_at| finished.at >= healed_at + SETTLED_US);
        if is_settled && let Some(index) = replay.last_index() {
            let log_time_us = replay.log_time_at_index(index).unwrap_or(0);
            let due = log_time_us.saturating_sub(LATE_US);
            match replay.unfinished(due).first() {
                None => {}
                Some(Unfinished::Connected { client_id, node }) => {
                    let message = format!("the connection of {client_id} at node {node} has not ended");
                    return violation(finished.at, message);
                }
                Some(Unfinished::Will { client_id }) => {
                    return violation(finished.at, format!("the will of {client_id} is due and not published"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::command::{Command, Disconnect};

    use super::super::sessions::testing::{connect, receipt, run, will};
    use super::*;
    use crate::history::Receipt;

    fn leave(publishes_will: bool) -> Command {
        let leave = Disconnect {
            expiry_s: None,
            publishes_will,
        };
        Command::of(2, leave)
    }

    #[test]
    fn once_and_only_if_due() {
        for (commands, ok) in [
            (vec![connect(2, 0), connect(3, 0)], true),
            (vec![connect(2, 0), leave(true)], true),
            (vec![connect(2, 0), leave(false)], false),
            // Back in time.
            (vec![connect(2, 60), connect(3, 0)], false),
            (vec![connect(2, 0)], false),
        ] {
            let mut run = run();
            run.log.commands(&commands);
            let of_will = Receipt {
                serial: Some(will(2)),
                ..receipt(1, 1)
            };
            run.history.receipts = vec![of_will];
            assert_eq!(run.finish(&mut Wills).is_ok(), ok, "{commands:?}");
            run.history.receipts.push(of_will);
            assert!(run.finish(&mut Wills).is_err(), "twice");
        }
    }

    #[test]
    fn every_connection_ends() {
        let mut run = run();
        run.settings.healed_at = Some(run.at - SETTLED_US);
        assert!(run.finish(&mut Wills).is_err());
        run.settings.healed_at = Some(run.at);
        assert!(run.finish(&mut Wills).is_ok());
    }
}
