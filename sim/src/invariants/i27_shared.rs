//! I-27: a message for a shared subscription comes to one of its members, with QoS 2 once, with QoS 1 at least once; also if the
//! member that was chosen is lost.

use std::collections::BTreeMap;

use super::sessions::{last_revision, name, subscribed};
use crate::history::{Finished, Invariant, Receipt, Violation};
use crate::workload::{JOB_FILTER, JOB_TOPICS};

const ID: &str = "I-27";

/// See the module.
#[derive(Debug)]
pub(super) struct Shared;

impl Invariant for Shared {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let Some(replay) = finished.replay else {
            return Ok(());
        };
        let history = finished.history;
        let mut received: BTreeMap<_, Vec<&Receipt>> = BTreeMap::new();
        for receipt in &history.receipts {
            if receipt.shared && !receipt.is_late {
                let of_message = received.entry(receipt.serial).or_default();
                let is_first = receipt.qos == 1 || of_message.iter().all(|former| former.qos == 1);
                if !is_first {
                    return Err(Violation {
                        invariant: ID,
                        at: receipt.at,
                        message: format!(
                            "{} came to client {} with QoS 2, and had come to client {}",
                            name(receipt.serial),
                            receipt.client,
                            of_message
                                .iter()
                                .find(|former| former.qos == 2)
                                .map_or(0, |former| former.client)
                        ),
                    });
                }
                of_message.push(receipt);
            }
        }
        let Some(since) = subscribed(replay, JOB_FILTER).into_values().min() else {
            return Ok(());
        };
        let through = last_revision(replay, history);
        let owed = replay.changes_after(since, JOB_TOPICS);
        let mut owed = owed.take_while(|change| change.revision <= through);
        match owed.find(|change| !received.contains_key(&change.serial())) {
            None => Ok(()),
            Some(change) => Err(Violation {
                invariant: ID,
                at: finished.at,
                message: format!(
                    "{} of revision {} came to no member",
                    name(change.serial()),
                    change.revision
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::testing::{receipt, run};
    use super::*;
    use crate::model::testing::{event, serial};

    #[test]
    fn one_member_gets_it() {
        let of = |client, qos| Receipt {
            client,
            qos,
            shared: true,
            ..receipt(1, 4)
        };
        for (receipts, ok) in [
            (vec![of(1, 2)], true),
            (vec![of(2, 1)], true),
            (vec![of(2, 1), of(1, 2)], true),
            (vec![of(1, 1), of(2, 1)], true),
            (vec![of(1, 2), of(2, 2)], false),
            (vec![of(1, 2), of(1, 2)], false),
            (vec![], false),
        ] {
            let mut run = run();
            run.log.batch(&[event("job/1", 4), event("device/1", 5)]);
            run.history.last_messages.insert(1, serial(5));
            run.history.receipts = receipts;
            assert_eq!(run.finish(&mut Shared).is_ok(), ok, "{:?}", run.history.receipts);
        }
    }
}
