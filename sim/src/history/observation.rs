//! What nodes and their disks show at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use banyan_core::state::TombstoneBounds;
use bytes::Bytes;

use super::{Seen, Time};

/// A log id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIdSeen {
    /// Term of the leader that appended the entry.
    pub term: u64,
    /// That leader.
    pub leader: u64,
    /// Log index.
    pub index: u64,
}

/// `term-leader-index`.
impl fmt::Display for LogIdSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.term, self.leader, self.index)
    }
}

/// What a node shows the observer at one moment: in the simulator read from its server between two steps; of a real
/// process from `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeObservation {
    /// When.
    pub at: Time,
    /// The node.
    pub node: u64,
    /// Its restarts so far.
    pub life: u32,
    /// Its term.
    pub term: u64,
    /// Whom it votes for in that term.
    pub vote_for: Option<u64>,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// Whether it takes itself for the leader.
    pub is_leader: bool,
    /// The last entry of its log; the zero id before the first.
    pub last_log: LogIdSeen,
    /// Up to where it knows the log to be committed.
    pub committed: Option<LogIdSeen>,
    /// Up to where it has applied.
    pub applied: Option<LogIdSeen>,
    /// The last entry of its snapshot or checkpoint.
    pub snapshot: Option<LogIdSeen>,
    /// The last entry that it has purged.
    pub purged: Option<LogIdSeen>,
    /// Revision of its state.
    pub revision: u64,
    /// Digest of its state at `applied`.
    pub digest: u128,
    /// What of it is of topics, tombstones and origins; `None` if it cannot be told.
    pub topics_digest: Option<u128>,
    /// The last membership in its log; `None` if it has none, or none that can be told.
    pub membership: Option<MembershipSeen>,
    /// Sizes that must stay bounded, by name: tasks, queues, buffers. Empty if none can be told.
    pub gauges: BTreeMap<&'static str, u64>,
}

impl NodeObservation {
    /// Whether it leads under a leader id of its own. A node may take itself for the leader a moment longer than its vote
    /// says.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.is_leader && self.vote_for.is_none_or(|voted| voted == self.node)
    }
}

/// What a node would find in its log if it crashed now and lost all that is not synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableLog {
    /// The node, running or not.
    pub node: u64,
    /// Up to where the log was purged: what is at or below is in a synced checkpoint.
    pub purged: Option<LogIdSeen>,
    /// Ids of the synced entries, ascending and consecutive. May leave out entries at or below the lowest committed index
    /// that was observed before; such count as durable.
    pub entries: Vec<LogIdSeen>,
}

/// What a snapshot or checkpoint holds, found by opening a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// The node that made it.
    pub node: u64,
    /// Its last entry.
    pub id: LogIdSeen,
    /// Digest of a full scan of what it holds.
    pub digest: u128,
    /// What of it is of topics, tombstones and origins.
    pub topics_digest: u128,
}

/// One moment of the run.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// When.
    pub at: Time,
    /// The running nodes.
    pub nodes: &'a [NodeObservation],
    /// The durable logs of all nodes, when they were looked at in this moment; empty otherwise. The looks must be those of
    /// the same moment as `nodes`.
    pub disks: &'a [DurableLog],
    /// Snapshots that were made since the last observation, as far as they were looked at.
    pub snapshots: &'a [SnapshotSeen],
    /// All memberships that any node has had in effect, in the order of the log. Of those that a leader appended and that were
    /// replaced, more than one may stand at an index.
    pub memberships: &'a [MembershipSeen],
}

/// Who belongs to the cluster, as it stands at a place of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembershipSeen {
    /// Index of its entry.
    pub index: u64,
    /// Who votes. Two sets while one replaces the other: what counts needs a majority of each.
    pub voters: Vec<BTreeSet<u64>>,
    /// Who is told everything and has no vote.
    pub learners: BTreeSet<u64>,
}

