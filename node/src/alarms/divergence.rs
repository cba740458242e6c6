//! Whether nodes that have applied the same log hold the same state.
//!
//! Every node compares the digests that it hears with its own, at log indexes that both have kept, and with those of the
//! others. What a quorum of the voters agrees on is right; who holds something else has diverged. Without such a quorum it is
//! not known who has.

use std::collections::{BTreeMap, BTreeSet};

use crate::consensus::digests::DigestMark;

/// What a member has told of its state.
pub(super) struct Told {
    pub(super) node_id: u64,
    pub(super) is_voter: bool,
    pub(super) digests: Vec<DigestMark>,
}

/// Nodes that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Divergence {
    /// Log index at which they do.
    pub(super) index: u64,
    /// Who has diverged; all who were compared, if that is not known.
    pub(super) nodes: BTreeSet<u64>,
    /// Whether a quorum of the voters agrees on another state.
    pub(super) is_decided: bool,
}

/// Compares all that was `told`, by `voter_count` voters in all. The last index at which nodes differ is answered, one at which
/// it is known who has diverged if there is such a one.
pub(super) fn compare(told: &[Told], voter_count: usize) -> Option<Divergence> {
    let mut by_index: BTreeMap<u64, BTreeMap<u128, Vec<&Told>>> = BTreeMap::new();
    for node in told {
        for (index, digest) in &node.digests {
            by_index
                .entry(*index)
                .or_default()
                .entry(*digest)
                .or_default()
                .push(node);
        }
    }
    let quorum = voter_count / 2 + 1;
    let differences = by_index.iter().rev().filter(|(_, states)| states.len() > 1);
    let mut undecided = None;
    for (&index, states) in differences {
        let is_right = |holders: &&Vec<&Told>| holders.iter().filter(|node| node.is_voter).count() >= quorum;
        let right = states
            .iter()
            .find(|(_, holders)| is_right(holders))
            .map(|(digest, _)| *digest);
        let nodes = states
            .iter()
            .filter(|(digest, _)| Some(**digest) != right)
            .flat_map(|(_, holders)| holders.iter().map(|node| node.node_id))
            .collect();
        let divergence = Divergence {
            index,
            nodes,
            is_decided: right.is_some(),
        };
        if divergence.is_decided {
            return Some(divergence);
        }
        undecided.get_or_insert(divergence);
    }
    undecided
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node_id: u64, digests: &[DigestMark]) -> Told {
        Told {
            node_id,
            is_voter: true,
            digests: digests.to_vec(),
        }
    }

    fn found(told: &[Told], voter_count: usize) -> Option<(u64, Vec<u64>, bool)> {
        let divergence = compare(told, voter_count)?;
        Some((
            divergence.index,
            divergence.nodes.into_iter().collect(),
            divergence.is_decided,
        ))
    }

    #[test]
    fn equal_states_and_indexes_that_nobody_shares() {
        let told = [
            voter(1, &[(7, 70), (8, 80)]),
            voter(2, &[(8, 80)]),
            voter(3, &[(6, 60)]),
        ];
        assert_eq!(found(&told, 3), None);
        assert_eq!(found(&[], 3), None);
    }

    #[test]
    fn the_minority_has_diverged() {
        let told = [voter(1, &[(8, 80)]), voter(2, &[(8, 81)]), voter(3, &[(8, 80)])];
        assert_eq!(found(&told, 3), Some((8, vec![2], true)));
    }

    #[test]
    fn of_two_that_differ_nobody_knows() {
        let told = [voter(1, &[(8, 80)]), voter(2, &[(8, 81)])];
        assert_eq!(found(&told, 3), Some((8, vec![1, 2], false)));
        assert_eq!(found(&told, 2), Some((8, vec![1, 2], false)));
    }

    #[test]
    fn an_index_that_decides_counts_more_than_a_later_one() {
        let told = [
            voter(1, &[(8, 80), (9, 90)]),
            voter(2, &[(8, 81), (9, 91)]),
            voter(3, &[(8, 80)]),
        ];
        assert_eq!(found(&told, 3), Some((8, vec![2], true)));
    }

    #[test]
    fn learners_may_diverge_and_have_no_say() {
        let learner = |node_id, digest| Told {
            is_voter: false,
            ..voter(node_id, &[(8, digest)])
        };
        let told = [voter(1, &[(8, 80)]), learner(4, 81), learner(5, 81), learner(6, 81)];
        assert_eq!(found(&told, 1), Some((8, vec![4, 5, 6], true)));
        let told = [voter(1, &[(8, 80)]), learner(4, 81), learner(5, 81)];
        assert_eq!(found(&told, 3).map(|(_, _, is_decided)| is_decided), Some(false));
    }
}
