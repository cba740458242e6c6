//! `apply`, and the queries.
//!
//! [`State`] is what every node computes from the log. [`State::apply`] is a pure function of the state and the entry: no
//! clock (log time comes with the entry), no settings, no unordered map. The same entries give the same rows, outcomes,
//! changes and [`Digest`] on every node, wherever its checkpoints fell.
//!
//! ```text
//! Entry ──► apply ──┬─► rows: one topic row and its index rows per change          rows.rs
//!                   ├─► Applied.batches, Applied.origins: answers for waiters      outcome.rs
//!                   ├─► Applied.changes: what subscribers see, in order            change.rs
//!                   └─► Applied.closed, Applied.assigned: what nodes do about it   session/closed.rs
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `apply` | entries and batches: log time, origin streams, deadlines, who sends |
//! | `outcome`, `change` | what is told of it: to those who asked, and to subscribers |
//! | `put`, `delete`, `delete_filter`, `event` | one operation each |
//! | `winner` | newest timestamp wins, exactly |
//! | `expire`, `compact` | the leader's housekeeping |
//! | `rows` | a topic's row with its indexes, counts and digest |
//! | `session` | who is connected where, subscribed to what, and how far along; wills |
//! | `messages`, `trim` | messages kept for those who have not had them, and dropped |
//! | `waiting` | reading them, by position |
//! | `interest` | who waits, as far as it must be known |
//! | `group`, `group_rows` | the members of a shared subscription, and what of it has rows |
//! | `shared`, `receiver` | which member gets a message |
//! | `recent` | the indexes by position, until the next checkpoint |
//! | `origin` | lives and sequences of origins |
//! | `digest` | the order-independent digest |
//! | `checkpoint` | open, freeze, thaw |
//! | `view` | queries on a frozen state |
//! | `image` | a frozen state as the rows that count: backups |
//!
//! # What `apply` decides
//!
//! 1. Each operation of a batch stands alone: a batch is not atomic.
//! 2. Conditions are decided first, then whether the timestamp is too far ahead, then which timestamp wins. A met condition
//!    with a losing timestamp is a failed condition.
//! 3. The greater of (timestamp, value over delete, payload, metadata) wins. Equal in all: nothing changes.
//! 4. A write without a timestamp gets the greater of log time and one more than the topic's latest timestamp, its
//!    tombstone's included.
//! 5. A delete with a timestamp leaves a tombstone even where there was no value, and is a change like any other. A delete
//!    without one, of a topic without a value, is [`Outcome::NotFound`].
//! 6. One operation takes one revision if it changes anything or is an event, otherwise none. Topics of one revision are
//!    told apart by ordinal.
//! 7. An expired record leaves a tombstone with the record's timestamp.
//! 8. Each connection has a fence, greater than all before. What carries a fence that is not in force is
//!    [`Outcome::Fenced`] and changes nothing. A client has one connection: a later one closes the former, wherever it is.
//! 9. A session ends with its connection if its expiry is 0, else that long after it, on log time; whoever comes back later
//!    begins anew, though nobody has ended the session yet.
//! 10. A will is published once: when its session ends, or when its delay has passed before the client is back. One without
//!     delay goes out with its connection, a takeover included. A clean leave-taking takes it back.
//! 11. A QoS 2 message is published once for each packet identifier, until that is released. What was refused leaves the
//!     identifier free.
//! 12. A message with QoS 1 or 2 is kept while a session that has subscribed to it has its cursor before it, or while it is
//!     on its way: by its topic as long as it is the latest, then in a row of its own. A subscription with `deliver=latest`
//!     keeps no superseded values. Retention may drop what waits, never what is on its way.
//! 13. A message of a shared subscription goes to one connected member that has room, in turn; else it waits. What a lost
//!     member had goes to another, except QoS 2 in flight: that stays with the session, and ends with it.

mod apply;
mod change;
mod checkpoint;
mod compact;
mod delete;
mod delete_filter;
mod digest;
mod event;
mod expire;
mod group;
mod group_rows;
mod image;
mod interest;
mod members;
mod messages;
mod origin;
mod outcome;
mod put;
mod receiver;
mod recent;
mod rows;
mod session;
mod shared;
mod trim;
mod view;
mod waiting;
mod winner;

