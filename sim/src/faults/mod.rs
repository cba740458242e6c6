//! What goes wrong. Each class of faults is one file, switched on or off for each seed, with chance of its own.
//!
//! | class | fault | how |
//! |---|---|---|
//! | [`latency`] N1 | slow links, spikes | turmoil's latency of a link |
//! | [`loss`] N2 | what is under way on a link is lost | a cut of no length: turmoil's TCP does not send again, so the connections are lost with it |
//! | N3 | a request or message of another node comes once more, later | [`banyan_node::simulation::stir`] |
//! | [`reorder`] N4 | a link is held for some milliseconds | what it held arrives after what was sent later elsewhere |
//! | [`partition`] N5 | groups of nodes cannot reach each other | cuts, or holds: as while TCP sends again |
//! | [`oneway`] N6 | one direction is lost, or one pair of nodes | cuts |
//! | [`clog`] N7 | links stand still for seconds | holds, released in random order |
//! | [`crash`] N8, P1, P3, D1, D2 | power loss of one node or all, also unnoticed by peers, also within a write | unsynced bytes are lost in part |
//! | [`flip`] N9 | bytes between nodes flip | the network component |
//! | [`slow`] N10, D8 | a slow node, a slow disk | latency of links and of the log's disk |
//! | [`pause`] P4 | a node stands still | turmoil cannot stop a host: its links are held and its clock stands |
//! | [`disk_errors`] D3, D4 | writes and syncs fail | the disk component |
//! | [`failpoint`] P2 | power loss just before or after a named step of a node's storage | the disk and the store |
//! | [`damage`] D5, D6, D7, D9 | what was synced is flipped, cut, overwritten or lost | while a node is down, by the atlas rule |
//! | [`clocks`] C1, C2 | wrong, jumping and standing clocks | the clock component |
//! | [`churn`] M1 | members come, are promoted, demoted, removed and replaced; leaderships are handed over, elections forced | what an operator may ask any node; openraft's own elections |
//! | B1 | small settings; rare things that are right | knobs of [`plan`], [`banyan_node::simulation::stir`] |

pub mod atlas;
pub mod churn;
pub mod clocks;
pub mod clog;
pub mod crash;
pub mod damage;
pub mod disk_errors;
pub mod episode;
pub mod failpoint;
pub mod flip;
pub mod latency;
pub mod loss;
pub mod oneway;
pub mod partition;
pub mod pause;
pub mod plan;
pub mod reorder;
pub mod slow;

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;

use self::atlas::Atlas;
use self::episode::{Episodes, Fault, World};
use self::plan::{Class, Plan};
use crate::cluster::Cluster;
use crate::components::random::stream;
use crate::history::{MembershipSeen, Time};
use crate::trace::event::Event;

/// All faults of a run.
pub struct Faults {
    faults: Vec<Box<dyn Fault>>,
    atlas: Atlas,
    random: StdRng,
    /// When nodes that are down come back.
    restarts: BTreeMap<u64, Time>,
}

