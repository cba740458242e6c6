//! What the session of a device is owed, and what it has received.
//!
//! It is owed everything after the moment that SUBACK names. What was published before that, and after the subscription was in
//! the log, may come or not.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Finished, History, Receipt, Serial};
use crate::model::{Change, Replay, SessionWhat};
use crate::workload::DEVICE_FILTER;

/// The session of one device.
pub(super) struct DeviceSession<'a> {
    pub(super) client: u32,
    /// Every message since its first subscription was in the log, in the order of the log.
    pub(super) expected: Vec<Option<Serial>>,
    /// How many of them are not after the moment that SUBACK named: these may come or not.
    pub(super) early: usize,
    /// How many of them are not after the last messages of all: these must have come in the end, but for the early ones.
    pub(super) through: usize,
    /// In the order of arrival, without those of the shared subscription.
    pub(super) received: Vec<&'a Receipt>,
}

impl DeviceSession<'_> {
    /// What must have come in the end.
    pub(super) fn owed(&self) -> &[Option<Serial>] {
        self.expected.get(self.early..self.through).unwrap_or_default()
    }
}

/// The sessions of devices that have subscribed.
pub(super) fn device_sessions<'a>(finished: &Finished<'a>) -> Vec<DeviceSession<'a>> {
    let Some(replay) = finished.replay else {
        return Vec::new();
    };
    let history = finished.history;
    let through = last_revision(replay, history);
    let sessions = subscribed(replay, DEVICE_FILTER).into_iter();
    let sessions = sessions.filter_map(|(client, since)| {
        let moment = *history.moments.get(&client)?;
        let expected: Vec<_> = replay.changes_after(since, DEVICE_FILTER).collect();
        let receipts = history.receipts.iter();
        Some(DeviceSession {
            client,
            early: expected.partition_point(|change| change.revision <= moment),
            through: expected.partition_point(|change| change.revision <= through),
            expected: expected.into_iter().map(Change::serial).collect(),
            received: receipts
                .filter(|receipt| receipt.client == client && !receipt.shared && !receipt.is_late)
                .collect(),
        })
    });
    sessions.collect()
}

/// By client that has subscribed to `filter`: the revision before.
pub(super) fn subscribed(replay: &Replay, filter: &str) -> BTreeMap<u32, u64> {
    let mut since = BTreeMap::new();
    for step in replay.session_steps() {
        if let SessionWhat::Subscribed { filter: one, .. } = &step.what
            && one == filter
            && let Some(client) = number_of(&step.client_id)
        {
            since.entry(client).or_insert(step.revision_before);
        }
    }
    since
}

/// The revision of the last of the last messages.
pub(super) fn last_revision(replay: &Replay, history: &History) -> u64 {
    let last: BTreeSet<_> = history.last_messages.values().map(|serial| Some(*serial)).collect();
    let mut changes = replay.changes().iter().rev();
    let found = changes.find(|change| last.contains(&change.serial()));
    found.map_or(0, |change| change.revision)
}

/// The client of an identifier `c<number>`.
pub(super) fn number_of(client_id: &str) -> Option<u32> {
    client_id.strip_prefix('c')?.parse().ok()
}

/// As much as is told of one message.
const STORY_MAX: usize = 12;

/// What became of a message on its way to a session, for who reads of it missing.
pub(super) fn story(finished: &Finished<'_>, client: u32, serial: Option<Serial>) -> String {
    let Some(replay) = finished.replay else {
        return String::new();
    };
    let mut told = Vec::new();
    let of_serial = || replay.changes().iter().filter(|change| change.serial() == serial);
    for change in of_serial() {
        told.push((change.index, format!("published at log index {}", change.index)));
    }
    let revisions: BTreeSet<u64> = of_serial().map(|change| change.revision).collect();
    let mut connections = BTreeMap::new();
    for step in replay
        .session_steps()
        .iter()
        .filter(|step| number_of(&step.client_id) == Some(client))
    {
        match &step.what {
            SessionWhat::Connected { fence, will, .. } => drop(connections.insert(*fence, name(*will))),
            SessionWhat::Sent { fence, revision } if revisions.contains(revision) => {
                let connection = connections.get(fence).map_or("?", String::as_str);
                told.push((step.index, format!("put in flight by {connection} at {}", step.index)));
            }
            _ => {}
        }
    }
    told.sort();
    let receipts = finished.history.receipts.iter();
    let receipts = receipts
        .filter(|receipt| receipt.client == client && receipt.serial == serial)
        .map(|receipt| {
            let late = if receipt.is_late { ", too late" } else { "" };
            format!("received over {}{late}", receipt.connection)
        });
    let told = told.into_iter().map(|(_, text)| text).chain(receipts);
    let told: Vec<_> = told.take(STORY_MAX).collect();
    told.join(", ")
}

