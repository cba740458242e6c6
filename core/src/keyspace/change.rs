//! The latest change of each topic, by position (kind 0x12): what a change feed and a resuming subscriber read.
//!
//! | key | value |
//! |---|---|
//! | revision u64, ordinal u32 | stored topic |
//!
//! Each topic that has a record or a tombstone has exactly one row, at the revision and ordinal that stand in it. A later
//! change of the topic moves the row: so the index is in the order of the last changes and never longer than the keyspace.

use bytes::Bytes;

use super::KeyKind;
use super::record::FormatError;

const POSITION_BYTES: usize = 1 + 8 + 4;

/// Key of the change at `revision` and `ordinal`.
#[must_use]
pub fn change_key(revision: u64, ordinal: u32) -> Bytes {
    position_key(KeyKind::Change, revision, ordinal)
}

/// Revision and ordinal of a key of kind 0x12.
///
/// # Errors
/// It is none.
pub fn change_of_key(key: &[u8]) -> Result<(u64, u32), FormatError> {
    position_of_key(KeyKind::Change, key)
}

/// `kind`, revision and ordinal.
pub(super) fn position_key(kind: KeyKind, revision: u64, ordinal: u32) -> Bytes {
    let mut key = [0; POSITION_BYTES];
    key[0] = kind as u8;
    key[1..9].copy_from_slice(&revision.to_be_bytes());
    key[9..].copy_from_slice(&ordinal.to_be_bytes());
    Bytes::copy_from_slice(&key)
}

pub(super) fn position_of_key(kind: KeyKind, key: &[u8]) -> Result<(u64, u32), FormatError> {
    match <[u8; POSITION_BYTES]>::try_from(key) {
        Ok([first, revision @ .., o0, o1, o2, o3]) if first == kind as u8 => {
            Ok((u64::from_be_bytes(revision), u32::from_be_bytes([o0, o1, o2, o3])))
        }
        _ => Err(FormatError::new("index by revision", "has a malformed key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers() {
        assert_eq!(change_key(1, 2)[..], [0x12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert!(change_key(1, u32::MAX) < change_key(2, 0));
        assert!(change_key(255, 0) < change_key(256, 0));
    }

    #[test]
    fn keys_return_to_their_position() {
        assert_eq!(change_of_key(&change_key(u64::MAX, 7)), Ok((u64::MAX, 7)));
        assert!(change_of_key(&change_key(1, 2)[..12]).is_err());
        assert!(change_of_key(&position_key(KeyKind::TombstoneAge, 1, 2)).is_err());
    }
}
