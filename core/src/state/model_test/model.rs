//! The rules in the plainest way.

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Slot {
    Value {
        revision: u64,
        created_revision: u64,
        rank: Rank,
        expires_at_us: Option<u64>,
    },
    Tombstone {
        revision: u64,
        ordinal: u32,
        timestamp_us: u64,
        deleted_at_us: u64,
    },
}

/// What is compared to find the winner.
type Rank = (u64, Option<(Bytes, Bytes)>);

impl Slot {
    fn rank(&self) -> Rank {
        match self {
            Self::Value { rank, .. } => rank.clone(),
            Self::Tombstone { timestamp_us, .. } => (*timestamp_us, None),
        }
    }

    fn revision(&self) -> u64 {
        match self {
            Self::Value { revision, .. } | Self::Tombstone { revision, .. } => *revision,
        }
    }
}

/// The rules of `apply`, without indexes, layers or formats. Topics are in key order.
#[derive(Debug, Default)]
pub(super) struct Model {
    slots: BTreeMap<String, Slot>,
    revision: u64,
    pub(super) now_us: u64,
    pub(super) incarnation: u64,
    pub(super) nonce: u64,
    pub(super) next_sequence: u64,
}

fn stored(topic: &TopicName) -> String {
    topic.as_str().replace('/', "\0")
}

impl Model {
    fn value_revision(&self, topic: &TopicName) -> Option<u64> {
        match self.slots.get(&stored(topic)) {
            Some(Slot::Value { revision, .. }) => Some(*revision),
            _ => None,
        }
    }

    /// The rank with which a write or delete takes effect, or why it does not.
    fn decide(
        &self,
        topic: &TopicName,
        condition: Condition,
        timestamp_us: Option<u64>,
        content: Option<(Bytes, Bytes)>,
    ) -> Result<Rank, Outcome> {
        let current = self.value_revision(topic);
        let failed = Outcome::ConditionFailed {
            current: current.unwrap_or(0),
        };
        let met = match condition {
            Condition::None => true,
            Condition::Revision(revision) => current.unwrap_or(0) == revision,
            Condition::Absent => current.is_none(),
            Condition::Present => current.is_some(),
        };
        if !met {
            return Err(failed);
        }
        let latest = self.slots.get(&stored(topic));
        let Some(timestamp_us) = timestamp_us else {
            let after = latest.map_or(0, |slot| slot.rank().0 + 1);
            return Ok((self.now_us.max(after), content));
        };
        if timestamp_us > self.now_us + TIMESTAMP_AHEAD_MAX_US {
            return Err(Outcome::TimestampAhead {
                ahead_us: timestamp_us - self.now_us,
            });
        }
        let rank = (timestamp_us, content);
        match latest {
            Some(slot) if slot.rank() == rank => Err(Outcome::Unchanged {
                revision: slot.revision(),
            }),
            Some(slot) if slot.rank() > rank && condition == Condition::None => Err(Outcome::Superseded {
                winner: slot.revision(),
            }),
            Some(slot) if slot.rank() > rank => Err(failed),
            _ => Ok(rank),
        }
    }

    fn bury(&mut self, key: String, ordinal: u32, timestamp_us: u64) {
        let tombstone = Slot::Tombstone {
            revision: self.revision,
            ordinal,
            timestamp_us,
            deleted_at_us: self.now_us,
        };
        self.slots.insert(key, tombstone);
    }

    fn put(&mut self, put: &Put) -> Result<Outcome, Outcome> {
        let content = (put.payload.clone(), put.metadata.as_bytes().clone());
        let rank = self.decide(&put.topic, put.condition, put.timestamp_us, Some(content))?;
        self.revision += 1;
        let created_revision = match self.slots.get(&stored(&put.topic)) {
            Some(Slot::Value { created_revision, .. }) => *created_revision,
            _ => self.revision,
        };
        let expires_at_us = put
            .expiry_s
            .map(|expiry_s| self.now_us + u64::from(expiry_s) * 1_000_000);
        let slot = Slot::Value {
            revision: self.revision,
            created_revision,
            rank,
            expires_at_us,
        };
        self.slots.insert(stored(&put.topic), slot);
        Ok(Outcome::Applied {
            revision: self.revision,
            created: created_revision == self.revision,
        })
    }

