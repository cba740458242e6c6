//! Replicated commands and their encoding.
//!
//! A client's request becomes an [`Operation`]; the operations of one node travel in a [`Batch`], numbered by that node;
//! the leader packs batches and its own housekeeping as [`Item`]s into an [`Entry`] of the log and stamps it with log time.
//! Entries and batches are immutable bytes: network, log and apply share them, and what is read from them are slices.
//!
//! Each format starts with its version. Numbers are big-endian. Every length is checked and nothing may follow the last
//! field, so that one value has one encoding and arbitrary bytes give a [`DecodeError`], never a panic.
//!
//! ```text
//! Entry      version=1 u8 | time_us u64 | item*
//! item       kind u8 | length u32 | body                 1 Batch, 2 OpenOrigin, 3 Expire, 4 Compact
//! Batch      version=1 u8 | node_id u64 | incarnation u64 | sequence u64 | deadline_us u64 | count u32 | operation*
//! operation  length u32 | kind u8 | body                 1 Put, 2 Delete, 3 DeleteFilter, 4 Event
//! Put        header | topic | publisher | metadata | payload, to the end, not empty
//! Delete     header | topic | publisher | metadata
//! Event      header | topic | publisher | metadata | payload, to the end
//! DeleteFilter  limit u32 | filter | publisher
//! header     flags u8 | timestamp_us u64 if bit 0 | expiry_s u32 if bit 1 | revision u64 if bits 2-3 are 1
//! flags      bits 2-3: 0 no condition, 1 revision, 2 absent, 3 present; bits 4-5: QoS; bits 6-7: 0
//! topic, filter, publisher, metadata     length u16 | bytes
//! ```

mod batch;
mod condition;
mod delete;
mod delete_filter;
mod entry;
mod error;
mod event;
mod header;
mod operation;
mod put;
mod wire;

pub use batch::{Batch, BatchBuilder, BatchId, Operations};
pub use condition::Condition;
pub use delete::Delete;
pub use delete_filter::DeleteFilter;
pub use entry::{Entry, EntryBuilder, Item, Items};
pub use error::DecodeError;
pub use event::Event;
pub use operation::Operation;
pub use put::Put;

#[cfg(test)]
mod command_test;
