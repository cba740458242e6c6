//! One request of a client, and its answer.

use std::fmt;

use super::{Serial, Time};

/// How a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// MQTT 5, QoS 1.
    Mqtt,
    /// HTTP/1.1.
    Http,
}

/// How new the answer of a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Not older than any write acknowledged before.
    Linearizable,
    /// Whatever the node has.
    Local,
    /// Not older than a revision.
    AtLeast(u64),
}

/// What must be true of the topic for a write to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// There is no value.
    Absent,
    /// There is a value.
    Present,
    /// The value has this revision; 0: there is none.
    Revision(u64),
}

impl Condition {
    /// Whether it is met by a topic whose value has revision `current`, or that has none.
    #[must_use]
    pub const fn is_met(self, current: Option<u64>) -> bool {
        match (self, current) {
            (Self::None, _) | (Self::Absent | Self::Revision(0), None) | (Self::Present, Some(_)) => true,
            (Self::Revision(wanted), Some(current)) => wanted == current,
            (Self::Present | Self::Revision(_), None) | (Self::Absent, Some(_)) => false,
        }
    }
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Retained PUBLISH with QoS 1, or HTTP PUT.
    Put {
        /// The topic.
        topic: String,
        /// Stands in the payload.
        serial: Serial,
        /// The client's timestamp, microseconds since the Unix epoch.
        timestamp_us: Option<u64>,
        /// What must be true of the topic.
        condition: Condition,
        /// Seconds after which the value goes.
        expiry_s: Option<u32>,
    },
    /// Empty retained PUBLISH with QoS 1, or HTTP DELETE.
    Delete {
        /// The topic.
        topic: String,
        /// The client's timestamp, microseconds since the Unix epoch.
        timestamp_us: Option<u64>,
        /// What must be true of the topic.
        condition: Condition,
    },
    /// HTTP DELETE by filter.
    DeleteFilter {
        /// The topic filter.
        filter: String,
    },
    /// PUBLISH without retain, QoS 1.
    Event {
        /// The topic.
        topic: String,
        /// Stands in the payload.
        serial: Serial,
    },
    /// HTTP GET of one topic.
    Get {
        /// The topic.
        topic: String,
        /// How new.
        consistency: Consistency,
    },
    /// HTTP list, all pages.
    List {
        /// The topic filter.
        filter: String,
        /// How new.
        consistency: Consistency,
    },
}

impl Call {
    /// The serial in the payload, if there is one.
    #[must_use]
    pub const fn serial(&self) -> Option<Serial> {
        match self {
            Self::Put { serial, .. } | Self::Event { serial, .. } => Some(*serial),
            Self::Delete { .. } | Self::DeleteFilter { .. } | Self::Get { .. } | Self::List { .. } => None,
        }
    }

    /// The one topic it is about; `None` if it has a filter.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Put { topic, .. }
            | Self::Delete { topic, .. }
            | Self::Event { topic, .. }
            | Self::Get { topic, .. } => Some(topic),
            Self::DeleteFilter { .. } | Self::List { .. } => None,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::List { .. })
    }
}

/// One line for timelines and messages.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                topic,
                serial,
                timestamp_us,
                condition,
                expiry_s,
            } => {
                write!(f, "put {topic} = {serial}")?;
                write_timestamp(f, *timestamp_us)?;
                write_condition(f, *condition)?;
                match expiry_s {
                    Some(expiry_s) => write!(f, " for {expiry_s} s"),
                    None => Ok(()),
                }
            }
            Self::Delete {
                topic,
                timestamp_us,
                condition,
            } => {
                write!(f, "delete {topic}")?;
                write_timestamp(f, *timestamp_us)?;
                write_condition(f, *condition)
            }
            Self::DeleteFilter { filter } => write!(f, "delete all of {filter}"),
            Self::Event { topic, serial } => write!(f, "event {topic} = {serial}"),
            Self::Get { topic, consistency } => write!(f, "get {topic} ({consistency})"),
            Self::List { filter, consistency } => write!(f, "list {filter} ({consistency})"),
        }
    }
}

fn write_timestamp(f: &mut fmt::Formatter<'_>, timestamp_us: Option<u64>) -> fmt::Result {
    timestamp_us.map_or(Ok(()), |timestamp_us| write!(f, " at timestamp {timestamp_us}"))
}

