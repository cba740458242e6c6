//! Which steps are taken, and which requests are refused.

use banyan_core::command::{EntryBuilder, Item, MemberChange};
use banyan_core::state::{AppliedId, State};
use banyan_core::store::MemoryStore;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// A cluster of which only the membership is real: goals are set by real commands, steps take effect at once.
struct Cluster {
    state: State,
    index: u64,
    now: Situation,
}

impl Cluster {
    fn new(voters: &[NodeId]) -> Self {
        let now = Situation {
            leader: 1,
            voters: voters.iter().copied().collect(),
            answering: voters.iter().copied().collect(),
            lag: voters.iter().map(|id| (*id, 0)).collect(),
            ..Situation::default()
        };
        Self {
            state: State::open(Arc::new(MemoryStore::new())).unwrap(),
            index: 0,
            now,
        }
    }

    fn change(&mut self, change: MemberChange) {
        let mut entry = EntryBuilder::new();
        entry.push_item(&Item::MemberChange(change));
        let id = AppliedId {
            term: 1,
            node_id: 1,
            index: self.index,
        };
        self.index += 1;
        self.state.apply(id, &entry.finish(self.now.log_time_us)).unwrap();
        self.now.members = Arc::clone(self.state.members());
    }

    fn goal(&mut self, node_id: NodeId, goal: MemberGoal) {
        self.change(MemberChange::SetGoal { node_id, goal });
    }

    /// Node `id` enters with a token.
    fn enter(&mut self, node_id: NodeId, voter: bool, replaces: Option<NodeId>) {
        let token = [node_id as u8; 32];
        self.change(MemberChange::IssueToken {
            token,
            lifetime_us: 1_000_000_000,
            voter,
            replaces,
        });
        self.change(MemberChange::Enter {
            token,
            node_id,
            nonce: 1,
            address: Bytes::from(format!("127.0.0.1:{node_id}")),
        });
    }

    fn dies(&mut self, node_id: NodeId) {
        self.now.answering.remove(&node_id);
        self.now.lag.insert(node_id, 1_000_000);
    }

