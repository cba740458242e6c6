//! One topic: conditions first, then newest timestamp wins.

use bytes::Bytes;

use super::Outcome;
use crate::history::{Condition, Serial};

/// What a topic has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    Value(Value),
    Tombstone {
        revision: u64,
        ordinal: u32,
        timestamp_us: u64,
        deleted_at_us: u64,
    },
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) revision: u64,
    pub(super) created_revision: u64,
    pub(super) timestamp_us: u64,
    pub(super) expires_at_us: Option<u64>,
    pub(super) qos: u8,
    pub(super) publisher: String,
    pub(super) metadata: banyan_core::metadata::Metadata,
    pub(super) payload: Bytes,
}

/// By this writes and deletes of a topic are ordered; the greatest stands, in whatever order they arrive.
pub(super) type Rank<'a> = (u64, bool, &'a [u8], &'a [u8]);

impl Slot {
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Value(value) => value.revision,
            Self::Tombstone { revision, .. } => *revision,
        }
    }

    pub(super) fn timestamp_us(&self) -> u64 {
        match self {
            Self::Value(value) => value.timestamp_us,
            Self::Tombstone { timestamp_us, .. } => *timestamp_us,
        }
    }

    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Tombstone { .. } => None,
        }
    }

    fn rank(&self) -> Rank<'_> {
        match self {
            Self::Value(value) => (value.timestamp_us, true, &value.payload, value.metadata.as_bytes()),
            Self::Tombstone { timestamp_us, .. } => (*timestamp_us, false, &[], &[]),
        }
    }
}

impl Value {
    pub(super) fn serial(&self) -> Option<Serial> {
        Serial::of_payload(&self.payload)
    }
}

/// What becomes of a write or delete: the timestamp with which it is to be applied, or an outcome that changes nothing.
///
/// `timestamp_us` is the client's; `rank` says how the write ranks with a timestamp; `timestamp_max_us` is the latest that
/// is accepted; `stamp_us` is the timestamp if the client gave none.
pub(super) fn decide<'a>(
    slot: Option<&Slot>,
    condition: Condition,
    timestamp_us: Option<u64>,
    rank: impl FnOnce(u64) -> Rank<'a>,
    timestamp_max_us: u64,
    stamp_us: u64,
) -> Result<u64, Outcome> {
    let current = slot.and_then(Slot::value).map(|value| value.revision);
    let failed = Outcome::ConditionFailed {
        current: current.unwrap_or(0),
    };
    if !condition.is_met(current) {
        return Err(failed);
    }
    let Some(timestamp_us) = timestamp_us else {
        return Ok(stamp_us);
    };
    if timestamp_us > timestamp_max_us {
        return Err(Outcome::TimestampAhead);
    }
    let Some(standing) = slot else {
        return Ok(timestamp_us);
    };
    let challenger = rank(timestamp_us);
    if challenger > standing.rank() {
        Ok(timestamp_us)
    } else if challenger == standing.rank() {
        Err(Outcome::Unchanged {
            revision: standing.revision(),
        })
    } else if condition == Condition::None {
        Err(Outcome::Superseded {
            winner: standing.revision(),
        })
    } else {
        Err(failed)
    }
}
