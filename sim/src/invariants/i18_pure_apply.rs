//! I-18: apply is a pure function of the log: a fresh state, in another process at another time, ends with the digest that
//! the nodes have.

use std::sync::Arc;

use banyan_core::state::{AppliedId, State, TombstoneBounds};
use banyan_core::store::MemoryStore;

use crate::history::{CommittedLog, Finished, Invariant, Violation};

const ID: &str = "I-18";

/// See the module.
#[derive(Debug)]
pub(super) struct PureApply;

impl Invariant for PureApply {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        if finished.committed.is_empty() || finished.nodes.is_empty() {
            return Ok(());
        }
        let violation = |message| Violation {
            invariant: ID,
            at: finished.at,
            message,
        };
        let digests = digests(finished.committed, finished.settings.tombstone_bounds).map_err(violation)?;
        for node in finished.nodes {
            let expected = node
                .applied
                .and_then(|applied| digests.get(usize::try_from(applied.index).ok()?));
            if let Some(expected) = expected.filter(|expected| **expected != node.digest) {
                return Err(violation(format!(
                    "node {} has digest {:032x}, and a fresh state that applied the same log has {expected:032x}",
                    node.node, node.digest
                )));
            }
        }
        Ok(())
    }
}

/// The digest after each entry.
fn digests(log: &CommittedLog, bounds: TombstoneBounds) -> Result<Vec<u128>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("a fresh state cannot apply the log: {error}");
    let mut state = State::open_bounded(Arc::new(MemoryStore::new()), bounds).map_err(|error| failed(&error))?;
    let mut digests = Vec::with_capacity(log.len());
    for entry in log.values() {
        let id = AppliedId {
            term: entry.id.term,
            node_id: entry.id.leader,
            index: entry.index,
        };
        match &entry.payload {
            Some(payload) => drop(state.apply(id, payload).map_err(|error| failed(&error))?),
            // What a membership says is not part of the digest.
            None => state.apply_blank(id),
        }
        digests.push(state.digest().as_u128());
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    #[test]
    fn a_fresh_state_agrees_or_not() {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.converge();
        assert!(run.finish(&mut PureApply).is_ok());
        run.nodes[2].digest += 1;
        assert!(run.finish(&mut PureApply).is_err());
    }
}
