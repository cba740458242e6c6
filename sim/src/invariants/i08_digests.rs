//! I-8: the digest that a node keeps while it applies is that of a full scan, and that of the model's replay of the log.

use crate::history::{Finished, Invariant, Violation};

const ID: &str = "I-8";

/// See the module.
#[derive(Debug)]
pub(super) struct Digests;

impl Invariant for Digests {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for node in finished.nodes {
            let modelled = finished
                .replay
                .zip(node.applied)
                .and_then(|(replay, applied)| replay.digest_at_index(applied.index));
            for (other, name) in [(node.scanned_digest, "a full scan"), (modelled, "the model")] {
                if let Some(other) = other.filter(|other| *other != node.digest) {
                    return Err(Violation {
                        invariant: ID,
                        at: finished.at,
                        message: format!(
                            "node {} keeps digest {:032x}, and {name} gives {other:032x}",
                            node.node, node.digest
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    #[test]
    fn all_three_agree() {
        let mut run = Run::new();
        run.log.batch(&[put("a", 1).into_operation()]);
        run.converge();
        assert!(run.finish(&mut Digests).is_ok());
        run.nodes[0].scanned_digest = Some(1);
        assert!(run.finish(&mut Digests).is_err());
        run.nodes[0].scanned_digest = None;
        run.nodes[0].digest = 1;
        assert!(run.finish(&mut Digests).is_err());
    }
}
