//! Where nodes made more changes than the log has: what stands in the log there tells which promise is broken. Everything
//! that is seen later is only off by as much.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::history::{Finished, Observation};

/// Revisions by applied index, as nodes showed them.
#[derive(Debug, Default)]
pub(super) struct Revisions(BTreeMap<u64, u64>);

impl Revisions {
    /// Notes where nodes are. Of nodes that differ, the one that is ahead counts.
    pub(super) fn add(&mut self, observation: &Observation<'_>) {
        for node in observation.nodes {
            if let Some(applied) = node.applied {
                let revision = self.0.entry(applied.index).or_default();
                *revision = node.revision.max(*revision);
            }
        }
    }

    /// The log indexes, as few as can be told, among which a node first made more changes than the log has.
    pub(super) fn first_excess(&self, finished: &Finished<'_>) -> Option<RangeInclusive<u64>> {
        let replay = finished.replay?;
        let mut seen = self.0.clone();
        for node in finished.nodes {
            if let Some(applied) = node.applied {
                let revision = seen.entry(applied.index).or_default();
                *revision = node.revision.max(*revision);
            }
        }
        let mut agreed = 0;
        for (index, revision) in seen {
            match replay.revision_at_index(index) {
                Some(modelled) if revision > modelled => return Some(agreed..=index),
                Some(_) => agreed = index + 1,
                None => {}
            }
        }
        None
    }
}
