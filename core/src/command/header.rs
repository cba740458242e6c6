//! The optional parts that puts, deletes and events have in common, behind one byte of flags.

use super::wire::Reader;
use super::{Condition, DecodeError};

const TIMESTAMP: u8 = 0b0000_0001;
const EXPIRY: u8 = 0b0000_0010;
const CONDITION_SHIFT: u8 = 2;
const QOS_SHIFT: u8 = 4;
const TWO_BITS: u8 = 0b11;

/// Flags that a put may have.
pub(super) const PUT_FLAGS: u8 = 0b0011_1111;
/// Flags that a delete may have: no expiry.
pub(super) const DELETE_FLAGS: u8 = PUT_FLAGS & !EXPIRY;
/// Flags that an event may have: no timestamp, no condition.
pub(super) const EVENT_FLAGS: u8 = EXPIRY | TWO_BITS << QOS_SHIFT;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) timestamp_us: Option<u64>,
    pub(super) expiry_s: Option<u32>,
    pub(super) condition: Condition,
    pub(super) qos: u8,
}

impl Header {
    /// # Panics
    /// If the QoS is above 2.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.qos <= 2, "QoS {} does not exist", self.qos);
        let condition = match self.condition {
            Condition::None => 0,
            Condition::Revision(_) => 1,
            Condition::Absent => 2,
            Condition::Present => 3,
        };
        let mut flags = condition << CONDITION_SHIFT | self.qos << QOS_SHIFT;
        if self.timestamp_us.is_some() {
            flags |= TIMESTAMP;
        }
        if self.expiry_s.is_some() {
            flags |= EXPIRY;
        }
        out.push(flags);
        if let Some(timestamp_us) = self.timestamp_us {
            out.extend_from_slice(&timestamp_us.to_be_bytes());
        }
        if let Some(expiry_s) = self.expiry_s {
            out.extend_from_slice(&expiry_s.to_be_bytes());
        }
        if let Condition::Revision(revision) = self.condition {
            out.extend_from_slice(&revision.to_be_bytes());
        }
    }

    /// Reads a header in which only the flags `defined` may be set.
    pub(super) fn decode(reader: &mut Reader<'_>, defined: u8) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let qos = flags >> QOS_SHIFT & TWO_BITS;
        if flags & !defined != 0 || qos > 2 {
            return Err(DecodeError::Flags(flags));
        }
        let timestamp_us = if flags & TIMESTAMP != 0 {
            Some(reader.u64()?)
        } else {
            None
        };
        let expiry_s = if flags & EXPIRY != 0 { Some(reader.u32()?) } else { None };
        let condition = match flags >> CONDITION_SHIFT & TWO_BITS {
            0 => Condition::None,
            1 => Condition::Revision(reader.u64()?),
            2 => Condition::Absent,
            _ => Condition::Present,
        };
        Ok(Self {
            timestamp_us,
            expiry_s,
            condition,
            qos,
        })
    }
}
