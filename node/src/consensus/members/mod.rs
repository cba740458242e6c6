//! The members of the cluster: who may enter, and the leader's work towards what the members are to be.
//!
//! | file | responsibility |
//! |---|---|
//! | [`plan`] | what is refused, and what to do next: rules without doing |
//! | [`request`] | what the leader is asked, and how it refuses |
//! | this one | the leader's view of the members, its answer to a request, and its steps |

pub mod plan;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::MemberChange;
use banyan_core::keyspace::member::MemberGoal;
use banyan_core::state::{Admission, Members};
use bytes::Bytes;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{BasicNode, ChangeMembers};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::plan::{Plan, Situation, Step};
use self::request::{MemberRequest, Refusal};
use super::intake::Submission;
use super::replica::Replica;
use super::types::{LogId, NodeId};

/// How often the leader looks at what the members are to be.
const STEP_INTERVAL: Duration = Duration::from_millis(100);
/// Wait after a step that failed.
const FAILED_STEP_PAUSE: Duration = Duration::from_millis(500);
/// A step is given up after this; what it has put into the log may still take effect.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for another to lead after it was asked to.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for the members that are left to reach the feature level that a silent one held back.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for a change of goals to be applied.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A node counts as one that holds connections for so long after it has let the last go: it should hear of that itself.
const LET_GO_GRACE: Duration = Duration::from_millis(500);
/// A member that has not answered the leader for this long does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

impl Replica {
    /// What the members are to be, as applied here.
    #[must_use]
    pub fn member_goals(&self) -> Arc<Members> {
        Arc::clone(self.shared.state.lock().members())
    }

