//! This node's copy of the shard: log, state, and its part in Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banyan_core::feature::{FeatureLevel, UnknownLevel};
use banyan_core::planted::{Bug, planted};
use banyan_core::state::{OpenError, Retention, State, StateView};
use banyan_core::store::Store;
use bytes::Bytes;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::{BasicNode, Raft};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::checkpoint;
use super::checkpoint_mark::CheckpointMark;
use super::digests::DigestMark;
use super::founding::members_of_membership;
use super::housekeeping::House;
use super::intake::{self, Reject, Submission};
use super::log_store::{LogHandle, LogStore, to_entry_id};
use super::network::NetworkFactory;
use super::observe::ReplicaCounts;
use super::read_index::{ReadIndex, ReadIndexError};
use super::standing::ReplicaStanding;
use super::state_machine::{Applied, ApplyObserver, SharedState, StateMachine};
use super::types::{LogId, NodeId, TypeConfig};
use crate::changes::ChangeRing;
use crate::components::Components;
use crate::fatal::{Fatal, FatalError};
use crate::peer::{Lane, Peers, Standing};
use crate::storage::log::{EntryId, LogError, LogSettings, Vote};
use crate::storage::lsm::LsmOpenError;

/// Kinds of control requests that this module answers, beside Raft's own.
pub mod request {
    /// Asks the leader for a read index: answered by a log index (u64, big-endian).
    pub const READ_INDEX: u8 = 0x40;
    /// Asks the leader to open an origin: nonce (u64, big-endian); answered by nothing once it is on its way.
    pub const OPEN_ORIGIN: u8 = 0x41;
}

/// How long a follower waits for the leader's read index, and the leader for its quorum.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(2);

/// A leader that its quorum has not answered for this long has no contact, nor has a follower that has not heard its leader.
const CONTACT_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a replica.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    /// This node.
    pub node_id: NodeId,
    /// The segment files.
    pub log: LogSettings,
    /// Bytes of log kept for followers that lag.
    pub log_keep_bytes: u64,
    /// Bytes of changes between two checkpoints.
    pub checkpoint_bytes: usize,
    /// Bytes of recent changes kept in memory.
    pub change_ring_bytes: usize,
    /// Bytes of the store's block cache.
    pub cache_bytes: u64,
    /// A follower that hears nothing waits between these before it stands for election, milliseconds.
    pub election_timeout_ms: (u64, u64),
    /// Interval of heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// How much of the messages is kept that sessions have not had.
    pub retention: Retention,
    /// How long a node may be out of touch with the leader before its connections are ended.
    pub node_lost: Duration,
    /// The last feature level that this node takes part in.
    pub feature_level_max: FeatureLevel,
}

/// Why a replica could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaOpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Lsm(#[from] LsmOpenError),
    /// Log and store do not fit together, or hold what cannot be true.
    #[error(
        "log and state do not fit together: {0}; move the data directory aside and let the node join again under a new id"
    )]
    Damaged(String),
    /// The cluster has gone on to what this node does not know.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// Consensus did not start.
    #[error("consensus did not start: {0}")]
    Consensus(String),
}

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The leader; `None` while there is none, or none that is known.
    pub leader: Option<NodeId>,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node_id: NodeId,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Whether it has a vote; a learner has none.
    pub voter: bool,
}

/// How far the parts of a replica are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last log index held.
    pub last_log_index: u64,
    /// Last log index known to be committed.
    pub committed_index: u64,
    /// Last log index applied.
    pub applied_index: u64,
    /// Last log index that the snapshot covers.
    pub snapshot_index: u64,
    /// Last log index purged.
    pub purged_index: u64,
}

/// Where a replica stands, by log ids: for those who check that replicas keep to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIds {
    /// The vote that is on disk.
    pub vote: Option<Vote>,
    /// Last entry of the log, on disk or not.
    pub last: Option<EntryId>,
    /// Last entry of the log known to be committed.
    pub committed: Option<EntryId>,
    /// Last entry applied.
    pub applied: Option<EntryId>,
    /// Last entry that the snapshot covers.
    pub snapshot: Option<EntryId>,
    /// Last entry purged.
    pub purged: Option<EntryId>,
}

