//! Nodes that enter and leave.

use proptest::prelude::*;

use super::*;
use crate::command::MemberChange;
use crate::keyspace::member::{MemberGoal, TokenHash};
use crate::limits::JOIN_TOKENS_MAX;

const TOKEN: TokenHash = [1; 32];
const HOUR_US: u64 = 3_600_000_000;

fn issue(token: TokenHash) -> MemberChange {
    MemberChange::IssueToken {
        token,
        lifetime_us: HOUR_US,
        voter: true,
        replaces: None,
    }
}

fn enter(token: TokenHash, node_id: u64, nonce: u64) -> MemberChange {
    MemberChange::Enter {
        token,
        node_id,
        nonce,
        address: Bytes::from_static(b"127.0.0.1:7409"),
    }
}

fn goal(node_id: u64, goal: MemberGoal) -> MemberChange {
    MemberChange::SetGoal { node_id, goal }
}

impl Harness {
    fn change(&mut self, change: MemberChange) {
        self.items(&[Item::MemberChange(change)]);
    }

    fn admit(&self, token: &TokenHash, node_id: u64, nonce: u64) -> Result<Admission, EnterRefusal> {
        self.state.members().admit(token, node_id, nonce, self.now_us)
    }
}

#[test]
fn a_token_lets_one_node_in_and_the_same_node_again() {
    let mut node = Harness::new();
    assert_eq!(node.admit(&TOKEN, 9, 5), Err(EnterRefusal::Unknown));
    node.change(enter(TOKEN, 9, 5));
    assert_eq!(node.state.members().get(9), None);
    node.change(issue(TOKEN));
    assert!(matches!(node.admit(&TOKEN, 9, 5), Ok(Admission::Enters(_))));
    node.change(enter(TOKEN, 9, 5));
    let row = node.state.members().get(9).unwrap().clone();
    assert_eq!(
        (row.goal, row.nonce, &row.address[..]),
        (MemberGoal::Voter, 5, &b"127.0.0.1:7409"[..])
    );
    // The answer was lost, and it asks again; another node finds the token used.
    assert_eq!(node.admit(&TOKEN, 9, 5), Ok(Admission::HasEntered));
    assert_eq!(node.admit(&TOKEN, 10, 6), Err(EnterRefusal::Used(9)));
    let digest = node.state.digest();
    node.change(enter(TOKEN, 10, 6));
    node.change(enter(TOKEN, 9, 5));
    assert_eq!((node.state.members().get(10), node.state.digest()), (None, digest));
}

#[test]
fn a_node_that_lost_its_data_is_not_let_in_again() {
    let mut node = Harness::new();
    node.change(issue(TOKEN));
    node.change(enter(TOKEN, 9, 5));
    assert_eq!(node.admit(&TOKEN, 9, 6), Err(EnterRefusal::Member(9)));
    node.change(issue([2; 32]));
    assert_eq!(node.admit(&[2; 32], 9, 6), Err(EnterRefusal::Member(9)));
}

#[test]
fn who_entered_and_missed_the_answer_may_ask_when_its_token_is_forgotten() {
    let mut node = Harness::new();
    node.change(issue(TOKEN));
    node.change(enter(TOKEN, 9, 5));
    node.now_us += HOUR_US;
    node.change(issue([2; 32]));
    assert_eq!(node.state.members().tokens().count(), 1);
    assert_eq!(node.admit(&TOKEN, 9, 5), Ok(Admission::HasEntered));
    assert_eq!(node.admit(&TOKEN, 9, 6), Err(EnterRefusal::Unknown));
    assert_eq!(node.admit(&TOKEN, 10, 5), Err(EnterRefusal::Unknown));
    node.change(goal(9, MemberGoal::Leaves));
    assert_eq!(node.admit(&TOKEN, 9, 5), Err(EnterRefusal::Unknown));
}

#[test]
fn tokens_expire_and_are_bounded() {
    let mut node = Harness::new();
    for byte in 0..=JOIN_TOKENS_MAX as u8 {
        node.change(issue([byte; 32]));
    }
    assert_eq!(node.state.members().tokens().count(), JOIN_TOKENS_MAX);
    node.now_us += HOUR_US;
    assert_eq!(node.admit(&TOKEN, 9, 5), Err(EnterRefusal::Expired));
    node.change(enter(TOKEN, 9, 5));
    assert_eq!(node.state.members().get(9), None);
    node.change(issue([0xFF; 32]));
    assert_eq!(node.state.members().tokens().count(), 1);
    assert_eq!(node.admit(&TOKEN, 9, 5), Err(EnterRefusal::Unknown));
}

