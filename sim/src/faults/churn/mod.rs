//! M1: who belongs to the cluster changes while everything else goes wrong; leaderships are handed over, elections forced.
//!
//! All of it by the requests of an operator, through some node that runs: they set goals, which whoever leads works towards. A
//! request may be lost, answered by nobody, decided twice or after a while; then it is made again, through another node. What it
//! leads to may come about at any later time, or never. So the atlas is told of every set of voters that may follow from what was
//! asked, and only what leaves a sound majority in each of them is asked for: voters that have lost their disks are the first to
//! be replaced.
//!
//! A new node enters with a token, which it shows itself; or somebody shows it in its name while it is cut off and the others
//! purge their log: it then begins with a snapshot. An id that was a member's once is never used again. Nodes that are removed
//! learn it from the others, and stop. Now and then the leader loses its power between two sets of voters.

mod asking;
mod effect;
mod newcomers;

use std::sync::Arc;

use banyan_core::state::Members;
use banyan_node::service::members::MemberRequest;
use parking_lot::Mutex;
use rand::Rng;

use self::asking::{ASK_US, ASKS_MAX, Answer, Asked, Job};
use self::effect::{Effect, reachable};
use self::newcomers::{Newcomer, others, purge};
use super::episode::{Episode, World};
use crate::cluster::links::host;
use crate::history::MembershipSeen;

/// Fewest voters that are left.
const VOTERS_MIN: usize = 3;
/// Changes of members and leaders.
#[derive(Default)]
pub struct Churn {
    /// What is asked for, until it is accepted.
    job: Option<Job>,
    newcomers: Vec<Newcomer>,
    /// What was asked for and may still be decided upon.
    asked: Vec<Asked>,
    /// What was accepted and has not come about yet.
    accepted: Vec<Wanted>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// What the members are to be, by the state that has applied the most, and how much that is.
    goals: (u64, Arc<Members>),
}

/// What is to come about.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    effect: Effect,
    /// Who is to be a member, with or without a vote.
    member: Option<u64>,
}

/// A change under way.
#[derive(Default)]
pub struct Underway {
    /// The node that comes.
    comes: Option<u64>,
    /// It is cut off from the others meanwhile.
    cut_off: bool,
}

impl Episode for Churn {
    type Active = Underway;