/// This node's replica of the shard.
pub struct Replica {
    node_id: NodeId,
    raft: Raft<TypeConfig, StateMachine>,
    pub(super) shared: Arc<SharedState>,
    log: LogHandle,
    standing: Arc<ReplicaStanding>,
    read_index: ReadIndex,
    submissions: mpsc::UnboundedSender<Submission>,
    leadership: watch::Receiver<Leadership>,
    members: watch::Receiver<Arc<[Member]>>,
    ring: Arc<ChangeRing>,
    opened_revision: u64,
    /// The greatest entry that was known to be committed when somebody looked.
    committed: Mutex<Option<EntryId>>,
    /// Raft is about to be stopped, and not asked any more.
    stops: AtomicBool,
}

impl Replica {
    /// Opens log and state in `directory`, replays what was committed, and joins in Raft.
    ///
    /// `observer` hears of every entry applied from now on; `reject` tells an origin to resend.
    ///
    /// # Errors
    /// Log or store are in use, damaged, or do not fit together.
    pub async fn open(
        settings: ReplicaSettings,
        directory: &Path,
        components: &Components,
        peers: Peers,
        observer: Arc<dyn ApplyObserver>,
        reject: Reject,
        fatal: Fatal,
    ) -> Result<Arc<Self>, ReplicaOpenError> {
        let log_store = LogStore::open(Arc::clone(&components.disk), &directory.join("log"), &settings.log, {
            let fatal = fatal.clone();
            Arc::new(move |error: &str| fatal.stop(FatalError::Storage(error.to_owned())))
        })?;
        let log = log_store.handle();
        let store = components.stores.open(&directory.join("state"), settings.cache_bytes)?;
        let mut state = State::open_bounded(store, components.tombstone_bounds).map_err(|error| match error {
            OpenError::Level(unknown) => ReplicaOpenError::Level(unknown),
            other => ReplicaOpenError::Damaged(other.to_string()),
        })?;
        state.feature_level().check(settings.feature_level_max)?;
        let applied_index = state.applied().map_or(0, |applied| applied.index);
        if applied_index < log.purged_index() {
            return Err(ReplicaOpenError::Damaged(format!(
                "the state ends at log index {applied_index}, but the log begins after {}",
                log.purged_index()
            )));
        }
        let mark = CheckpointMark::new(Arc::clone(&components.disk), directory);
        let checkpointed = mark
            .read()
            .map_err(|error| ReplicaOpenError::Damaged(error.to_string()))?;
        if applied_index < checkpointed {
            return Err(ReplicaOpenError::Damaged(format!(
                "the state ends at log index {applied_index}, but a checkpoint at {checkpointed} was synced"
            )));
        }
        tokio::spawn(verify_digest(state.view(), fatal.clone()));
        let opened_revision = state.revision();
        let ring = Arc::new(ChangeRing::new(settings.change_ring_bytes));
        let shared = SharedState::new(
            state,
            Arc::clone(&ring),
            mark,
            settings.checkpoint_bytes,
            settings.feature_level_max,
            fatal.clone(),
        );
        let standing = Arc::new(ReplicaStanding {
            node_id: settings.node_id,
            shared: Arc::clone(&shared),
            log: log.clone(),
            fatal: fatal.clone(),
        });
        // Before Raft starts, since it connects to others.
        peers.set_standing(Arc::clone(&standing) as _);
        // Before Raft starts, since committed entries are applied again while it does.
        let _ = shared.observer.set(observer);
        let machine = StateMachine::new(Arc::clone(&shared), log.clone())
            .map_err(|error| ReplicaOpenError::Damaged(error.to_string()))?;
        let network = NetworkFactory::new(
            peers.clone(),
            Arc::clone(&shared.unfinished),
            Arc::clone(&shared.counts),
        );
        let raft_once = Arc::new(OnceLock::new());
        tokio::spawn(checkpoint::run(
            Arc::clone(&shared),
            Arc::clone(&raft_once),
            log.clone(),
            settings.log_keep_bytes,
        ));
        let config = Arc::new(raft_config(&settings).map_err(|error| ReplicaOpenError::Consensus(error.to_string()))?);
        let raft = Raft::new(settings.node_id, config, network, log_store, machine)
            .await
            .map_err(|error| ReplicaOpenError::Consensus(error.to_string()))?;

        let _ = raft_once.set(raft.clone());
        let (submissions, submitted) = mpsc::unbounded_channel();
        tokio::spawn(intake::run(
            Arc::clone(&shared),
            raft.clone(),
            Arc::clone(&components.clock),
            submitted,
            reject,
            House::new(
                Arc::clone(&shared),
                raft.clone(),
                settings.retention,
                settings.node_lost,
            ),
        ));
        let (leadership_sender, leadership) = watch::channel(leadership_of(&raft));
        let (members_sender, members) = watch::channel(members_of(&raft));
        let counts = Arc::clone(&shared.counts);
        tokio::spawn(follow_metrics(
            raft.clone(),
            leadership_sender,
            members_sender,
            counts,
            fatal,
        ));
        let read_index = ReadIndex::new(read_index_round(settings.node_id, raft.clone(), peers));
        let node_id = settings.node_id;
        Ok(Arc::new(Self {
            node_id,
            raft,
            shared,
            log,
            standing,
            read_index,
            submissions,
            leadership,
            members,
            ring,
            opened_revision,
            committed: Mutex::default(),
            stops: AtomicBool::new(false),
        }))
    }

