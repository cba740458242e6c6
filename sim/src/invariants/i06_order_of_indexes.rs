//! I-6: purged ≤ snapshot ≤ applied ≤ committed ≤ last log, on every node at every moment; and nothing goes back.
//!
//! Within a life, committed, applied, snapshot and purged never go back. Over a restart the state starts again from its
//! checkpoint and the log, so applied and committed may, and a purge that was not on disk yet is as if it had not been; what
//! may not go back are the term, the vote in a term, and the snapshot.

use std::collections::BTreeMap;

use crate::history::{Invariant, LogIdSeen, NodeObservation, Observation, Violation};

const ID: &str = "I-6";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OrderOfIndexes {
    last: BTreeMap<u64, NodeObservation>,
}

impl Invariant for OrderOfIndexes {
    fn id(&self) -> &'static str {
        ID
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        for node in observation.nodes {
            let broken = out_of_order(node).or_else(|| went_back(self.last.get(&node.node)?, node));
            if let Some(message) = broken {
                return Err(Violation {
                    invariant: ID,
                    at: observation.at,
                    message: format!("on node {} {message}", node.node),
                });
            }
            self.last.insert(node.node, node.clone());
        }
        Ok(())
    }
}

fn out_of_order(node: &NodeObservation) -> Option<String> {
    let known = [
        ("purged", node.purged),
        ("snapshot", node.snapshot),
        ("applied", node.applied),
        ("committed", node.committed),
        ("the last entry", Some(node.last_log)),
    ];
    let known: Vec<(&str, LogIdSeen)> = known.into_iter().filter_map(|(name, id)| Some((name, id?))).collect();
    known.windows(2).find_map(|pair| match pair {
        [(lesser, one), (greater, other)] if one.index > other.index => {
            Some(format!("{lesser} is {one} and {greater} {other}"))
        }
        _ => None,
    })
}

fn went_back(before: &NodeObservation, now: &NodeObservation) -> Option<String> {
    if (now.term, now.vote_for.unwrap_or(0)) < (before.term, before.vote_for.unwrap_or(0)) {
        let vote = |node: &NodeObservation| match node.vote_for {
            Some(voted) => format!("{} for node {voted}", node.term),
            None => node.term.to_string(),
        };
        return Some(format!(
            "the vote went back from term {} to term {}",
            vote(before),
            vote(now)
        ));
    }
    let mut kept = vec![("the snapshot", before.snapshot, now.snapshot)];
    if before.life == now.life {
        kept.push(("the purge point", before.purged, now.purged));
        kept.push(("what is committed", before.committed, now.committed));
        kept.push(("what is applied", before.applied, now.applied));
    }
    kept.into_iter().find_map(|(what, before, now)| {
        let before = before?;
        match now {
            Some(now) if now.index >= before.index => None,
            Some(now) => Some(format!("{what} went back from {before} to {now}")),
            None => Some(format!("{what} went back from {before} to nothing")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(moments: &[NodeObservation]) -> bool {
        let moments: Vec<_> = moments.iter().map(|node| vec![node.clone()]).collect();
        observe(&mut OrderOfIndexes::default(), &moments).is_ok()
    }

    #[test]
    fn forward_and_restart() {
        let mut restarted = node(1, 2, 3);
        restarted.life = 1;
        assert!(check(&[node(1, 1, 5), node(1, 2, 5), restarted]));
    }

    #[test]
    fn the_vote_goes_back() {
        let mut restarted = node(1, 1, 5);
        restarted.life = 1;
        assert!(!check(&[node(1, 2, 5), restarted]));
        let mut other = node(1, 2, 5);
        other.vote_for = None;
        assert!(!check(&[node(1, 2, 5), other]));
    }

    #[test]
    fn indexes_go_back_within_a_life() {
        let mut applied = node(1, 1, 5);
        applied.applied = Some(id(1, 4));
        assert!(!check(&[node(1, 1, 5), applied]));
        let mut nothing = node(1, 1, 5);
        nothing.committed = None;
        assert!(!check(&[node(1, 1, 5), nothing]));
    }

    #[test]
    fn the_snapshot_goes_back_over_a_restart() {
        let mut with = node(1, 1, 5);
        with.snapshot = Some(id(1, 4));
        let mut restarted = node(1, 1, 5);
        restarted.life = 1;
        assert!(!check(&[with, restarted]));
    }

    #[test]
    fn indexes_out_of_order() {
        let mut ahead = node(1, 1, 5);
        ahead.applied = Some(id(1, 6));
        assert!(!check(&[ahead]));
        let mut purged = node(1, 1, 5);
        purged.purged = Some(id(1, 3));
        assert!(check(&[purged.clone()]));
        purged.snapshot = Some(id(1, 2));
        assert!(!check(&[purged]));
    }
}
