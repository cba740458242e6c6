//! Banyan's choice of openraft's types, under the names the rest of this module uses.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// openraft's types for Banyan: one entry is one encoded [`EntryData`], answered by nothing, since every node answers its
    /// own clients from its own apply.
    pub TypeConfig:
        D = EntryData,
        R = (),
        AsyncRuntime = Runtime,
);

/// The application payload of a log entry: the immutable bytes of a `banyan_core::command` entry. Clones share them, so that
/// network, disk and apply read the same memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryData(pub Bytes);

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryData({} bytes)", self.0.len())
    }
}

impl fmt::Display for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A node's identity: random, kept at the first start, never used again after a member was removed.
pub type NodeId = u64;
/// Raft log id.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// Raft vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// Raft log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// Membership with the log id that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