/// As text.
pub(super) fn name(serial: Option<Serial>) -> String {
    serial.map_or_else(|| "a message without a serial".to_owned(), |serial| serial.to_string())
}

#[cfg(test)]
pub(super) mod testing {
    use banyan_core::command::{
        Command, Connect, Operation, Progress, Sent, SessionSubscription, Subscribe, SubscriptionOptions, Will,
    };
    use banyan_core::keyspace::MessagePosition;
    use banyan_core::metadata::Metadata;
    use banyan_core::topic::{SubscriptionFilter, TopicName};
    use bytes::Bytes;

    use super::super::testing::Run;
    use super::*;
    use crate::history::Connection;
    use crate::model::testing::{event, serial};
    use crate::workload::JOB_FILTER;

    /// The will of the `counter`th connection of client 1.
    pub(in super::super) fn will(counter: u32) -> Serial {
        Serial { client: 1_001, counter }
    }

    /// That connection, in the log.
    pub(in super::super) fn connect(counter: u32, delay_s: u32) -> Command {
        Command::from(Operation::from(Connect {
            client_id: Bytes::from_static(b"c1"),
            clean_start: false,
            expiry_s: 60,
            will: Some(Will {
                topic: TopicName::parse("device/will/1").unwrap(),
                payload: Bytes::from(will(counter).payload(0)),
                metadata: Metadata::empty(),
                qos: 1,
                retain: false,
                delay_s,
                expiry_s: None,
            }),
        }))
    }

    /// A message of that revision is put in flight by connection `fence`.
    pub(in super::super) fn sent(fence: u64, revision: u64) -> Command {
        let sent = Sent {
            position: MessagePosition { revision, ordinal: 0 },
            packet_id: revision as u16,
            qos: 2,
            shared: false,
        };
        let progress = Progress {
            sent: vec![sent],
            ..Progress::default()
        };
        Command::of(fence, progress)
    }

    /// CONNACK of the `counter`th connection has come.
    pub(in super::super) fn connected(run: &mut Run, counter: u32, session_present: bool) {
        run.history.connections.push(Connection {
            at: 1,
            client: 1,
            node: 1,
            will: will(counter),
            session_present,
        });
    }

    /// `counter` came over the connection of `will(connection)`.
    pub(in super::super) fn receipt(connection: u32, counter: u32) -> Receipt {
        Receipt {
            at: 1,
            client: 1,
            node: 1,
            connection: will(connection),
            serial: Some(serial(counter)),
            qos: 2,
            dup: false,
            shared: false,
            is_late: false,
        }
    }

    /// Device 1 subscribes, and 1 to 3 are published.
    pub(in super::super) fn run() -> Run {
        let mut run = Run::new();
        let subscription = |filter| SessionSubscription {
            filter: SubscriptionFilter::parse(filter).unwrap(),
            options: SubscriptionOptions {
                qos: 2,
                no_local: false,
                retain_as_published: true,
            },
            latest: false,
            subscription_id: None,
            replay: None,
        };
        let subscriptions = vec![subscription(DEVICE_FILTER), subscription(JOB_FILTER)];
        run.log
            .commands(&[connect(1, 5), Command::of(1, Subscribe { subscriptions })]);
        run.history.moments.insert(1, 0);
        connected(&mut run, 1, false);
        run.log.batch(&[1, 2, 3].map(|counter| event("device/1", counter)));
        run
    }

    /// As [`run`], and these have come.
    pub(in super::super) fn with(counters: &[u32]) -> Run {
        let mut run = run();
        run.history.receipts = counters.iter().map(|counter| receipt(1, *counter)).collect();
        run
    }
}
