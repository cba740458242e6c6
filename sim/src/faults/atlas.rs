//! Which disks are damaged for good. Never more than the promise allows: a minority.

use std::collections::BTreeSet;

use crate::cluster::Cluster;

/// Damage that lasts.
#[derive(Debug)]
pub struct Atlas {
    minority: usize,
    damaged: BTreeSet<u64>,
    out: BTreeSet<u64>,
    /// Nodes that refused to start although nobody had damaged anything.
    refused_without_cause: BTreeSet<u64>,
    refusals_seen: BTreeSet<(u64, u32)>,
}

impl Atlas {
    /// An undamaged cluster.
    #[must_use]
    pub fn new(node_count: u64) -> Self {
        Self {
            minority: (node_count as usize - 1) / 2,
            damaged: BTreeSet::new(),
            out: BTreeSet::new(),
            refused_without_cause: BTreeSet::new(),
            refusals_seen: BTreeSet::new(),
        }
    }

    /// Takes node `id` into the minority that may be damaged; false if that is full.
    pub fn damage(&mut self, id: u64) -> bool {
        if self.damaged.len() < self.minority {
            self.damaged.insert(id);
        }
        self.damaged.contains(&id)
    }

    /// Whether its disk is damaged.
    #[must_use]
    pub fn is_damaged(&self, id: u64) -> bool {
        self.damaged.contains(&id)
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

    /// Damaged nodes that refuse to start stay out.
    pub(super) fn note_refusals(&mut self, cluster: &Cluster) {
        for (id, node) in cluster.nodes() {
            if node.has_refused() && self.refusals_seen.insert((*id, node.life())) {
                if self.is_damaged(*id) {
                    self.give_up(*id);
                } else {
                    self.refused_without_cause.insert(*id);
                }
            }
        }
    }
}