#[test]
fn who_leaves_takes_its_origin_and_its_connections_along_and_never_returns() {
    let mut node = Harness::new();
    let connection = node.connect("a", true, 0);
    node.change(goal(NODE, MemberGoal::Leaves));
    // Its clients' commands are taken until it has gone.
    node.subscribe(connection, "x", 1);
    node.change(goal(NODE, MemberGoal::Voter));
    assert_eq!(node.state.members().goal(NODE), Some(MemberGoal::Leaves));
    node.checkpoint();
    let applied = node.items(&[Item::MemberChange(MemberChange::Forget { node_id: NODE })]);
    assert_eq!(applied.closed.len(), 1);
    assert!(node.state.members().is_gone(NODE));
    assert!(node.state.origin(NODE).unwrap().is_none());
    assert!(node.session("a").is_none());
    // Nothing of it is taken any more, nor may it come back.
    let opened = node
        .items(&[Item::OpenOrigin {
            node_id: NODE,
            nonce: 77,
        }])
        .origins;
    assert_eq!(opened, []);
    let id = BatchId {
        node_id: NODE,
        incarnation: 1,
        sequence: 3,
    };
    let applied = node.items(&[Item::Batch(batch(id, u64::MAX, &[event("a")]))]);
    assert_eq!(applied.batches[0].disposition, Disposition::Fenced { incarnation: 0 });
    node.change(issue(TOKEN));
    assert_eq!(node.admit(&TOKEN, NODE, 5), Err(EnterRefusal::Gone(NODE)));
    for change in [
        goal(NODE, MemberGoal::Voter),
        MemberChange::Forget { node_id: NODE },
        MemberChange::Replace { old: 3, new: NODE },
        MemberChange::Replace { old: NODE, new: 3 },
    ] {
        let digest = node.state.digest();
        node.change(change);
        assert_eq!(node.state.digest(), digest);
    }
    node.checkpoint();
    let reopened = open(&node.store);
    assert_eq!(
        (reopened.digest(), reopened.members()),
        (node.state.digest(), node.state.members())
    );
    assert!(reopened.origin(NODE).unwrap().is_none());
}

#[test]
fn a_member_that_stays_is_not_forgotten() {
    let mut node = Harness::new();
    node.change(MemberChange::Forget { node_id: NODE });
    assert_eq!(node.state.members().get(NODE), None);
    assert!(node.state.origin(NODE).unwrap().is_some());
}

#[test]
fn one_node_takes_the_place_of_another_until_that_leaves() {
    let mut node = Harness::new();
    node.change(MemberChange::Replace { old: 3, new: 4 });
    let row = node.state.members().get(4).unwrap();
    assert_eq!((row.goal, row.replaces), (MemberGoal::Voter, Some(3)));
    node.change(MemberChange::Replace { old: 3, new: 5 });
    assert_eq!(node.state.members().get(4).unwrap().replaces, None);
    assert_eq!(node.state.members().get(5).unwrap().replaces, Some(3));
    node.change(goal(3, MemberGoal::Leaves));
    assert_eq!(node.state.members().get(5).unwrap().replaces, None);
    // A token may say so too.
    node.change(MemberChange::IssueToken {
        token: TOKEN,
        lifetime_us: HOUR_US,
        voter: true,
        replaces: Some(4),
    });
    node.change(enter(TOKEN, 9, 5));
    assert_eq!(node.state.members().get(9).unwrap().replaces, Some(4));
}

fn any_change() -> impl Strategy<Value = MemberChange> {
    let token = || (0_u8..3).prop_map(|byte| [byte; 32]);
    let id = || 1_u64..6;
    prop_oneof![
        (token(), any::<bool>(), proptest::option::of(id()), 0_u64..5).prop_map(|(token, voter, replaces, s)| {
            MemberChange::IssueToken {
                token,
                lifetime_us: s * 1_000_000,
                voter,
                replaces,
            }
        }),
        (token(), id(), 0_u64..3).prop_map(|(token, node_id, nonce)| enter(token, node_id, nonce)),
        (
            id(),
            prop_oneof![
                Just(MemberGoal::Learner),
                Just(MemberGoal::Voter),
                Just(MemberGoal::Leaves)
            ]
        )
            .prop_map(|(node_id, to)| goal(node_id, to)),
        (id(), id()).prop_map(|(old, new)| MemberChange::Replace { old, new }),
        id().prop_map(|node_id| MemberChange::Forget { node_id }),
    ]
}

proptest! {
    /// Whatever is asked: who has left stays away, a token lets in one node, a replaced node has one heir at most, repeating
    /// a change changes nothing, and a state opened from its checkpoint is the same.
    #[test]
    fn what_is_promised_of_members_holds_in_any_order(changes in proptest::collection::vec(any_change(), 1..40)) {
        let mut node = Harness::new();
        let mut gone = Vec::new();
        let mut used = std::collections::BTreeMap::new();
        for change in changes {
            node.now_us += 500_000;
            node.change(change.clone());
            let (digest, members) = (node.state.digest(), Arc::clone(node.state.members()));
            node.change(change);
            prop_assert_eq!(node.state.digest(), digest);
            for id in &gone {
                prop_assert!(members.is_gone(*id));
                prop_assert!(node.state.origin(*id).unwrap().is_none());
            }
            gone = members.rows().filter(|(_, row)| row.goal == MemberGoal::Gone).map(|(id, _)| id).collect();
            for (token, row) in members.tokens() {
                if let Some(by) = row.used_by {
                    let key = (*token, row.expires_at_us);
                    prop_assert_eq!(*used.entry(key).or_insert(by), by);
                }
            }
            let mut replaced: Vec<_> = members.rows().filter_map(|(_, row)| row.replaces).collect();
            let count = replaced.len();
            replaced.sort_unstable();
            replaced.dedup();
            prop_assert_eq!(replaced.len(), count);
            prop_assert!(replaced.iter().all(|old| !members.is_leaving(*old)));
        }
        node.checkpoint();
        let reopened = open(&node.store);
        prop_assert_eq!(reopened.members(), node.state.members());
        prop_assert_eq!(reopened.digest(), node.state.digest());
    }
}
