//! The state as the rows that count, without those that follow from them: what a backup holds, and what a new data directory
//! is made of.
//!
//! | kinds | in the image | why |
//! |---|---|---|
//! | Origin, Topic, Tombstone, Session, Subscription, Will, Group, Message | yes | the digest is of them |
//! | Change, Expiry, TombstoneAge | no | [`push_indexed`] makes them anew from topics and tombstones |
//! | Member | yes, and not in a new data directory | the digest is of it; who is to enter or leave is that of one cluster |
//! | Meta | no | the position is told apart; the membership is that of one cluster |
//!
//! Rows come in key order, as of the view: origins live in memory between checkpoints, and their rows in the store are older.

use bytes::Bytes;

use super::digest::RowSum;
use super::{AppliedId, Digest, StateView};
use crate::keyspace::change::change_key;
use crate::keyspace::expiry::expiry_key;
use crate::keyspace::member::{MemberKey, MemberRow, TokenRow, member_of_key};
use crate::keyspace::meta::Position;
use crate::keyspace::origin::{origin_key, origin_of_key};
use crate::keyspace::tombstone::tombstone_age_key;
use crate::keyspace::{FormatError, KeyKind, OriginRow, Tombstone, TopicRecord};
use crate::store::{Direction, ReadView, StoreError, WriteBatch};

/// What the rows of a kind are to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Topics and tombstones: the same wherever they are.
    Data,
    /// Where the nodes of the cluster stand with their batches.
    Origins,
    /// Sessions with all that is theirs, groups and kept messages.
    Sessions,
    /// What the members of the cluster are to be.
    Members,
    /// Not in it.
    Left,
}

/// Whoever adds a kind decides here what a backup does with it.
const fn part_of(kind: KeyKind) -> Part {
    match kind {
        KeyKind::Topic | KeyKind::Tombstone => Part::Data,
        KeyKind::Origin => Part::Origins,
        KeyKind::Member => Part::Members,
        KeyKind::Session | KeyKind::Subscription | KeyKind::Will | KeyKind::Group | KeyKind::Message => Part::Sessions,
        KeyKind::Meta | KeyKind::Change | KeyKind::Expiry | KeyKind::TombstoneAge => Part::Left,
    }
}

/// An image is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A row cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A key is not greater than the one before.
    #[error("the rows are not in order")]
    Order,
    /// A row is of a kind that no image holds, or that this version does not know.
    #[error("there is a row of kind 0x{0:02x}, which does not belong here; a newer version may have written it")]
    Kind(u8),
    /// The rows are not those that the position tells of.
    #[error("{what}: the rows make {found}, the position says {expected}")]
    Differs {
        /// What was compared.
        what: &'static str,
        /// Of the rows.
        found: String,
        /// Of the position.
        expected: String,
    },
}

impl StateView {
    /// Where this state stands: its row of kind Meta.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// Digest of topics and tombstones alone. It depends on what was written and not on the cluster that holds it: equal
    /// after a restore, as long as nothing was written, expired or forgotten since.
    #[must_use]
    pub fn data_digest(&self) -> Digest {
        let mut sum = self.topics_digest.as_u128();
        for (node_id, row) in &*self.origins {
            sum.replace_row(&origin_key(*node_id), Some(&row.to_bytes()), None);
        }
        Digest::new(sum)
    }

    /// Rows of the image behind the key `after`, in key order: as many as `bytes_max` takes but at least one; none at the
    /// end.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn image_after(&self, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let after = after.unwrap_or_default();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for kind in KeyKind::ALL {
            let (lower, upper) = kind.range();
            if upper[..] <= *after || part_of(kind) == Part::Left {
                continue;
            }
            let in_memory = (kind == KeyKind::Origin).then(|| self.origin_rows());
            let stored = in_memory.is_none().then(|| {
                let lower = lower.as_slice().max(after);
                self.view.range(lower, Some(&upper), Direction::Ascending)
            });
            let found = in_memory.into_iter().flatten().chain(stored.into_iter().flatten());
            for row in found {
                let (key, value) = row?;
                if key[..] <= *after {
                    continue;
                }
                bytes += key.len() + value.len();
                if bytes > bytes_max && !rows.is_empty() {
                    return Ok(rows);
                }
                rows.push((key, value));
            }
        }
        Ok(rows)
    }

    fn origin_rows(&self) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> {
        let row = |(node_id, row): (&u64, &OriginRow)| Ok((origin_key(*node_id), row.encode()));
        self.origins.iter().map(row)
    }
}

/// What the rows of an image come to.
#[derive(Debug, Clone, Default)]
pub struct ImageSum {
    data: u128,
    origins: u128,
    sessions: u128,
    members: u128,
    last_key: Bytes,
    /// Rows.
    pub row_count: u64,
    /// Topics that hold a value.
    pub topic_count: u64,
    /// Tombstones.
    pub tombstone_count: u64,
    /// Sessions, connected or not.
    pub session_count: u64,
    /// Superseded messages that are kept.
    pub message_count: u64,
}