impl MembershipSeen {
    /// The membership that a cluster begins with.
    #[must_use]
    pub fn initial(voters: impl IntoIterator<Item = u64>) -> Self {
        Self {
            index: 0,
            voters: vec![voters.into_iter().collect()],
            learners: BTreeSet::new(),
        }
    }

    /// Whether one set of voters is replacing another.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    /// Whether `node` has a vote.
    #[must_use]
    pub fn has_vote(&self, node: u64) -> bool {
        self.voters.iter().any(|voters| voters.contains(&node))
    }

    /// Whether `nodes` are a majority, of each set of voters.
    #[must_use]
    pub fn is_quorum(&self, nodes: &BTreeSet<u64>) -> bool {
        let majority = |voters: &BTreeSet<u64>| voters.intersection(nodes).count() > voters.len() / 2;
        !self.voters.is_empty() && self.voters.iter().all(majority)
    }

    /// What it comes to once the second set of voters has replaced the first.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self {
            voters: self.voters.last().cloned().into_iter().collect(),
            ..self.clone()
        }
    }

    /// Its members, voters or not.
    #[must_use]
    pub fn members(&self) -> BTreeSet<u64> {
        self.voters.iter().flatten().chain(&self.learners).copied().collect()
    }
}

/// `{1, 2, 3}`, `{1, 2, 3} to {1, 2, 4}`, `{1, 2, 3} and learners {4}`.
impl fmt::Display for MembershipSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voters: Vec<_> = self.voters.iter().map(|voters| format!("{voters:?}")).collect();
        write!(f, "{}", voters.join(" to "))?;
        match self.learners.is_empty() {
            true => Ok(()),
            false => write!(f, " and learners {:?}", self.learners),
        }
    }
}

/// The memberships of `all` by which the entry at `index` may have been committed: the one that stands before it or at it, and
/// all that came later.
#[must_use]
pub fn in_effect_from(all: &[MembershipSeen], index: u64) -> &[MembershipSeen] {
    let later = all.partition_point(|membership| membership.index <= index);
    let at = all[..later].last().map_or(0, |last| last.index);
    &all[all.partition_point(|membership| membership.index < at)..]
}

/// An entry of the committed log as the run saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Log index.
    pub index: u64,
    /// Log id.
    pub id: LogIdSeen,
    /// The entry's bytes; `None`: blank or membership.
    pub payload: Option<Bytes>,
    /// The membership that it brings.
    pub membership: Option<MembershipSeen>,
}

/// The committed log by index, filled by the observer from the entries that nodes applied.
pub type CommittedLog = BTreeMap<u64, CommittedEntry>;

/// What a node holds at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalState {
    /// The node.
    pub node: u64,
    /// Up to where it has applied.
    pub applied: Option<LogIdSeen>,
    /// Revision of its state.
    pub revision: u64,
    /// The digest that it kept while applying.
    pub digest: u128,
    /// What of it is of topics, tombstones and origins; `None` if it cannot be told.
    pub topics_digest: Option<u128>,
    /// The digest of a full scan; `None` if it could not be made.
    pub scanned_digest: Option<u128>,
    /// Topics that hold a value; `None` if they could not be read.
    pub topics: Option<BTreeMap<String, Seen>>,
}

/// What checks need to know about how the run was set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunSettings {
    /// The voters that the cluster begins with.
    pub voters: Vec<u64>,
    /// The nodes that live and reach each other after the healing. Empty: there was no healing.
    pub core: Vec<u64>,
    /// When faults stopped; `None`: there was no healing.
    pub healed_at: Option<Time>,
    /// When the last write is done that a disk of the core had begun while it was still slow; not before the healing.
    pub disks_healed_at: Option<Time>,
    /// How long nodes remember deletes.
    pub tombstone_bounds: TombstoneBounds,
    /// Longest election timeout, microseconds.
    pub election_timeout_us: u64,
    /// The longest time after which a client gives up on an answer, microseconds.
    pub client_timeout_us: u64,
    /// Whether to search for a linearization of every topic from the client's side too, without the log.
    pub black_box: bool,
}
