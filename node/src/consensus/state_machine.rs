//! openraft's state machine on [`banyan_core::state::State`].
//!
//! Apply runs one entry at a time under the state's lock; between two entries anyone may take a view. Nothing here waits for
//! the disk: what is applied is in the log of a majority, and [`super::checkpoint`] writes it to the store behind apply.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use banyan_core::feature::{FeatureLevel, UnknownLevel};
use banyan_core::state::{
    AppliedId, ApplyError, Assigned, BatchOutcome, Closed, OpenError, OriginOpened, State, StateView,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::{CommittedLeaderIdOf, SnapshotOf};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::checkpoint_mark::CheckpointMark;
use super::digests::{DigestMark, DigestMarks};
use super::log_store::LogHandle;
use super::observe::ReplicaCounts;
use super::snapshot::SnapshotData;
use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use super::unfinished::Unfinished;
use super::wire;
use crate::changes::{ChangeBatch, ChangeRing};
use crate::fatal::{Fatal, FatalError};
use crate::simulation::{self, Site};

/// How far this node has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Log index.
    pub index: u64,
    /// Revision of the keyspace.
    pub revision: u64,
    /// Log time, microseconds since the epoch.
    pub log_time_us: u64,
    /// When this node learned of this log time.
    pub at: Instant,
}

/// Who hears of applied entries besides the change ring: the origin, which answers its clients by them, and those who hold
/// connections.
///
/// Called in log order, by the task that applies, and must not block.
pub trait ApplyObserver: Send + Sync {
    /// A batch of any origin came out of the log.
    fn on_batch(&self, outcome: BatchOutcome);
    /// An origin was opened.
    fn on_origin_opened(&self, opened: OriginOpened);
    /// A connection was ended.
    fn on_closed(&self, closed: &Closed);
    /// The entry at `log_index`, with log time `log_time_us`, gave a message of a shared subscription to a connection.
    fn on_assigned(&self, assigned: &Assigned, log_index: u64, log_time_us: u64);
    /// The state was replaced by a snapshot: what was in between was seen by nobody here.
    fn on_installed(&self, view: &StateView);
}

/// The state of a replica, shared by apply, checkpoints and readers.
pub struct SharedState {
    pub(super) state: Mutex<State>,
    pub(super) ring: Arc<ChangeRing>,
    pub(super) applied: watch::Sender<Applied>,
    pub(super) observer: OnceLock<Arc<dyn ApplyObserver>>,
    pub(super) snapshot: Mutex<Option<CurrentSnapshot>>,
    /// Snapshots on their way to other nodes.
    pub(super) unfinished: Arc<Unfinished>,
    /// Serialises everything that writes the store: checkpoints and installed snapshots.
    pub(super) store_writer: tokio::sync::Mutex<()>,
    /// What is compared with other nodes.
    digests: Mutex<DigestMarks>,
    /// Where the last checkpoint is noted.
    pub(super) mark: CheckpointMark,
    /// Whether there are shared subscriptions, told without a lock.
    pub(super) has_groups: AtomicBool,
    /// The level of the state.
    pub(super) feature_level: watch::Sender<FeatureLevel>,
    /// The last level that this node takes part in.
    pub(super) feature_level_max: FeatureLevel,
    /// Wakes the checkpoint task: the active layer passed its target.
    pub(super) checkpoint_due: Notify,
    /// Wakes apply: the layer has room again.
    pub(super) layer_room: Notify,
    /// Bytes at which the active layer is checkpointed; apply waits at twice as many.
    pub(super) checkpoint_bytes: usize,
    pub(super) fatal: Fatal,
    pub(super) counts: Arc<ReplicaCounts>,
}

/// The snapshot that can be streamed: what the store held after the last checkpoint.
#[derive(Clone)]
pub(super) struct CurrentSnapshot {
    pub(super) meta: SnapshotMeta,
    pub(super) view: Arc<dyn banyan_core::store::ReadView>,
}

impl SharedState {
    /// Wraps an opened state.
    #[must_use]
    pub fn new(
        state: State,
        ring: Arc<ChangeRing>,
        mark: CheckpointMark,
        checkpoint_bytes: usize,
        feature_level_max: FeatureLevel,
        fatal: Fatal,
    ) -> Arc<Self> {
        let shared = Self {
            feature_level: watch::Sender::new(state.feature_level()),
            feature_level_max,
            applied: watch::Sender::new(applied_of(&state)),
            has_groups: AtomicBool::new(state.has_groups()),
            state: Mutex::new(state),
            ring,
            observer: OnceLock::new(),
            snapshot: Mutex::new(None),
            unfinished: Arc::default(),
            store_writer: tokio::sync::Mutex::new(()),
            digests: Mutex::default(),
            mark,
            checkpoint_due: Notify::new(),
            layer_room: Notify::new(),
            checkpoint_bytes,
            fatal,
            counts: Arc::default(),
        };
        Arc::new(shared)
    }

    /// A view of the state as applied here.
    #[must_use]
    pub fn view(&self) -> StateView {
        self.state.lock().view()
    }

