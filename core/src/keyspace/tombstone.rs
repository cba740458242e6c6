//! What remains of a deleted topic (kind 0x11), and tombstones by age (kind 0x14).
//!
//! A tombstone keeps a late older write from bringing the value back, and tells a resuming subscriber of the deletion. A
//! topic has a record or a tombstone or neither, never both.
//!
//! | offset | bytes | field of the tombstone |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 8 | revision of the delete |
//! | 9 | 4 | ordinal of the topic within its revision |
//! | 13 | 8 | timestamp, microseconds since the Unix epoch: the time the delete claims |
//! | 21 | 8 | log time of the delete, microseconds since the Unix epoch |
//!
//! | key of kind 0x14 | value |
//! |---|---|
//! | revision u64, ordinal u32 of the delete | stored topic |

use bytes::Bytes;

use super::KeyKind;
use super::change::{position_key, position_of_key};
use super::record::FormatError;

const VERSION: u8 = 1;
const BYTES: usize = 29;

/// A deletion that is still remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Revision of the delete.
    pub revision: u64,
    /// Place of the topic among the topics that its revision changed.
    pub ordinal: u32,
    /// When the value ceased to be true, microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// Log time of the delete, microseconds since the Unix epoch: its age counts from here.
    pub deleted_at_us: u64,
}

impl Tombstone {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.to_bytes())
    }

    /// The stored form, not on the heap.
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [VERSION; BYTES];
        bytes[1..9].copy_from_slice(&self.revision.to_be_bytes());
        bytes[9..13].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes[13..21].copy_from_slice(&self.timestamp_us.to_be_bytes());
        bytes[21..].copy_from_slice(&self.deleted_at_us.to_be_bytes());
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no tombstone: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let [version, rest @ ..]: [u8; BYTES] = bytes
            .try_into()
            .map_err(|_| FormatError::new("tombstone", "has a wrong length"))?;
        if version != VERSION {
            return Err(FormatError::new("tombstone", "has an unknown version"));
        }
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| rest[at + i]));
        Ok(Self {
            revision: u64_at(0),
            ordinal: u32::from_be_bytes(std::array::from_fn(|i| rest[8 + i])),
            timestamp_us: u64_at(12),
            deleted_at_us: u64_at(20),
        })
    }
}

/// Key of the tombstone of a stored topic.
#[must_use]
pub fn tombstone_key(stored_topic: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(1 + stored_topic.len());
    key.push(KeyKind::Tombstone as u8);
    key.extend_from_slice(stored_topic);
    Bytes::from(key)
}

/// Key under which a tombstone is found by its age.
#[must_use]
pub fn tombstone_age_key(revision: u64, ordinal: u32) -> Bytes {
    position_key(KeyKind::TombstoneAge, revision, ordinal)
}

/// Revision and ordinal of a key of kind 0x14.
///
/// # Errors
/// It is none.
pub fn tombstone_age_of_key(key: &[u8]) -> Result<(u64, u32), FormatError> {
    position_of_key(KeyKind::TombstoneAge, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOMBSTONE: Tombstone = Tombstone {
        revision: 1,
        ordinal: 2,
        timestamp_us: 3,
        deleted_at_us: 4,
    };

    #[test]
    fn fields_come_back_as_they_went() {
        let bytes = TOMBSTONE.encode();
        assert_eq!(bytes[..13], [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(Tombstone::parse(&bytes), Ok(TOMBSTONE));
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = TOMBSTONE.encode();
        assert!(Tombstone::parse(&bytes[..BYTES - 1]).is_err());
        assert!(Tombstone::parse(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Tombstone::parse(&[&[2], &bytes[1..]].concat()).is_err());
    }

    #[test]
    fn keys_sort_as_their_numbers() {
        assert_eq!(tombstone_key(b"a\0b")[..], *b"\x11a\0b");
        assert!(tombstone_age_key(1, u32::MAX) < tombstone_age_key(2, 0));
        assert_eq!(tombstone_age_of_key(&tombstone_age_key(5, 6)), Ok((5, 6)));
        assert!(tombstone_age_of_key(&tombstone_key(b"123456789012")).is_err());
    }
}
