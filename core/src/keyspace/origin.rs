//! Where each origin stands (kind 0x02): a node whose clients' commands arrive in numbered batches.
//!
//! The key is the node id, u64.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 8 | incarnation in force |
//! | 9 | 8 | nonce with which it was opened |
//! | 17 | 8 | sequence of the next batch |

use bytes::Bytes;

use super::KeyKind;
use super::record::FormatError;

const VERSION: u8 = 1;
const BYTES: usize = 25;

/// Where an origin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginRow {
    /// The node's present life, from 1. Batches of earlier ones are refused.
    pub incarnation: u64,
    /// What the node drew when it opened this life: repeating the request with it changes nothing.
    pub nonce: u64,
    /// The batch that is taken next, from 1.
    pub next_sequence: u64,
}

impl OriginRow {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.to_bytes())
    }

    /// The stored form, not on the heap.
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [VERSION; BYTES];
        bytes[1..9].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.nonce.to_be_bytes());
        bytes[17..].copy_from_slice(&self.next_sequence.to_be_bytes());
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no origin row: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let [version, rest @ ..]: [u8; BYTES] = bytes
            .try_into()
            .map_err(|_| FormatError::new("origin", "has a wrong length"))?;
        if version != VERSION {
            return Err(FormatError::new("origin", "has an unknown version"));
        }
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| rest[at + i]));
        Ok(Self {
            incarnation: u64_at(0),
            nonce: u64_at(8),
            next_sequence: u64_at(16),
        })
    }
}

/// Key of the row of a node.
#[must_use]
pub fn origin_key(node_id: u64) -> Bytes {
    Bytes::copy_from_slice(&origin_key_bytes(node_id))
}

/// Key of the row of a node, not on the heap.
pub(crate) fn origin_key_bytes(node_id: u64) -> [u8; 9] {
    let mut key = [KeyKind::Origin as u8; 9];
    key[1..].copy_from_slice(&node_id.to_be_bytes());
    key
}

/// Node id of a key of kind 0x02.
///
/// # Errors
/// It is none.
pub fn origin_of_key(key: &[u8]) -> Result<u64, FormatError> {
    match key.split_first() {
        Some((kind, id)) if *kind == KeyKind::Origin as u8 => id
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| FormatError::new("origin", "has a malformed key")),
        _ => Err(FormatError::new("origin", "has a malformed key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_keys_come_back_as_they_went() {
        let row = OriginRow {
            incarnation: 1,
            nonce: 2,
            next_sequence: 3,
        };
        assert_eq!(OriginRow::parse(&row.encode()), Ok(row));
        assert_eq!(origin_of_key(&origin_key(77)), Ok(77));
        assert_eq!(origin_key(1)[..], [2, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn other_bytes_are_refused() {
        let row = OriginRow {
            incarnation: 1,
            nonce: 2,
            next_sequence: 3,
        }
        .encode();
        assert!(OriginRow::parse(&row[1..]).is_err());
        assert!(OriginRow::parse(&[&[9], &row[1..]].concat()).is_err());
        assert!(origin_of_key(&origin_key(1)[1..]).is_err());
        assert!(origin_of_key(&[]).is_err());
    }
}