impl ImageSum {
    /// Adds the next row, after a look at it.
    ///
    /// # Errors
    /// It is not in order, of no kind that belongs here, or malformed.
    pub fn add(&mut self, key: &Bytes, value: &Bytes) -> Result<(), ImageError> {
        if *key <= self.last_key {
            return Err(ImageError::Order);
        }
        let byte = key.first().copied().unwrap_or_default();
        let kind = KeyKind::from_u8(byte).ok_or(ImageError::Kind(byte))?;
        let part = match part_of(kind) {
            Part::Data => &mut self.data,
            Part::Origins => &mut self.origins,
            Part::Sessions => &mut self.sessions,
            Part::Members => &mut self.members,
            Part::Left => return Err(ImageError::Kind(byte)),
        };
        part.replace_row(key, None, Some(value));
        match kind {
            KeyKind::Topic => {
                TopicRecord::parse(value.clone())?;
                self.topic_count += 1;
            }
            KeyKind::Tombstone => {
                Tombstone::parse(value)?;
                self.tombstone_count += 1;
            }
            KeyKind::Origin => {
                origin_of_key(key)?;
                OriginRow::parse(value)?;
            }
            KeyKind::Member => match member_of_key(key)? {
                MemberKey::Member(_) => drop(MemberRow::parse(value)?),
                MemberKey::Token(_) => drop(TokenRow::parse(value)?),
            },
            KeyKind::Session => self.session_count += 1,
            KeyKind::Message => self.message_count += 1,
            _ => {}
        }
        self.row_count += 1;
        self.last_key = key.clone();
        Ok(())
    }

    /// Digest of all rows.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        let of_sessions = self.sessions.wrapping_add(self.members);
        Digest::new(self.data.wrapping_add(self.origins).wrapping_add(of_sessions))
    }

    /// Digest of topics and tombstones alone; see [`StateView::data_digest`].
    #[must_use]
    pub const fn data_digest(&self) -> Digest {
        Digest::new(self.data)
    }

    /// Whether these are all rows of the state at `position`, and no others.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self, position: &Position) -> Result<(), ImageError> {
        let topics = self.data.wrapping_add(self.origins);
        let sessions = self.sessions.wrapping_add(self.members);
        let pairs = [
            ("topics", self.topic_count.into(), position.topic_count.into()),
            (
                "tombstones",
                self.tombstone_count.into(),
                position.tombstone_count.into(),
            ),
            ("messages", self.message_count.into(), position.message_count.into()),
            ("digest of topics", topics, position.digest),
            ("digest of sessions", sessions, position.session_digest),
        ];
        for (what, found, expected) in pairs {
            if found != expected {
                let text = |number: u128| match what.starts_with("digest") {
                    true => Digest::new(number).to_string(),
                    false => number.to_string(),
                };
                return Err(ImageError::Differs {
                    what,
                    found: text(found),
                    expected: text(expected),
                });
            }
        }
        Ok(())
    }

    /// The position of a state that holds these rows, taken out of the state at `of`, except what the members are to be: that
    /// is of one cluster, and [`push_indexed`] leaves it out.
    #[must_use]
    pub const fn position_of_another_cluster(&self, of: &Position) -> Position {
        Position {
            session_digest: self.sessions,
            ..*of
        }
    }

    /// The position of a state that holds the topics and tombstones among these rows and nothing else: those of a subtree,
    /// taken out of the state at `of`.
    #[must_use]
    pub const fn position_of_data(&self, of: &Position) -> Position {
        Position {
            digest: self.data,
            topic_count: self.topic_count,
            tombstone_count: self.tombstone_count,
            message_count: 0,
            message_bytes: 0,
            held_bytes: 0,
            session_digest: 0,
            ..*of
        }
    }
}

/// The log entry that a state stands at which was not made by its cluster's log: before all that any leader may write, at
/// the index from which the log goes on.
#[must_use]
pub const fn founding_id(index: u64) -> AppliedId {
    AppliedId {
        term: 0,
        node_id: 0,
        index,
    }
}

/// Appends a row of an image to `batch`, with the rows of the indexes that follow from it; nothing of what the members are to
/// be.
///
/// # Errors
/// The row is malformed.
pub fn push_indexed(key: Bytes, value: Bytes, batch: &mut WriteBatch) -> Result<(), FormatError> {
    match KeyKind::of_key(&key) {
        Some(KeyKind::Topic) => {
            let stored = key.slice(1..);
            let head = TopicRecord::parse(value.clone())?.head();
            if let Some(expires_at_us) = head.expires_at_us {
                batch.push((expiry_key(expires_at_us, &stored), Some(Bytes::new())));
            }
            batch.push((change_key(head.revision, head.ordinal), Some(stored)));
        }
        Some(KeyKind::Tombstone) => {
            let stored = key.slice(1..);
            let Tombstone { revision, ordinal, .. } = Tombstone::parse(&value)?;
            batch.push((change_key(revision, ordinal), Some(stored.clone())));
            batch.push((tombstone_age_key(revision, ordinal), Some(stored)));
        }
        Some(KeyKind::Member) => return Ok(()),
        _ => {}
    }
    batch.push((key, Some(value)));
    Ok(())
}