    fn comes_up(&mut self, node_id: NodeId) {
        self.now.answering.insert(node_id);
        self.now.lag.insert(node_id, 0);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Finish { retain } => {
                let outgoing = std::mem::take(&mut self.now.outgoing);
                if retain {
                    self.now.learners.extend(outgoing);
                }
                self.now.is_joint = false;
            }
            Step::AddLearner { node_id, .. } => {
                self.now.learners.insert(node_id);
            }
            Step::Promote { node_id, instead_of } => {
                assert!(self.now.learners.remove(&node_id), "{node_id} was a learner");
                self.now.voters.insert(node_id);
                if let Some(old) = instead_of {
                    assert!(self.now.voters.remove(&old));
                    self.now.learners.insert(old);
                }
            }
            Step::Demote(node_id) => {
                assert!(self.now.voters.remove(&node_id));
                self.now.learners.insert(node_id);
            }
            Step::HandOver(heir) => {
                assert!(self.now.voters.contains(&heir) && self.now.answers(heir));
                self.now.leader = heir;
            }
            Step::Remove { node_id, is_voter } => {
                let from = if is_voter {
                    &mut self.now.voters
                } else {
                    &mut self.now.learners
                };
                assert!(from.remove(&node_id));
            }
            Step::Leave(node_id) => self.goal(node_id, MemberGoal::Leaves),
            Step::Forget(node_id) => self.change(MemberChange::Forget { node_id }),
        }
        assert!(
            self.now.voters.contains(&self.now.leader),
            "the leader has a vote after {step:?}"
        );
        assert!(self.now.works(&self.now.voters), "a quorum answers after {step:?}");
    }

    /// Takes all steps there are, with time passing.
    fn settle(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.now.log_time_us += LEAVE_TIME_MAX_US;
        while let Some(step) = self.now.next_step() {
            self.apply(&step);
            steps.push(step);
            assert!(steps.len() < 100, "no end: {steps:?}");
            self.now.log_time_us += LEAVE_TIME_MAX_US;
        }
        steps
    }

    fn refusal(&self, request: &MemberRequest) -> String {
        match self.now.plan(request) {
            Err(Refusal::Unsafe(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn after(&self, request: &MemberRequest) -> Vec<NodeId> {
        self.now.plan(request).unwrap().after
    }
}

#[test]
fn a_node_that_enters_is_a_learner_until_it_has_caught_up() {
    let mut cluster = Cluster::new(&[1]);
    cluster.enter(4, true, None);
    let address = "127.0.0.1:4".to_owned();
    assert_eq!(cluster.settle(), [Step::AddLearner { node_id: 4, address }]);
    cluster.now.answering.insert(4);
    cluster.now.lag.insert(4, CAUGHT_UP_ENTRIES + 1);
    assert_eq!(cluster.settle(), []);
    cluster.comes_up(4);
    assert_eq!(
        cluster.settle(),
        [Step::Promote {
            node_id: 4,
            instead_of: None
        }]
    );
    cluster.enter(5, false, None);
    cluster.comes_up(5);
    cluster.settle();
    assert_eq!(cluster.now.learners, BTreeSet::from([5]));
}

#[test]
fn a_learner_is_not_promoted_where_the_quorum_would_not_answer() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.enter(4, true, None);
    cluster.settle();
    cluster.comes_up(4);
    cluster.dies(2);
    // Three of four answer, which are enough; two would not be.
    cluster.now.answering.remove(&3);
    assert_eq!(cluster.now.next_step(), None);
    assert!(cluster.refusal(&MemberRequest::Promote(4)).contains("3 must agree"));
    cluster.comes_up(3);
    assert!(matches!(
        cluster.now.next_step(),
        Some(Step::Promote { node_id: 4, .. })
    ));
}

#[test]
fn the_leader_hands_over_before_it_leaves_or_loses_its_vote() {
    for goal in [MemberGoal::Leaves, MemberGoal::Learner] {
        let mut cluster = Cluster::new(&[1, 2, 3]);
        cluster.now.lag.insert(2, 100);
        cluster.goal(1, goal);
        let steps = cluster.settle();
        assert_eq!(steps[0], Step::HandOver(3), "the one that lags least");
        assert_eq!(cluster.now.voters, BTreeSet::from([2, 3]));
    }
}

#[test]
fn a_node_that_leaves_lets_its_clients_go_first() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.now.holders.insert(3);
    cluster.goal(3, MemberGoal::Leaves);
    assert_eq!(cluster.now.next_step(), None);
    cluster.now.log_time_us += LEAVE_TIME_MIN_US;
    assert_eq!(cluster.now.next_step(), None);
    cluster.now.holders.clear();
    assert!(matches!(cluster.now.next_step(), Some(Step::Remove { node_id: 3, .. })));
    // Who holds on to them has only so much time.
    cluster.now.holders.insert(3);
    cluster.now.log_time_us += LEAVE_TIME_MAX_US;
    assert!(matches!(cluster.now.next_step(), Some(Step::Remove { node_id: 3, .. })));
    // One that is dead has none to let go.
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.dies(3);
    cluster.goal(3, MemberGoal::Leaves);
    let steps = cluster.settle();
    assert_eq!(
        steps,
        [
            Step::Remove {
                node_id: 3,
                is_voter: true
            },
            Step::Forget(3)
        ]
    );
    assert!(cluster.now.members.is_gone(3));
}

#[test]
fn a_dead_node_is_replaced_in_one_step() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.dies(3);
    cluster.enter(4, true, Some(3));
    cluster.settle();
    cluster.comes_up(4);
    let steps = cluster.settle();
    assert_eq!(
        steps,
        [
            Step::Promote {
                node_id: 4,
                instead_of: Some(3)
            },
            Step::Leave(3),
            Step::Remove {
                node_id: 3,
                is_voter: false
            },
            Step::Forget(3),
        ]
    );
    assert_eq!(cluster.now.voters, BTreeSet::from([1, 2, 4]));
}

#[test]
fn the_leader_is_replaced_after_it_has_handed_over() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.enter(4, false, None);
    cluster.settle();
    cluster.comes_up(4);
    assert_eq!(cluster.after(&MemberRequest::Replace { old: 1, new: 4 }), [2, 3, 4]);
    cluster.change(MemberChange::Replace { old: 1, new: 4 });
    let steps = cluster.settle();
    assert_eq!(steps[0], Step::HandOver(2));
    assert_eq!(cluster.now.voters, BTreeSet::from([2, 3, 4]));
    assert!(cluster.now.members.is_gone(1));
    // Asking again is done already.
    assert!(
        cluster
            .now
            .plan(&MemberRequest::Replace { old: 1, new: 4 })
            .unwrap()
            .is_done
    );
}

