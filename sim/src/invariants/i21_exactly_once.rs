//! I-21: a message with QoS 2 takes effect once, however often it is sent, and a session receives it once.
//!
//! That what was acknowledged has taken effect at all is I-12, and that it reaches the session I-20.

use std::collections::BTreeSet;

use super::sessions::{device_sessions, name};
use crate::history::{Finished, Invariant, Violation};
use crate::model::Outcome;

const ID: &str = "I-21";

/// See the module.
#[derive(Debug)]
pub(super) struct ExactlyOnce;

impl Invariant for ExactlyOnce {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let violation = |at, message| Violation {
            invariant: ID,
            at,
            message,
        };
        let decisions = finished.replay.iter().flat_map(|replay| replay.decisions());
        let mut done = BTreeSet::new();
        for decision in decisions {
            let has_packet_id = decision.sender.is_some_and(|sender| sender.packet_id.is_some());
            if has_packet_id
                && let Outcome::Done { revision } = decision.outcome
                && let Some(serial) = decision.request.serial()
                && !done.insert(serial)
            {
                let message = format!("{serial} was published with QoS 2, and takes effect again at {revision}");
                return Err(violation(finished.at, message));
            }
        }
        for session in device_sessions(finished) {
            let mut seen = BTreeSet::new();
            for receipt in session.received.into_iter().filter(|receipt| receipt.qos == 2) {
                if !seen.insert(receipt.serial) {
                    let message = format!(
                        "client {} received {} again, from node {}",
                        session.client,
                        name(receipt.serial),
                        receipt.node
                    );
                    return Err(violation(receipt.at, message));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::command::{Command, Sender};

    use super::super::sessions::testing::{run, with};
    use super::*;
    use crate::model::testing::event;

    #[test]
    fn each_is_received_once() {
        assert!(with(&[1, 2, 3]).finish(&mut ExactlyOnce).is_ok());
        assert!(with(&[1, 2, 1]).finish(&mut ExactlyOnce).is_err());
    }

    #[test]
    fn each_takes_effect_once() {
        for (packet_ids, ok) in [([1, 1], true), ([1, 2], false)] {
            let mut run = run();
            run.log.commands(&packet_ids.map(|packet_id| Command {
                sender: Some(Sender {
                    fence: 1,
                    packet_id: Some(packet_id),
                }),
                operation: event("device/1", 4),
            }));
            assert_eq!(run.finish(&mut ExactlyOnce).is_ok(), ok);
        }
    }
}
