//! What there is one of (kind 0x01): the position of the state, and the membership of the cluster.
//!
//! | key | value |
//! |---|---|
//! | 0x01 | [`Position`] |
//! | 0x02 | membership, opaque bytes of the consensus library's adapter |
//!
//! | offset | bytes | field of the position |
//! |---|---|---|
//! | 0 | 1 | format version: 2, and 3 from feature level 2 on |
//! | 1 | 1 | 1 if a log entry was applied, otherwise 0 |
//! | 2 | 8 | term of the last applied log entry |
//! | 10 | 8 | node id of the leader that wrote it |
//! | 18 | 8 | its log index |
//! | 26 | 8 | revision of the last change |
//! | 34 | 8 | log time, microseconds since the Unix epoch |
//! | 42 | 16 | digest of topics, tombstones and origins |
//! | 58 | 8 | number of topics |
//! | 66 | 8 | number of tombstones |
//! | 74 | 8 | greatest revision of a tombstone that was dropped |
//! | 82 | 8 | number of kept messages |
//! | 90 | 8 | their bytes |
//! | 98 | 8 | bytes of those up to the next field |
//! | 106 | 8 + 4 | kept messages up to this position are there only because somebody holds them |
//! | 118 | 8 + 4 | greatest position of a message that was dropped though somebody may have waited for it |
//! | 130 | 8 | fence of the last connection |
//! | 138 | 16 | digest of sessions with all that is theirs, groups and kept messages, and of what members are to be |
//! | 154 | 2 | feature level; not in version 2, which is of level 1 |
//!
//! A program that does not know levels reads version 2 alone: it opens what it has written itself, and what its successor has
//! written before the level was raised.
//!
//! Both rows are written with the checkpoint whose position they tell, in the same batch: a crash never separates them
//! from the data.

use bytes::Bytes;

use super::record::FormatError;
use super::{KeyKind, MessagePosition};
use crate::feature::FeatureLevel;

/// Of the first feature level.
const VERSION_FIRST: u8 = 2;
/// With a feature level.
const VERSION_LEVEL: u8 = 3;
/// Without a feature level.
const BYTES: usize = 154;

/// Key of the [`Position`].
pub const POSITION_KEY: [u8; 2] = [KeyKind::Meta as u8, 0x01];

/// Key of the membership.
pub const MEMBERSHIP_KEY: [u8; 2] = [KeyKind::Meta as u8, 0x02];

/// Which log entry: the log id of Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppliedId {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Node id of that leader.
    pub node_id: u64,
    /// Log index, from 0 without gaps.
    pub index: u64,
}

/// Where a state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last log entry that was applied.
    pub applied: Option<AppliedId>,
    /// Revision of the last change or event; 0 before the first.
    pub revision: u64,
    /// Log time of the last applied entry, microseconds since the Unix epoch. Never steps back.
    pub log_time_us: u64,
    /// Order-independent digest of topics, tombstones and origins (see [`crate::state::Digest`]).
    pub digest: u128,
    /// Topics that hold a value.
    pub topic_count: u64,
    /// Tombstones that are kept.
    pub tombstone_count: u64,
    /// Greatest revision of a tombstone that was dropped: the index of changes is complete after it.
    pub compacted_revision: u64,
    /// Messages that are kept in rows of their own.
    pub message_count: u64,
    /// Bytes of those rows.
    pub message_bytes: u64,
    /// Bytes of those up to `trimmed_through`.
    pub held_bytes: u64,
    /// What is kept up to here is on its way to somebody; nobody else waits for it.
    pub trimmed_through: MessagePosition,
    /// Messages up to here may be missing though somebody waited for them: retention dropped them.
    pub dropped_through: MessagePosition,
    /// Fence of the connection that was made last; 0 before the first.
    pub fence: u64,
    /// As `digest`, of sessions with their subscriptions and wills, of groups and of kept messages.
    pub session_digest: u128,
    /// What all members understand.
    pub feature_level: FeatureLevel,
}

