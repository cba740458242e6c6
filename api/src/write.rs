//! Answers to writes and deletes.

use serde::{Deserialize, Serialize};

/// Topics deleted by one delete by filter unless `limit` says otherwise.
pub const DELETE_FILTER_LIMIT_DEFAULT: u32 = 10_000;

/// Answer to `PUT /v1/topics/{topic}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAnswer {
    /// The revision the topic has by this write. An identical write sent again answers the revision of the first. Absent if
    /// the write was superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether the topic holds this value now.
    pub applied: bool,
    /// The revision with the newer timestamp that stands instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
}

/// Answer to `DELETE /v1/topics/{topic}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteAnswer {
    /// The revision of the deletion. Absent if it was superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether the deletion took effect.
    pub deleted: bool,
    /// The revision with the newer timestamp that stands instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
}

/// Answer to `DELETE /v1/topics?filter=F`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFilterAnswer {
    /// The one revision of all these deletions; with `dry_run=true` the revision that was read.
    pub revision: u64,
    /// How many topics were deleted, or would be.
    pub deleted: u64,
    /// Whether more topics match than the limit allowed: ask again.
    pub more: bool,
}
