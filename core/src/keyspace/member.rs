//! What the members of the cluster are to be (kind 0x08), and the tokens with which nodes enter it.
//!
//! Who is a member now is Raft's membership; these rows say what is to become of it, and the leader works towards that. Nodes
//! that nobody ever asked anything of have no row. A node that has left keeps its row: ids are never used again.
//!
//! | key | value |
//! |---|---|
//! | 0x01, node id u64 | [`MemberRow`] |
//! | 0x02, SHA-256 of the secret, 32 bytes | [`TokenRow`] |
//!
//! | member | bytes | | token | bytes |
//! |---|---|---|---|---|
//! | format version, 1 | 1 | | format version, 1 | 1 |
//! | goal: 1 learner, 2 voter, 3 leaves, 4 gone | 1 | | flags: bit 0 becomes a voter | 1 |
//! | log time at which the goal was set | 8 | | log time at which it expires | 8 |
//! | nonce of the data directory it entered with, or 0 | 8 | | node that it replaces, or 0 | 8 |
//! | node that it replaces, or 0 | 8 | | node that entered with it, or 0 | 8 |
//! | address for other nodes, to the end | ≥ 0 | | nonce of that node's data directory | 8 |

use bytes::{Buf, BufMut, Bytes};

use super::KeyKind;
use super::record::FormatError;

const VERSION: u8 = 1;
const MEMBER: u8 = 1;
const TOKEN: u8 = 2;
const MEMBER_BYTES_MIN: usize = 26;
const TOKEN_BYTES: usize = 34;
const BECOMES_VOTER: u8 = 1;

/// SHA-256 of the secret of a token. The secret itself is nowhere in the state.
pub type TokenHash = [u8; 32];

/// What a node is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemberGoal {
    /// Receives the log, has no vote.
    Learner = 1,
    /// Has a vote, once it has caught up.
    Voter = 2,
    /// No member any more, once its clients have gone. There is no way back.
    Leaves = 3,
    /// It has left. Its id is never used again.
    Gone = 4,
}

impl MemberGoal {
    /// The goal with this byte.
    #[must_use]
    pub const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Learner),
            2 => Some(Self::Voter),
            3 => Some(Self::Leaves),
            4 => Some(Self::Gone),
            _ => None,
        }
    }
}

/// What is to become of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// What it is to be.
    pub goal: MemberGoal,
    /// Since when, microseconds of log time.
    pub since_us: u64,
    /// Drawn by the node when it entered and kept in its data directory; 0 if it did not enter with a token.
    pub nonce: u64,
    /// The node that leaves once this one is a voter.
    pub replaces: Option<u64>,
    /// Where other nodes reach it, as it said when it entered; empty if it did not enter with a token.
    pub address: Bytes,
}

impl MemberRow {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(MEMBER_BYTES_MIN + self.address.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(self.goal as u8);
        bytes.put_u64(self.since_us);
        bytes.put_u64(self.nonce);
        bytes.put_u64(self.replaces.unwrap_or(0));
        bytes.put_slice(&self.address);
        Bytes::from(bytes)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no member row: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &Bytes) -> Result<Self, FormatError> {
        let mut reader = bytes.clone();
        if reader.len() < MEMBER_BYTES_MIN {
            return Err(FormatError::new("member", "is cut short"));
        }
        if reader.get_u8() != VERSION {
            return Err(FormatError::new("member", "has an unknown version"));
        }
        let goal =
            MemberGoal::from_u8(reader.get_u8()).ok_or_else(|| FormatError::new("member", "has an unknown goal"))?;
        Ok(Self {
            goal,
            since_us: reader.get_u64(),
            nonce: reader.get_u64(),
            replaces: Some(reader.get_u64()).filter(|id| *id != 0),
            address: Bytes::copy_from_slice(&reader),
        })
    }
}

/// A token with which one node may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRow {
    /// Whether the node becomes a voter once it has caught up; otherwise it stays a learner.
    pub voter: bool,
    /// From when on it is no use, microseconds of log time.
    pub expires_at_us: u64,
    /// The node that leaves once the new one is a voter.
    pub replaces: Option<u64>,
    /// Who entered with it: node id, and nonce of its data directory.
    pub used_by: Option<(u64, u64)>,
}

