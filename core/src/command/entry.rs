//! The payload of a log entry: batches and the leader's own housekeeping under one log time.

use bytes::Bytes;

use super::wire::{Reader, put_block};
use super::{DecodeError, MemberChange};
use crate::feature::FeatureLevel;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8;

const BATCH: u8 = 1;
const OPEN_ORIGIN: u8 = 2;
const EXPIRE: u8 = 3;
const COMPACT: u8 = 4;
const END_DUE: u8 = 5;
const LOSE_NODE: u8 = 6;
const TRIM: u8 = 7;
const ASSIGN: u8 = 8;
const RAISE_LEVEL: u8 = 16;
const MEMBER_CHANGE: u8 = 17;

/// One part of an entry. Parts are applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An encoded [`super::Batch`].
    Batch(Bytes),
    /// A node starts a new life as origin of batches. Repeating it with the same nonce changes nothing.
    OpenOrigin {
        /// The node.
        node_id: u64,
        /// Drawn by the node at its start.
        nonce: u64,
    },
    /// Delete the records whose time has come.
    Expire {
        /// At most this many; capped at [`crate::limits::EXPIRY_CHUNK_TOPICS_MAX`].
        limit: u32,
    },
    /// Drop the tombstones that both bounds have passed.
    Compact {
        /// At most this many; capped at [`crate::limits::COMPACTION_CHUNK_TOMBSTONES_MAX`].
        limit: u32,
    },
    /// Publish the wills whose delay has passed, and end the sessions that have expired.
    EndDue {
        /// At most this many sessions; capped at [`crate::limits::SESSION_CHUNK_MAX`].
        limit: u32,
    },
    /// End the connections of a node that is gone.
    LoseNode {
        /// The node.
        node_id: u64,
        /// Only connections with this fence or a lesser one: those that the leader knew when it gave the node up.
        through_fence: u64,
        /// At most this many; capped at [`crate::limits::SESSION_CHUNK_MAX`].
        limit: u32,
    },
    /// Drop the kept messages that no session waits for, and what is beyond the bounds of retention.
    Trim {
        /// At most this many; capped at [`crate::limits::TRIM_CHUNK_MESSAGES_MAX`].
        limit: u32,
        /// Kept messages may take this many bytes.
        keep_bytes: u64,
        /// Kept messages may be this old, microseconds of log time.
        keep_us: u64,
    },
    /// Assign messages that wait in shared groups to members that have room.
    Assign {
        /// At most this many messages; capped at [`crate::limits::ASSIGN_CHUNK_MESSAGES_MAX`].
        limit: u32,
    },
    /// All members know this feature level, so it holds from here on. A lesser one than holds changes nothing. The entry itself is
    /// of the first level that is raised to, and asked of nobody who does not know it.
    RaiseLevel(FeatureLevel),
    /// Change what the members are to be.
    MemberChange(MemberChange),
}

impl Item {
    /// The level that the cluster must have before this is put into the log. What is in a batch is asked
    /// [for itself](super::Operation::feature_level).
    #[must_use]
    pub const fn feature_level(&self) -> FeatureLevel {
        match self {
            Self::MemberChange(_) => MemberChange::FEATURE_LEVEL,
            _ => FeatureLevel::FIRST,
        }
    }
}

/// Collects items into the bytes of an entry.
#[derive(Debug, Clone)]
pub struct EntryBuilder {
    bytes: Vec<u8>,
}

