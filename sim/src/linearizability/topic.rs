//! One topic as an object with one value, and a history as requests of such objects.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Call, Condition, Consistency, History, Operation, Seen, Serial, Time};
use crate::model::matches;

/// What a request does to one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Gives it a value.
    Put {
        serial: Serial,
        /// As answered; `None` if the answer is unknown.
        revision: Option<u64>,
        condition: Condition,
        /// With a timestamp the same write may be answered again with the revision of the first. It is the same if its serial
        /// is, since clients send the same bytes again.
        has_timestamp: bool,
        expires: bool,
    },
    /// Takes its value away.
    Delete {
        revision: Option<u64>,
        condition: Condition,
        /// It answered that there was a value.
        had_value: bool,
    },
    /// Shows its value.
    Read(Option<Seen>),
    /// Shows the revision of its value, or that there is none (0), and found that the condition is not met.
    Failed {
        current: u64,
        /// `None`: with a timestamp a met condition fails too.
        condition: Option<Condition>,
    },
}

impl Action {
    /// The revision that the topic has after it, if the answer says.
    pub(super) const fn revision(&self) -> Option<u64> {
        match self {
            Self::Put { revision, .. } | Self::Delete { revision, .. } => *revision,
            Self::Read(Some(seen)) => Some(seen.revision),
            Self::Failed { current: 0, .. } | Self::Read(None) => None,
            Self::Failed { current, .. } => Some(*current),
        }
    }
}

/// A request of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicOperation {
    pub(super) invoked_at: Time,
    /// [`Time::MAX`] if its answer is unknown: it may take effect at any time, or never.
    pub(super) returned_at: Time,
    pub(super) action: Action,
    /// For messages.
    pub(super) text: String,
}

impl TopicOperation {
    pub(super) const fn is_unknown(&self) -> bool {
        self.returned_at == Time::MAX
    }
}

/// What a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Held {
    value: Option<Value>,
    /// The greatest revision that is known to have changed it: revisions increase.
    last_revision: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    serial: Serial,
    revision: Option<u64>,
    /// It may vanish at any time.
    expires: bool,
}

impl Held {
    /// What the topic may hold after `action` was answered as it was: nothing comes if it cannot have been.
    ///
    /// A value that expires may be gone before. Mostly that makes no difference to what is possible, but the same write again
    /// changes nothing where its value stands, and writes it anew where it has expired.
    pub(super) fn after(self, action: &Action) -> impl Iterator<Item = Self> {
        let standing = self.step(action);
        let expired = self.value.is_some_and(|value| value.expires);
        let expired = expired
            .then_some(Self { value: None, ..self })
            .and_then(|held| held.step(action))
            .filter(|held| Some(*held) != standing);
        standing.into_iter().chain(expired)
    }

    fn step(self, action: &Action) -> Option<Self> {
        match action {
            Action::Put {
                serial,
                revision,
                condition,
                has_timestamp,
                expires,
            } => {
                let standing = self
                    .value
                    .filter(|value| *has_timestamp && value.is(*serial, *revision));
                if let Some(value) = standing {
                    // The same again: it changes nothing.
                    return match revision {
                        Some(revision) => self.learn(value, *revision),
                        None => Some(self),
                    };
                }
                if !self.may_meet(*condition) {
                    return None;
                }
                self.changed(
                    *revision,
                    Some(Value {
                        serial: *serial,
                        revision: *revision,
                        expires: *expires,
                    }),
                )
            }
            Action::Delete {
                revision,
                condition,
                had_value,
            } => {
                if !self.may_meet(*condition) || (*had_value && self.value.is_none()) {
                    return None;
                }
                self.changed(*revision, None)
            }
            Action::Read(None) => self.value.is_none().then_some(self),
            Action::Read(Some(seen)) => {
                let value = self.value.filter(|value| Some(value.serial) == seen.serial)?;
                self.learn(value, seen.revision)
            }
            Action::Failed { current: 0, condition } => {
                let failed = condition.is_none_or(|condition| !condition.is_met(None));
                (self.value.is_none() && failed).then_some(self)
            }
            Action::Failed { current, condition } => {
                let failed = condition.is_none_or(|condition| !condition.is_met(Some(*current)));
                self.learn(self.value.filter(|_| failed)?, *current)
            }
        }
    }

    fn changed(self, revision: Option<u64>, value: Option<Value>) -> Option<Self> {
        if revision.is_some_and(|revision| revision <= self.last_revision) {
            return None;
        }
        let last_revision = revision.unwrap_or(self.last_revision);
        Some(Self { value, last_revision })
    }

    /// The value turns out to have this revision.
    fn learn(self, value: Value, revision: u64) -> Option<Self> {
        match value.revision {
            Some(known) => (known == revision).then_some(self),
            None => self.changed(
                Some(revision),
                Some(Value {
                    revision: Some(revision),
                    ..value
                }),
            ),
        }
    }

