//! M1: who belongs to the cluster changes while everything else goes wrong; leaderships are handed over, elections forced.
//!
//! A new node begins with nothing but the name of its cluster, sometimes cut off from the others while they purge their log: it
//! then needs a snapshot. An id that was a member's once is never used again. What was begun may be broken off half-way, which
//! leaves two sets of voters in effect until a later change takes it up. Only changes are made after which sound nodes are a
//! majority: voters that have lost their disks are the first to be replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use banyan_node::consensus::state_machine::StateMachine;
use banyan_node::consensus::types::TypeConfig;
use openraft::{BasicNode, ChangeMembers, Raft};
use rand::Rng;
use tokio::task::AbortHandle;

use super::episode::{Episode, World};
use crate::cluster::CLIENTS;
use crate::cluster::links::host;
use crate::components::net::PEER_PORT;
use crate::history::MembershipSeen;

/// Fewest voters that are left.
const VOTERS_MIN: usize = 3;
/// How long a new node may take to catch up before its change is given up.
const CATCH_UP: Duration = Duration::from_secs(6);

type Openraft = Raft<TypeConfig, StateMachine>;
type Changes = ChangeMembers<u64, BasicNode>;

/// Changes of members and leaders.
#[derive(Default)]
pub struct Churn;

/// A change under way.
#[derive(Default)]
pub struct Underway {
    tasks: Vec<AbortHandle>,
    /// The node that comes.
    comes: Option<u64>,
    /// It is cut off from the others meanwhile.
    cut_off: bool,
}

impl Episode for Churn {
    type Active = Underway;

    fn gap_s(&self) -> (f64, f64) {
        (8.0, 18.0)
    }

    fn length_s(&self) -> (f64, f64) {
        (1.0, 8.0)
    }

    fn begin(&mut self, world: &mut World<'_>) -> Option<Underway> {
        let leader = world.cluster.leader().filter(|id| world.cluster.up().contains(id))?;
        let raft = world.cluster.nodes()[&leader].server()?.replica().raft().clone();
        world.atlas.forget_plan();
        send_away(world);
        match world.random.random_range(0..10) {
            0 => transfer(world, leader, raft),
            1 => elect(world),
            _ => {
                let settled = world.cluster.memberships().settled().cloned();
                match settled {
                    Some(membership) if !membership.is_joint() => change(world, leader, raft, &membership),
                    // Something was broken off, or is not decided yet.
                    _ => {
                        world
                            .cluster
                            .note(format!("n{leader} is told to go on with a change of members"));
                        let changes = Changes::AddVoterIds(BTreeSet::new());
                        Some(run(world, leader, async move { ask(&raft, changes, false).await }))
                    }
                }
            }
        }
    }

    fn struck(&self, underway: &Underway) -> Vec<u64> {
        underway.comes.into_iter().collect()
    }