    fn delete(&mut self, delete: &Delete) -> Result<Outcome, Outcome> {
        let (timestamp_us, _) = self.decide(&delete.topic, delete.condition, delete.timestamp_us, None)?;
        if delete.timestamp_us.is_none() && self.value_revision(&delete.topic).is_none() {
            return Err(Outcome::NotFound);
        }
        self.revision += 1;
        self.bury(stored(&delete.topic), 0, timestamp_us);
        Ok(Outcome::Deleted {
            revision: self.revision,
        })
    }

    fn delete_filter(&mut self, delete: &DeleteFilter) -> Outcome {
        let matches = |key: &String| delete.filter.matches(&topic(&key.replace('\0', "/")));
        let values = self
            .slots
            .iter()
            .filter(|(key, slot)| matches!(slot, Slot::Value { .. }) && matches(key));
        let mut found: Vec<_> = values.map(|(key, slot)| (key.clone(), slot.rank().0)).collect();
        let more = found.len() > delete.limit as usize;
        found.truncate(delete.limit as usize);
        if !found.is_empty() {
            self.revision += 1;
        }
        let count = found.len() as u32;
        for (ordinal, (key, timestamp_us)) in (0..).zip(found) {
            self.bury(key, ordinal, self.now_us.max(timestamp_us + 1));
        }
        Outcome::DeletedMany {
            revision: self.revision,
            count,
            more,
        }
    }

    pub(super) fn operation(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Put(put) => self.put(put).unwrap_or_else(|outcome| outcome),
            Operation::Delete(delete) => self.delete(delete).unwrap_or_else(|outcome| outcome),
            Operation::DeleteFilter(delete) => self.delete_filter(delete),
            Operation::Event(_) => {
                self.revision += 1;
                Outcome::Published {
                    revision: self.revision,
                }
            }
            other => unreachable!("of a session, see `session_model_test`: {other:?}"),
        }
    }

    pub(super) fn expire(&mut self, limit: u32) {
        let mut due: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Value {
                    expires_at_us: Some(time),
                    rank,
                    ..
                } if *time <= self.now_us => Some((*time, key.clone(), rank.0)),
                _ => None,
            })
            .collect();
        due.sort();
        due.truncate(limit as usize);
        self.revision += u64::from(!due.is_empty());
        for (ordinal, (_, key, timestamp_us)) in (0..).zip(due) {
            self.bury(key, ordinal, timestamp_us);
        }
    }

    pub(super) fn compact(&mut self, limit: u32) {
        let mut old: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Tombstone {
                    revision,
                    ordinal,
                    deleted_at_us,
                    ..
                } if self.revision - revision >= BOUNDS.revisions && self.now_us - deleted_at_us >= BOUNDS.age_us => {
                    Some(((*revision, *ordinal), key.clone()))
                }
                _ => None,
            })
            .collect();
        old.sort();
        old.iter()
            .take(limit as usize)
            .for_each(|(_, key)| drop(self.slots.remove(key)));
    }

    pub(super) fn assert_same(&self, state: &mut State) {
        assert_eq!((self.revision, self.now_us), (state.revision(), state.log_time_us()));
        let view = state.view();
        assert_eq!(self.slots.len() as u64, view.topic_count + view.tombstone_count);
        for (key, slot) in &self.slots {
            let topic = topic(&key.replace('\0', "/"));
            let found = if let Some(record) = view.get(&topic).unwrap() {
                let content = (record.payload(), record.metadata().as_bytes().clone());
                Slot::Value {
                    revision: record.revision(),
                    created_revision: record.created_revision(),
                    rank: (record.timestamp_us(), Some(content)),
                    expires_at_us: record.expires_at_us(),
                }
            } else {
                let Tombstone {
                    revision,
                    ordinal,
                    timestamp_us,
                    deleted_at_us,
                    ..
                } = view.tombstone(&topic).unwrap().unwrap();
                Slot::Tombstone {
                    revision,
                    ordinal,
                    timestamp_us,
                    deleted_at_us,
                }
            };
            assert_eq!(&found, slot, "{topic}");
        }
    }
}
