//! Nodes that come.

use std::collections::BTreeSet;

use banyan_node::service::members::MemberRequest;
use banyan_node::settings::join_token::JoinToken;
use rand::Rng;

use super::asking::Job;
use super::effect::Effect;
use super::{Churn, Underway, Wanted};
use crate::cluster::CLIENTS;
use crate::cluster::links::host;
use crate::cluster::node::peer_address;
use crate::faults::episode::World;
use crate::history::MembershipSeen;

/// Lifetimes of tokens, microseconds.
const LIFETIMES_US: [u64; 3] = [2_000_000, 20_000_000, 600_000_000];

/// A node that shows its token itself.
pub(super) struct Newcomer {
    pub(super) id: u64,
    pub(super) token: JoinToken,
    pub(super) wanted: Wanted,
    pub(super) is_issued: bool,
    pub(super) is_started: bool,
}

impl Churn {
    /// A node that has never been a member.
    pub(super) fn spare(&self, world: &World<'_>) -> Option<u64> {
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
    pub(super) fn let_in(
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
                address: peer_address(id).to_string(),
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
    pub(super) fn start_newcomers(&mut self, world: &mut World<'_>) {
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
}

/// The log is purged as far as it can be, on all nodes.
pub(super) fn purge(world: &mut World<'_>) {
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

pub(super) fn others(world: &World<'_>, id: u64) -> Vec<String> {
    let nodes = world.cluster.nodes().keys().filter(|other| **other != id);
    nodes.map(|other| host(*other)).chain([CLIENTS.to_owned()]).collect()
}
