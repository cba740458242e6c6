//! What is asked for, and what came of it.

use std::sync::Arc;

use banyan_node::service::members::{MemberRequest, Refusal};
use rand::Rng;

use super::effect::Effect;
use super::{Churn, Wanted, any};
use crate::faults::episode::World;
use crate::history::Time;

/// A node that was asked gives up after this, microseconds.
pub(super) const ASK_US: Time = 12_000_000;
/// What was under way then may be decided upon until this much later, microseconds.
pub(super) const LATE_US: Time = 15_000_000;
/// Times that the same is asked for.
pub(super) const ASKS_MAX: u32 = 4;
/// Times that it is refused.
pub(super) const REFUSALS_MAX: u32 = 2;
/// What is asked for until it is accepted: all of it, in this order.
pub(super) struct Job {
    pub(super) requests: Vec<MemberRequest>,
    pub(super) wanted: Wanted,
    pub(super) asks: u32,
    pub(super) refusals: u32,
}

/// What was asked for, and until when whoever was asked goes on with it.
pub(super) struct Asked {
    pub(super) effect: Effect,
    pub(super) until: Time,
}

/// What came of a request.
pub(super) struct Answer {
    pub(super) request: MemberRequest,
    pub(super) asked_at: Time,
    pub(super) result: Result<(), Refusal>,
}

impl Churn {
    pub(super) fn take_in(&mut self, world: &mut World<'_>, answer: Answer) {
        let Answer {
            request,
            asked_at,
            result,
        } = answer;
        let is_decided = match &result {
            Ok(()) => true,
            Err(Refusal::NotLeader | Refusal::Unavailable(_) | Refusal::Unknown(_)) => false,
            // The node that was asked has not heard that the level was reached.
            Err(Refusal::Unsafe(reason)) if reason.contains("feature level") => false,
            Err(_) => true,
        };
        let told = match &result {
            Ok(()) => "yes".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        world.cluster.note(format!("{}: {told}", text(&request)));
        if !is_decided {
            return;
        }
        // Who decides as leader has applied all that any leader before has written.
        self.asked.retain(|asked| asked.until + LATE_US >= asked_at);
        let is_yes = result.is_ok();
        world.cluster.count(|counters| match is_yes {
            true => counters.member_acceptances += 1,
            false => counters.member_refusals += 1,
        });
        if let (MemberRequest::IssueToken { token, .. }, true) = (&request, is_yes) {
            let issued = self.newcomers.iter_mut().filter(|one| one.token.hash() == *token);
            issued.for_each(|newcomer| newcomer.is_issued = true);
        }
        let Some(job) = self.job.as_mut().filter(|job| job.requests.contains(&request)) else {
            return;
        };
        match result {
            Ok(()) if job.requests.last() == Some(&request) => {
                self.accepted.push(job.wanted);
                self.job = None;
            }
            Ok(()) => {}
            Err(refusal) => {
                job.refusals += 1;
                let is_final = matches!(refusal, Refusal::Entry(_) | Refusal::NoSuchMember(_));
                if is_final || job.refusals >= REFUSALS_MAX {
                    self.give_up(world, "it is refused");
                }
            }
        }
    }

    pub(super) fn give_up(&mut self, world: &mut World<'_>, why: &str) {
        let Some(job) = self.job.take() else { return };
        let told: Vec<_> = job.requests.iter().map(text).collect();
        world.cluster.note(format!("{}: given up, {why}", told.join(", ")));
    }

    pub(super) fn ask_for_job(&mut self, world: &mut World<'_>) -> Option<()> {
        let job = self.job.as_mut()?;
        job.asks += 1;
        let (requests, effect) = (job.requests.clone(), job.wanted.effect);
        let until = world.cluster.now() + ASK_US * requests.len() as Time;
        self.asked.push(Asked { effect, until });
        if world.random.random_bool(0.15) {
            // Through two nodes at a time.
            self.ask(world, requests.clone());
        }
        self.ask(world, requests)
    }

    /// Asks a node that runs, until it refuses one of the `requests` or knows no answer.
    pub(super) fn ask(&self, world: &mut World<'_>, requests: Vec<MemberRequest>) -> Option<()> {
        let id = world.any_up()?;
        let service = world.cluster.nodes()[&id].server()?.service().clone();
        let told: Vec<_> = requests.iter().map(text).collect();
        world.cluster.note(format!("n{id} is asked: {}", told.join(", ")));
        world.cluster.count(|counters| counters.member_requests += 1);
        let (answers, asked_at) = (Arc::clone(&self.answers), world.cluster.now());
        world.cluster.nodes()[&id].spawn(async move {
            for request in requests {
                let result = service.change_members(request.clone(), false).await.map(drop);
                let goes_on = result.is_ok();
                answers.lock().push(Answer {
                    request,
                    asked_at,
                    result,
                });
                if !goes_on {
                    return;
                }
            }
        })?;
        Some(())
    }

    pub(super) fn lead(&self, world: &mut World<'_>) -> Option<()> {
        let membership = world.cluster.memberships().possible().last()?.settled();
        let voters: Vec<u64> = membership.voters.iter().flatten().copied().collect();
        let heir = any(world, &voters).filter(|_| world.random.random_bool(0.8));
        world.cluster.count(|counters| counters.transfers += 1);
        self.ask(world, vec![MemberRequest::Lead(heir)])
    }
}

/// What is asked, in words.
fn text(request: &MemberRequest) -> String {
    match request {
        MemberRequest::IssueToken { voter, replaces, .. } => {
            let what = if *voter { "a voter" } else { "a learner" };
            let place = replaces
                .map(|old| format!(" in the place of n{old}"))
                .unwrap_or_default();
            format!("a token for {what}{place}")
        }
        MemberRequest::Enter { node_id, .. } => format!("let n{node_id} in"),
        MemberRequest::Promote(id) => format!("promote n{id}"),
        MemberRequest::Demote(id) => format!("demote n{id}"),
        MemberRequest::Remove(id) => format!("remove n{id}"),
        MemberRequest::Replace { old, new } => format!("n{new} takes the place of n{old}"),
        MemberRequest::Lead(Some(id)) => format!("n{id} leads"),
        MemberRequest::Lead(None) => "another leads".to_owned(),
    }
}
