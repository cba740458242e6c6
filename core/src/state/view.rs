//! Queries on a frozen state.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::digest::RowSum;
use super::group::Groups;
use super::recent::RecentRows;
use super::waiting::damaged;
use super::{AppliedId, Digest, Members, Session, State};
use crate::keyspace::meta::Position;
use crate::keyspace::origin::origin_key;
use crate::keyspace::scan::{Scan, Selection};
use crate::keyspace::tombstone::tombstone_key;
use crate::keyspace::topic::stored_topic;
use crate::keyspace::{KeyKind, MessagePosition, OriginRow, Tombstone, TopicRecord, topic_key};
use crate::store::{Direction, LayeredView, ReadView, StoreError};
use crate::topic::TopicName;

/// The state at one log entry, unchanged by what is applied later. Cheap to take and to clone; it holds back memory and
/// disk space until dropped.
#[derive(Clone)]
pub struct StateView {
    /// The last log entry it shows.
    pub applied: Option<AppliedId>,
    /// Revision of its last change or event.
    pub revision: u64,
    /// Log time, microseconds since the Unix epoch.
    pub log_time_us: u64,
    /// Digest of all that is not an index.
    pub digest: Digest,
    /// What of it is of topics, tombstones and origins: all that is without sessions.
    pub topics_digest: Digest,
    /// Topics that hold a value.
    pub topic_count: u64,
    /// Tombstones that are kept.
    pub tombstone_count: u64,
    /// [`changes_after`](Self::changes_after) is complete from this revision on: deletions up to it may be forgotten.
    pub compacted_revision: u64,
    /// Messages that are kept in rows of their own.
    pub message_count: u64,
    /// Bytes of those rows.
    pub message_bytes: u64,
    /// Messages up to here may be missing though somebody waited for them: retention dropped them.
    pub dropped_through: MessagePosition,
    /// Connections in force.
    pub connection_count: usize,
    /// Fence of the connection that was made last; 0 before the first.
    pub fence: u64,
    pub(super) position: Position,
    pub(super) origins: Arc<BTreeMap<u64, OriginRow>>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Option<Bytes>,
    pub(super) sessions: OrdMap<Bytes, Arc<Session>>,
    pub(super) groups: Groups,
    pub(super) recent_changes: RecentRows,
    pub(super) view: LayeredView,
}

/// The latest change of a topic: exactly one of `record` and `tombstone` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Revision of the change.
    pub revision: u64,
    /// Place among the topics that the revision changed.
    pub ordinal: u32,
    /// The topic.
    pub topic: TopicName,
    /// Its value, if it was written last.
    pub record: Option<TopicRecord>,
    /// What remains, if it was deleted last.
    pub tombstone: Option<Tombstone>,
}

impl State {
    /// The present state, unchanged by what is applied later. Costs no reading, but some sorting of what was written since
    /// the last view.
    #[must_use]
    pub fn view(&mut self) -> StateView {
        let Position {
            applied,
            revision,
            log_time_us,
            digest,
            topic_count,
            tombstone_count,
            compacted_revision,
            message_count,
            message_bytes,
            dropped_through,
            held_bytes: _,
            trimmed_through: _,
            fence,
            session_digest: _,
            feature_level: _,
        } = self.position;
        StateView {
            applied,
            revision,
            log_time_us,
            digest: self.digest(),
            topics_digest: Digest::new(digest),
            topic_count,
            tombstone_count,
            compacted_revision,
            message_count,
            message_bytes,
            dropped_through,
            fence,
            position: self.position,
            origins: Arc::clone(&self.origins),
            members: Arc::clone(self.members()),
            membership: self.membership.clone(),
            sessions: self.sessions.by_client(),
            connection_count: self.sessions.connection_count(),
            groups: self.groups.clone(),
            recent_changes: self.recent.changes(),
            view: self.layer.view(),
        }
    }
}

/// Kinds whose rows are digested as of topics, besides those of origins.
const OF_TOPICS: [KeyKind; 2] = [KeyKind::Topic, KeyKind::Tombstone];

/// Kinds whose rows are digested as of sessions, and beside them what the members are to be.
const OF_SESSIONS: [KeyKind; 6] = [
    KeyKind::Member,
    KeyKind::Session,
    KeyKind::Subscription,
    KeyKind::Will,
    KeyKind::Group,
    KeyKind::Message,
];

