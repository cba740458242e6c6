//! The digest by which nodes notice that they have diverged.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::store::hash_of_key;

/// Order-independent digest of all rows that are not an index: of topics, tombstones and origins, and of sessions with their
/// subscriptions and wills, shared groups and kept messages. It is the wrapping sum of a 128-bit hash per row (XXH3 of the
/// value, seeded with XXH3 of the key). The two parts are kept apart, since a model of the one need not be one of the other.
///
/// A sum, so that a change costs two hashes and not a scan. It finds faults; it is no defence against forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl Digest {
    pub(super) const fn new(sum: u128) -> Self {
        Self(sum)
    }

    /// The sum.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl std::fmt::Display for Digest {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a row adds to the sum; `key_hash` is [`hash_of_key`] of its key.
pub(super) fn row_hash(key_hash: u64, value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, key_hash)
}

/// A sum of rows to which rows are added and from which they are taken.
pub(super) trait RowSum {
    /// Replaces a row of `key`; `None` is no row.
    fn replace_row(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>);

    /// As [`replace_row`](Self::replace_row), with what [`row_hash`] says of the rows.
    fn replace_hash(&mut self, old: Option<u128>, new: Option<u128>);
}

impl RowSum for u128 {
    fn replace_row(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        let key_hash = hash_of_key(key);
        let hash = |value| row_hash(key_hash, value);
        self.replace_hash(old.map(hash), new.map(hash));
    }

    fn replace_hash(&mut self, old: Option<u128>, new: Option<u128>) {
        *self = self.wrapping_sub(old.unwrap_or(0)).wrapping_add(new.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_depends_on_rows_and_not_on_their_history() {
        let mut one = 0_u128;
        one.replace_row(b"a", None, Some(b"1"));
        one.replace_row(b"b", None, Some(b"2"));
        one.replace_row(b"a", Some(b"1"), Some(b"3"));
        let mut other = 0_u128;
        other.replace_row(b"c", None, Some(b"0"));
        other.replace_row(b"a", None, Some(b"3"));
        other.replace_row(b"c", Some(b"0"), None);
        assert_ne!(one, other);
        other.replace_row(b"b", None, Some(b"2"));
        assert_eq!(one, other);
    }

    #[test]
    fn key_and_value_are_told_apart() {
        let sum = |key: &[u8], value: &[u8]| {
            let mut sum = 0_u128;
            sum.replace_row(key, None, Some(value));
            sum
        };
        assert_ne!(sum(b"ab", b"c"), sum(b"a", b"bc"));
        assert_ne!(sum(b"a", b"b"), sum(b"b", b"a"));
    }

    #[test]
    fn the_hash_is_fixed() {
        // Nodes of different builds compare digests: a change of the hash is a change of the format.
        let mut sum = 0_u128;
        sum.replace_row(b"\x10a", None, Some(b"value"));
        assert_eq!(Digest::new(sum).to_string(), "9d7bf336d80e88b56c83d5e52fd5cf52");
        assert_eq!(Digest::default().to_string(), "0".repeat(32));
    }
}