impl Faults {
    /// The faults that `plan` has switched on.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut faults: Vec<Box<dyn Fault>> = Vec::new();
        for class in &plan.classes {
            let random = stream(plan.seed, class.name());
            faults.extend(match class {
                Class::Latency => Episodes::start(*class, random, latency::Latency::new(plan)),
                Class::Loss => Episodes::start(*class, random, loss::Loss),
                Class::Reorder => Episodes::start(*class, random, reorder::Reorder),
                Class::Partition => Episodes::start(*class, random, partition::Partition),
                Class::OneWay => Episodes::start(*class, random, oneway::OneWay),
                Class::Clog => Episodes::start(*class, random, clog::Clog),
                Class::Flip => Episodes::start(*class, random, flip::Flip),
                Class::SlowNode => Episodes::start(*class, random, slow::SlowNode::new(plan)),
                Class::SlowDisk => Episodes::start(*class, random, slow::SlowDisk),
                Class::Crash => Episodes::start(*class, random, crash::Crash::new(plan)),
                Class::CrashAll => Episodes::start(*class, random, crash::CrashAll::new(plan)),
                Class::Pause => Episodes::start(*class, random, pause::Pause),
                Class::SyncError => Episodes::start(*class, random, disk_errors::SyncErrors),
                Class::WriteError => Episodes::start(*class, random, disk_errors::WriteErrors),
                Class::Damage => Episodes::start(*class, random, damage::Damage::Flip),
                Class::Cut => Episodes::start(*class, random, damage::Damage::Cut),
                Class::Misdirected => Episodes::start(*class, random, damage::Damage::Misdirected),
                Class::Lost => Episodes::start(*class, random, damage::Damage::Lost),
                Class::Failpoint => Episodes::start(*class, random, failpoint::Failpoint),
                Class::Churn => Episodes::start(*class, random, churn::Churn::default()),
                Class::ClockOffset => Episodes::start(*class, random, clocks::Offset),
                Class::ClockJump => Episodes::start(*class, random, clocks::Jump),
                // These change how others behave.
                Class::HalfOpen | Class::Torn | Class::Knobs | Class::Repeat => None,
            });
        }
        Self {
            faults,
            atlas: Atlas::new(plan.node_count + 1..=plan.node_count + plan.spare_count()),
            random: stream(plan.seed, "restarts"),
            restarts: BTreeMap::new(),
        }
    }

    /// Lets what is due go wrong, and starts nodes again.
    pub fn tick(&mut self, cluster: &mut Cluster) {
        for fault in &mut self.faults {
            fault.tick(cluster, &mut self.atlas);
        }
        self.restart(cluster, false);
    }

    /// Which nodes are damaged for good.
    #[must_use]
    pub fn atlas(&self) -> &Atlas {
        &self.atlas
    }

    /// How often each class has struck.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<Class, u64> {
        self.faults
            .iter()
            .map(|fault| (fault.class(), fault.injected()))
            .collect()
    }

    /// Ends all faults. Some nodes live on, enough for a quorum of any membership that may come to be; the others are gone for
    /// good. Returns the core of them.
    pub fn heal(&mut self, cluster: &mut Cluster) -> Vec<u64> {
        for fault in &mut self.faults {
            fault.heal(cluster, &mut self.atlas);
        }
        cluster.change_links(crate::cluster::links::Links::heal);
        let (alive, core) = self.survivors(cluster);
        let others: Vec<u64> = cluster
            .nodes()
            .keys()
            .copied()
            .filter(|id| !alive.contains(id))
            .collect();
        for id in others {
            self.atlas.give_up(id);
            cluster.crash(id, false, false);
        }
        cluster.note(format!("healed; core {core:?}"));
        cluster.mark(Event::Healed { core: core.clone() });
        self.restart(cluster, true);
        core
    }

    /// Who lives on: enough to go on by any membership that is or may come to be in effect. The core are those of them that are
    /// members by all.
    fn survivors(&mut self, cluster: &Cluster) -> (BTreeSet<u64>, Vec<u64>) {
        let possible: Vec<_> = cluster.memberships().possible().cloned().collect();
        let settled = possible.iter().map(MembershipSeen::settled);
        let planned = self.atlas.planned().iter().cloned();
        let all: Vec<_> = possible.iter().cloned().chain(settled).chain(planned).collect();
        let sound = cluster.nodes().keys().copied().filter(|id| self.atlas.is_sound(*id));
        let mut alive: BTreeSet<u64> = sound.collect();
        let core = |alive: &BTreeSet<u64>| -> Vec<u64> {
            let is_member = |id: &&u64| all.iter().all(|membership| membership.members().contains(id));
            alive.iter().filter(is_member).copied().collect()
        };
        for _ in 0..self.random.random_range(0..=alive.len()) {
            let one = alive.iter().nth(self.random.random_range(0..alive.len())).copied();
            let fewer: BTreeSet<u64> = alive.iter().copied().filter(|id| Some(*id) != one).collect();
            if all.iter().all(|membership| membership.is_quorum(&fewer)) && !core(&fewer).is_empty() {
                alive = fewer;
            }
        }
        let core = core(&alive);
        (alive, core)
    }

    /// Starts nodes that live on and ended by themselves again.
    pub fn keep_up(&mut self, cluster: &mut Cluster) {
        self.restart(cluster, true);
    }

    fn restart(&mut self, cluster: &mut Cluster, now: bool) {
        let down: Vec<u64> = cluster
            .nodes()
            .keys()
            .copied()
            .filter(|id| !cluster.up().contains(id) && !self.atlas.is_out(*id))
            .collect();
        for id in down {
            let random = &mut self.random;
            let at = *self.restarts.entry(id).or_insert_with(|| {
                let long = random.random_bool(0.2);
                let wait_us = if long {
                    random.random_range(10_000_000..40_000_000)
                } else {
                    random.random_range(100_000..5_000_000)
                };
                cluster.now() + wait_us
            });
            if now || cluster.now() >= at {
                self.restarts.remove(&id);
                cluster.restart(id);
            }
        }
        self.atlas.note_refusals(cluster);
    }
}

/// What a fault works with.
impl World<'_> {
    /// A running node, by chance.
    pub fn any_up(&mut self) -> Option<u64> {
        let up: Vec<u64> = self.cluster.up().iter().copied().collect();
        (!up.is_empty()).then(|| up[self.random.random_range(0..up.len())])
    }

    /// A node, by chance.
    pub fn any_node(&mut self) -> u64 {
        self.random.random_range(1..=self.cluster.nodes().len() as u64)
    }

    /// Two different hosts, by chance; one of them may be the clients'.
    pub fn any_link(&mut self) -> (String, String) {
        let a = self.any_node();
        let count = self.cluster.nodes().len() as u64;
        let b = (a + self.random.random_range(0..count)) % (count + 1);
        let name = |id: u64| match id {
            0 => crate::cluster::CLIENTS.to_owned(),
            id => crate::cluster::links::host(id),
        };
        let b = if b == a { 0 } else { b };
        (name(a), name(b))
    }
}