impl TokenRow {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (node_id, nonce) = self.used_by.unwrap_or((0, 0));
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.put_u8(VERSION);
        bytes.put_u8(if self.voter { BECOMES_VOTER } else { 0 });
        bytes.put_u64(self.expires_at_us);
        bytes.put_u64(self.replaces.unwrap_or(0));
        bytes.put_u64(node_id);
        bytes.put_u64(nonce);
        Bytes::from(bytes)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no token: storage is damaged, or a newer version wrote it.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != TOKEN_BYTES {
            return Err(FormatError::new("join token", "has a wrong length"));
        }
        if bytes.get_u8() != VERSION {
            return Err(FormatError::new("join token", "has an unknown version"));
        }
        let flags = bytes.get_u8();
        if flags & !BECOMES_VOTER != 0 {
            return Err(FormatError::new("join token", "has unknown flags"));
        }
        let expires_at_us = bytes.get_u64();
        let replaces = Some(bytes.get_u64()).filter(|id| *id != 0);
        let used_by = (bytes.get_u64(), bytes.get_u64());
        Ok(Self {
            voter: flags & BECOMES_VOTER != 0,
            expires_at_us,
            replaces,
            used_by: Some(used_by).filter(|(node_id, _)| *node_id != 0),
        })
    }
}

/// What a key of kind 0x08 is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKey {
    /// A node.
    Member(u64),
    /// A token.
    Token(TokenHash),
}

/// Key of the row of a node.
#[must_use]
pub fn member_key(node_id: u64) -> Bytes {
    let mut key = [KeyKind::Member as u8; 10];
    key[1] = MEMBER;
    key[2..].copy_from_slice(&node_id.to_be_bytes());
    Bytes::copy_from_slice(&key)
}

/// Key of a token.
#[must_use]
pub fn token_key(hash: &TokenHash) -> Bytes {
    let mut key = [KeyKind::Member as u8; 34];
    key[1] = TOKEN;
    key[2..].copy_from_slice(hash);
    Bytes::copy_from_slice(&key)
}

/// What a key of kind 0x08 is of.
///
/// # Errors
/// It is no such key.
pub fn member_of_key(key: &[u8]) -> Result<MemberKey, FormatError> {
    let malformed = || FormatError::new("member", "has a malformed key");
    match key {
        [kind, MEMBER, id @ ..] if *kind == KeyKind::Member as u8 => id
            .try_into()
            .map(|id| MemberKey::Member(u64::from_be_bytes(id)))
            .map_err(|_| malformed()),
        [kind, TOKEN, hash @ ..] if *kind == KeyKind::Member as u8 => {
            hash.try_into().map(MemberKey::Token).map_err(|_| malformed())
        }
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_keys_come_back_as_they_went() {
        let member = MemberRow {
            goal: MemberGoal::Voter,
            since_us: 5,
            nonce: 6,
            replaces: Some(7),
            address: Bytes::from_static(b"node8.example.org:7400"),
        };
        assert_eq!(MemberRow::parse(&member.encode()), Ok(member.clone()));
        let plain = MemberRow {
            replaces: None,
            address: Bytes::new(),
            ..member
        };
        assert_eq!(MemberRow::parse(&plain.encode()), Ok(plain));
        for used_by in [None, Some((8, 9))] {
            let token = TokenRow {
                voter: used_by.is_some(),
                expires_at_us: 5,
                replaces: used_by.map(|_| 3),
                used_by,
            };
            assert_eq!(TokenRow::parse(&token.encode()), Ok(token));
        }
        assert_eq!(member_of_key(&member_key(77)), Ok(MemberKey::Member(77)));
        assert_eq!(member_of_key(&token_key(&[7; 32])), Ok(MemberKey::Token([7; 32])));
    }

    #[test]
    fn other_bytes_are_refused() {
        let member = MemberRow {
            goal: MemberGoal::Gone,
            since_us: 0,
            nonce: 0,
            replaces: None,
            address: Bytes::new(),
        }
        .encode();
        let with = |row: &Bytes, at: usize, byte: u8| {
            let mut row = row.to_vec();
            row[at] = byte;
            Bytes::from(row)
        };
        assert!(MemberRow::parse(&member.slice(1..)).is_err());
        assert!(MemberRow::parse(&with(&member, 0, 2)).is_err());
        assert!(MemberRow::parse(&with(&member, 1, 0)).is_err());
        let token = TokenRow {
            voter: true,
            expires_at_us: 0,
            replaces: None,
            used_by: None,
        }
        .encode();
        assert!(TokenRow::parse(&token[1..]).is_err());
        assert!(TokenRow::parse(&with(&token, 0, 2)).is_err());
        assert!(TokenRow::parse(&with(&token, 1, 2)).is_err());
        for key in [
            &member_key(1)[1..],
            &member_key(1)[..9],
            &token_key(&[1; 32])[..33],
            &[8, 3],
            &[],
        ] {
            assert!(member_of_key(key).is_err(), "{key:?}");
        }
    }
}