impl StateView {
    /// The value of `topic`.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn get(&self, topic: &TopicName) -> Result<Option<TopicRecord>, StoreError> {
        self.record(&topic_key(topic))
    }

    /// The tombstone of `topic`.
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn tombstone(&self, topic: &TopicName) -> Result<Option<Tombstone>, StoreError> {
        self.tombstone_row(&stored_topic(topic))
    }

    /// Reads `selection` in `direction`. The scan owns what it reads.
    #[must_use]
    pub fn scan(&self, selection: Selection, direction: Direction) -> Scan {
        Scan::new(Arc::new(self.view.clone()), selection, direction)
    }

    /// As [`scan`](Self::scan), from behind `last`.
    #[must_use]
    pub fn resume_scan(&self, selection: Selection, direction: Direction, last: &TopicName) -> Scan {
        Scan::resume_after(Arc::new(self.view.clone()), selection, direction, last)
    }

    /// The latest changes of topics after the position (`revision`, `ordinal`), oldest first, at most `rows_max`. Fewer
    /// than that: there are no more.
    ///
    /// Complete, that is with every deletion, if `revision` is at least
    /// [`compacted_revision`](Self::compacted_revision).
    ///
    /// # Errors
    /// The store could not be read, or is damaged.
    pub fn changes_after(&self, revision: u64, ordinal: u32, rows_max: usize) -> Result<Vec<ChangeRow>, StoreError> {
        match (MessagePosition { revision, ordinal }).next() {
            Some(first) => self.positions(|reader| reader.changes_from(first).take(rows_max).collect()),
            None => Ok(Vec::new()),
        }
    }

    /// The rows beneath, for reading topics. Rows of kinds Meta and Origin are those of the last checkpoint.
    #[must_use]
    pub const fn read_view(&self) -> &LayeredView {
        &self.view
    }

    /// Where the origin `node_id` stands.
    #[must_use]
    pub fn origin(&self, node_id: u64) -> Option<&OriginRow> {
        self.origins.get(&node_id)
    }

    /// What the members are to be.
    #[must_use]
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The membership last set, as it was given.
    #[must_use]
    pub fn membership(&self) -> Option<Bytes> {
        self.membership.clone()
    }

    /// Sessions, connected and not.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The session of the client.
    #[must_use]
    pub fn session(&self, client_id: &[u8]) -> Option<Arc<Session>> {
        self.sessions.get(client_id).cloned()
    }

    /// Up to `count` sessions, in the order of client identifiers, behind `after`.
    #[must_use]
    pub fn sessions_after(&self, after: Option<&[u8]>, count: usize) -> Vec<Arc<Session>> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions.range::<_, [u8]>((lower, Bound::Unbounded));
        sessions.take(count).map(|(_, session)| Arc::clone(session)).collect()
    }

    /// The digest, computed anew from every row. Equal to [`digest`](Self::digest) unless something is damaged.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn full_digest(&self) -> Result<Digest, StoreError> {
        let mut sum = self.full_topics_digest()?.as_u128();
        self.add_rows(&mut sum, &OF_SESSIONS)?;
        Ok(Digest::new(sum))
    }

    /// As [`full_digest`](Self::full_digest), of what [`topics_digest`](Self::topics_digest) is of.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn full_topics_digest(&self) -> Result<Digest, StoreError> {
        let mut sum = 0_u128;
        for (node_id, row) in &*self.origins {
            sum.replace_row(&origin_key(*node_id), None, Some(&row.to_bytes()));
        }
        self.add_rows(&mut sum, &OF_TOPICS)?;
        Ok(Digest::new(sum))
    }

    fn add_rows(&self, sum: &mut u128, kinds: &[KeyKind]) -> Result<(), StoreError> {
        for kind in kinds {
            let (lower, upper) = kind.range();
            for row in self.view.range(&lower, Some(&upper), Direction::Ascending) {
                let (key, value) = row?;
                sum.replace_row(&key, None, Some(&value));
            }
        }
        Ok(())
    }

    fn record(&self, topic_key: &[u8]) -> Result<Option<TopicRecord>, StoreError> {
        self.view
            .get(topic_key)?
            .map(|value| TopicRecord::parse(value).map_err(damaged))
            .transpose()
    }

    fn tombstone_row(&self, stored_topic: &[u8]) -> Result<Option<Tombstone>, StoreError> {
        let value = self.view.get(&tombstone_key(stored_topic))?;
        value.map(|value| Tombstone::parse(&value).map_err(damaged)).transpose()
    }
}

impl std::fmt::Debug for StateView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateView")
            .field("applied", &self.applied)
            .field("revision", &self.revision)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
