//! The checks, held against what was observed once the committed log is known.
//!
//! Nodes tell indexes, not log ids; the committed log says which entry stands at each. So what they showed is kept until the
//! run has ended, and is completed then. What nodes tell is not of one moment, but no check that finds anything to look at
//! here depends on that: nobody knows what was durable when, and all else may only grow.

use std::sync::Arc;

use parking_lot::Mutex;

use super::sample::{self, Sampled};
use crate::history::{
    CommittedLog, Finished, LogIdSeen, MembershipSeen, NodeObservation, Observation, Time, Violation,
};
use crate::invariants::Checker;
use crate::model::Replay;

/// What the nodes showed, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Observations(Arc<Mutex<Vec<Look>>>);

/// All nodes that answered.
type Look = (Time, Vec<NodeObservation>);

impl Observations {
    /// Keeps one look at the nodes. Of log ids only the index counts.
    pub(super) fn keep(&self, at: Time, nodes: Vec<NodeObservation>) {
        self.0.lock().push((at, nodes));
    }
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict {
    /// The names of the checks.
    pub(super) checks: Vec<&'static str>,
    /// Everything that is broken.
    pub(super) violations: Vec<Violation>,
    /// What the black-box search was about.
    pub(super) sampled: Sampled,
}

/// Holds all checks against the run.
pub(super) fn judge(observations: &Observations, finished: &Finished<'_>) -> Verdict {
    let mut checker = Checker::new();
    let mut verdict = Verdict {
        checks: checker.ids().collect(),
        ..Verdict::default()
    };
    let memberships = [MembershipSeen::initial(finished.settings.voters.iter().copied())];
    for (at, nodes) in observations.0.lock().drain(..) {
        let nodes: Vec<NodeObservation> = nodes
            .into_iter()
            .map(|node| completed(node, finished.committed))
            .collect();
        let observation = Observation {
            at,
            nodes: &nodes,
            disks: &[],
            snapshots: &[],
            memberships: &memberships,
        };
        if let Err(violation) = checker.observe(&observation) {
            verdict.violations.push(violation);
            break; // what follows from it says nothing new
        }
    }
    let nodes: Vec<_> = finished
        .nodes
        .iter()
        .cloned()
        .map(|mut node| {
            node.applied = node.applied.and_then(|id| id_at(id.index, finished.committed));
            node
        })
        .collect();
    let finished = Finished {
        nodes: &nodes,
        ..*finished
    };
    verdict
        .violations
        .extend(checker.finish(&finished).err().into_iter().flatten());
    if let Ok(replay) = Replay::of(finished.committed) {
        match sample::search(finished.history, &replay, finished.at) {
            Ok(sampled) => verdict.sampled = sampled,
            Err(violation) => verdict.violations.push(violation),
        }
    }
    verdict
}

fn id_at(index: u64, log: &CommittedLog) -> Option<LogIdSeen> {
    log.get(&index).map(|entry| entry.id)
}

fn completed(node: NodeObservation, log: &CommittedLog) -> NodeObservation {
    let complete = |id: Option<LogIdSeen>| id.and_then(|id| id_at(id.index, log));
    NodeObservation {
        committed: complete(node.committed),
        applied: complete(node.applied),
        snapshot: complete(node.snapshot),
        purged: complete(node.purged),
        ..node
    }
}