impl EntryBuilder {
    /// An empty entry.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
        }
    }

    /// Adds an encoded batch, copied as it is. The leader has [validated](super::Batch::validate) it.
    #[expect(clippy::needless_pass_by_value, reason = "the batch is used up")]
    pub fn push_batch(&mut self, batch: Bytes) {
        self.push_body(BATCH, |out| out.extend_from_slice(&batch));
    }

    /// Adds an item.
    pub fn push_item(&mut self, item: &Item) {
        match item {
            Item::Batch(batch) => self.push_body(BATCH, |out| out.extend_from_slice(batch)),
            Item::OpenOrigin { node_id, nonce } => self.push_body(OPEN_ORIGIN, |out| {
                out.extend_from_slice(&node_id.to_be_bytes());
                out.extend_from_slice(&nonce.to_be_bytes());
            }),
            Item::Expire { limit } => self.push_body(EXPIRE, |out| out.extend_from_slice(&limit.to_be_bytes())),
            Item::Compact { limit } => self.push_body(COMPACT, |out| out.extend_from_slice(&limit.to_be_bytes())),
            Item::EndDue { limit } => self.push_body(END_DUE, |out| out.extend_from_slice(&limit.to_be_bytes())),
            Item::LoseNode {
                node_id,
                through_fence,
                limit,
            } => self.push_body(LOSE_NODE, |out| {
                out.extend_from_slice(&node_id.to_be_bytes());
                out.extend_from_slice(&through_fence.to_be_bytes());
                out.extend_from_slice(&limit.to_be_bytes());
            }),
            Item::Trim {
                limit,
                keep_bytes,
                keep_us,
            } => self.push_body(TRIM, |out| {
                out.extend_from_slice(&limit.to_be_bytes());
                out.extend_from_slice(&keep_bytes.to_be_bytes());
                out.extend_from_slice(&keep_us.to_be_bytes());
            }),
            Item::Assign { limit } => self.push_body(ASSIGN, |out| out.extend_from_slice(&limit.to_be_bytes())),
            Item::RaiseLevel(level) => {
                self.push_body(RAISE_LEVEL, |out| out.extend_from_slice(&level.number().to_be_bytes()));
            }
            Item::MemberChange(change) => self.push_body(MEMBER_CHANGE, |out| change.encode(out)),
        }
    }

    /// Encoded bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no item yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// The encoded entry, stamped with the leader's log time, microseconds since the Unix epoch.
    #[must_use]
    pub fn finish(mut self, time_us: u64) -> Bytes {
        self.bytes[0] = VERSION;
        self.bytes[1..HEADER_BYTES].copy_from_slice(&time_us.to_be_bytes());
        Bytes::from(self.bytes)
    }

    fn push_body(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.push(kind);
        put_block(&mut self.bytes, body);
    }
}

impl Default for EntryBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// An encoded entry whose head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    bytes: Bytes,
    time_us: u64,
}

impl Entry {
    /// Reads the head.
    ///
    /// # Errors
    /// The head is cut short or of an unknown version.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&bytes, 0..bytes.len());
        match reader.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let time_us = reader.u64()?;
        Ok(Self { time_us, bytes })
    }

    /// The leader's log time when it wrote the entry, microseconds since the Unix epoch.
    #[must_use]
    pub const fn time_us(&self) -> u64 {
        self.time_us
    }

    /// The items, in order. Ends after the first error. Batches are slices of the entry's bytes.
    #[must_use]
    pub fn items(&self) -> Items<'_> {
        Items {
            reader: Reader::new(&self.bytes, HEADER_BYTES..self.bytes.len()),
            done: false,
        }
    }
}

/// Iterator over the items of an [`Entry`].
#[derive(Debug, Clone)]
pub struct Items<'a> {
    reader: Reader<'a>,
    done: bool,
}

impl Items<'_> {
    fn read(&mut self) -> Result<Option<Item>, DecodeError> {
        if self.reader.is_at_end() {
            return Ok(None);
        }
        let kind = self.reader.u8()?;
        let range = self.reader.block()?;
        let mut body = self.reader.within(range);
        let item = match kind {
            BATCH => Item::Batch(body.rest()),
            OPEN_ORIGIN => Item::OpenOrigin {
                node_id: body.u64()?,
                nonce: body.u64()?,
            },
            EXPIRE => Item::Expire { limit: body.u32()? },
            COMPACT => Item::Compact { limit: body.u32()? },
            END_DUE => Item::EndDue { limit: body.u32()? },
            LOSE_NODE => Item::LoseNode {
                node_id: body.u64()?,
                through_fence: body.u64()?,
                limit: body.u32()?,
            },
            TRIM => Item::Trim {
                limit: body.u32()?,
                keep_bytes: body.u64()?,
                keep_us: body.u64()?,
            },
            ASSIGN => Item::Assign { limit: body.u32()? },
            RAISE_LEVEL => {
                let level = FeatureLevel::new(body.u16()?);
                Item::RaiseLevel(level.ok_or(DecodeError::FeatureLevel)?)
            }
            MEMBER_CHANGE => Item::MemberChange(MemberChange::decode(&mut body)?),
            other => return Err(DecodeError::Kind(other)),
        };
        body.finish()?;
        Ok(Some(item))
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Item, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
