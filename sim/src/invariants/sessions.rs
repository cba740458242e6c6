//! What the session of a device is owed, and what it has received.
//!
//! It is owed everything after the moment that SUBACK names. What was published before that, and after the subscription was in
//! the log, may come or not, and does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Finished, Receipt, Serial};
use crate::model::SessionWhat;
use crate::workload::DEVICE_FILTER;

/// The session of one device.
pub(super) struct DeviceSession<'a> {
    pub(super) client: u32,
    /// Every message since it subscribed, in the order of the log.
    pub(super) owed: Vec<Option<Serial>>,
    /// In the order of arrival.
    pub(super) received: Vec<&'a Receipt>,
}

/// The sessions of devices that have subscribed.
pub(super) fn device_sessions<'a>(finished: &Finished<'a>) -> Vec<DeviceSession<'a>> {
    let Some(replay) = finished.replay else {
        return Vec::new();
    };
    let mut since: BTreeMap<u32, u64> = BTreeMap::new();
    for step in replay.session_steps() {
        if let SessionWhat::Subscribed { filter, .. } = &step.what
            && filter == DEVICE_FILTER
            && let Some(client) = step.client_id.strip_prefix('c').and_then(|number| number.parse().ok())
        {
            since.entry(client).or_insert(step.revision_before);
        }
    }
    let history = finished.history;
    let sessions = since.into_iter().filter_map(|(client, since)| {
        let moment = *history.moments.get(&client)?;
        let owed = replay.changes_after(moment, DEVICE_FILTER);
        let early = replay.changes_after(since, DEVICE_FILTER);
        let early: BTreeSet<_> = early
            .take_while(|change| change.revision <= moment)
            .map(|change| change.serial())
            .collect();
        let receipts = history.receipts.iter();
        Some(DeviceSession {
            client,
            owed: owed.map(|change| change.serial()).collect(),
            received: receipts
                .filter(|receipt| receipt.client == client && !early.contains(&receipt.serial))
                .collect(),
        })
    });
    sessions.collect()
}

/// As text.
pub(super) fn name(serial: Option<Serial>) -> String {
    serial.map_or_else(|| "a message without a serial".to_owned(), |serial| serial.to_string())
}

#[cfg(test)]
pub(super) mod testing {
    use banyan_core::command::{Command, Connect, Operation, SessionSubscription, Subscribe, SubscriptionOptions};
    use banyan_core::topic::SubscriptionFilter;
    use bytes::Bytes;

    use super::super::testing::Run;
    use super::*;
    use crate::model::testing::{event, serial};

    /// Device 1 subscribes, and 1 to 3 are published.
    pub(in super::super) fn run() -> Run {
        let mut run = Run::new();
        run.log.commands(&[
            Command::from(Operation::from(Connect {
                client_id: Bytes::from_static(b"c1"),
                clean_start: false,
                expiry_s: 60,
                will: None,
            })),
            Command::of(
                1,
                Subscribe {
                    subscriptions: vec![SessionSubscription {
                        filter: SubscriptionFilter::parse(DEVICE_FILTER).unwrap(),
                        options: SubscriptionOptions {
                            qos: 2,
                            no_local: false,
                            retain_as_published: true,
                        },
                        latest: false,
                        subscription_id: None,
                        replay: None,
                    }],
                },
            ),
        ]);
        run.history.moments.insert(1, 0);
        run.log.batch(&[1, 2, 3].map(|counter| event("device/1", counter)));
        run
    }

    /// As [`run`], and these have come.
    pub(in super::super) fn with(counters: &[u32]) -> Run {
        let mut run = run();
        run.history.receipts = counters
            .iter()
            .map(|counter| Receipt {
                at: 1,
                client: 1,
                node: 1,
                serial: Some(serial(*counter)),
            })
            .collect();
        run
    }
}
