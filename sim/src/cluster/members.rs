//! Who belongs to the cluster, as its nodes have it in their logs.

use std::collections::BTreeMap;

use banyan_core::keyspace::member::MemberGoal;
use banyan_node::consensus::types::{LogId, StoredMembership};
use banyan_node::consensus::wire;
use banyan_node::server::Server;
use banyan_node::storage::log::{EntryKind, LogEntry};
use openraft::async_runtime::watch::WatchReceiver;

use super::Cluster;
use super::node::SimNode;
use crate::history::MembershipSeen;

/// A membership as openraft has it.
type Membership = openraft::Membership<u64, openraft::BasicNode>;

/// All memberships that any node has had in its log.
#[derive(Debug)]
pub struct Memberships {
    /// In the order of the log.
    all: Vec<MembershipSeen>,
    /// Of each node the entry that was looked at last, and the life in which it was.
    looked: BTreeMap<u64, (u32, Option<LogId>)>,
    /// Index of the last that is committed for certain.
    committed: u64,
    /// Up to here the log holds none that is later.
    known_to: u64,
}

impl Memberships {
    /// Those of a cluster that begins with nodes `ids`.
    #[must_use]
    pub fn new(ids: &[u64]) -> Self {
        Self {
            all: vec![MembershipSeen::initial(ids.iter().copied())],
            looked: BTreeMap::new(),
            committed: 0,
            known_to: 0,
        }
    }

    /// All, in the order of the log.
    #[must_use]
    pub fn all(&self) -> &[MembershipSeen] {
        &self.all
    }

    /// Those that are, or may come to be, in effect: the last that is committed, and what stands in some log after it.
    pub fn possible(&self) -> impl Iterator<Item = &MembershipSeen> + Clone {
        let possible = |one: &&MembershipSeen| one.index == self.committed || one.index > self.known_to;
        self.all.iter().filter(possible)
    }

    /// The last that is committed, if none that came later may be.
    #[must_use]
    pub fn settled(&self) -> Option<&MembershipSeen> {
        let mut possible = self.possible();
        possible.next().filter(|_| possible.next().is_none())
    }

    /// Takes in what a running node has.
    pub(super) fn look(&mut self, node: &SimNode) {
        let Some(server) = node.server() else { return };
        let applied = server.replica().applied().index;
        let metrics = server.replica().raft().server_metrics();
        let stored = std::sync::Arc::clone(&metrics.borrow_watched().membership_config);
        let Some(log_id) = *stored.log_id() else { return };
        let looked = (node.life(), Some(log_id));
        if self.looked.insert(node.id(), looked) != Some(looked)
            && let Some(seen) = seen(&stored)
            && !self.all.contains(&seen)
        {
            let place = self.all.partition_point(|one| one.index <= seen.index);
            self.all.insert(place, seen);
        }
        if log_id.index <= applied {
            self.committed = self.committed.max(log_id.index);
            self.known_to = self.known_to.max(applied);
        }
    }
}

/// What of the members is not as the state of the leader says that it is to be, although all that it takes run; nodes of `core`
/// are known to stay.
#[must_use]
pub fn unreached(cluster: &Cluster, core: &[u64]) -> Option<String> {
    let Some(server) = cluster.leader().and_then(|leader| cluster.nodes()[&leader].server()) else {
        return Some("nobody leads".to_owned());
    };
    let goals = server.replica().member_goals();
    let metrics = server.replica().raft().server_metrics();
    let now = seen(&metrics.borrow_watched().membership_config)?;
    if now.is_joint() {
        return Some(format!("a change of voters is not finished: {now}"));
    }
    for (id, row) in goals.rows() {
        let (is_member, votes) = (now.members().contains(&id), now.has_vote(id));
        let is_reached = match row.goal {
            MemberGoal::Voter => (votes && row.replaces.is_none()) || !cluster.up().contains(&id),
            MemberGoal::Learner => is_member && !votes,
            MemberGoal::Leaves => false,
            MemberGoal::Gone => !is_member,
        };
        if !is_reached {
            return Some(format!("node {id} is to be {:?}, and the members are {now}", row.goal));
        }
    }
    // Who still runs and knows of somebody who knows it better must hear that it was removed.
    let hears = |id: &&u64| {
        let server = cluster.nodes()[*id].server();
        let knows = |server: &Server| server.replica().members().iter().any(|one| core.contains(&one.node_id));
        goals.is_gone(**id) && server.is_some_and(|server| knows(&server))
    };
    let removed = cluster.up().iter().find(hears)?;
    Some(format!("node {removed} was removed, and does not stop"))
}

/// The membership of a node's log; `None` if there is none.
#[must_use]
pub fn seen(stored: &StoredMembership) -> Option<MembershipSeen> {
    let index = stored.log_id().as_ref()?.index;
    Some(of(index, stored.membership()))
}

/// The membership that an entry of the log brings, if it brings one.
#[must_use]
pub fn of_entry(entry: &LogEntry) -> Option<MembershipSeen> {
    let is_membership = entry.kind == EntryKind::Membership;
    let membership = is_membership.then(|| wire::decode(&entry.payload).ok()).flatten()?;
    Some(of(entry.id.index, &membership))
}

fn of(index: u64, membership: &Membership) -> MembershipSeen {
    MembershipSeen {
        index,
        voters: membership.get_joint_config().clone(),
        learners: membership.learner_ids().collect(),
    }
}
