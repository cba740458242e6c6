//! One request after the other.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;

use super::plan::Writes;
use super::topics::Topics;
use crate::history::{Answer, Call, Condition, Consistency, Serial};

/// Draws the requests of one client.
pub(super) struct Calls {
    client: u32,
    topics: Topics,
    writes: Writes,
    counter: u32,
    /// Revision of the value that the client last saw of each topic, for conditions.
    seen: BTreeMap<String, u64>,
    /// The greatest revision that the client has seen, for `at_least`.
    floor: u64,
}

impl Calls {
    pub(super) fn new(client: u32, topics: Topics, writes: Writes) -> Self {
        Self {
            client,
            topics,
            writes,
            counter: 0,
            seen: BTreeMap::new(),
            floor: 0,
        }
    }

    /// A write or event for MQTT. `wall_us` is the client's clock.
    pub(super) fn message(&mut self, wall_us: u64, rng: &mut StdRng) -> Call {
        if percent(rng, self.writes.event_percent) {
            return Call::Event {
                topic: self.topics.event(rng),
                serial: self.next_serial(),
            };
        }
        self.put_or_delete(wall_us, rng)
    }

    /// A write for HTTP.
    pub(super) fn write(&mut self, wall_us: u64, rng: &mut StdRng) -> Call {
        if rng.random_range(0..1000) < self.writes.delete_filter_permille {
            return Call::DeleteFilter {
                filter: self.topics.filter_to_delete(rng),
            };
        }
        self.put_or_delete(wall_us, rng)
    }

    pub(super) fn get(&self, rng: &mut StdRng) -> Call {
        Call::Get {
            topic: self.topics.state(rng),
            consistency: self.consistency(rng),
        }
    }

    pub(super) fn list(&self, rng: &mut StdRng) -> Call {
        Call::List {
            filter: self.topics.filter(rng),
            consistency: self.consistency(rng),
        }
    }

    pub(super) fn payload_bytes(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..=self.writes.payload_bytes_max)
    }

    /// Remembers what an answer tells.
    pub(super) fn learn(&mut self, call: &Call, answer: &Answer) {
        match (call, answer) {
            (Call::Get { topic, .. }, Answer::Value(Some(seen))) => {
                self.see(topic.clone(), seen.revision);
            }
            (Call::List { .. }, Answer::Rows { revision, rows }) => {
                for (topic, seen) in rows {
                    self.see(topic.clone(), seen.revision);
                }
                self.floor = self.floor.max(*revision);
            }
            (Call::Put { topic, .. }, Answer::Written { revision, .. }) => {
                self.see(topic.clone(), *revision);
            }
            (
                _,
                Answer::Deleted {
                    revision: Some(revision),
                }
                | Answer::Event {
                    revision: Some(revision),
                },
            ) => {
                self.floor = self.floor.max(*revision);
            }
            (Call::Put { topic, .. } | Call::Delete { topic, .. }, Answer::ConditionFailed { current }) => {
                self.see(topic.clone(), *current);
            }
            _ => {}
        }
    }

    fn see(&mut self, topic: String, revision: u64) {
        self.floor = self.floor.max(revision);
        self.seen.insert(topic, revision);
    }

    fn put_or_delete(&mut self, wall_us: u64, rng: &mut StdRng) -> Call {
        let topic = self.topics.state(rng);
        let timestamp_us = percent(rng, self.writes.timestamp_percent).then(|| timestamp(wall_us, rng));
        let condition = self.condition(&topic, rng);
        if percent(rng, self.writes.delete_percent) {
            return Call::Delete {
                topic,
                timestamp_us,
                condition,
            };
        }
        Call::Put {
            topic,
            serial: self.next_serial(),
            timestamp_us,
            condition,
            expiry_s: percent(rng, self.writes.expiry_percent).then(|| rng.random_range(1..=6)),
        }
    }

    fn condition(&self, topic: &str, rng: &mut StdRng) -> Condition {
        if !percent(rng, self.writes.condition_percent) {
            return Condition::None;
        }
        match rng.random_range(0..4) {
            0 => Condition::Absent,
            1 => Condition::Present,
            _ => match self.seen.get(topic) {
                None | Some(0) => Condition::Absent,
                Some(revision) => Condition::Revision(*revision),
            },
        }
    }

    fn consistency(&self, rng: &mut StdRng) -> Consistency {
        match rng.random_range(0..10) {
            0..=5 => Consistency::Linearizable,
            6 | 7 => Consistency::Local,
            _ => Consistency::AtLeast(self.floor),
        }
    }

    fn next_serial(&mut self) -> Serial {
        self.counter += 1;
        Serial {
            client: self.client,
            counter: self.counter,
        }
    }
}

/// Mostly near now, sometimes long ago, rarely too far ahead.
fn timestamp(wall_us: u64, rng: &mut StdRng) -> u64 {
    match rng.random_range(0..20) {
        0 => wall_us + rng.random_range(4_000_000..8_000_000),
        1..=3 => wall_us.saturating_sub(rng.random_range(0..60_000_000)),
        // Coarse, so that equal timestamps occur.
        4..=9 => wall_us / 1_000_000 * 1_000_000,
        _ => wall_us
            .saturating_add(1_000_000)
            .saturating_sub(rng.random_range(0..2_000_000)),
    }
}

pub(super) fn percent(rng: &mut StdRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}
