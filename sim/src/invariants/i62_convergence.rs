//! I-62: after the healing, once clients have stopped, all nodes of the core run and hold the same.

use crate::history::{Finished, Invariant, Violation};

const ID: &str = "I-62";

/// See the module.
#[derive(Debug)]
pub(super) struct Convergence;

impl Invariant for Convergence {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let violation = |message| {
            Err(Violation {
                invariant: ID,
                at: finished.at,
                message,
            })
        };
        if finished.settings.healed_at.is_none() {
            return Ok(());
        }
        let mut first = None;
        for &number in &finished.settings.core {
            let Some(node) = finished.nodes.iter().find(|node| node.node == number) else {
                return violation(format!("node {number} does not run in the end"));
            };
            let first = *first.get_or_insert(node);
            if (node.applied, node.digest) != (first.applied, first.digest) {
                let applied = |applied: Option<_>| {
                    applied.map_or_else(|| "nothing".to_owned(), |id: crate::history::LogIdSeen| id.to_string())
                };
                return violation(format!(
                    "in the end node {} has applied {} with digest {:032x}, and node {number} {} with {:032x}",
                    first.node,
                    applied(first.applied),
                    first.digest,
                    applied(node.applied),
                    node.digest
                ));
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
    fn converged_or_not() {
        let mut run = Run::new();
        run.settings.healed_at = Some(0);
        run.converge();
        assert!(run.finish(&mut Convergence).is_ok());
        run.nodes[2].applied = Some(id(1, 0));
        assert!(run.finish(&mut Convergence).is_err());
        run.settings.core = vec![1, 2];
        assert!(run.finish(&mut Convergence).is_ok());
        run.nodes.remove(0);
        assert!(run.finish(&mut Convergence).is_err());
    }
}
