//! I-9: what a snapshot at an index restores to is exactly the state of that index.

use std::collections::BTreeMap;

use crate::history::{Finished, Invariant, Observation, SnapshotSeen, Time, Violation};

const ID: &str = "I-9";

/// Where a digest to compare with comes from.
const SHOWN: &str = "as a node showed";
/// As above.
const MODELLED: &str = "without sessions, by the model";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Digest by applied index, as nodes showed it. Equal states are another promise.
    known: BTreeMap<u64, u128>,
    /// Those that could not be compared yet, and when they were seen.
    open: Vec<(Time, SnapshotSeen)>,
}

impl Invariant for Snapshots {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            if let Some(applied) = node.applied {
                self.known.insert(applied.index, node.digest);
            }
        }
        for snapshot in observation.snapshots {
            match self.known.get(&snapshot.id.index) {
                Some(digest) => compare(observation.at, snapshot, snapshot.digest, *digest, SHOWN)?,
                None => self.open.push((observation.at, *snapshot)),
            }
        }
        Ok(())
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        for (at, snapshot) in &self.open {
            if let Some(digest) = self.known.get(&snapshot.id.index) {
                compare(*at, snapshot, snapshot.digest, *digest, SHOWN)?;
            } else if let Some(digest) = finished
                .replay
                .and_then(|replay| replay.topics_digest_at_index(snapshot.id.index))
            {
                compare(*at, snapshot, snapshot.topics_digest, digest, MODELLED)?;
            }
        }
        Ok(())
    }
}

fn compare(at: Time, snapshot: &SnapshotSeen, found: u128, digest: u128, source: &str) -> Result<(), Violation> {
    if found == digest {
        return Ok(());
    }
    Err(Violation {
        invariant: ID,
        at,
        message: format!(
            "node {}'s snapshot at {} restores to digest {found:032x}, and the state there has {digest:032x}, {source}",
            snapshot.node, snapshot.id
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, put};

    fn snapshot(index: u64, digest: u128) -> SnapshotSeen {
        SnapshotSeen {
            node: 1,
            id: id(1, index),
            digest,
            topics_digest: digest,
        }
    }

    #[test]
    fn compared_with_what_nodes_show() {
        let nodes = [node(1, 1, 5)];
        let observe = |digest| {
            Snapshots::default().observe(&Observation {
                snapshots: &[snapshot(5, digest)],
                ..moment(0, &nodes, &[])
            })
        };
        assert!(observe(5).is_ok());
        assert!(observe(6).is_err());
    }

    #[test]
    fn compared_with_the_model_in_the_end() {
        let mut run = Run::new();
        let index = run.log.batch(&[put("a", 1).into_operation()]);
        run.converge();
        for (digest, ok) in [(run.nodes[0].digest, true), (7, false)] {
            let mut invariant = Snapshots::default();
            let observation = Observation {
                snapshots: &[snapshot(index, digest)],
                ..moment(0, &[], &[])
            };
            invariant.observe(&observation).unwrap();
            assert_eq!(run.finish(&mut invariant).is_ok(), ok);
        }
    }
}
