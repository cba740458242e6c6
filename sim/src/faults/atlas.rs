//! Which disks are damaged for good. Never more than the promise allows: a minority of those that vote, of every set of voters
//! that is or may come to be in effect.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::history::MembershipSeen;

/// Damage that lasts.
#[derive(Debug)]
pub struct Atlas {
    damaged: BTreeSet<u64>,
    out: BTreeSet<u64>,
    /// Nodes that have lost everything, and are started again.
    wiped: BTreeSet<u64>,
    /// All that may come of the members by what they were asked to be.
    planned: Vec<MembershipSeen>,
    /// Nodes that refused to start although nobody had damaged anything.
    refused_without_cause: BTreeSet<u64>,
    refusals_seen: BTreeSet<(u64, u32)>,
}

impl Atlas {
    /// An undamaged cluster, of which the nodes `asleep` have not been started.
    #[must_use]
    pub fn new(asleep: impl IntoIterator<Item = u64>) -> Self {
        Self {
            damaged: BTreeSet::new(),
            out: asleep.into_iter().collect(),
            wiped: BTreeSet::new(),
            planned: Vec::new(),
            refused_without_cause: BTreeSet::new(),
            refusals_seen: BTreeSet::new(),
        }
    }

    /// Takes node `id` into the minority that may be damaged; false if that is full.
    pub fn damage(&mut self, cluster: &Cluster, id: u64) -> bool {
        if self.damaged.contains(&id) {
            return true;
        }
        let allowed = self.bear_all(cluster.memberships().possible().chain(&self.planned), Some(id));
        if allowed {
            self.damaged.insert(id);
        }
        allowed
    }

    /// From now on the members may become any of `planned`, if sound nodes are a majority of the voters of each, and one of them
    /// is a member by all; whether they are.
    pub fn plan(&mut self, planned: Vec<MembershipSeen>) -> bool {
        let bear = self.bear_all(planned.iter(), None);
        if bear {
            self.planned = planned;
        }
        bear
    }

    /// All that may come of the members by what they were asked to be.
    #[must_use]
    pub fn planned(&self) -> &[MembershipSeen] {
        &self.planned
    }

    fn bear_all<'a>(&self, mut all: impl Iterator<Item = &'a MembershipSeen> + Clone, less: Option<u64>) -> bool {
        let mut memberships = all.clone();
        let mut stay = memberships.next().map(MembershipSeen::members).unwrap_or_default();
        memberships.for_each(|membership| stay = &stay & &membership.members());
        stay.iter().any(|id| self.is_sound(*id) && Some(*id) != less)
            && all.all(|membership| self.bears(membership, less))
    }

    /// Whether sound nodes are a majority of the voters of `membership`, and of what it is to become, also without `less`.
    #[must_use]
    pub fn bears(&self, membership: &MembershipSeen, less: impl IntoIterator<Item = u64>) -> bool {
        let mut sound = membership.members();
        sound.retain(|id| self.is_sound(*id));
        less.into_iter().for_each(|id| {
            sound.remove(&id);
        });
        membership.is_quorum(&sound)
    }

    /// Whether it is neither damaged nor away for good.
    #[must_use]
    pub fn is_sound(&self, id: u64) -> bool {
        !self.damaged.contains(&id) && !self.out.contains(&id)
    }

    /// It is there from now on.
    pub fn wake(&mut self, id: u64) {
        self.out.remove(&id);
    }

    /// Whether its disk is damaged.
    #[must_use]
    pub fn is_damaged(&self, id: u64) -> bool {
        self.damaged.contains(&id)
    }

    /// It has lost everything, and is started again.
    pub fn wipe(&mut self, id: u64) {
        self.wiped.insert(id);
    }

    /// Nodes that have lost everything: what they show now says nothing of what they had.
    #[must_use]
    pub fn wiped(&self) -> &BTreeSet<u64> {
        &self.wiped
    }

    /// It does not come back.
    pub fn give_up(&mut self, id: u64) {
        self.out.insert(id);
    }

    /// Whether it does not come back.
    #[must_use]
    pub fn is_out(&self, id: u64) -> bool {
        self.out.contains(&id)
    }

    /// Nodes that refused to start although nobody had damaged anything: that is an error of theirs.
    #[must_use]
    pub fn refused_without_cause(&self) -> &BTreeSet<u64> {
        &self.refused_without_cause
    }

    /// Damaged nodes that refuse to start stay out; so do those that the cluster did not let in, and those that it has removed,
    /// once they have shown that they do not start again.
    pub(super) fn note_refusals(&mut self, cluster: &Cluster) {
        for (id, node) in cluster.nodes() {
            if node.has_refused() && self.refusals_seen.insert((*id, node.life())) {
                if self.is_damaged(*id) {
                    self.give_up(*id);
                } else {
                    self.refused_without_cause.insert(*id);
                }
            }
            if node.was_turned_away() || node.removals() > 1 {
                self.give_up(*id);
            }
        }
    }
}
