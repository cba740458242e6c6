//! What the leader is asked about the members, and how it refuses.

use banyan_core::keyspace::member::TokenHash;
use serde::{Deserialize, Serialize};

use crate::consensus::types::NodeId;

/// What is asked. Asking again changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberRequest {
    /// Make a token with which one node may enter.
    IssueToken {
        /// SHA-256 of its secret.
        token: TokenHash,
        /// For so long, microseconds.
        lifetime_us: u64,
        /// Whether the node becomes a voter once it has caught up.
        voter: bool,
        /// The node that leaves once the new one is a voter.
        replaces: Option<NodeId>,
    },
    /// Let a node enter.
    Enter {
        /// SHA-256 of the secret that it showed.
        token: TokenHash,
        /// Its id.
        node_id: NodeId,
        /// What its data directory is known by.
        nonce: u64,
        /// Where other nodes reach it.
        address: String,
    },
    /// Give a learner a vote.
    Promote(NodeId),
    /// Take the vote of a member; it stays a learner.
    Demote(NodeId),
    /// Take a member out.
    Remove(NodeId),
    /// Let a learner take the place of another member.
    Replace {
        /// The one that leaves.
        old: NodeId,
        /// The one that takes its place.
        new: NodeId,
    },
    /// Let another voter lead; the one that is fit best unless one is named.
    Lead(Option<NodeId>),
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The node that was asked does not lead. Nothing happened.
    #[error("the node does not lead")]
    NotLeader,
    /// The leader could not be reached, or has no quorum. Nothing happened.
    #[error("{0}")]
    Unavailable(String),
    /// It is not known whether it took effect. Asking again is safe.
    #[error("{0}")]
    Unknown(String),
    /// There is no such member.
    #[error("node {0} is no member")]
    NoSuchMember(NodeId),
    /// It would harm, for this reason; with what would be safe.
    #[error("{0}")]
    Unsafe(String),
    /// A node may not enter.
    #[error("{0}")]
    Entry(String),
}