impl Position {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let applied = self.applied.unwrap_or(AppliedId {
            term: 0,
            node_id: 0,
            index: 0,
        });
        let has_level = self.feature_level > FeatureLevel::FIRST;
        let version = if has_level { VERSION_LEVEL } else { VERSION_FIRST };
        let mut bytes = Vec::with_capacity(BYTES + 2);
        bytes.extend_from_slice(&[version, u8::from(self.applied.is_some())]);
        for number in [
            applied.term,
            applied.node_id,
            applied.index,
            self.revision,
            self.log_time_us,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.digest.to_be_bytes());
        for number in [
            self.topic_count,
            self.tombstone_count,
            self.compacted_revision,
            self.message_count,
            self.message_bytes,
            self.held_bytes,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for MessagePosition { revision, ordinal } in [self.trimmed_through, self.dropped_through] {
            bytes.extend_from_slice(&revision.to_be_bytes());
            bytes.extend_from_slice(&ordinal.to_be_bytes());
        }
        bytes.extend_from_slice(&self.fence.to_be_bytes());
        bytes.extend_from_slice(&self.session_digest.to_be_bytes());
        debug_assert_eq!(bytes.len(), BYTES);
        if has_level {
            bytes.extend_from_slice(&self.feature_level.number().to_be_bytes());
        }
        Bytes::from(bytes)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are no position: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let unknown = || FormatError::new("position", "has an unknown version; a newer program wrote it");
        let wrong_length = || FormatError::new("position", "has a wrong length");
        let (bytes, level) = bytes.split_at_checked(BYTES).ok_or_else(wrong_length)?;
        let feature_level = match (bytes.first(), level) {
            (Some(&VERSION_FIRST), []) => FeatureLevel::FIRST,
            (Some(&VERSION_LEVEL), [high, low]) => FeatureLevel::new(u16::from_be_bytes([*high, *low]))
                .filter(|level| *level > FeatureLevel::FIRST)
                .ok_or_else(|| FormatError::new("position", "has a feature level that is none"))?,
            (Some(&(VERSION_FIRST | VERSION_LEVEL)), _) => return Err(wrong_length()),
            _ => return Err(unknown()),
        };
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| wrong_length())?;
        let u128_at = |at: usize| u128::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let position_at = |at: usize| MessagePosition {
            revision: u64_at(at),
            ordinal: u32::from_be_bytes(std::array::from_fn(|i| bytes[at + 8 + i])),
        };
        let applied = match bytes[1] {
            0 => None,
            1 => Some(AppliedId {
                term: u64_at(2),
                node_id: u64_at(10),
                index: u64_at(18),
            }),
            _ => return Err(FormatError::new("position", "has unknown flags")),
        };
        Ok(Self {
            applied,
            revision: u64_at(26),
            log_time_us: u64_at(34),
            digest: u128_at(42),
            topic_count: u64_at(58),
            tombstone_count: u64_at(66),
            compacted_revision: u64_at(74),
            message_count: u64_at(82),
            message_bytes: u64_at(90),
            held_bytes: u64_at(98),
            trimmed_through: position_at(106),
            dropped_through: position_at(118),
            fence: u64_at(130),
            session_digest: u128_at(138),
            feature_level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_they_went() {
        let position = Position {
            applied: Some(AppliedId {
                term: 1,
                node_id: 2,
                index: 0,
            }),
            revision: 4,
            log_time_us: 5,
            digest: u128::MAX - 6,
            topic_count: 7,
            tombstone_count: 8,
            compacted_revision: 9,
            message_count: 10,
            message_bytes: 11,
            held_bytes: 12,
            trimmed_through: MessagePosition::end_of(13),
            dropped_through: MessagePosition::first_of(14),
            fence: 15,
            session_digest: u128::MAX - 16,
            feature_level: FeatureLevel::FIRST,
        };
        for position in [
            position,
            Position {
                feature_level: FeatureLevel::KNOWN.next(),
                ..position
            },
            Position::default(),
            Position {
                applied: None,
                ..position
            },
        ] {
            assert_eq!(Position::parse(&position.encode()), Ok(position));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = Position::default().encode();
        assert!(Position::parse(&bytes[1..]).is_err());
        assert!(Position::parse(&[&[1], &bytes[1..]].concat()).is_err());
        assert!(Position::parse(&[&[2, 2], &bytes[2..]].concat()).is_err());
        assert!(Position::parse(&[&[4], &bytes[1..]].concat()).is_err());
        assert!(
            Position::parse(&[&bytes[..], &[0, 2]].concat()).is_err(),
            "version 2 has no level"
        );
        for level in [&[][..], &[0], &[0, 0], &[0, 1], &[0, 2, 0]] {
            assert!(
                Position::parse(&[&[3], &bytes[1..], level].concat()).is_err(),
                "{level:?}"
            );
        }
    }
}
