//! I-4: what is committed is never replaced, across restarts and snapshots.

use std::collections::BTreeMap;

use crate::history::{Finished, Invariant, LogIdSeen, Observation, Time, Violation};

const ID: &str = "I-4";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CommittedStays {
    /// What was committed at each index, as far as it was seen.
    committed: BTreeMap<u64, LogIdSeen>,
}

impl CommittedStays {
    fn note(&mut self, at: Time, who: impl std::fmt::Display, id: LogIdSeen) -> Result<(), Violation> {
        let former = *self.committed.entry(id.index).or_insert(id);
        if former == id {
            return Ok(());
        }
        Err(Violation {
            invariant: ID,
            at,
            message: format!("{former} was committed, and {who} has {id} in its place"),
        })
    }
}

impl Invariant for CommittedStays {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            for id in [node.committed, node.applied, node.snapshot, node.purged]
                .into_iter()
                .flatten()
            {
                self.note(observation.at, format_args!("node {}", node.node), id)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for entry in finished.committed.values() {
            self.note(finished.at, "the log as it was applied", entry.id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn what_stays() {
        let moments = [vec![node(1, 1, 5)], vec![node(2, 1, 5)], vec![node(1, 2, 6)]];
        assert!(observe(&mut CommittedStays::default(), &moments).is_ok());
    }

    #[test]
    fn what_is_replaced_later() {
        let moments = [vec![node(1, 1, 5)], vec![node(1, 1, 6)], vec![node(2, 2, 5)]];
        assert!(observe(&mut CommittedStays::default(), &moments).is_err());
    }

    #[test]
    fn the_applied_log_counts() {
        let mut invariant = CommittedStays::default();
        let run = Run::new();
        observe(&mut invariant, &[vec![node(1, 1, 1)]]).unwrap();
        assert!(run.finish(&mut invariant).is_ok());
        let mut invariant = CommittedStays::default();
        observe(&mut invariant, &[vec![node(1, 2, 1)]]).unwrap();
        assert!(run.finish(&mut invariant).is_err());
    }
}
