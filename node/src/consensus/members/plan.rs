//! The rules of changing the members, without any doing: what is refused, and what the leader does next.
//!
//! An operator's request only sets a goal ([`MemberChange`](banyan_core::command::MemberChange)); who leads then takes the
//! steps that lead to it, one after the other, each only if a quorum of what the step leads to answers now. So a step is safe
//! to repeat, and a new leader goes on where the former stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banyan_core::keyspace::member::{MemberGoal, MemberRow};
use banyan_core::planted::{Bug, planted};
use banyan_core::state::Members;
use serde::{Deserialize, Serialize};

use super::request::{MemberRequest, Refusal};
use crate::consensus::types::NodeId;

/// A learner that lacks no more entries than this has caught up.
const CAUGHT_UP_ENTRIES: u64 = 500;
/// A node that leaves has this long to let its clients go, and at least [`LEAVE_TIME_MIN_US`], microseconds.
const LEAVE_TIME_MAX_US: u64 = 10_000_000;
/// For requests without a connection that shows, microseconds.
const LEAVE_TIME_MIN_US: u64 = 1_000_000;

/// Voters that must agree where there are so many.
#[must_use]
pub const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// The members as their leader sees them.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// The leader, who looks.
    pub leader: NodeId,
    /// Who has a vote; while two sets of voters are in force at a time, of the newer.
    pub voters: BTreeSet<NodeId>,
    /// Who has a vote only in the older set, while two are in force.
    pub outgoing: BTreeSet<NodeId>,
    /// Whether two sets of voters are in force.
    pub is_joint: bool,
    /// Who receives the log and has no vote.
    pub learners: BTreeSet<NodeId>,
    /// Who has answered the leader not long ago, itself among them.
    pub answering: BTreeSet<NodeId>,
    /// How many entries of the log each other member lacks.
    pub lag: BTreeMap<NodeId, u64>,
    /// Who holds clients' connections.
    pub holders: BTreeSet<NodeId>,
    /// What the members are to be.
    pub members: Arc<Members>,
    /// Log time now, microseconds.
    pub log_time_us: u64,
}

/// One step towards what the members are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Leave the older of two sets of voters; who was only in that stays a learner if `retain`.
    Finish {
        /// Whether who loses its vote stays.
        retain: bool,
    },
    /// Let a node receive the log.
    AddLearner {
        /// The node.
        node_id: NodeId,
        /// Where it is reached.
        address: String,
    },
    /// Give a learner a vote, and take that of another away in the same step.
    Promote {
        /// The learner.
        node_id: NodeId,
        /// Who loses its vote.
        instead_of: Option<NodeId>,
    },
    /// Take a vote away.
    Demote(NodeId),
    /// Let this voter lead.
    HandOver(NodeId),
    /// Take a member out.
    Remove {
        /// The member.
        node_id: NodeId,
        /// Whether it has a vote.
        is_voter: bool,
    },
    /// Set the goal of a replaced node: it leaves.
    Leave(NodeId),
    /// End what the state knows of a node that is out.
    Forget(NodeId),
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Voters before.
    pub before: Vec<NodeId>,
    /// Voters once it is done.
    pub after: Vec<NodeId>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// Whether all is as asked already.
    pub is_done: bool,
}

impl Situation {
    fn is_member(&self, node_id: NodeId) -> bool {
        self.voters.contains(&node_id) || self.outgoing.contains(&node_id) || self.learners.contains(&node_id)
    }

    fn answers(&self, node_id: NodeId) -> bool {
        self.answering.contains(&node_id)
    }

    /// Whether a quorum of `voters` answers.
    fn works(&self, voters: &BTreeSet<NodeId>) -> bool {
        !voters.is_empty() && voters.intersection(&self.answering).count() >= quorum(voters.len())
    }

    fn has_caught_up(&self, node_id: NodeId) -> bool {
        self.answers(node_id) && self.lag.get(&node_id).is_some_and(|lag| *lag <= CAUGHT_UP_ENTRIES)
    }

    fn with(&self, added: Option<NodeId>, removed: Option<NodeId>) -> BTreeSet<NodeId> {
        let mut voters = self.voters.clone();
        voters.extend(added);
        if let Some(removed) = removed {
            voters.remove(&removed);
        }
        voters
    }

    /// The voter that is fit best to lead after this node.
    fn heir(&self) -> Option<NodeId> {
        let fit = self.voters.iter().copied().filter(|id| {
            *id != self.leader
                && self.has_caught_up(*id)
                && !matches!(
                    self.members.goal(*id),
                    Some(MemberGoal::Learner | MemberGoal::Leaves | MemberGoal::Gone)
                )
                && !self.members.rows().any(|(_, row)| row.replaces == Some(*id))
        });
        fit.min_by_key(|id| (self.lag.get(id).copied(), *id))
    }

