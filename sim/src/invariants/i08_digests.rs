//! I-8: the digest that a node keeps while it applies is that of a full scan; and what of it is of topics, tombstones and
//! origins is that of the model's replay of the log.

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
                .and_then(|(replay, applied)| replay.topics_digest_at_index(applied.index));
            let scanned = node.scanned_digest.map(|scanned| (node.digest, scanned, "a full scan"));
            let modelled = node.topics_digest.zip(modelled);
            let modelled = modelled.map(|(kept, modelled)| (kept, modelled, "the model, without sessions,"));
            for (kept, other, name) in scanned.into_iter().chain(modelled) {
                if kept != other {
                    return Err(Violation {
                        invariant: ID,
                        at: finished.at,
                        message: format!(
                            "node {} keeps digest {kept:032x}, and {name} gives {other:032x}",
                            node.node
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
        run.nodes[0].topics_digest = Some(1);
        assert!(run.finish(&mut Digests).is_err());
    }
}