    /// Starts a cluster of `members`, if this node has never been in one. Every initial member may do so, with equal members.
    ///
    /// # Errors
    /// Consensus refused the members.
    pub async fn bootstrap(&self, members: BTreeMap<NodeId, String>) -> Result<(), ReplicaOpenError> {
        let error = |error: &dyn std::fmt::Display| ReplicaOpenError::Consensus(error.to_string());
        if self.raft.is_initialized().await.map_err(|fatal| error(&fatal))? {
            return Ok(());
        }
        let members: BTreeMap<_, _> = members
            .into_iter()
            .map(|(id, address)| (id, BasicNode::new(address)))
            .collect();
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            // Another initial member was faster: it has had this node's vote, or sent it the first entries.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(refused) => Err(error(&refused)),
        }
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// openraft's handle, for the peer requests that belong to Raft itself.
    #[must_use]
    pub fn raft(&self) -> &Raft<TypeConfig, StateMachine> {
        &self.raft
    }

    /// The state as applied here.
    #[must_use]
    pub fn view(&self) -> StateView {
        self.shared.view()
    }

    /// Digests of the state at recent log indexes, by index: equal at equal index on all nodes, or one is damaged.
    #[must_use]
    pub fn digests(&self) -> Vec<DigestMark> {
        self.shared.digests()
    }

