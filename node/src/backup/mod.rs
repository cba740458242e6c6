//! Backups: the state at one revision as a file.
//!
//! | module | responsibility |
//! |---|---|
//! | `format` | header, trailer and rows, byte by byte |
//! | `writer` | a frozen view of the state, piece by piece |
//! | `reader` | the same backwards, checked |
//!
//! A file is eight bytes `banyan\0S`, then sections:
//!
//! | bytes | field of a section |
//! |---|---|
//! | 1 | kind: 1 header, 2 rows, 3 trailer |
//! | 4 | length of the body |
//! | | body |
//! | 4 | CRC-32C of the section's number (u32, from 0, not written), kind, length and body |
//!
//! The header comes first, the trailer last, and nothing follows it. Numbers are big-endian.
//!
//! | header | bytes | | trailer | bytes |
//! |---|---|---|---|---|
//! | format version, 1 | 2 | | rows | 8 |
//! | cluster id | 8 | | sections before this one | 4 |
//! | id of the node that wrote it | 8 | | bytes before this section | 8 |
//! | when, microseconds since the Unix epoch | 8 | | digest of topics and tombstones alone | 16 |
//! | length of the position | 2 | | XXH3-128 of all bytes before this section | 16 |
//! | position, as in `docs/keyspace-format.md` | | | | |
//! | length of the version of the program | 1 | | | |
//! | version of the program, UTF-8 | | | | |
//!
//! The body of a section of rows is, for each row, length of the key u32, length of the value u32, key, value: keys and
//! values of `docs/keyspace-format.md`, kinds Origin, Topic, Tombstone, Session, Subscription, Will, Group and Message, in key
//! order over the whole file. Indexes follow from them. The position tells log id, revision, log time, counts and digests.
//!
//! A file is whole if every checksum holds, the trailer is there and is the end, and the rows come to the counts and digests
//! of the position. Anything else is refused.

mod format;
mod reader;
mod writer;

#[cfg(test)]
pub(crate) mod backup_test;

pub use format::Header;
pub use reader::{BackupError, Reader};
pub use writer::{Writer, WriterError};

/// Media type of a backup.
pub const MEDIA_TYPE: &str = "application/vnd.banyan.snapshot";