    /// Whether the node has let its clients go, or has had the time to.
    fn has_let_go(&self, node_id: NodeId, row: &MemberRow) -> bool {
        let since_us = self.log_time_us.saturating_sub(row.since_us);
        !self.answers(node_id)
            || since_us >= LEAVE_TIME_MAX_US
            || (since_us >= LEAVE_TIME_MIN_US && !self.holders.contains(&node_id))
    }

    /// What to do next; `None` if all is as it is to be, or nothing can safely be done now.
    #[must_use]
    pub fn next_step(&self) -> Option<Step> {
        if self.is_joint {
            let retain = self.outgoing.iter().all(|id| !self.members.is_leaving(*id));
            return (!planted(Bug::Joint)).then_some(Step::Finish { retain });
        }
        self.members
            .rows()
            .find_map(|(id, row)| self.step_of_heir(id, row))
            .or_else(|| self.members.rows().find_map(|(id, row)| self.step_of(id, row)))
    }

    /// A node that takes the place of another. Before all else, since what is asked of the other follows from it.
    fn step_of_heir(&self, node_id: NodeId, row: &MemberRow) -> Option<Step> {
        let old = row.replaces?;
        if self.voters.contains(&node_id) {
            return Some(Step::Leave(old));
        }
        if !self.learners.contains(&node_id) || !self.has_caught_up(node_id) || !self.voters.contains(&old) {
            return None;
        }
        if old == self.leader {
            // With nobody else to lead, the new one gets a vote beside the old one, which hands over to it when it leaves.
            let beside = self.works(&self.with(Some(node_id), None)).then_some(Step::Promote {
                node_id,
                instead_of: None,
            });
            return self.heir().map(Step::HandOver).or(beside);
        }
        self.works(&self.with(Some(node_id), Some(old)))
            .then_some(Step::Promote {
                node_id,
                instead_of: Some(old),
            })
    }

    fn step_of(&self, node_id: NodeId, row: &MemberRow) -> Option<Step> {
        let is_voter = self.voters.contains(&node_id);
        match row.goal {
            MemberGoal::Gone => None,
            MemberGoal::Learner | MemberGoal::Voter if !self.is_member(node_id) => {
                let address = String::from_utf8_lossy(&row.address).into_owned();
                (!address.is_empty()).then_some(Step::AddLearner { node_id, address })
            }
            MemberGoal::Learner if is_voter => match node_id == self.leader {
                true => self.heir().map(Step::HandOver),
                false => self
                    .works(&self.with(None, Some(node_id)))
                    .then_some(Step::Demote(node_id)),
            },
            MemberGoal::Learner => None,
            MemberGoal::Voter => {
                let waits = row.replaces.is_some_and(|old| self.voters.contains(&old));
                let may = !is_voter && !waits && self.has_caught_up(node_id);
                (may && self.works(&self.with(Some(node_id), None))).then_some(Step::Promote {
                    node_id,
                    instead_of: None,
                })
            }
            MemberGoal::Leaves if !self.is_member(node_id) => Some(Step::Forget(node_id)),
            MemberGoal::Leaves if node_id == self.leader => self.heir().map(Step::HandOver),
            MemberGoal::Leaves => {
                let is_safe = !is_voter || self.works(&self.with(None, Some(node_id)));
                (is_safe && self.has_let_go(node_id, row)).then_some(Step::Remove { node_id, is_voter })
            }
        }
    }

    /// What `request` leads to.
    ///
    /// # Errors
    /// It would lose the quorum, or asks for what cannot be.
    pub fn plan(&self, request: &MemberRequest) -> Result<Plan, Refusal> {
        match *request {
            MemberRequest::IssueToken { voter, replaces, .. } => self.plan_token(voter, replaces),
            // Judged by the state.
            MemberRequest::Enter { node_id, .. } => {
                // Whoever is a member without ever having entered with a token.
                if self.is_member(node_id) && self.members.get(node_id).is_none_or(|row| row.nonce == 0) {
                    return Err(Refusal::Entry(format!(
                        "node {node_id} is a member already; if its data is lost, remove the member and give this node another id \
                         (leave `node_id` out)"
                    )));
                }
                Ok(self.unchanged())
            }
            MemberRequest::Promote(node_id) => self.plan_promote(node_id),
            MemberRequest::Demote(node_id) => {
                self.member(node_id)?;
                if !self.voters.contains(&node_id) {
                    return Ok(self.done(format!("node {node_id} is a learner already")));
                }
                self.plan_without(node_id, "demoting")
            }
            MemberRequest::Remove(node_id) => {
                if self.members.is_gone(node_id) {
                    return Ok(self.done(format!("node {node_id} has left already")));
                }
                if self.members.is_leaving(node_id) {
                    return Ok(self.done(format!("node {node_id} is leaving already")));
                }
                let is_known = self.members.get(node_id).is_some();
                if !is_known {
                    self.member(node_id)?;
                }
                if !self.voters.contains(&node_id) {
                    return Ok(self.unchanged());
                }
                self.plan_without(node_id, "removing")
            }
            MemberRequest::Replace { old, new } => self.plan_replace(old, new),
            MemberRequest::Lead(to) => self.plan_lead(to),
        }
    }