    /// Whether there are shared subscriptions.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.shared.has_groups.load(Ordering::Relaxed)
    }

    /// What all members understand, as far as this node has applied.
    #[must_use]
    pub fn feature_level(&self) -> FeatureLevel {
        *self.shared.feature_level.borrow()
    }

    /// The last level that this node takes part in.
    #[must_use]
    pub fn feature_level_max(&self) -> FeatureLevel {
        self.shared.feature_level_max
    }

    /// How far this node has applied.
    #[must_use]
    pub fn applied(&self) -> Applied {
        *self.shared.applied().borrow()
    }

    /// Follows how far this node has applied.
    #[must_use]
    pub fn follow_applied(&self) -> watch::Receiver<Applied> {
        self.shared.applied()
    }

    /// Log time now, as far as this node can tell: that of its latest entry, and what has passed since it was applied.
    #[must_use]
    pub fn log_time_us(&self) -> u64 {
        let applied = self.applied();
        let since_us = u64::try_from(applied.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        applied.log_time_us.saturating_add(since_us)
    }

    /// Whether nodes have what they once had.
    #[must_use]
    pub fn standing(&self) -> &dyn Standing {
        &*self.standing
    }

    /// Whether more is on this node's disk than the members that it was started with.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.standing.has_data()
    }

    /// Who leads. A value, so that nobody holds the lock of what he asks for: once a change waits for it, who asks again waits
    /// for that change, and it for him.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// Follows who leads.
    #[must_use]
    pub fn follow_leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Revision of the state before anything was applied by this process; the ring begins after it.
    #[must_use]
    pub fn opened_revision(&self) -> u64 {
        self.opened_revision
    }

    /// Recent changes.
    #[must_use]
    pub fn ring(&self) -> &Arc<ChangeRing> {
        &self.ring
    }

    /// Counters of the log.
    #[must_use]
    pub fn log(&self) -> &LogHandle {
        &self.log
    }

    /// Whether this node is in contact with the cluster: as leader, answered by its quorum; as follower, in touch with the
    /// leader; and not long ago. Waits for the consensus task, so one that is stuck counts as no contact.
    pub async fn has_contact(&self) -> bool {
        let leadership = self.leadership();
        let recent = |at: Option<openraft::type_config::alias::InstantOf<TypeConfig>>| {
            at.is_some_and(|at| at.elapsed() < CONTACT_TIMEOUT)
        };
        match leadership.leader {
            None => false,
            Some(_) if self.stops.load(Ordering::Relaxed) => false,
            Some(leader) if leader == self.node_id => {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let alone = metrics.membership_config.voter_ids().all(|voter| voter == self.node_id);
                alone
                    || recent(
                        metrics
                            .last_quorum_acked
                            .map(openraft::metrics::SerdeInstant::into_inner),
                    )
            }
            Some(_) => {
                // Every heartbeat and append of the leader renews it.
                let heard = self.raft.with_raft_state(openraft::RaftState::vote_last_modified);
                matches!(tokio::time::timeout(CONTACT_TIMEOUT, heard).await, Ok(Ok(at)) if recent(at))
            }
        }
    }

    /// The members, as of the last membership in the log; sorted by id.
    #[must_use]
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.members.borrow())
    }

    /// Follows the [members](Self::members).
    #[must_use]
    pub fn follow_members(&self) -> watch::Receiver<Arc<[Member]>> {
        self.members.clone()
    }

    /// How far the parts of this replica are.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |log_id: &Option<LogId>| log_id.as_ref().map_or(0, LogId::index);
        Progress {
            last_log_index: metrics.last_log_index.unwrap_or(0),
            committed_index: index(&metrics.cluster_committed).max(index(&metrics.local_committed)),
            applied_index: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
        }
    }

    /// Where this replica stands, by log ids.
    #[must_use]
    pub fn log_ids(&self) -> LogIds {
        let applied = self.shared.view().applied.map(|applied| EntryId {
            term: applied.term,
            node_id: applied.node_id,
            index: applied.index,
        });
        let (purged, last) = self.log.ends();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let entry_id = |id: &Option<LogId>| id.map(to_entry_id);
        // openraft counts what a snapshot covers as committed from when its installation begins, and the log beneath may hold
        // something else until it is done.
        let held = |id: &EntryId| last.is_some_and(|last| id.index <= last.index);
        // It tells its metrics after it has told the state machine. And while a new leader has not seen how far this log
        // agrees with its own, they tell of less than before: what is committed stays so.
        let mut committed = self.committed.lock();
        *committed = entry_id(&metrics.local_committed)
            .filter(held)
            .max(applied)
            .max(*committed);
        // So are its metrics behind an installed snapshot while it purges the log for that.
        let current = self
            .shared
            .snapshot
            .lock()
            .as_ref()
            .and_then(|current| current.meta.last_log_id);
        LogIds {
            vote: self.log.vote(),
            last,
            committed: *committed,
            applied,
            snapshot: entry_id(&metrics.snapshot).max(current.map(to_entry_id)),
            purged,
        }
    }

    /// Hands a submission to this node's intake, which takes it if this node leads.
    pub fn submit(&self, submission: Submission) {
        // The intake ends only with the process.
        let _ = self.submissions.send(submission);
    }

    /// Waits until this node has applied every write acknowledged anywhere before the call.
    ///
    /// # Errors
    /// No leader that has a quorum answers, or this node lags too far, before `deadline`. Nothing happened.
    pub async fn catch_up(&self, deadline: Instant) -> Result<(), ReadIndexError> {
        let mut last_error = ReadIndexError("no leader with a quorum answered in time".to_owned());
        let caught_up = async {
            let begun = Instant::now();
            let index = self
                .read_index
                .until_had(self.follow_leadership(), &mut last_error)
                .await;
            self.shared.counts.read_index.record(begun.elapsed());
            if !planted(Bug::P06) {
                self.wait_applied(index).await;
            }
        };
        tokio::time::timeout_at(deadline, caught_up)
            .await
            .map_err(|_| last_error)
    }

    /// Waits until this node has applied log index `index`.
    pub async fn wait_applied(&self, index: u64) {
        let mut applied = self.follow_applied();
        // The sender lives as long as the replica.
        let _ = applied.wait_for(|applied| applied.index >= index).await;
    }

    /// Answers another node's request for a read index, as leader.
    ///
    /// # Errors
    /// This node does not lead, or could not confirm it.
    pub async fn confirm_read_index(&self) -> Result<u64, ReadIndexError> {
        confirm_read_index(&self.raft).await
    }

    /// The store beneath the state, for a snapshot to be received into.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.shared.state.lock().base())
    }

    /// Hands the leadership to another voter, if this node has it, and waits until one leads.
    pub async fn transfer_leadership(&self) {
        self.transfer_leadership_among(|_| true).await;
    }

    /// As [`transfer_leadership`](Self::transfer_leadership), to the one of `heirs` that is most advanced. Without one that has
    /// a vote, nothing happens.
    pub async fn transfer_leadership_to(&self, heirs: BTreeSet<NodeId>) {
        self.transfer_leadership_among(|id| heirs.contains(&id)).await;
    }

    async fn transfer_leadership_among(&self, may_lead: impl Fn(NodeId) -> bool) {
        if self.leadership().leader != Some(self.node_id) {
            return;
        }
        if let Some(heir) = self.most_advanced_voter(may_lead) {
            self.hand_over_to(heir).await;
        }
    }

    /// Hands the leadership to the voter `heir`, if this node has it, and waits until another node leads. Cancelling leaves
    /// open who will.
    pub async fn hand_over_to(&self, heir: NodeId) {
        let mut leadership = self.follow_leadership();
        if leadership.borrow().leader != Some(self.node_id) {
            return;
        }
        if self.raft.trigger().transfer_leader(heir).await.is_ok() {
            let _ = leadership
                .wait_for(|now| now.leader.is_some_and(|leader| leader != self.node_id))
                .await;
        }
    }

    fn most_advanced_voter(&self, may_lead: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let voters: BTreeSet<_> = metrics.membership_config.voter_ids().collect();
        let others = replication
            .iter()
            .filter(|(id, _)| **id != self.node_id && voters.contains(id) && may_lead(**id));
        others
            .max_by_key(|(_, matched)| matched.as_ref().map(LogId::index))
            .map(|(id, _)| *id)
    }

    /// Writes a last checkpoint and stops Raft. Nothing may be proposed any more.
    pub async fn shutdown(&self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        if let Err(error) = checkpoint::write(&self.shared, &self.log).await {
            tracing::warn!(%error, "no last checkpoint was written; the log will be replayed");
        }
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "the log was not closed cleanly");
        }
    }
}