    fn gap_s(&self) -> (f64, f64) {
        (3.0, 9.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1.0, 6.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Underway> {
        self.look(world);
        self.start_newcomers(world);
        let mut underway = Underway::default();
        match world.random.random_range(0..10) {
            0 => elect(world)?,
            1 => self.lead(world)?,
            _ => {
                if self.job.is_none() {
                    (self.job, underway) = self.choose(world);
                }
                match self.job.is_some() {
                    true => self.ask_for_job(world)?,
                    false => self.lead(world)?,
                }
            }
        }
        let crashes = world.random.random_bool(0.4);
        world.cluster.crash_in_between(crashes);
        Some(underway)
    }

    fn struck(&self, underway: &Underway) -> Vec<u64> {
        underway.comes.into_iter().collect()
    }

    fn end(&mut self, world: &mut World<'_>, underway: Underway) {
        world.cluster.crash_in_between(false);
        if let Some(id) = underway.comes.filter(|_| underway.cut_off) {
            purge(world);
            let others = others(world, id);
            world.cluster.change_links(|links| {
                for other in &others {
                    links.mend(&host(id), other);
                    links.mend(other, &host(id));
                }
            });
        }
        self.look(world);
        self.start_newcomers(world);
    }
}

impl Churn {
    /// Takes in what has come of what was asked, and tells the atlas what may still come of it.
    fn look(&mut self, world: &mut World<'_>) {
        let answers = std::mem::take(&mut *self.answers.lock());
        for answer in answers {
            self.take_in(world, answer);
        }
        if self.job.as_ref().is_some_and(|job| job.asks >= ASKS_MAX) {
            self.give_up(world, "nobody says yes");
        }
        self.look_at_goals(world);
        let (goals, memberships) = (Arc::clone(&self.goals.1), world.cluster.memberships());
        let settled = memberships.settled().cloned();
        let open = self.accepted.len();
        self.accepted.retain(|wanted| {
            !settled
                .as_ref()
                .is_some_and(|settled| wanted.is_reached(settled, &goals))
        });
        let reached = (open - self.accepted.len()) as u64;
        world.cluster.count(|counters| counters.member_goals += reached);
        let now = world.cluster.now();
        // Whoever was turned away, or has lost everything, asks no more.
        let asked = &mut self.asked;
        self.newcomers.retain(|newcomer| {
            let is_out = newcomer.is_started && world.atlas.is_out(newcomer.id);
            if is_out {
                let (effect, until) = (newcomer.wanted.effect, now + ASK_US);
                asked.push(Asked { effect, until });
            }
            !is_out
        });
        // What was in force before holds more, if this is too much.
        self.plan(world, None);
    }

    fn look_at_goals(&mut self, world: &World<'_>) {
        for id in world.cluster.up() {
            let Some(server) = world.cluster.nodes()[id].server() else {
                continue;
            };
            let applied = server.replica().view().applied.map_or(0, |applied| applied.index);
            if applied > self.goals.0 {
                self.goals = (applied, server.replica().member_goals());
            }
        }
    }

    /// Whether all that may come of the members is safe, if they are asked for `more` too; then it may.
    fn plan(&self, world: &mut World<'_>, more: Option<Effect>) -> bool {
        let mut effects = Effect::of_goals(&self.goals.1);
        effects.extend(self.asked.iter().map(|asked| asked.effect));
        let entering = self.newcomers.iter().filter(|newcomer| newcomer.is_started);
        effects.extend(entering.map(|newcomer| newcomer.wanted.effect));
        effects.extend(more);
        let possible: Vec<_> = world.cluster.memberships().possible().cloned().collect();
        let planned = reachable(&possible, &effects, &self.goals.1);
        let enough = |membership: &MembershipSeen| membership.voters.iter().all(|voters| voters.len() >= VOTERS_MIN);
        (more.is_none() || planned.iter().all(enough)) && world.atlas.plan(planned)
    }

    /// What comes to mind, if it leaves a sound majority.
    fn choose(&mut self, world: &mut World<'_>) -> (Option<Job>, Underway) {
        let Some(now) = world
            .cluster
            .memberships()
            .possible()
            .last()
            .map(MembershipSeen::settled)
        else {
            return Default::default();
        };
        let voters: Vec<u64> = now.voters.iter().flatten().copied().collect();
        let (learns, silent): (Vec<u64>, Vec<u64>) = now.learners.iter().partition(|id| world.atlas.is_sound(**id));
        let lost = voters.iter().copied().find(|id| !world.atlas.is_sound(*id));
        let (Some(voter), learner) = (any(world, &voters), any(world, &learns)) else {
            return Default::default();
        };
        let choice = match (lost, silent.first()) {
            (Some(_), _) if world.random.random_bool(0.6) => world.random.random_range(0..2),
            (_, Some(silent)) if world.random.random_bool(0.3) => {
                return (self.job(world, MemberRequest::Remove(*silent)), Underway::default());
            }
            _ => world.random.random_range(0..9),
        };
        let old = lost.unwrap_or(voter);
        let request = match (choice, self.spare(world), learner) {
            (0, Some(new), _) => return self.let_in(world, new, true, Some(old)),
            (2 | 3, Some(new), _) => {
                let votes = world.random.random_bool(0.7);
                return self.let_in(world, new, votes, None);
            }
            (0 | 1, _, Some(new)) => MemberRequest::Replace { old, new },
            (3 | 4, _, Some(learner)) => MemberRequest::Promote(learner),
            (5, _, Some(learner)) => MemberRequest::Remove(learner),
            (4..=6, ..) => MemberRequest::Demote(voter),
            _ => MemberRequest::Remove(voter),
        };
        (self.job(world, request), Underway::default())
    }

    fn job(&self, world: &mut World<'_>, request: MemberRequest) -> Option<Job> {
        let (effect, member) = match request {
            MemberRequest::Promote(id) => (
                Effect {
                    comes: Some(id),
                    ..Effect::default()
                },
                None,
            ),
            MemberRequest::Demote(id) => (
                Effect {
                    goes: Some(id),
                    ..Effect::default()
                },
                Some(id),
            ),
            MemberRequest::Remove(id) => (
                Effect {
                    goes: Some(id),
                    leaves: true,
                    ..Effect::default()
                },
                None,
            ),
            MemberRequest::Replace { old, new } => (
                Effect {
                    comes: Some(new),
                    goes: Some(old),
                    leaves: true,
                },
                None,
            ),
            _ => return None,
        };
        self.plan(world, Some(effect)).then(|| Job {
            requests: vec![request],
            wanted: Wanted { effect, member },
            asks: 0,
            refusals: 0,
        })
    }
}

impl Wanted {
    fn is_reached(&self, settled: &MembershipSeen, goals: &Members) -> bool {
        let Effect { comes, goes, leaves } = self.effect;
        self.member.is_none_or(|id| settled.members().contains(&id))
            && comes.is_none_or(|id| settled.has_vote(id))
            && goes.is_none_or(|id| !settled.has_vote(id) && (!leaves || goals.is_gone(id)))
    }
}

fn elect(world: &mut World<'_>) -> Option<()> {
    let id = world.any_up()?;
    let raft = world.cluster.nodes()[&id].server()?.replica().raft().clone();
    let asks_first = world.random.random_bool(0.3);
    world.cluster.note(format!("n{id} is told to stand for election"));
    world.cluster.count(|counters| counters.elections += 1);
    world.cluster.nodes()[&id].spawn(async move {
        // It may have stopped.
        let _ = raft.trigger().elect(asks_first).await;
    })?;
    Some(())
}

fn any(world: &mut World<'_>, of: &[u64]) -> Option<u64> {
    (!of.is_empty()).then(|| of[world.random.random_range(0..of.len())])
}
