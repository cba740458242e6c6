//! User properties that mean something to Banyan, and what they mean.
//!
//! | packet | property | meaning |
//! |---|---|---|
//! | CONNECT | `annotate=on` | annotations on deliveries and acknowledgements |
//! | PUBLISH with retain | `timestamp=SECONDS` | when the value was true; stays in the metadata |
//! | PUBLISH with retain | `if-revision=N`, `if-absent`, `if-present` | condition; taken out of the metadata |
//! | SUBSCRIBE | `since=N`, `marker=on`, `consistency=local` | see [`SubscribeRequest`](super::SubscribeRequest) |
//! | SUBSCRIBE | `deliver=latest` | see [`Subscription`](super::Subscription) |
//!
//! Everything else is the client's own and passed on or ignored as the standard says.

use thiserror::Error;

use super::timestamp::{TimestampError, parse_timestamp_us};
use crate::command::Condition;
use crate::metadata::{Metadata, MetadataBuilder, MetadataError};
use crate::mqtt::packet::UserProperties;

/// When the value was true, decimal Unix seconds.
pub(super) const TIMESTAMP: &str = "timestamp";
/// Revision of a write, of a delivered state, or R of a SUBSCRIBE.
pub(super) const REVISION: &str = "revision";
/// Revision of the value that a write lost against.
pub(super) const SUPERSEDED: &str = "superseded";
const ANNOTATE: &str = "annotate";
const IF_REVISION: &str = "if-revision";
const IF_ABSENT: &str = "if-absent";
const IF_PRESENT: &str = "if-present";
const SINCE: &str = "since";
const MARKER: &str = "marker";
const CONSISTENCY: &str = "consistency";
const DELIVER: &str = "deliver";

/// What a retained PUBLISH asks for in its user properties.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WriteProperties {
    pub(super) timestamp_us: Option<u64>,
    pub(super) condition: Condition,
    /// What is stored and forwarded, of exact size.
    pub(super) metadata: Metadata,
}

/// Why a retained PUBLISH cannot be what its user properties say; answered 0x83 with the text as reason string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum WritePropertiesError {
    #[error("timestamp-invalid: {0}")]
    Timestamp(TimestampError),
    /// No clock is that far ahead, whatever the limit.
    #[error("timestamp-ahead: {0}")]
    TimestampAhead(TimestampError),
    #[error("condition-invalid: write if-revision=N with a whole number, 0 for a topic that must not exist")]
    IfRevision,
    #[error("condition-invalid: {0} takes no value other than on; leave it out to have no condition")]
    Flag(&'static str),
    #[error("condition-invalid: if-absent, if-present and if-revision contradict each other; write one of them")]
    Contradiction,
    #[error("metadata: {0}")]
    Metadata(MetadataError),
}

/// Reads the user properties of a retained PUBLISH.
pub(super) fn of_write(metadata: &Metadata) -> Result<WriteProperties, WritePropertiesError> {
    if metadata.is_empty() {
        return Ok(WriteProperties {
            timestamp_us: None,
            condition: Condition::None,
            metadata: Metadata::empty(),
        });
    }
    let mut timestamp_us = None;
    let mut condition = Condition::None;
    let mut has_condition = false;
    for (name, value) in metadata.user_properties() {
        if name == TIMESTAMP && timestamp_us.is_none() {
            timestamp_us = parse_timestamp_us(value).map_err(|error| match error {
                TimestampError::BeforeEpoch => WritePropertiesError::Timestamp(error),
                TimestampError::TooLarge => WritePropertiesError::TimestampAhead(error),
            })?;
        } else if let Some(one) = condition_of(name, value)? {
            condition = both(condition, one).ok_or(WritePropertiesError::Contradiction)?;
            has_condition = true;
        }
    }
    let metadata = if has_condition {
        without_conditions(metadata).map_err(WritePropertiesError::Metadata)?
    } else {
        metadata.detach()
    };
    Ok(WriteProperties {
        timestamp_us,
        condition,
        metadata,
    })
}

fn is_condition(name: &str) -> bool {
    matches!(name, IF_REVISION | IF_ABSENT | IF_PRESENT)
}