fn write_condition(f: &mut fmt::Formatter<'_>, condition: Condition) -> fmt::Result {
    match condition {
        Condition::None => Ok(()),
        Condition::Absent => write!(f, " if absent"),
        Condition::Present => write!(f, " if present"),
        Condition::Revision(revision) => write!(f, " if at revision {revision}"),
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => write!(f, "linearizable"),
            Self::Local => write!(f, "local"),
            Self::AtLeast(revision) => write!(f, "at least {revision}"),
        }
    }
}

/// A value that a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What stood in the payload.
    pub serial: Option<Serial>,
    /// Revision of the value.
    pub revision: u64,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The put succeeded: PUBACK, 200, 201.
    Written {
        /// Revision of the write; of the winner if it was superseded.
        revision: u64,
        /// Revision of the write with a newer timestamp because of which nothing changed.
        superseded_by: Option<u64>,
    },
    /// The delete succeeded.
    Deleted {
        /// Its revision; `None` if there was nothing to delete, or the answer does not say.
        revision: Option<u64>,
    },
    /// The event has its place in the order.
    Event {
        /// Its revision, if the answer says.
        revision: Option<u64>,
    },
    /// What a get saw; `None`: the topic holds no value (404).
    Value(Option<Seen>),
    /// What a list saw.
    Rows {
        /// The moment of which it is.
        revision: u64,
        /// Topics and values, in the order of the answer.
        rows: Vec<(String, Seen)>,
    },
    /// The condition was not met; nothing changed.
    ConditionFailed {
        /// Revision of the value; 0 if there is none.
        current: u64,
    },
    /// Certainly nothing happened (503 and the like).
    Refused(String),
    /// May or may not have happened.
    Unknown(String),
}

/// Why an answer is unknown if the client itself was killed.
pub const KILLED: &str = "the client was killed";

impl Answer {
    /// Whether the request certainly took place, as opposed to refused or unknown.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Unknown(_))
    }

    /// Whether the client got no service, although it lived and asked for something legal.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unknown(reason) => reason != KILLED,
            // Whatever else is refused is the client's own fault.
            Self::Refused(reason) => !(reason.contains("timestamp-ahead") || reason.starts_with('4')),
            _ => false,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written {
                revision,
                superseded_by: None,
            } => write!(f, "written at {revision}"),
            Self::Written {
                superseded_by: Some(winner),
                ..
            } => write!(f, "superseded by {winner}"),
            Self::Deleted {
                revision: Some(revision),
            } => write!(f, "deleted at {revision}"),
            Self::Deleted { revision: None } => write!(f, "deleted"),
            Self::Event {
                revision: Some(revision),
            } => write!(f, "published at {revision}"),
            Self::Event { revision: None } => write!(f, "published"),
            Self::Value(None) => write!(f, "nothing"),
            Self::Value(Some(Seen {
                serial: Some(serial),
                revision,
            })) => write!(f, "{serial} of {revision}"),
            Self::Value(Some(Seen { serial: None, revision })) => write!(f, "a foreign value of {revision}"),
            Self::Rows { revision, rows } => write!(f, "{} rows of {revision}", rows.len()),
            Self::ConditionFailed { current } => write!(f, "condition failed, revision is {current}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Unknown(reason) => write!(f, "unknown: {reason}"),
        }
    }
}

/// One request of one client. A message that is sent again is an operation of its own, with the same serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The client.
    pub client: u32,
    /// The node that was asked.
    pub node: u64,
    /// How.
    pub transport: Transport,
    /// What for.
    pub call: Call,
    /// When it was sent, at the latest.
    pub invoked_at: Time,
    /// When the answer was there, at the earliest.
    pub returned_at: Option<Time>,
    /// `None`: it never came, which is [`Answer::Unknown`] too.
    pub answer: Option<Answer>,
}

impl Operation {
    /// Whether it may or may not have happened.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.answer, None | Some(Answer::Unknown(_)))
    }

    /// The revision at which the log must hold its effect, if the answer names one and something changed.
    #[must_use]
    pub const fn effect_revision(&self) -> Option<u64> {
        match (&self.call, &self.answer) {
            (
                Call::Put { .. },
                Some(Answer::Written {
                    revision,
                    superseded_by: None,
                }),
            ) => Some(*revision),
            (Call::Delete { .. } | Call::DeleteFilter { .. }, Some(Answer::Deleted { revision })) => *revision,
            (Call::Event { .. }, Some(Answer::Event { revision })) => *revision,
            _ => None,
        }
    }
}