    /// Follows how far this node has applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Digests at recent log indexes.
    #[must_use]
    pub fn digests(&self) -> Vec<DigestMark> {
        self.digests.lock().marks()
    }

    fn note_digest(&self, state: &State, id: AppliedId) {
        self.digests.lock().note(id.index, state.digest());
    }

    fn fail(&self, error: &dyn std::fmt::Display) -> io::Error {
        self.fatal.stop(FatalError::Storage(error.to_string()));
        io::Error::other(error.to_string())
    }

    fn fail_at(&self, unknown: UnknownLevel) -> io::Error {
        self.fatal.stop(FatalError::Level(unknown));
        io::Error::other(unknown.to_string())
    }

    /// Tells those who ask that the state has `level`.
    ///
    /// # Errors
    /// This node does not take part in it.
    fn follow_level(&self, level: FeatureLevel) -> io::Result<()> {
        level
            .check(self.feature_level_max)
            .map_err(|unknown| self.fail_at(unknown))?;
        self.feature_level.send_if_modified(|former| {
            let raised = *former != level;
            if raised {
                tracing::info!(%level, "the cluster has a new feature level");
                *former = level;
            }
            raised
        });
        Ok(())
    }

    /// Waits until the active layer may take more.
    async fn wait_for_room(&self) {
        loop {
            let room = self.layer_room.notified();
            if self.state.lock().active_bytes() < 2 * self.checkpoint_bytes || self.fatal.is_stopping() {
                return;
            }
            self.checkpoint_due.notify_one();
            room.await;
        }
    }

    /// Where `state` is now. An entry that does not move log time, such as a new leader's first, leaves the clock running:
    /// log time goes on from when it was last told, not from this entry.
    fn position_of(&self, state: &State) -> Applied {
        let former = *self.applied.borrow();
        let position = applied_of(state);
        match position.log_time_us == former.log_time_us {
            true => Applied {
                at: former.at,
                ..position
            },
            false => position,
        }
    }

    fn apply_entry(
        &self,
        log_id: &LogId,
        payload: EntryPayload<super::types::EntryData, u64, openraft::BasicNode>,
    ) -> io::Result<()> {
        let id = applied_id(log_id);
        match payload {
            EntryPayload::Blank => {
                let mut state = self.state.lock();
                state.apply_blank(id);
                self.note_digest(&state, id);
                self.applied.send_replace(self.position_of(&state));
            }
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(*log_id), membership);
                let encoded = wire::encode(&stored).map_err(|error| self.fail(&error))?;
                let mut state = self.state.lock();
                state.set_membership(id, encoded);
                self.note_digest(&state, id);
                self.applied.send_replace(self.position_of(&state));
            }
            EntryPayload::Normal(data) => self.apply_commands(id, &data.0)?,
        }
        Ok(())
    }

    fn apply_commands(&self, id: AppliedId, entry: &Bytes) -> io::Result<()> {
        let mut state = self.state.lock();
        let begun = Instant::now();
        let result = state.apply(id, entry);
        self.note_digest(&state, id);
        self.counts.apply.record(begun.elapsed());
        let position = self.position_of(&state);
        self.has_groups.store(state.has_groups(), Ordering::Relaxed);
        if state.active_bytes() >= self.checkpoint_bytes || simulation::happens(Site::EarlyCheckpoint) {
            self.checkpoint_due.notify_one();
        }
        let level = state.feature_level();
        drop(state);
        let applied = result.map_err(|error| match error {
            ApplyError::Level(unknown) => self.fail_at(unknown),
            other => self.fail(&other),
        })?;
        self.follow_level(level)?;
        // Readers first: whoever learns of the outcome may read, subscribe or ask for changes at once.
        self.applied.send_replace(position);
        if !applied.changes.is_empty() {
            self.ring.push(ChangeBatch {
                log_time_us: position.log_time_us,
                changes: applied.changes,
            });
        }
        if let Some(observer) = self.observer.get() {
            applied
                .origins
                .into_iter()
                .for_each(|opened| observer.on_origin_opened(opened));
            // Before outcomes: who hears that it is connected may rely on its predecessor being closed.
            applied.closed.iter().for_each(|closed| observer.on_closed(closed));
            for assigned in &applied.assigned {
                observer.on_assigned(assigned, position.index, position.log_time_us);
            }
            applied
                .batches
                .into_iter()
                .for_each(|outcome| observer.on_batch(outcome));
        }
        Ok(())
    }
}

/// The log id as the state keeps it.
#[must_use]
pub fn applied_id(log_id: &LogId) -> AppliedId {
    let leader = log_id.committed_leader_id();
    AppliedId {
        term: leader.term,
        node_id: leader.node_id,
        index: log_id.index(),
    }
}

/// The state's log id as openraft's.
#[must_use]
pub fn log_id_of(applied: AppliedId) -> LogId {
    let leader = CommittedLeaderIdOf::<TypeConfig>::new(applied.term, applied.node_id);
    LogId::new(leader, applied.index)
}