    /// The members as this node sees them while it leads.
    fn situation(&self) -> Option<Situation> {
        let leader = self.raft().as_leader().ok()?.to_committed_leader_id();
        let (members, holders) = {
            let state = self.shared.state.lock();
            let holders = state.holders().into_iter().map(|(node_id, _)| node_id).collect();
            (Arc::clone(state.members()), holders)
        };
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if leader.node_id != self.node_id() || metrics.id != self.node_id() {
            return None;
        }
        let membership = &metrics.membership_config;
        let configs = membership.membership().get_joint_config();
        let voters: BTreeSet<NodeId> = configs.last()?.clone();
        let all: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
        let ever_voting: BTreeSet<NodeId> = membership.voter_ids().collect();
        let answered = metrics.heartbeat.iter().flatten();
        let mut answering: BTreeSet<NodeId> = answered
            .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < ANSWER_MAX))
            .map(|(id, _)| *id)
            .collect();
        answering.insert(self.node_id());
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.iter().flatten();
        let mut lag: BTreeMap<NodeId, u64> = matched
            .map(|(id, matched)| {
                let index = matched.as_ref().map(LogId::index);
                (
                    *id,
                    index.map_or(last.saturating_add(1), |index| last.saturating_sub(index)),
                )
            })
            .collect();
        lag.insert(self.node_id(), 0);
        Some(Situation {
            leader: self.node_id(),
            outgoing: ever_voting.difference(&voters).copied().collect(),
            is_joint: configs.len() > 1,
            learners: all.difference(&ever_voting).copied().collect(),
            voters,
            answering,
            lag,
            holders,
            members,
            log_time_us: self.log_time_us(),
        })
    }

    /// Answers a request about the members, as leader; changes nothing if `dry_run`.
    ///
    /// # Errors
    /// It is refused, or could not be written.
    pub async fn decide(&self, request: &MemberRequest, dry_run: bool) -> Result<Plan, Refusal> {
        // Also makes sure that the state is not older than what was decided before.
        let index = self.confirm_read_index().await.map_err(|_| Refusal::NotLeader)?;
        self.wait_applied(index).await;
        let situation = self.situation().ok_or(Refusal::NotLeader)?;
        let plan = situation.plan(request)?;
        if let MemberRequest::Enter {
            token, node_id, nonce, ..
        } = request
        {
            self.admit(token, *node_id, *nonce)?;
        }
        if dry_run || plan.is_done {
            return Ok(plan);
        }
        if let MemberRequest::Remove(node_id) = request
            && self.feature_level() < MemberChange::FEATURE_LEVEL
            && !situation.answering.contains(node_id)
        {
            let is_voter = situation.voters.contains(node_id);
            return self.remove_silent(*node_id, is_voter).await.map(|()| plan);
        }
        let change = match request.clone() {
            MemberRequest::IssueToken {
                token,
                lifetime_us,
                voter,
                replaces,
            } => MemberChange::IssueToken {
                token,
                lifetime_us,
                voter,
                replaces,
            },
            MemberRequest::Enter {
                token,
                node_id,
                nonce,
                address,
            } => MemberChange::Enter {
                token,
                node_id,
                nonce,
                address: Bytes::from(address),
            },
            MemberRequest::Promote(node_id) => goal(node_id, MemberGoal::Voter),
            MemberRequest::Demote(node_id) => goal(node_id, MemberGoal::Learner),
            MemberRequest::Remove(node_id) => goal(node_id, MemberGoal::Leaves),
            MemberRequest::Replace { old, new } => MemberChange::Replace { old, new },
            MemberRequest::Lead(to) => {
                let heir = situation.next_leader(to).ok_or(Refusal::NotLeader)?;
                return match self.hand_over(heir).await {
                    true => Ok(plan),
                    false => Err(Refusal::Unknown(format!("node {heir} has not taken over in time"))),
                };
            }
        };
        self.change_members(change).await?;
        match request {
            MemberRequest::Enter {
                token, node_id, nonce, ..
            } => {
                self.admit(token, *node_id, *nonce)?;
            }
            MemberRequest::IssueToken { token, .. } if self.member_goals().tokens().all(|(hash, _)| hash != token) => {
                return Err(Refusal::Unsafe(
                    "There are too many join tokens that nobody has used. Wait until one expires.".to_owned(),
                ));
            }
            _ => {}
        }
        Ok(plan)
    }

    fn admit(&self, token: &[u8; 32], node_id: NodeId, nonce: u64) -> Result<Admission, Refusal> {
        self.member_goals()
            .admit(token, node_id, nonce, self.log_time_us())
            .map_err(|refusal| Refusal::Entry(refusal.to_string()))
    }

    /// Takes a member out that does not answer, in a cluster below the level of goals: it is what holds the level back. Its id is
    /// marked as one that has left once there are goals.
    async fn remove_silent(&self, node_id: NodeId, is_voter: bool) -> Result<(), Refusal> {
        let step = Step::Remove { node_id, is_voter };
        self.take(step.clone()).await?;
        tracing::info!(step = %step, "membership");
        let deadline = Instant::now() + LEVEL_TIMEOUT;
        while self.feature_level() < MemberChange::FEATURE_LEVEL && Instant::now() < deadline {
            tokio::time::sleep(STEP_INTERVAL).await;
        }
        if let Err(error) = self.change_members(goal(node_id, MemberGoal::Leaves)).await {
            tracing::warn!(node = node_id, %error, "its id is not marked as one that has left: do not start it again");
        }
        Ok(())
    }

    /// Puts a change of what the members are to be into the log and waits until it is applied here. The one place that does.
    ///
    /// # Errors
    /// This node does not lead any more; then it may still take effect.
    async fn change_members(&self, change: MemberChange) -> Result<(), Refusal> {
        if self.feature_level() < MemberChange::FEATURE_LEVEL {
            return Err(Refusal::Unavailable(
                "the cluster has not reached the feature level that this needs".to_owned(),
            ));
        }
        let (written, applied) = oneshot::channel();
        self.submit(Submission::MemberChange { change, written });
        match tokio::time::timeout(CHANGE_TIMEOUT, applied).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Refusal::Unknown("the change was not applied in time".to_owned())),
        }
    }

    /// Lets `heir` lead; whether it does.
    async fn hand_over(&self, heir: NodeId) -> bool {
        let handed_over = tokio::time::timeout(HAND_OVER_TIMEOUT, self.hand_over_to(heir)).await;
        let leader = self.leadership().leader;
        handed_over.is_ok() && leader.is_some_and(|leader| leader != self.node_id())
    }

    /// Sets where `node_id` is reached, as leader, as the node itself says.
    ///
    /// # Errors
    /// Not now: this node does not lead, or another change is under way.
    pub async fn set_address(&self, node_id: NodeId, address: &str) -> Result<(), Refusal> {
        let Some(member) = self.members().iter().find(|member| member.node_id == node_id).cloned() else {
            return Err(Refusal::NoSuchMember(node_id));
        };
        if member.peer_address == address {
            return Ok(());
        }
        tracing::info!(
            node = node_id,
            from = member.peer_address,
            to = address,
            "a member has another address"
        );
        let nodes = BTreeMap::from([(node_id, BasicNode::new(address))]);
        self.change_membership(ChangeMembers::SetNodes(nodes), true).await
    }

    async fn change_membership(&self, change: ChangeMembers<NodeId, BasicNode>, retain: bool) -> Result<(), Refusal> {
        match tokio::time::timeout(STEP_TIMEOUT, self.raft().change_membership(change, retain)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Refusal::Unavailable(error.to_string())),
            Err(_) => Err(Refusal::Unknown("no quorum has agreed in time".to_owned())),
        }
    }

    /// Takes one step towards what the members are to be.
    async fn take(&self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Finish { retain } => {
                self.change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), retain)
                    .await
            }
            Step::AddLearner { node_id, address } => {
                let nodes = BTreeMap::from([(node_id, BasicNode::new(address))]);
                self.change_membership(ChangeMembers::AddNodes(nodes), true).await
            }
            Step::Promote { node_id, instead_of } => {
                let mut change = vec![ChangeMembers::AddVoterIds(BTreeSet::from([node_id]))];
                change.extend(instead_of.map(|old| ChangeMembers::RemoveVoters(BTreeSet::from([old]))));
                self.change_membership(ChangeMembers::Batch(change), true).await
            }
            Step::Demote(node_id) => {
                let voters = BTreeSet::from([node_id]);
                self.change_membership(ChangeMembers::RemoveVoters(voters), true).await
            }
            Step::Remove { node_id, is_voter } => {
                let nodes = BTreeSet::from([node_id]);
                match is_voter {
                    true => self.change_membership(ChangeMembers::RemoveVoters(nodes), false).await,
                    false => self.change_membership(ChangeMembers::RemoveNodes(nodes), false).await,
                }
            }
            Step::HandOver(heir) => match self.hand_over(heir).await {
                true => Ok(()),
                false => Err(Refusal::Unknown(format!("node {heir} has not taken over in time"))),
            },
            Step::Leave(node_id) => self.change_members(goal(node_id, MemberGoal::Leaves)).await,
            Step::Forget(node_id) => self.change_members(MemberChange::Forget { node_id }).await,
        }
    }

    /// Works towards what the members are to be whenever this node leads, until `stop`.
    pub async fn keep_members(self: Arc<Self>, stop: CancellationToken) {
        let working = async {
            let mut held: BTreeMap<NodeId, Instant> = BTreeMap::new();
            loop {
                tokio::time::sleep(STEP_INTERVAL).await;
                let Some(mut situation) = self.situation() else {
                    held.clear();
                    continue;
                };
                held.extend(situation.holders.iter().map(|node_id| (*node_id, Instant::now())));
                held.retain(|_, at| at.elapsed() < LET_GO_GRACE);
                situation.holders.extend(held.keys());
                let Some(step) = situation.next_step() else {
                    continue;
                };
                match self.take(step.clone()).await {
                    Ok(()) => tracing::info!(step = %step, "membership"),
                    Err(error) => {
                        tracing::debug!(step = %step, %error, "a step of membership has to be taken again");
                        tokio::time::sleep(FAILED_STEP_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = working => {}
        }
    }
}

fn goal(node_id: NodeId, goal: MemberGoal) -> MemberChange {
    MemberChange::SetGoal { node_id, goal }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finish { .. } => write!(f, "a change that an earlier leader began is finished"),
            Self::AddLearner { node_id, address } => write!(f, "node {node_id} at {address} receives the log"),
            Self::Promote {
                node_id,
                instead_of: None,
            } => write!(f, "node {node_id} has a vote"),
            Self::Promote {
                node_id,
                instead_of: Some(old),
            } => write!(f, "node {node_id} has the vote of node {old}"),
            Self::Demote(node_id) => write!(f, "node {node_id} has no vote any more"),
            Self::HandOver(node_id) => write!(f, "node {node_id} leads, since this node is to have no vote"),
            Self::Remove { node_id, .. } => write!(f, "node {node_id} is no member any more"),
            Self::Leave(node_id) => write!(f, "node {node_id}, which was replaced, leaves"),
            Self::Forget(node_id) => write!(f, "node {node_id} has left"),
        }
    }
}