    fn plan_token(&self, voter: bool, replaces: Option<NodeId>) -> Result<Plan, Refusal> {
        if let Some(old) = replaces {
            self.member(old)?;
        }
        let mut plan = self.unchanged();
        if voter {
            // Id 0, which no node has: the one that comes.
            plan.after = self.with(Some(0), replaces).into_iter().collect();
            let answering = self.voters.intersection(&self.answering).count();
            if replaces.is_none() && quorum(plan.after.len()) > answering {
                plan.notes
                    .push("once it is a voter, the cluster writes only while the new node answers".to_owned());
            }
        }
        Ok(plan)
    }

    fn plan_promote(&self, node_id: NodeId) -> Result<Plan, Refusal> {
        self.member(node_id)?;
        if self.members.is_leaving(node_id) {
            return Err(Refusal::Unsafe(format!(
                "Node {node_id} is leaving, and there is no way back. Let a new node enter with `banyanctl member add`."
            )));
        }
        if self.voters.contains(&node_id) {
            return Ok(self.done(format!("node {node_id} is a voter already")));
        }
        if !self.answers(node_id) {
            return Err(Refusal::Unsafe(format!(
                "Node {node_id} does not answer: as a voter it would only count against the quorum. Start it, and try again."
            )));
        }
        if !self.has_caught_up(node_id) {
            let lag = self.lag.get(&node_id).copied().unwrap_or_default();
            return Err(Refusal::Unsafe(format!(
                "Node {node_id} lags {lag} entries behind, at most {CAUGHT_UP_ENTRIES} are allowed. Wait until it has caught \
                 up (see BEHIND of `banyanctl member list`), and try again."
            )));
        }
        let after = self.with(Some(node_id), None);
        if !self.works(&after) {
            return Err(Refusal::Unsafe(format!(
                "With {} voters {} must agree, and {}. Start a voter that does not answer, or replace it (`banyanctl member \
                 replace OLD {node_id}`).",
                after.len(),
                quorum(after.len()),
                self.silent_text(),
            )));
        }
        Ok(self.towards(after))
    }

    /// A voter loses its vote.
    fn plan_without(&self, node_id: NodeId, doing: &str) -> Result<Plan, Refusal> {
        self.alone_in_change(node_id)?;
        let after = self.with(None, Some(node_id));
        if after.is_empty() {
            return Err(Refusal::Unsafe(format!(
                "Node {node_id} is the last voter: without it there is no cluster. Let another node enter first (`banyanctl \
                 member add`)."
            )));
        }
        if !self.works(&after) {
            return Err(Refusal::Unsafe(format!(
                "{doing} node {node_id} would leave {} of which {} must agree, and {}: nothing could be written any more. \
                 Start {} first, or remove or replace it before.",
                voters_text(&after),
                quorum(after.len()),
                self.silent_of(&after),
                nodes_text(after.difference(&self.answering)),
            )));
        }
        Ok(self.towards(after))
    }

    fn plan_replace(&self, old: NodeId, new: NodeId) -> Result<Plan, Refusal> {
        if self.members.is_gone(old) && self.voters.contains(&new) {
            return Ok(self.done(format!("node {new} has taken the place of node {old} already")));
        }
        self.member(old)?;
        if self.members.get(new).is_none() {
            self.member(new)?;
        }
        if old == new {
            return Err(Refusal::Unsafe("A node cannot replace itself.".to_owned()));
        }
        if self.members.is_leaving(new) {
            return Err(Refusal::Unsafe(format!(
                "Node {new} is leaving, and there is no way back."
            )));
        }
        if self.voters.contains(&new) {
            return Err(Refusal::Unsafe(format!(
                "Node {new} is a voter already, and node {old} may simply leave: `banyanctl member remove {old}`."
            )));
        }
        self.alone_in_change(new)?;
        let after = match self.voters.contains(&old) {
            true => self.with(Some(new), Some(old)),
            false => self.with(Some(new), None),
        };
        let mut will_answer = self.answering.clone();
        will_answer.insert(new);
        if after.intersection(&will_answer).count() < quorum(after.len()) {
            return Err(Refusal::Unsafe(format!(
                "Replacing node {old} by node {new} would leave {} of which {} must agree, and {}. Start {} first.",
                voters_text(&after),
                quorum(after.len()),
                self.silent_of(&after),
                nodes_text(after.difference(&will_answer)),
            )));
        }
        let mut plan = self.towards(after);
        if !self.has_caught_up(new) {
            plan.notes.push(format!(
                "node {new} has not caught up yet: node {old} stays a member until then"
            ));
        }
        Ok(plan)
    }