#[test]
fn the_only_voter_is_replaced() {
    let mut cluster = Cluster::new(&[1]);
    cluster.enter(2, true, Some(1));
    cluster.settle();
    cluster.comes_up(2);
    let steps = cluster.settle();
    assert_eq!(
        steps[..3],
        [
            Step::Promote {
                node_id: 2,
                instead_of: None
            },
            Step::Leave(1),
            Step::HandOver(2)
        ]
    );
    assert_eq!(cluster.now.voters, BTreeSet::from([2]));
}

#[test]
fn what_an_earlier_leader_began_is_finished() {
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.now.outgoing = BTreeSet::from([3]);
    cluster.now.is_joint = true;
    assert_eq!(cluster.now.next_step(), Some(Step::Finish { retain: true }));
    cluster.goal(3, MemberGoal::Leaves);
    assert_eq!(cluster.now.next_step(), Some(Step::Finish { retain: false }));
}

#[test]
fn the_quorum_is_not_given_away() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    assert_eq!(cluster.after(&MemberRequest::Remove(3)), [1, 2]);
    cluster.dies(2);
    assert_eq!(
        cluster.refusal(&MemberRequest::Remove(3)),
        "removing node 3 would leave 2 voters of which 2 must agree, and node 2 does not answer: nothing could be written any \
         more. Start node 2 first, or remove or replace it before."
    );
    assert!(
        cluster
            .refusal(&MemberRequest::Demote(3))
            .starts_with("demoting node 3")
    );
    assert_eq!(cluster.after(&MemberRequest::Remove(2)), [1, 3], "the dead one may go");
    let alone = Cluster::new(&[1]);
    assert!(alone.refusal(&MemberRequest::Remove(1)).contains("last voter"));
}

#[test]
fn one_voter_is_taken_away_at_a_time() {
    let mut cluster = Cluster::new(&[1, 2, 3, 4, 5]);
    cluster.goal(5, MemberGoal::Leaves);
    assert!(
        cluster
            .refusal(&MemberRequest::Remove(4))
            .contains("one change at a time")
    );
    assert!(cluster.now.plan(&MemberRequest::Remove(5)).unwrap().is_done);
    cluster.settle();
    assert_eq!(cluster.after(&MemberRequest::Remove(4)), [1, 2, 3]);
}

#[test]
fn requests_that_cannot_be_meant_are_refused() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.enter(4, false, None);
    cluster.settle();
    for request in [
        MemberRequest::Promote(9),
        MemberRequest::Demote(9),
        MemberRequest::Remove(9),
        MemberRequest::Replace { old: 9, new: 4 },
        MemberRequest::Replace { old: 3, new: 9 },
        MemberRequest::Lead(Some(9)),
    ] {
        assert_eq!(cluster.now.plan(&request), Err(Refusal::NoSuchMember(9)), "{request:?}");
    }
    assert!(cluster.refusal(&MemberRequest::Promote(4)).contains("does not answer"));
    cluster.comes_up(4);
    cluster.now.lag.insert(4, 10_000);
    assert!(
        cluster
            .refusal(&MemberRequest::Promote(4))
            .contains("lags 10000 entries")
    );
    assert!(cluster.refusal(&MemberRequest::Lead(Some(4))).contains("only a voter"));
    assert!(
        cluster
            .refusal(&MemberRequest::Replace { old: 1, new: 2 })
            .contains("is a voter already")
    );
    assert!(
        cluster
            .refusal(&MemberRequest::Replace { old: 1, new: 1 })
            .contains("itself")
    );
    assert!(cluster.now.plan(&MemberRequest::Promote(2)).unwrap().is_done);
    assert!(cluster.now.plan(&MemberRequest::Demote(4)).unwrap().is_done);
    assert!(cluster.now.plan(&MemberRequest::Lead(Some(1))).unwrap().is_done);
    let entering = |node_id, nonce| MemberRequest::Enter {
        token: [0; 32],
        node_id,
        nonce,
        address: String::new(),
    };
    assert!(matches!(cluster.now.plan(&entering(2, 5)), Err(Refusal::Entry(_))));
    assert!(cluster.now.plan(&entering(7, 5)).is_ok());
    cluster.goal(4, MemberGoal::Leaves);
    assert!(cluster.refusal(&MemberRequest::Promote(4)).contains("no way back"));
    let alone = Cluster::new(&[1]);
    assert!(alone.refusal(&MemberRequest::Lead(None)).contains("no other voter"));
}