/// Recomputes the digest of what the store held when it was opened: rows that storage has lost or changed without a word
/// show here. Runs beside the start; the node stops if it fails.
async fn verify_digest(view: StateView, fatal: Fatal) {
    let verified = crate::blocking::run_in_background(move || match view.full_digest() {
        Ok(found) if found == view.digest => Ok(()),
        Ok(found) => Err(format!(
            "the stored state has digest {found}, its last checkpoint had {}",
            view.digest
        )),
        Err(error) => Err(error.to_string()),
    });
    if let Err(error) = verified.await {
        fatal.stop(FatalError::Storage(error));
    }
}

fn raft_config(settings: &ReplicaSettings) -> Result<openraft::Config, openraft::ConfigError> {
    openraft::Config {
        cluster_name: "banyan".to_owned(),
        election_timeout_min: settings.election_timeout_ms.0,
        election_timeout_max: settings.election_timeout_ms.1,
        heartbeat_interval: settings.heartbeat_ms,
        install_snapshot_timeout: 60_000,
        // Entries are packed: the log reader bounds what goes out by bytes.
        max_payload_entries: 64,
        // Only a follower behind the purged log needs a snapshot.
        replication_lag_threshold: u64::MAX,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        // Purging is ours to trigger, after a checkpoint.
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        backoff: "20ms 40ms 80ms ..200ms".to_owned(),
        enable_pre_vote: Some(true),
        // A restarted leader must be elected again: its state may lack what it had acknowledged.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
    .validate()
}

fn leadership_of(raft: &Raft<TypeConfig, StateMachine>) -> Leadership {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.filter(|_| metrics.vote.is_committed());
    Leadership {
        term: metrics.vote.leader_id().term,
        leader,
    }
}

fn members_of(raft: &Raft<TypeConfig, StateMachine>) -> Arc<[Member]> {
    let metrics = raft.server_metrics();
    let membership = Arc::clone(&metrics.borrow_watched().membership_config);
    members_of_membership(membership.membership()).into()
}

async fn follow_metrics(
    raft: Raft<TypeConfig, StateMachine>,
    leadership: watch::Sender<Leadership>,
    members: watch::Sender<Arc<[Member]>>,
    counts: Arc<ReplicaCounts>,
    fatal: Fatal,
) {
    let mut metrics = raft.server_metrics();
    let mut last_leader = leadership.borrow().leader;
    loop {
        let now = leadership_of(&raft);
        leadership.send_if_modified(|former| {
            let changed = *former != now;
            if changed {
                tracing::info!(term = now.term, leader = now.leader, "leadership");
                counts.on_leadership(*former, now, &mut last_leader);
                *former = now;
            }
            changed
        });
        let now = members_of(&raft);
        members.send_if_modified(|former| {
            let changed = *former != now;
            *former = now;
            changed
        });
        if metrics.changed().await.is_err() {
            break;
        }
    }
    let running = raft.metrics().borrow_watched().running_state.clone();
    if let Err(error) = running
        && !matches!(error, openraft::errors::Fatal::Stopped)
    {
        fatal.stop(FatalError::Consensus(error.to_string()));
    }
}

async fn confirm_read_index(raft: &Raft<TypeConfig, StateMachine>) -> Result<u64, ReadIndexError> {
    if planted(Bug::P05) {
        let metrics = raft.metrics();
        let applied = metrics.borrow_watched().last_applied;
        return Ok(applied.map_or(0, |applied| applied.index()));
    }
    match tokio::time::timeout(READ_INDEX_TIMEOUT, raft.get_read_linearizer(ReadPolicy::ReadIndex)).await {
        Ok(Ok(linearizer)) => Ok(linearizer.read_log_id().index()),
        Ok(Err(error)) => Err(ReadIndexError(error.to_string())),
        Err(_) => Err(ReadIndexError("the leader reached no quorum in time".to_owned())),
    }
}

fn read_index_round(node_id: NodeId, raft: Raft<TypeConfig, StateMachine>, peers: Peers) -> super::read_index::Round {
    Box::new(move || {
        let (raft, peers) = (raft.clone(), peers.clone());
        Box::pin(async move {
            match leadership_of(&raft).leader {
                None => Err(ReadIndexError("no leader is known".to_owned())),
                Some(leader) if leader == node_id => confirm_read_index(&raft).await,
                Some(leader) => {
                    let asked = peers.request(
                        leader,
                        Lane::Control,
                        request::READ_INDEX,
                        Bytes::new(),
                        READ_INDEX_TIMEOUT,
                    );
                    let answer = asked.await.map_err(|error| ReadIndexError(error.to_string()))?;
                    let index = answer
                        .as_ref()
                        .try_into()
                        .map_err(|_| ReadIndexError("an unreadable answer".to_owned()))?;
                    Ok(u64::from_be_bytes(index))
                }
            }
        })
    })
}
