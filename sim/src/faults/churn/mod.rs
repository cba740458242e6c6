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

mod effect;

use std::collections::BTreeSet;
use std::sync::Arc;

use banyan_core::state::Members;
use banyan_node::service::members::{MemberRequest, Refusal};
use banyan_node::settings::join_token::JoinToken;
use parking_lot::Mutex;
use rand::Rng;

use self::effect::{Effect, reachable};
use super::episode::{Episode, World};
use crate::cluster::CLIENTS;
use crate::cluster::links::host;
use crate::components::net::PEER_PORT;
use crate::history::{MembershipSeen, Time};

/// Fewest voters that are left.
const VOTERS_MIN: usize = 3;
/// A node that was asked gives up after this, microseconds.
const ASK_US: Time = 12_000_000;
/// What was under way then may be decided upon until this much later, microseconds.
const LATE_US: Time = 15_000_000;
/// Times that the same is asked for.
const ASKS_MAX: u32 = 4;
/// Times that it is refused.
const REFUSALS_MAX: u32 = 2;
/// Lifetimes of tokens, microseconds.
const LIFETIMES_US: [u64; 3] = [2_000_000, 20_000_000, 600_000_000];

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

/// What is asked for until it is accepted: all of it, in this order.
struct Job {
    requests: Vec<MemberRequest>,
    wanted: Wanted,
    asks: u32,
    refusals: u32,
}

/// What is to come about.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    effect: Effect,
    /// Who is to be a member, with or without a vote.
    member: Option<u64>,
}

struct Asked {
    effect: Effect,
    until: Time,
}

struct Answer {
    request: MemberRequest,
    asked_at: Time,
    result: Result<(), Refusal>,
}

/// A node that shows its token itself.
struct Newcomer {
    id: u64,
    token: JoinToken,
    wanted: Wanted,
    is_issued: bool,
    is_started: bool,
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

    fn take_in(&mut self, world: &mut World<'_>, answer: Answer) {
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

    fn give_up(&mut self, world: &mut World<'_>, why: &str) {
        let Some(job) = self.job.take() else { return };
        let told: Vec<_> = job.requests.iter().map(text).collect();
        world.cluster.note(format!("{}: given up, {why}", told.join(", ")));
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

    /// A node that has never been a member.
    fn spare(&self, world: &World<'_>) -> Option<u64> {
        let were = world
            .cluster
            .memberships()
            .all()
            .iter()
            .flat_map(MembershipSeen::members);
        let were: BTreeSet<u64> = were.collect();
        let nodes = world.cluster.nodes().iter();
        let new = nodes.filter(|(id, node)| !were.contains(id) && !node.was_started());
        new.map(|(id, _)| *id)
            .find(|id| self.newcomers.iter().all(|newcomer| newcomer.id != *id))
    }

    /// Lets node `id` in: it shows a token itself once there is one; or it runs already, and another node shows it.
    fn let_in(
        &mut self,
        world: &mut World<'_>,
        id: u64,
        votes: bool,
        replaces: Option<u64>,
    ) -> (Option<Job>, Underway) {
        let Some(cluster_id) = world.cluster.cluster_id() else {
            return Default::default();
        };
        let effect = Effect {
            comes: votes.then_some(id),
            goes: replaces,
            leaves: replaces.is_some(),
        };
        world.atlas.wake(id);
        if !self.plan(world, Some(effect)) {
            world.atlas.give_up(id);
            return Default::default();
        }
        let token = JoinToken {
            cluster_id,
            secret: world.random.random::<u128>().to_be_bytes(),
        };
        let wanted = Wanted {
            effect,
            member: Some(id),
        };
        let mut requests = vec![MemberRequest::IssueToken {
            token: token.hash(),
            lifetime_us: LIFETIMES_US[world.random.random_range(0..LIFETIMES_US.len())],
            voter: votes,
            replaces,
        }];
        let mut underway = Underway::default();
        if world.random.random_bool(0.6) {
            // It is not there before it is started.
            world.atlas.give_up(id);
            self.newcomers.push(Newcomer {
                id,
                token,
                wanted,
                is_issued: false,
                is_started: false,
            });
        } else {
            requests.push(MemberRequest::Enter {
                token: token.hash(),
                node_id: id,
                nonce: world.random.random::<u64>() | 1,
                address: format!("{}:{PEER_PORT}", host(id)),
            });
            world.cluster.start_spare(id);
            underway.comes = Some(id);
            underway.cut_off = world.random.random_bool(0.7);
        }
        if underway.cut_off {
            world.cluster.note(format!("n{id} is cut off at first"));
            let others = others(world, id);
            world.cluster.change_links(|links| {
                for other in &others {
                    links.cut(&host(id), other);
                    links.cut(other, &host(id));
                }
            });
        }
        let job = Job {
            requests,
            wanted,
            asks: 0,
            refusals: 0,
        };
        (Some(job), underway)
    }

    /// Starts the nodes for which there is a token.
    fn start_newcomers(&mut self, world: &mut World<'_>) {
        let waiting = |newcomer: &Newcomer| newcomer.is_issued && !newcomer.is_started;
        let Some(place) = self.newcomers.iter().position(waiting) else {
            return;
        };
        let (id, token, effect) = {
            let newcomer = &self.newcomers[place];
            (newcomer.id, newcomer.token, newcomer.wanted.effect)
        };
        world.atlas.wake(id);
        if !self.plan(world, Some(effect)) {
            world.atlas.give_up(id);
            return;
        }
        let voters = world
            .cluster
            .memberships()
            .possible()
            .last()
            .map(MembershipSeen::settled);
        let mut members: Vec<u64> = voters
            .iter()
            .flat_map(|one| one.voters.iter().flatten().copied())
            .collect();
        while members.len() > 1 && world.random.random_bool(0.4) {
            members.remove(world.random.random_range(0..members.len()));
        }
        world.cluster.note(format!("n{id} asks {members:?} to be let in"));
        world.cluster.start_joiner(id, &members, token);
        self.newcomers[place].is_started = true;
    }

    fn ask_for_job(&mut self, world: &mut World<'_>) -> Option<()> {
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
    fn ask(&self, world: &mut World<'_>, requests: Vec<MemberRequest>) -> Option<()> {
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

    fn lead(&self, world: &mut World<'_>) -> Option<()> {
        let membership = world.cluster.memberships().possible().last()?.settled();
        let voters: Vec<u64> = membership.voters.iter().flatten().copied().collect();
        let heir = any(world, &voters).filter(|_| world.random.random_bool(0.8));
        world.cluster.count(|counters| counters.transfers += 1);
        self.ask(world, vec![MemberRequest::Lead(heir)])
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

/// The log is purged as far as it can be, on all nodes.
fn purge(world: &mut World<'_>) {
    for id in world.cluster.up() {
        let node = &world.cluster.nodes()[id];
        let Some(server) = node.server() else {
            continue;
        };
        let raft = server.replica().raft().clone();
        let index = server.replica().progress().snapshot_index;
        drop(server);
        node.spawn(async move {
            // It may have stopped.
            let _ = raft.trigger().purge_log(index).await;
        });
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

fn any(world: &mut World<'_>, of: &[u64]) -> Option<u64> {
    (!of.is_empty()).then(|| of[world.random.random_range(0..of.len())])
}

fn others(world: &World<'_>, id: u64) -> Vec<String> {
    let nodes = world.cluster.nodes().keys().filter(|other| **other != id);
    nodes.map(|other| host(*other)).chain([CLIENTS.to_owned()]).collect()
}