#[derive(Debug, Clone)]
enum Event {
    Enter {
        voter: bool,
        replaces: Option<NodeId>,
    },
    Request(MemberRequest),
    Dies(NodeId),
    ComesUp(NodeId),
    /// At most so many steps are taken.
    Steps(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    let id = || 1_u64..9;
    prop_oneof![
        (any::<bool>(), proptest::option::of(id())).prop_map(|(voter, replaces)| Event::Enter {
            voter,
            replaces: replaces.filter(|_| voter)
        }),
        id().prop_map(|id| Event::Request(MemberRequest::Promote(id))),
        id().prop_map(|id| Event::Request(MemberRequest::Demote(id))),
        id().prop_map(|id| Event::Request(MemberRequest::Remove(id))),
        (id(), id()).prop_map(|(old, new)| Event::Request(MemberRequest::Replace { old, new })),
        id().prop_map(Event::Dies),
        id().prop_map(Event::ComesUp),
        (1_usize..4).prop_map(Event::Steps),
    ]
}

proptest! {
    /// Whatever is asked and whoever dies: no step loses a quorum that answered before it, the leader never loses its vote,
    /// and once all answer, every member becomes what it is to be.
    #[test]
    fn steps_are_safe_and_come_to_an_end(events in proptest::collection::vec(any_event(), 1..40)) {
        let mut cluster = Cluster::new(&[1, 2, 3]);
        let mut entered = 3;
        for event in events {
            match event {
                Event::Enter { voter, replaces } => {
                    entered += 1;
                    cluster.enter(entered, voter, replaces);
                }
                Event::Request(request) => {
                    if let Ok(plan) = cluster.now.plan(&request) && !plan.is_done {
                        match request {
                            MemberRequest::Promote(id) => cluster.goal(id, MemberGoal::Voter),
                            MemberRequest::Demote(id) => cluster.goal(id, MemberGoal::Learner),
                            MemberRequest::Remove(id) => cluster.goal(id, MemberGoal::Leaves),
                            MemberRequest::Replace { old, new } => cluster.change(MemberChange::Replace { old, new }),
                            _ => {}
                        }
                    }
                }
                // Only who leaves a quorum that answers: without one, nothing is done at all.
                Event::Dies(id) => {
                    let mut answering = cluster.now.answering.clone();
                    answering.remove(&id);
                    let enough = cluster.now.voters.intersection(&answering).count() >= quorum(cluster.now.voters.len());
                    if id != cluster.now.leader && enough {
                        cluster.dies(id);
                    }
                }
                Event::ComesUp(id) => {
                    if cluster.now.is_member(id) {
                        cluster.comes_up(id);
                    }
                }
                Event::Steps(count) => {
                    for _ in 0..count {
                        cluster.now.log_time_us += LEAVE_TIME_MAX_US;
                        if let Some(step) = cluster.now.next_step() {
                            cluster.apply(&step);
                        }
                    }
                }
            }
        }
        for _ in 0..20 {
            let present: Vec<NodeId> = cluster.now.voters.union(&cluster.now.learners).copied().collect();
            present.into_iter().for_each(|id| cluster.comes_up(id));
            cluster.settle();
        }
        for (id, row) in cluster.now.members.rows() {
            let is = (cluster.now.voters.contains(&id), cluster.now.learners.contains(&id));
            let expected = match row.goal {
                MemberGoal::Voter => (true, false),
                MemberGoal::Learner => (false, true),
                MemberGoal::Leaves | MemberGoal::Gone => (false, false),
            };
            // The last voter that may lead keeps its vote whatever is asked.
            let is_last = cluster.now.leader == id && cluster.now.heir().is_none();
            prop_assert!(is == expected || is_last, "node {} is {:?}, goal {:?}", id, is, row.goal);
        }
    }
}
