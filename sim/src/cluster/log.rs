//! The committed log, collected from nodes as they apply.
//!
//! Every node that applies an index must have the same entry there. The collector reads each entry from the first node that
//! has applied it, and compares the ids of those it reads later.

use bytes::Bytes;

use banyan_node::storage::log::{EntryId, EntryKind, LogEntry};

use super::{Cluster, members};
use crate::history::{CommittedEntry, CommittedLog, LogIdSeen};

/// What was seen of the committed log.
#[derive(Debug, Default)]
pub struct LogCollector {
    committed: CommittedLog,
    /// Entries that nobody had any more when they were looked for.
    missed: u64,
}

/// A log id as checks know it.
///
/// The first entry holds the members that the cluster began with. Every one of them writes it by itself and signs it with its
/// own id, so it has no leader.
#[must_use]
pub fn seen(id: EntryId) -> LogIdSeen {
    LogIdSeen {
        term: id.term,
        leader: if id.index == 0 { 0 } else { id.node_id },
        index: id.index,
    }
}

impl LogCollector {
    /// The committed log so far.
    #[must_use]
    pub fn committed(&self) -> &CommittedLog {
        &self.committed
    }

    /// How many entries could not be read from any node.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Reads what was applied since the last call. To be called after every step: nodes purge their logs.
    pub fn collect(&mut self, cluster: &Cluster) {
        let mut applied_max = 0;
        for node in cluster.up().iter().map(|id| &cluster.nodes()[id]) {
            let Some(server) = node.server() else { continue };
            let applied = server.replica().applied().index;
            applied_max = applied_max.max(applied);
            let next = self.next();
            if applied < next {
                continue;
            }
            let mut from = next;
            while let Ok(entries) = server.replica().log().read(from..applied + 1) {
                let Some(last) = entries.last() else { break };
                from = last.id.index + 1;
                entries.iter().for_each(|entry| self.add(entry));
                if from > applied {
                    break;
                }
            }
        }
        // Everybody who has it has purged it: a snapshot was installed and its source is gone.
        self.missed += (applied_max + 1).saturating_sub(self.next().max(1));
    }

    fn next(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| index + 1)
    }

    fn add(&mut self, entry: &LogEntry) {
        let payload = match entry.kind {
            EntryKind::Normal => Some(Bytes::copy_from_slice(&entry.payload)),
            EntryKind::Blank | EntryKind::Membership => None,
        };
        let index = entry.id.index;
        self.committed.entry(index).or_insert(CommittedEntry {
            index,
            id: seen(entry.id),
            payload,
            membership: members::of_entry(entry),
        });
    }
}