fn applied_of(state: &State) -> Applied {
    Applied {
        index: state.applied().map_or(0, |applied| applied.index),
        revision: state.revision(),
        log_time_us: state.log_time_us(),
        at: Instant::now(),
    }
}

/// What openraft drives.
#[derive(Clone)]
pub struct StateMachine {
    shared: Arc<SharedState>,
    log: LogHandle,
}

impl StateMachine {
    /// A state machine over `shared`. The contents of the store, if any, are the current snapshot.
    ///
    /// # Errors
    /// The stored membership is unreadable.
    pub fn new(shared: Arc<SharedState>, log: LogHandle) -> io::Result<Self> {
        let machine = Self { shared, log };
        if let Some(meta) = machine.stored_meta()? {
            let view = machine.shared.state.lock().base().view();
            *machine.shared.snapshot.lock() = Some(CurrentSnapshot { meta, view });
        }
        Ok(machine)
    }

    fn membership(&self) -> io::Result<StoredMembership> {
        match self.shared.state.lock().membership() {
            None => Ok(StoredMembership::default()),
            Some(encoded) => wire::decode(&encoded).map_err(|error| self.shared.fail(&error)),
        }
    }

    fn stored_meta(&self) -> io::Result<Option<SnapshotMeta>> {
        let Some(applied) = self.shared.state.lock().applied() else {
            return Ok(None);
        };
        Ok(Some(SnapshotMeta {
            last_log_id: Some(log_id_of(applied)),
            last_membership: self.membership()?,
        }))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.shared.state.lock().applied();
        Ok((applied.map(log_id_of), self.membership()?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.shared.wait_for_room().await;
            self.shared.apply_entry(&entry.log_id, entry.payload)?;
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotBuilder {
            shared: Arc::clone(&self.shared),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData::Received(replacement) = snapshot else {
            // Our own store's contents: openraft offers them at the start, and they are in place.
            return Ok(());
        };
        let _writer = self.shared.store_writer.lock().await;
        // What the snapshot replaces in the log may have been truncated just now: on disk before the snapshot is.
        self.log.barrier().await.map_err(|error| self.shared.fail(&error))?;
        let shared = Arc::clone(&self.shared);
        let installed = crate::blocking::run(move || {
            let (base, tombstone_bounds) = {
                let state = shared.state.lock();
                (Arc::clone(state.base()), state.tombstone_bounds())
            };
            replacement.install().map_err(|error| shared.fail(&error))?;
            let state = State::open_bounded(base, tombstone_bounds).map_err(|error| match error {
                OpenError::Level(unknown) => shared.fail_at(unknown),
                other => shared.fail(&other),
            })?;
            let index = state.applied().map_or(0, |applied| applied.index);
            shared.mark.write(index).map_err(|error| shared.fail(&error))?;
            Ok::<_, io::Error>(state)
        });
        let mut state = installed.await?;
        self.shared.follow_level(state.feature_level())?;
        if state.applied().map(log_id_of) != meta.last_log_id {
            return Err(self
                .shared
                .fail(&"an installed snapshot is not at the log id it was announced with"));
        }
        let view = state.view();
        *self.shared.snapshot.lock() = Some(CurrentSnapshot {
            meta: meta.clone(),
            view: state.base().view(),
        });
        let position = applied_of(&state);
        self.shared.has_groups.store(state.has_groups(), Ordering::Relaxed);
        self.shared.digests.lock().clear();
        let former = std::mem::replace(&mut *self.shared.state.lock(), state);
        crate::blocking::run_in_background(move || drop(former)).await;
        self.shared.applied.send_replace(position);
        self.shared.layer_room.notify_one();
        self.shared.ring.skip(position.revision);
        if let Some(observer) = self.shared.observer.get() {
            observer.on_installed(&view);
        }
        self.shared.counts.snapshots_installed.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            index = position.index,
            revision = position.revision,
            "installed a snapshot"
        );
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        let latest = self.shared.snapshot.lock().clone();
        // One that is on its way is sent to its end, as long as the log goes on from there.
        let begun = self.shared.unfinished.snapshot().filter(|begun| {
            let index = |snapshot: &CurrentSnapshot| snapshot.meta.last_log_id.map_or(0, |last| last.index());
            index(begun) >= self.log.purged_index()
                && latest.as_ref().is_some_and(|latest| index(begun) <= index(latest))
        });
        Ok(begun.or(latest).map(CurrentSnapshot::into_snapshot))
    }
}

impl CurrentSnapshot {
    fn into_snapshot(self) -> SnapshotOf<TypeConfig, SnapshotData> {
        Snapshot {
            meta: self.meta,
            snapshot: SnapshotData::View(self.view),
        }
    }
}

/// Hands out the current snapshot: building one costs nothing, since a checkpoint already is one.
pub struct SnapshotBuilder {
    shared: Arc<SharedState>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let current = self.shared.snapshot.lock().clone();
        current
            .map(CurrentSnapshot::into_snapshot)
            .ok_or_else(|| io::Error::other("there is no checkpoint yet"))
    }
}
