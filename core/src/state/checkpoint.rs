//! Opening a state, and writing it to its store.
//!
//! A checkpoint is one batch of the store: rows and position together, so that after a crash the store is exactly the state
//! at [`State::applied`], and the log continues from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::compact::TombstoneBounds;
use super::group::Groups;
use super::interest::Interest;
use super::recent::{RecentPositions, StalePositions};
use super::session::Sessions;
use super::shared::GroupMarks;
use super::{AppliedId, State};
use crate::feature::{FeatureLevel, UnknownLevel};
use crate::keyspace::meta::{MEMBERSHIP_KEY, POSITION_KEY, Position};
use crate::keyspace::origin::{origin_key, origin_of_key};
use crate::keyspace::{FormatError, KeyKind, OriginRow};
use crate::planted::{Bug, planted};
use crate::store::{Direction, FrozenLayer, Layered, Store, StoreError, WriteBatch};

/// A store cannot be opened as a state. The node must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cluster has a level that this program does not know.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// What is stored is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// There are rows and nothing says where they stand: they were not written by a checkpoint.
    #[error("storage holds rows without a position; it is damaged or belongs to something else")]
    NoPosition,
}

/// What [`State::freeze`] must write besides the rows in the layer.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) origins: BTreeSet<u64>,
    pub(super) membership: bool,
}

/// A checkpoint on its way to the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FrozenState {
    /// The last log entry it holds.
    pub applied: Option<AppliedId>,
    layer: FrozenLayer,
    stale: StalePositions,
}

impl FrozenState {
    /// The batch that brings the store to [`applied`](Self::applied), position included.
    ///
    /// # Panics
    /// Never: the changes are as [`State::apply`] encoded them.
    #[must_use]
    pub fn to_batch(&self) -> WriteBatch {
        let mut batch = self.layer.to_batch();
        let index_changes = self.stale.index_changes(&self.layer);
        batch.extend(index_changes.expect("changes are as they were encoded"));
        if planted(Bug::Half) {
            let is_topic = |row: &(Bytes, Option<Bytes>)| row.0.first() == Some(&(KeyKind::Topic as u8));
            if let Some(newest) = batch.iter().rposition(is_topic) {
                batch.remove(newest);
            }
        }
        batch
    }
}

impl State {
    /// Opens what a store holds: the state at its last checkpoint, or the empty state.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(base: Arc<dyn Store>) -> Result<Self, OpenError> {
        Self::open_bounded(base, TombstoneBounds::default())
    }

    /// As [`open`](Self::open), with other bounds for tombstones than a cluster has by default.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_bounded(base: Arc<dyn Store>, tombstone_bounds: TombstoneBounds) -> Result<Self, OpenError> {
        let view = base.view();
        let position = match view.get(&POSITION_KEY)? {
            Some(row) => Position::parse(&row)?,
            None => match view.range(&[], None, Direction::Ascending).next().transpose()? {
                Some(_) => return Err(OpenError::NoPosition),
                None => Position::default(),
            },
        };
        position.feature_level.check(FeatureLevel::KNOWN)?;
        let membership = view.get(&MEMBERSHIP_KEY)?;
        let mut origins = BTreeMap::new();
        let (lower, upper) = KeyKind::Origin.range();
        for row in view.range(&lower, Some(&upper), Direction::Ascending) {
            let (key, value) = row?;
            origins.insert(origin_of_key(&key)?, OriginRow::parse(&value)?);
        }
        let mut state = Self {
            layer: Layered::new(base),
            recent: RecentPositions::new(position.revision),
            checkpointed: position.applied,
            freezing: position.applied,
            position,
            origins: Arc::new(origins),
            members: Arc::default(),
            membership,
            changed: Changed::default(),
            sessions: Sessions::default(),
            touched: BTreeMap::new(),
            groups: Groups::default(),
            group_marks: GroupMarks::default(),
            interest: Interest::default(),
            tombstone_bounds,
        };
        state.open_members()?;
        state.open_sessions(&*view)?;
        state.open_groups()?;
        Ok(state)
    }

    /// Begins a checkpoint of the present state. The caller writes [`FrozenState::to_batch`] to the store, on whatever
    /// thread, then calls [`thaw`](Self::thaw). Applying goes on meanwhile.
    ///
    /// # Panics
    /// If a checkpoint was begun and not thawed.
    pub fn freeze(&mut self) -> FrozenState {
        self.layer
            .put(Bytes::from_static(&POSITION_KEY), self.position.encode());
        for node_id in std::mem::take(&mut self.changed.origins) {
            match self.origins.get(&node_id) {
                Some(row) => self.layer.put(origin_key(node_id), row.encode()),
                None => self.layer.delete(origin_key(node_id)),
            }
        }
        if std::mem::take(&mut self.changed.membership)
            && let Some(membership) = &self.membership
        {
            self.layer.put(Bytes::from_static(&MEMBERSHIP_KEY), membership.clone());
        }
        self.freezing = self.position.applied;
        FrozenState {
            applied: self.position.applied,
            layer: self.layer.freeze(),
            stale: self.recent.freeze(self.position.revision),
        }
    }

    /// The store beneath.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Store> {
        self.layer.base()
    }

    /// The last log entry that the store holds.
    #[must_use]
    pub const fn checkpointed(&self) -> Option<AppliedId> {
        self.checkpointed
    }

    /// Whether a checkpoint was begun and not thawed.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.layer.is_frozen()
    }

    /// Ends a checkpoint: the store has durably taken its batch.
    ///
    /// # Panics
    /// If none was begun.
    pub fn thaw(&mut self) {
        self.layer.thaw();
        self.recent.thaw();
        self.checkpointed = self.freezing;
    }
}