    fn plan_lead(&self, to: Option<NodeId>) -> Result<Plan, Refusal> {
        let Some(to) = to else {
            return match self.heir() {
                Some(_) => Ok(self.unchanged()),
                None => Err(Refusal::Unsafe(
                    "There is no other voter that answers and has caught up. Start one, or wait until it has."
                        .to_owned(),
                )),
            };
        };
        self.member(to)?;
        if to == self.leader {
            return Ok(self.done(format!("node {to} leads already")));
        }
        if !self.voters.contains(&to) {
            return Err(Refusal::Unsafe(format!(
                "Node {to} is a learner, and only a voter can lead. Promote it first (`banyanctl member promote {to}`)."
            )));
        }
        if !self.has_caught_up(to) {
            return Err(Refusal::Unsafe(format!(
                "Node {to} does not answer or lags: writes would wait for it. Choose another, or wait until it has caught up."
            )));
        }
        Ok(self.unchanged())
    }

    /// The voter that is to lead when `to` was asked for.
    #[must_use]
    pub fn next_leader(&self, to: Option<NodeId>) -> Option<NodeId> {
        to.filter(|to| *to != self.leader).or_else(|| self.heir())
    }

    fn member(&self, node_id: NodeId) -> Result<(), Refusal> {
        match self.is_member(node_id) {
            true => Ok(()),
            false => Err(Refusal::NoSuchMember(node_id)),
        }
    }

    /// Only one voter is taken away at a time, so that the quorum that is told is the one that comes.
    fn alone_in_change(&self, node_id: NodeId) -> Result<(), Refusal> {
        let under_way = self.members.rows().find(|(id, row)| {
            *id != node_id
                && row.replaces != Some(node_id)
                && match row.goal {
                    MemberGoal::Leaves => true,
                    MemberGoal::Learner => self.voters.contains(id),
                    MemberGoal::Voter => row.replaces.is_some(),
                    MemberGoal::Gone => false,
                }
        });
        let Some((id, row)) = under_way else { return Ok(()) };
        let what = match (row.goal, row.replaces) {
            (MemberGoal::Leaves, _) => format!("Node {id} is leaving"),
            (_, Some(old)) => format!("Node {id} is taking the place of node {old}"),
            _ => format!("Node {id} is being demoted"),
        };
        Err(Refusal::Unsafe(format!(
            "{what}; one change at a time. Wait until it is done (`banyanctl member list`), and try again."
        )))
    }

    fn unchanged(&self) -> Plan {
        self.towards(self.voters.clone())
    }

    fn done(&self, note: String) -> Plan {
        Plan {
            notes: vec![note],
            is_done: true,
            ..self.unchanged()
        }
    }

    fn towards(&self, after: BTreeSet<NodeId>) -> Plan {
        let mut notes = Vec::new();
        if after.difference(&self.answering).any(|id| *id != 0) {
            notes.push(format!("{}: that is a failure already", self.silent_of(&after)));
        }
        let spare = after.len() - quorum(after.len());
        let had_spare = self.voters.len() > quorum(self.voters.len());
        if after.len() < self.voters.len() && spare == 0 && had_spare {
            notes.push("the cluster will not survive the loss of any voter".to_owned());
        }
        Plan {
            before: self.voters.iter().copied().collect(),
            after: after.into_iter().collect(),
            notes,
            is_done: false,
        }
    }

    fn silent_text(&self) -> String {
        self.silent_of(&self.voters)
    }

    fn silent_of(&self, voters: &BTreeSet<NodeId>) -> String {
        let silent = nodes_text(voters.difference(&self.answering).filter(|id| **id != 0));
        match silent.is_empty() {
            true => "all answer".to_owned(),
            false => format!(
                "{silent} {} not answer",
                if silent.contains(',') { "do" } else { "does" }
            ),
        }
    }
}

fn voters_text(voters: &BTreeSet<NodeId>) -> String {
    match voters.len() {
        1 => "1 voter".to_owned(),
        count => format!("{count} voters"),
    }
}

fn nodes_text<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    let ids: Vec<_> = nodes.map(NodeId::to_string).collect();
    match ids.len() {
        0 => String::new(),
        1 => format!("node {}", ids.concat()),
        _ => format!("nodes {}", ids.join(", ")),
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod plan_test;