    fn may_meet(self, condition: Condition) -> bool {
        match (condition, self.value) {
            (
                Condition::Revision(wanted),
                Some(Value {
                    revision: Some(revision),
                    ..
                }),
            ) => wanted == revision,
            // Of a write whose answer is unknown the revision is too.
            (Condition::Revision(wanted), Some(Value { revision: None, .. })) => wanted > self.last_revision,
            (condition, value) => condition.is_met(value.map(|_| 0)),
        }
    }
}

impl Value {
    fn is(&self, serial: Serial, revision: Option<u64>) -> bool {
        self.serial == serial && (self.revision.is_none() || revision.is_none() || self.revision == revision)
    }
}

/// What the topics begin with that wills write.
const WILLS: &str = "device/will/";

/// The requests of each topic, by the time at which they were sent.
pub(super) fn by_topic(history: &History) -> BTreeMap<String, Vec<TopicOperation>> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for operation in &history.operations {
        names.extend(operation.call.topic());
        if let Some(Answer::Rows { rows, .. }) = &operation.answer {
            names.extend(rows.iter().map(|(topic, _)| topic.as_str()));
        }
    }
    // Wills of devices are written by the cluster, and no request tells of them.
    names.retain(|topic| !topic.starts_with(WILLS));
    let mut topics: BTreeMap<String, Vec<TopicOperation>> = BTreeMap::new();
    for operation in &history.operations {
        let concerned: Vec<&str> = match &operation.call {
            Call::DeleteFilter { filter } | Call::List { filter, .. } => {
                names.iter().copied().filter(|topic| matches(filter, topic)).collect()
            }
            call => call.topic().into_iter().collect(),
        };
        for topic in concerned {
            if let Some(action) = action_of(operation, topic) {
                let returned_at = match operation.is_unknown() {
                    true => Time::MAX,
                    false => operation.returned_at.unwrap_or(Time::MAX),
                };
                topics.entry(topic.to_owned()).or_default().push(TopicOperation {
                    invoked_at: operation.invoked_at,
                    returned_at,
                    action,
                    text: operation.call.to_string(),
                });
            }
        }
    }
    for operations in topics.values_mut() {
        operations.sort_by_key(|operation| (operation.invoked_at, operation.returned_at));
    }
    topics
}

/// What `operation` does to `topic`; `None` if it does or shows nothing that matters.
fn action_of(operation: &Operation, topic: &str) -> Option<Action> {
    let unknown = operation.is_unknown();
    match (&operation.call, operation.answer.as_ref()) {
        (_, Some(Answer::Refused(_))) => None,
        (
            Call::Put {
                serial,
                timestamp_us,
                condition,
                expiry_s,
                ..
            },
            answer,
        ) => match answer {
            Some(Answer::ConditionFailed { current }) => Some(failed(*current, *condition, *timestamp_us)),
            // What stood instead may be a deletion: nothing to learn from the client's side.
            Some(Answer::Written {
                superseded_by: Some(_), ..
            }) => None,
            _ => Some(Action::Put {
                serial: *serial,
                revision: operation.effect_revision(),
                condition: *condition,
                has_timestamp: timestamp_us.is_some(),
                expires: expiry_s.is_some(),
            }),
        },
        (
            Call::Delete {
                timestamp_us,
                condition,
                ..
            },
            answer,
        ) => match answer {
            Some(Answer::ConditionFailed { current }) => Some(failed(*current, *condition, *timestamp_us)),
            Some(Answer::Deleted { revision: None }) => timestamp_us.is_none().then_some(Action::Read(None)),
            // A delete with a timestamp that is sent again is answered with the revision of the first.
            _ if timestamp_us.is_some() => Some(Action::Delete {
                revision: None,
                condition: *condition,
                had_value: false,
            }),
            _ => Some(Action::Delete {
                revision: operation.effect_revision(),
                condition: *condition,
                had_value: !unknown,
            }),
        },
        (Call::DeleteFilter { .. }, Some(Answer::Deleted { revision: None })) => Some(Action::Read(None)),
        (Call::DeleteFilter { .. }, _) => Some(Action::Delete {
            revision: operation.effect_revision(),
            condition: Condition::None,
            had_value: false,
        }),
        (
            Call::Get {
                consistency: Consistency::Linearizable,
                ..
            },
            Some(Answer::Value(seen)),
        ) => Some(Action::Read(*seen)),
        (
            Call::List {
                consistency: Consistency::Linearizable,
                ..
            },
            Some(Answer::Rows { rows, .. }),
        ) => {
            let row = rows.iter().find(|(row, _)| row == topic);
            Some(Action::Read(row.map(|(_, seen)| *seen)))
        }
        (Call::Event { .. } | Call::Get { .. } | Call::List { .. }, _) => None,
    }
}

fn failed(current: u64, condition: Condition, timestamp_us: Option<u64>) -> Action {
    Action::Failed {
        current,
        condition: timestamp_us.is_none().then_some(condition),
    }
}