#[cfg(test)]
mod image_test;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod session_model_test;
#[cfg(test)]
mod shared_test;
#[cfg(test)]
mod state_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod waiting_test;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::feature::FeatureLevel;
use crate::keyspace::OriginRow;
use crate::keyspace::meta::Position;
use crate::store::Layered;

pub use crate::keyspace::meta::AppliedId;
pub use crate::keyspace::{InFlight, LiveConnection, MessagePosition, Session, SubscriptionRow};
pub use apply::{Applied, ApplyError};
pub use change::{Change, ChangeKind, DeleteCause, Deletion};
pub use checkpoint::{FrozenState, OpenError};
pub use compact::TombstoneBounds;
pub use digest::Digest;
pub use group::Group;
pub use image::{ImageError, ImageSum, founding_id, push_indexed};
pub use members::{Admission, EnterRefusal, Members};
pub use outcome::{BatchOutcome, Disposition, OriginOpened, Outcome};
pub use receiver::Receiver;
pub use session::{Assigned, CloseReason, Closed};
pub use trim::Retention;
pub use view::{ChangeRow, StateView};
pub use waiting::{Waiting, WaitingRow};

/// The replicated state of one node: a store, the changes since its last checkpoint, and where both stand.
///
/// One thread applies; any number read [views](State::view).
pub struct State {
    layer: Layered<rows::StoredRecord>,
    recent: recent::RecentPositions,
    /// Kept here and written into the layer by [`State::freeze`] only.
    position: Position,
    /// As `position`. Shared with views.
    origins: Arc<BTreeMap<u64, OriginRow>>,
    /// Written into the layer as it changes. Shared with views.
    members: Arc<members::Members>,
    /// As `position`.
    membership: Option<Bytes>,
    /// What of the two above has changed since the last freeze.
    changed: checkpoint::Changed,
    /// Follows from the rows of sessions and groups.
    interest: interest::Interest,
    /// By the text of the subscription. Shared with views.
    groups: group::Groups,
    group_marks: shared::GroupMarks,
    /// The last log entry that the store holds.
    checkpointed: Option<AppliedId>,
    /// The last log entry of the checkpoint begun last.
    freezing: Option<AppliedId>,
    sessions: session::Sessions,
    /// Rows as they were before this entry, of the sessions that it has changed.
    touched: BTreeMap<Bytes, Option<Bytes>>,
    /// The same on every node.
    tombstone_bounds: compact::TombstoneBounds,
}

impl State {
    /// The last log entry that was applied.
    #[must_use]
    pub const fn applied(&self) -> Option<AppliedId> {
        self.position.applied
    }

    /// Revision of the last change or event; 0 before the first.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.position.revision
    }

    /// Log time: the greatest time of any applied entry, microseconds since the Unix epoch. Never steps back.
    #[must_use]
    pub const fn log_time_us(&self) -> u64 {
        self.position.log_time_us
    }

    /// What all members understand, and so may be put into the log.
    #[must_use]
    pub const fn feature_level(&self) -> FeatureLevel {
        self.position.feature_level
    }

    /// Digest of all that is not an index. Nodes with the same [`applied`](State::applied) have the same.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::new(self.position.digest.wrapping_add(self.position.session_digest))
    }

    /// What of the digest is of topics, tombstones and origins: all that is without sessions.
    #[must_use]
    pub const fn topics_digest(&self) -> Digest {
        Digest::new(self.position.digest)
    }

    /// Topics that hold a value.
    #[must_use]
    pub const fn topic_count(&self) -> u64 {
        self.position.topic_count
    }

    /// Messages that are kept in rows of their own.
    #[must_use]
    pub const fn message_count(&self) -> u64 {
        self.position.message_count
    }

    /// Bytes of those rows.
    #[must_use]
    pub const fn message_bytes(&self) -> u64 {
        self.position.message_bytes
    }

    /// Messages up to here may be missing though somebody waited for them: retention dropped them.
    #[must_use]
    pub const fn dropped_through(&self) -> MessagePosition {
        self.position.dropped_through
    }

    /// The membership last set, as it was given.
    #[must_use]
    pub fn membership(&self) -> Option<Bytes> {
        self.membership.clone()
    }

    /// Memory that changes since the last freeze take, bytes, nearly.
    #[must_use]
    pub fn active_bytes(&self) -> usize {
        self.layer.active_bytes() + self.recent.bytes()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("position", &self.position)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}
