//! What may come of the members by what they were asked to be.

use std::collections::BTreeSet;

use banyan_core::keyspace::member::MemberGoal;
use banyan_core::state::Members;

use crate::history::MembershipSeen;

/// What is to become of members by one request, or by one row of the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// The node that gets a vote.
    pub(super) comes: Option<u64>,
    /// The node that loses its vote; if another comes, not before that has one.
    pub(super) goes: Option<u64>,
    /// Whether that is then no member any more.
    pub(super) leaves: bool,
}

impl Effect {
    /// What the rows of a state lead to.
    pub(super) fn of_goals(goals: &Members) -> Vec<Self> {
        let effects = goals.rows().map(|(id, row)| match row.goal {
            MemberGoal::Voter => Self {
                comes: Some(id),
                goes: row.replaces,
                leaves: true,
            },
            MemberGoal::Learner => Self {
                goes: Some(id),
                ..Self::default()
            },
            MemberGoal::Leaves | MemberGoal::Gone => Self {
                goes: Some(id),
                leaves: true,
                ..Self::default()
            },
        });
        effects.collect()
    }

    /// The sets of voters that follow `voters`.
    fn after(self, voters: &BTreeSet<u64>) -> Vec<BTreeSet<u64>> {
        let mut beside = voters.clone();
        beside.extend(self.comes);
        let mut without = beside.clone();
        if let Some(id) = self.goes {
            without.remove(&id);
        }
        vec![beside, without]
    }
}

/// All memberships that may follow those of `possible`, in whatever order the `effects` come about, and whether or not they do.
/// Nodes that have left by `goals` are not touched any more.
pub(super) fn reachable(possible: &[MembershipSeen], effects: &[Effect], goals: &Members) -> Vec<MembershipSeen> {
    let is_gone = |id: Option<u64>| id.is_some_and(|id| goals.is_gone(id));
    let effects = || effects.iter().filter(|effect| !is_gone(effect.comes));
    let mut sets: BTreeSet<BTreeSet<u64>> = possible.iter().flat_map(|one| one.voters.iter().cloned()).collect();
    let mut new: Vec<_> = sets.iter().cloned().collect();
    while let Some(voters) = new.pop() {
        for after in effects().flat_map(|effect| effect.after(&voters)) {
            if !after.is_empty() && sets.insert(after.clone()) {
                new.push(after);
            }
        }
    }
    let leaving: BTreeSet<u64> = effects()
        .filter(|effect| effect.leaves)
        .filter_map(|effect| effect.goes)
        .collect();
    let members: BTreeSet<u64> = possible.iter().flat_map(MembershipSeen::members).collect();
    let memberships = sets.into_iter().map(|voters| MembershipSeen {
        index: 0,
        learners: &(&members - &leaving) - &voters,
        voters: vec![voters],
    });
    memberships.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(effects: &[Effect]) -> Vec<Vec<u64>> {
        let possible = [MembershipSeen::initial([1, 2, 3])];
        let reachable = reachable(&possible, effects, &Members::default());
        let sets = reachable.into_iter().flat_map(|one| one.voters);
        sets.map(|voters| voters.into_iter().collect()).collect()
    }

    #[test]
    fn what_is_asked_may_come_about_or_not_in_any_order() {
        let effect = |comes, goes| Effect {
            comes,
            goes,
            leaves: true,
        };
        assert_eq!(voters(&[]), [[1, 2, 3]]);
        assert_eq!(voters(&[effect(Some(4), None)]), [vec![1, 2, 3], vec![1, 2, 3, 4]]);
        // In the place of another: at no time fewer.
        let replaced = [vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 3, 4]];
        assert_eq!(voters(&[effect(Some(4), Some(2))]), replaced);
        let both = voters(&[effect(None, Some(4)), effect(Some(4), None), effect(None, Some(1))]);
        assert_eq!(both, [vec![1, 2, 3], vec![1, 2, 3, 4], vec![2, 3], vec![2, 3, 4]]);
    }

    #[test]
    fn who_may_leave_is_no_member_of_what_comes_after() {
        let leaves = Effect {
            goes: Some(3),
            leaves: true,
            ..Effect::default()
        };
        let demoted = Effect {
            leaves: false,
            ..leaves
        };
        let members = |effect| -> Vec<BTreeSet<u64>> {
            let possible = [MembershipSeen::initial([1, 2, 3])];
            let reachable = reachable(&possible, &[effect], &Members::default());
            reachable.iter().map(MembershipSeen::members).collect()
        };
        assert_eq!(members(leaves), [BTreeSet::from([1, 2]), BTreeSet::from([1, 2, 3])]);
        assert_eq!(members(demoted), [BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 3])]);
    }
}
