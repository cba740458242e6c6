//! What a replica counts, and what it can tell of Raft when it is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::SerdeInstant;

use super::replica::{Leadership, Progress, Replica};
use super::types::{LogId, NodeId};
use crate::metrics::Histogram;
use crate::storage::log::{LogCounters, LogTimes};

/// Counted by the parts of a replica as they go.
#[derive(Debug, Default)]
pub struct ReplicaCounts {
    /// Log entries, applied one at a time.
    pub apply: Histogram,
    /// Checkpoints, from the frozen layer to the synced store.
    pub checkpoint: Histogram,
    /// Snapshots of the leader that replaced this node's state.
    pub snapshots_installed: AtomicU64,
    /// Snapshots that this node has sent whole, as leader.
    pub snapshots_sent: AtomicU64,
    /// By how much the term rose: elections, the ones that failed included.
    pub elections: AtomicU64,
    /// How often another leader was seen than the one before.
    pub leader_changes: AtomicU64,
    /// How long readers waited to know how far the log is committed; many share one round.
    pub read_index: Histogram,
}

impl ReplicaCounts {
    /// The leadership was `former`, and is `now`; the last leader that there was is `last_leader`.
    pub(super) fn on_leadership(&self, former: Leadership, now: Leadership, last_leader: &mut Option<NodeId>) {
        let risen = now.term.saturating_sub(former.term);
        self.elections.fetch_add(risen, Ordering::Relaxed);
        if now.leader.is_some() && now.leader != *last_leader {
            if last_leader.is_some() {
                self.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            *last_leader = now.leader;
        }
    }
}

/// A follower, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// Its id.
    pub node_id: NodeId,
    /// Entries of the leader's log that it is not known to hold.
    pub lag_entries: u64,
    /// How long ago it answered last; `None` if it has not.
    pub silent_for: Option<Duration>,
}

/// What a replica tells when it is asked.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Who leads.
    pub leadership: Leadership,
    /// How far its parts are.
    pub progress: Progress,
    /// Members with and without a vote.
    pub voters: usize,
    /// As above.
    pub learners: usize,
    /// The others, if it leads.
    pub followers: Vec<Follower>,
    /// What the log has done.
    pub log: LogCounters,
    /// How long that took.
    pub log_times: LogTimes,
    /// Bytes of the log's records.
    pub log_bytes: u64,
    /// Bytes of changes that no checkpoint holds yet.
    pub layer_bytes: usize,
    /// Bytes of recent changes that are held for the dispatcher.
    pub ring_bytes: usize,
}

impl Replica {
    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> &ReplicaCounts {
        &self.shared.counts
    }

    /// How it stands.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let members = self.members();
        let layer_bytes = self.shared.state.lock().active_bytes();
        let voters = members.iter().filter(|member| member.voter).count();
        let learners = members.len() - voters;
        Observation {
            leadership: self.leadership(),
            progress: self.progress(),
            voters,
            learners,
            followers: self.followers(),
            log: self.log().counters(),
            log_times: self.log().times(),
            log_bytes: self.log().bytes(),
            layer_bytes,
            ring_bytes: self.ring().bytes(),
        }
    }

    /// The others as this node sees them, if it leads.
    fn followers(&self) -> Vec<Follower> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = metrics.replication.as_ref() else {
            return Vec::new();
        };
        let last = metrics.last_log_index.unwrap_or(0);
        let silent_for = |node_id| {
            let answered = metrics.heartbeat.as_ref()?.get(node_id)?.as_ref()?;
            Some(SerdeInstant::into_inner(*answered).elapsed())
        };
        replication
            .iter()
            .filter(|(node_id, _)| **node_id != metrics.id)
            .map(|(node_id, held)| Follower {
                node_id: *node_id,
                lag_entries: last.saturating_sub(held.as_ref().map_or(0, LogId::index)),
                silent_for: silent_for(node_id),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_that_fails_is_one_and_a_leader_that_returns_is_no_other() {
        let counts = ReplicaCounts::default();
        let told = |term, leader| Leadership { term, leader };
        let seen = [
            told(0, None),
            told(1, Some(1)),
            told(2, None),
            told(3, Some(1)),
            told(4, Some(2)),
        ];
        let mut last_leader = None;
        for pair in seen.windows(2) {
            counts.on_leadership(pair[0], pair[1], &mut last_leader);
        }
        assert_eq!(counts.elections.load(Ordering::Relaxed), 4);
        assert_eq!(counts.leader_changes.load(Ordering::Relaxed), 1);
    }
}
