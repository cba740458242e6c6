//! Replicated commands and their encoding.
//!
//! A client's request becomes an [`Operation`], and with the connection that it came by a [`Command`]; the commands of one
//! node travel in a [`Batch`], numbered by that node; the leader packs batches and its own housekeeping as [`Item`]s into an
//! [`Entry`] of the log and stamps it with log time. Entries and batches are immutable bytes: network, log and apply share
//! them, and what is read from them are slices.
//!
//! Each format starts with its version. Numbers are big-endian. Every length is checked and nothing may follow the last
//! field, so that one value has one encoding and arbitrary bytes give a [`DecodeError`], never a panic.
//!
//! ```text
//! Entry      version=1 u8 | time_us u64 | item*
//! item       kind u8 | length u32 | body                 1 Batch, 2 OpenOrigin, 3 Expire, 4 Compact, 5 EndDue, 6 LoseNode,
//!                                                        7 Trim, 8 Assign, 16 RaiseLevel, 17 MemberChange
//! Batch      version=1 u8 | node_id u64 | incarnation u64 | sequence u64 | deadline_us u64 | count u32 | command*
//! command    length u32 | sender? | kind u8 | body       1 Put, 2 Delete, 3 DeleteFilter, 4 Event, 5 Connect, 6 Disconnect,
//!                                                        7 Subscribe, 8 Unsubscribe, 9 Release, 10 Progress, 11 CaughtUp,
//!                                                        12 Kick
//! sender     0x20 u8 | fence u64 | packet_id u16         packet_id 0: none
//!
//! RaiseLevel level u16
//! Put        header | topic | publisher | metadata | payload, to the end, not empty
//! Delete     header | topic | publisher | metadata
//! Event      header | topic | publisher | metadata | payload, to the end
//! DeleteFilter  limit u32 | filter | publisher
//! header     flags u8 | timestamp_us u64 if bit 0 | expiry_s u32 if bit 1 | revision u64 if bits 2-3 are 1
//! flags      bits 2-3: 0 no condition, 1 revision, 2 absent, 3 present; bits 4-5: QoS; bits 6-7: 0
//!
//! Connect    flags u8: bit 0 clean start, bit 1 will | expiry_s u32 | client_id | will if bit 1
//! will       flags u8: bits 0-1 QoS, bit 2 retain, bit 3 expires | delay_s u32 | expiry_s u32 if bit 3
//!            | topic | metadata | payload, to the end
//! Disconnect flags u8: bit 0 publishes the will, bit 1 expiry | expiry_s u32 if bit 1
//! Subscribe  count u16 | subscription*
//! subscription  flags u8: bits 0-1 QoS, bit 2 no local, bit 3 retain as published, bit 4 latest, bit 5 identifier,
//!            bits 6-7 replay | filter | identifier u32 if bit 5 | replay
//! replay     0 none; 1 all topics; 2 topics behind: topic; 3 changes behind: position
//! position   revision u64 | ordinal u32
//! Unsubscribe  count u16 | filter*
//! Release    packet_id u16
//! Progress   flags u8: bit 0 cursor | position if bit 0 | done | received | settled | sent | replayed
//! done, received     count u16 | packet_id u16 *
//! settled    count u16 | position*
//! sent       count u16 | (position | packet_id u16 | flags u8: bits 0-1 QoS, bit 2 shared)*
//! replayed   count u16 | (filter | kind of replay u8 | replay)*
//! CaughtUp   position | count u16 | fence u64 *
//! Kick       client_id
//!
//! MemberChange  kind u8 | body
//!            1 IssueToken: token | lifetime_us u64 | flags u8: bit 0 voter | replaces u64, 0 none
//!            2 Enter: token | node_id u64 | nonce u64 | address
//!            3 SetGoal: node_id u64 | goal u8: 1 learner, 2 voter, 3 leaves
//!            4 Replace: old u64 | new u64      5 Forget: node_id u64
//! token      SHA-256 of its secret, 32 bytes
//!
//! topic, filter, publisher, metadata, client_id, address     length u16 | bytes
//! ```

mod batch;
mod caught_up;
mod condition;
mod connect;
mod delete;
mod delete_filter;
mod disconnect;
mod entry;
mod error;
mod event;
mod header;
mod kick;
mod member;
mod operation;
mod progress;
mod put;
mod release;
mod sender;
mod subscribe;
mod unsubscribe;
mod will;
pub(crate) mod wire;

pub use batch::{Batch, BatchBuilder, BatchId, Commands};
pub use caught_up::CaughtUp;
pub use condition::Condition;
pub use connect::Connect;
pub use delete::Delete;
pub use delete_filter::DeleteFilter;
pub use disconnect::Disconnect;
pub use entry::{Entry, EntryBuilder, Item, Items};
pub use error::DecodeError;
pub use event::Event;
pub use kick::Kick;
pub use member::MemberChange;
pub use operation::Operation;
pub use progress::{Progress, Sent};
pub use put::Put;
pub use release::Release;
pub use sender::{Command, Sender};
pub use subscribe::{ReplayFrom, SessionSubscription, Subscribe, SubscriptionOptions};
pub use unsubscribe::Unsubscribe;
pub use will::Will;

#[cfg(test)]
mod command_test;