    fn end(&mut self, world: &mut World<'_>, underway: Underway) {
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
        // Whoever asked for it is gone, whether it is done or not.
        underway.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Nodes that are no members any more are taken away, sooner or later.
fn send_away(world: &mut World<'_>) {
    let possible: Vec<_> = world.cluster.memberships().possible().cloned().collect();
    let were: BTreeSet<u64> = world
        .cluster
        .memberships()
        .all()
        .iter()
        .flat_map(MembershipSeen::members)
        .collect();
    let gone = were
        .into_iter()
        .filter(|id| possible.iter().all(|membership| !membership.members().contains(id)));
    for id in gone {
        if !world.atlas.is_out(id) && world.random.random_bool(0.6) {
            world
                .cluster
                .note(format!("n{id}, which is no member any more, is taken away"));
            world.atlas.give_up(id);
            world.cluster.crash(id, false, false);
        }
    }
}

fn transfer(world: &mut World<'_>, leader: u64, raft: Openraft) -> Option<Underway> {
    let membership = world.cluster.memberships().possible().last()?.clone();
    let heirs: Vec<u64> = membership
        .members()
        .into_iter()
        .filter(|id| membership.has_vote(*id) && *id != leader)
        .collect();
    let heir = *heirs.get(world.random.random_range(0..heirs.len().max(1)))?;
    world
        .cluster
        .note(format!("n{leader} is told to hand its leadership to n{heir}"));
    world.cluster.count(|counters| counters.transfers += 1);
    Some(run(world, leader, async move {
        // It may lead no more.
        let _ = raft.trigger().transfer_leader(heir).await;
    }))
}

fn elect(world: &mut World<'_>) -> Option<Underway> {
    let id = world.any_up()?;
    let raft = world.cluster.nodes()[&id].server()?.replica().raft().clone();
    let asks_first = world.random.random_bool(0.3);
    world.cluster.note(format!("n{id} is told to stand for election"));
    world.cluster.count(|counters| counters.elections += 1);
    Some(run(world, id, async move {
        // It may have stopped.
        let _ = raft.trigger().elect(asks_first).await;
    }))
}

/// Changes the members, if the change that comes to mind leaves a sound majority.
fn change(world: &mut World<'_>, leader: u64, raft: Openraft, now: &MembershipSeen) -> Option<Underway> {
    let voters = now.voters.first()?.clone();
    let lost = voters.iter().copied().find(|id| !world.atlas.is_sound(*id));
    let learners = now.learners.iter().copied();
    let learner = learners.filter(|id| world.atlas.is_sound(*id)).collect::<Vec<_>>();
    let learner = any(world, &learner);
    let voter = any(world, &voters.iter().copied().collect::<Vec<_>>())?;
    let with = |id: u64| voters.iter().copied().chain([id]).collect::<BTreeSet<u64>>();
    let without = |id: u64| {
        voters
            .iter()
            .copied()
            .filter(|one| *one != id)
            .collect::<BTreeSet<u64>>()
    };
    let choice = match lost {
        Some(_) if world.random.random_bool(0.6) => 0,
        _ => world.random.random_range(0..7),
    };
    match (choice, spare(world), learner) {
        // In the place of another.
        (0, Some(new), _) => {
            let old = lost.unwrap_or(voter);
            let mut after = without(old);
            after.insert(new);
            let mut underway = start(world, new, now, &after)?;
            world.cluster.note(format!("n{new} comes in the place of n{old}"));
            underway.tasks = run(world, leader, async move {
                if admit(&raft, new, true).await {
                    ask(&raft, Changes::ReplaceAllVoters(after), false).await;
                }
            })
            .tasks;
            Some(underway)
        }
        (1 | 2, Some(new), _) => {
            let (votes, waits) = (world.random.random_bool(0.7), world.random.random_bool(0.7));
            let after = if votes { with(new) } else { voters.clone() };
            let mut underway = start(world, new, now, &after)?;
            let what = if votes { "vote" } else { "learn" };
            world.cluster.note(format!("n{new} comes, to {what}"));
            underway.tasks = run(world, leader, async move {
                if admit(&raft, new, waits).await && votes {
                    ask(&raft, Changes::AddVoterIds([new].into()), false).await;
                }
            })
            .tasks;
            Some(underway)
        }
        (3, _, Some(learner)) if plan(world, now, &with(learner)) => {
            world.cluster.note(format!("n{learner} is given a vote"));
            let changes = Changes::AddVoterIds([learner].into());
            Some(run(world, leader, async move { ask(&raft, changes, false).await }))
        }
        (4, _, Some(learner)) => {
            world.cluster.note(format!("n{learner}, which learns, is removed"));
            let changes = Changes::RemoveNodes([learner].into());
            Some(run(world, leader, async move { ask(&raft, changes, false).await }))
        }
        _ if plan(world, now, &without(voter)) => {
            let stays = [3, 4, 5].contains(&choice);
            let what = if stays { "loses its vote" } else { "is removed" };
            world.cluster.note(format!("n{voter} {what}"));
            let changes = Changes::RemoveVoters([voter].into());
            Some(run(world, leader, async move { ask(&raft, changes, stays).await }))
        }
        _ => transfer(world, leader, raft),
    }
}

/// Whether the voters may become `voters`: enough, and sound ones a majority.
fn plan(world: &mut World<'_>, now: &MembershipSeen, voters: &BTreeSet<u64>) -> bool {
    let planned = MembershipSeen {
        voters: vec![voters.clone()],
        learners: &(&now.learners | &now.voters.iter().flatten().copied().collect()) - voters,
        ..now.clone()
    };
    voters.len() >= VOTERS_MIN && world.atlas.plan(planned)
}

/// A node that has never been a member.
fn spare(world: &World<'_>) -> Option<u64> {
    let were: BTreeSet<u64> = world
        .cluster
        .memberships()
        .all()
        .iter()
        .flat_map(MembershipSeen::members)
        .collect();
    let nodes = world.cluster.nodes().iter();
    let new = nodes.filter(|(id, node)| !were.contains(id) && node.life() == 0 && !world.cluster.up().contains(id));
    new.map(|(id, _)| *id).next()
}

/// Starts node `id`, sometimes where nobody reaches it yet, if the voters may become `voters`.
fn start(world: &mut World<'_>, id: u64, now: &MembershipSeen, voters: &BTreeSet<u64>) -> Option<Underway> {
    world.atlas.wake(id);
    if !plan(world, now, voters) {
        world.atlas.give_up(id);
        return None;
    }
    world.cluster.start_spare(id);
    let cut_off = world.random.random_bool(0.3);
    if cut_off {
        world.cluster.note(format!("n{id} is cut off at first"));
        let others = others(world, id);
        world.cluster.change_links(|links| {
            for other in &others {
                links.cut(&host(id), other);
                links.cut(other, &host(id));
            }
        });
    }
    Some(Underway {
        comes: Some(id),
        cut_off,
        ..Underway::default()
    })
}

/// The log is purged as far as it can be, on all nodes.
fn purge(world: &mut World<'_>) {
    let up: Vec<u64> = world.cluster.up().iter().copied().collect();
    for id in up {
        let Some(server) = world.cluster.nodes()[&id].server() else {
            continue;
        };
        let raft = server.replica().raft().clone();
        let index = server.replica().progress().snapshot_index;
        drop(server);
        let _purging = run(world, id, async move {
            // It may have stopped.
            let _ = raft.trigger().purge_log(index).await;
        });
    }
}

/// Runs `task` in the process of node `id`.
fn run(world: &World<'_>, id: u64, task: impl Future<Output = ()> + Send + 'static) -> Underway {
    Underway {
        tasks: world.cluster.nodes()[&id].spawn(task).into_iter().collect(),
        ..Underway::default()
    }
}

/// Makes node `id` a learner; whether that was done, and, if it `waits`, whether it has caught up.
async fn admit(raft: &Openraft, id: u64, waits: bool) -> bool {
    let node = BasicNode::new(format!("{}:{PEER_PORT}", host(id)));
    match tokio::time::timeout(CATCH_UP, raft.add_learner(id, node, waits)).await {
        Ok(Ok(_)) => {
            tracing::info!(node = id, "a learner is there");
            true
        }
        Ok(Err(error)) => {
            tracing::info!(node = id, %error, "no learner");
            false
        }
        Err(_) => {
            tracing::info!(node = id, "a learner has not caught up in time");
            false
        }
    }
}

async fn ask(raft: &Openraft, changes: Changes, keeps_learners: bool) {
    match raft.change_membership(changes, keeps_learners).await {
        Ok(done) => tracing::info!(index = done.log_id.index, "the members have changed"),
        Err(error) => tracing::info!(%error, "the members have not changed"),
    }
}

fn any(world: &mut World<'_>, of: &[u64]) -> Option<u64> {
    (!of.is_empty()).then(|| of[world.random.random_range(0..of.len())])
}

fn others(world: &World<'_>, id: u64) -> Vec<String> {
    let nodes = world.cluster.nodes().keys().filter(|other| **other != id);
    nodes.map(|other| host(*other)).chain([CLIENTS.to_owned()]).collect()
}
