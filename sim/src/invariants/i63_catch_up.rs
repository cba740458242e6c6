//! I-63: a node for which the others have purged what it lacks catches up all the same, by a snapshot.

use crate::history::{Finished, Invariant, Observation, Violation};

const ID: &str = "I-63";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The greatest index that any node purged.
    purged: u64,
}

impl Invariant for CatchUp {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        let purged = observation.nodes.iter().filter_map(|node| node.purged);
        self.purged = purged.map(|id| id.index).fold(self.purged, u64::max);
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        if finished.settings.healed_at.is_none() {
            return Ok(());
        }
        for node in finished
            .nodes
            .iter()
            .filter(|node| finished.settings.core.contains(&node.node))
        {
            let applied = node.applied.map_or(0, |applied| applied.index);
            if applied < self.purged {
                return Err(Violation {
                    invariant: ID,
                    at: finished.at,
                    message: format!(
                        "node {} has applied index {applied} in the end, and the log is purged up to {}",
                        node.node, self.purged
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn caught_up_or_not() {
        let mut run = Run::new();
        run.settings.healed_at = Some(0);
        run.converge();
        let mut purged = node(1, 1, 1);
        purged.purged = Some(id(1, 1));
        let mut invariant = CatchUp::default();
        observe(&mut invariant, &[vec![purged]]).unwrap();
        assert!(run.finish(&mut invariant).is_ok());
        run.nodes[2].applied = Some(id(1, 0));
        assert!(run.finish(&mut invariant).is_err());
    }
}