fn condition_of(name: &str, value: &str) -> Result<Option<Condition>, WritePropertiesError> {
    let flag = |name, condition| match value {
        "" | "on" | "true" | "1" => Ok(Some(condition)),
        _ => Err(WritePropertiesError::Flag(name)),
    };
    match name {
        IF_REVISION => match parse_whole(value) {
            Some(0) => Ok(Some(Condition::Absent)),
            Some(revision) => Ok(Some(Condition::Revision(revision))),
            None => Err(WritePropertiesError::IfRevision),
        },
        IF_ABSENT => flag(IF_ABSENT, Condition::Absent),
        IF_PRESENT => flag(IF_PRESENT, Condition::Present),
        _ => Ok(None),
    }
}

/// The condition that is met when both are, unless they can never be.
fn both(one: Condition, other: Condition) -> Option<Condition> {
    match (one, other) {
        (Condition::None, condition) => Some(condition),
        (Condition::Present, Condition::Revision(revision)) | (Condition::Revision(revision), Condition::Present) => {
            Some(Condition::Revision(revision))
        }
        (one, other) => (one == other).then_some(one),
    }
}

fn without_conditions(metadata: &Metadata) -> Result<Metadata, MetadataError> {
    let mut builder = MetadataBuilder::new();
    builder.payload_format(metadata.payload_format());
    if let Some(content_type) = metadata.content_type() {
        builder.content_type(content_type);
    }
    if let Some(response_topic) = metadata.response_topic() {
        builder.response_topic(response_topic);
    }
    if let Some(correlation_data) = metadata.correlation_data() {
        builder.correlation_data(correlation_data);
    }
    for (name, value) in metadata.user_properties().filter(|(name, _)| !is_condition(name)) {
        builder.user_property(name, value);
    }
    builder.build()
}

/// Whether CONNECT asks for annotations.
pub(super) fn asks_for_annotations(user_properties: &UserProperties) -> bool {
    user_properties
        .iter()
        .any(|(name, value)| name == ANNOTATE && value == "on")
}

/// What a SUBSCRIBE asks for in its user properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SubscribeProperties {
    pub(super) consistency_local: bool,
    pub(super) since: Option<u64>,
    pub(super) marker: bool,
    pub(super) latest: bool,
}

/// Why a SUBSCRIBE cannot be served as its user properties say; answered 0x83 for each filter, with the text as reason string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum SubscribePropertiesError {
    #[error("since-invalid: write since=N with the revision you have, a whole number")]
    Since,
    #[error("marker-invalid: write marker=on, or leave it out")]
    Marker,
    #[error("consistency-invalid: write consistency=local, or leave it out for linearizable")]
    Consistency,
    #[error("deliver-invalid: write deliver=latest, or leave it out to have every message")]
    Deliver,
}

/// Reads the user properties of a SUBSCRIBE; of several of a name the last one counts.
pub(super) fn of_subscribe(user_properties: &UserProperties) -> Result<SubscribeProperties, SubscribePropertiesError> {
    let mut properties = SubscribeProperties::default();
    for (name, value) in user_properties {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            continue;
        };
        match (name, value) {
            (SINCE, revision) => properties.since = Some(parse_whole(revision).ok_or(SubscribePropertiesError::Since)?),
            (MARKER, "on") => properties.marker = true,
            (MARKER, "off") => properties.marker = false,
            (MARKER, _) => return Err(SubscribePropertiesError::Marker),
            (CONSISTENCY, "local") => properties.consistency_local = true,
            (CONSISTENCY, "linearizable") => properties.consistency_local = false,
            (CONSISTENCY, _) => return Err(SubscribePropertiesError::Consistency),
            (DELIVER, "latest") => properties.latest = true,
            (DELIVER, "all") => properties.latest = false,
            (DELIVER, _) => return Err(SubscribePropertiesError::Deliver),
            _ => {}
        }
    }
    Ok(properties)
}

/// A whole number in digits alone: no sign, no space.
fn parse_whole(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
#[path = "properties_test.rs"]
mod tests;
