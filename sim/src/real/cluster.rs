//! All nodes of a run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banyan_api::cluster::Member;
use futures_util::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::ask;
use super::clock::Clock;
use super::error::RealError;
use super::machine::Machine;
use super::network::Network;
use super::node::{Node, NodePlan, Process};
use super::patience::Patience;
use super::stage::Stage;
use super::volume::Volume;

/// Time for a cluster to come up, or to agree after everything is healed. Generous: debug builds on busy machines.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one question to a node. It asks the others, which takes 0.7 s if one does not answer.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a node to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

const NO_LEADER: usize = usize::MAX;

/// The nodes, named by index from 0; their ids are index + 1.
///
/// Whoever does something to a node's process holds it meanwhile; looking at a node needs no permission.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Arc<Node>>,
    processes: Vec<Arc<Mutex<Process>>>,
    network: Network,
    leader: AtomicUsize,
}

impl Cluster {
    /// `size` nodes of the program `binary`, none started, each on a volume of `volume_mib` MiB.
    ///
    /// # Errors
    /// Network, volumes or files could not be set up.
    pub(super) fn new(
        stage: &Stage,
        machine: &Machine,
        size: usize,
        binary: &Path,
        volume_mib: u32,
    ) -> Result<Self, RealError> {
        let network = Network::new(stage, machine, size)?;
        let members: Vec<String> = (0..size)
            .map(|index| Node::member(index as u64 + 1, network.address(index)))
            .collect();
        let members = members.join(", ");
        let mut nodes = Vec::new();
        for index in 0..size {
            let base = stage.dir().join(format!("node-{}", index + 1));
            let clock = match &machine.clock {
                Ok(library) => Some(Clock::new(library, base.with_extension("offset"))?),
                Err(_) => None,
            };
            nodes.push(Arc::new(Node::new(NodePlan {
                id: index as u64 + 1,
                address: network.address(index),
                namespace: network.namespace(index),
                members: &members,
                binary,
                volume: Volume::new(base, machine, volume_mib)?,
                clock,
                dir: stage.dir(),
            })?));
        }
        let processes = nodes
            .iter()
            .map(|node| Arc::new(Mutex::new(Process::new(Arc::clone(node)))));
        Ok(Self {
            processes: processes.collect(),
            nodes,
            network,
            leader: AtomicUsize::new(NO_LEADER),
        })
    }

    /// Number of nodes.
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Ids of all nodes.
    pub(super) fn voters(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The links between them.
    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// The process of node `index`, unless somebody is at it.
    pub(super) fn try_process(&self, index: usize) -> Option<OwnedMutexGuard<Process>> {
        Arc::clone(&self.processes[index]).try_lock_owned().ok()
    }

    /// The process of node `index`, once nobody is at it any more.
    pub(super) async fn process(&self, index: usize) -> OwnedMutexGuard<Process> {
        Arc::clone(&self.processes[index]).lock_owned().await
    }

    /// The leader that was seen last, if one was.
    pub(super) fn leader(&self) -> Option<usize> {
        let leader = self.leader.load(Ordering::Relaxed);
        (leader != NO_LEADER).then_some(leader)
    }

    /// Somebody has seen that node `id` leads, or that nobody does.
    pub(super) fn saw_leader(&self, id: Option<u64>) {
        let index = id.map_or(NO_LEADER, |id| id as usize - 1);
        self.leader.store(index, Ordering::Relaxed);
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// A program cannot be started.
    pub(super) async fn start_all(&self) -> Result<(), RealError> {
        for index in 0..self.size() {
            self.process(index).await.start()?;
        }
        Ok(())
    }

    /// Waits until every node says that it can serve.
    ///
    /// # Errors
    /// Which node does not, after [`SETTLE_TIMEOUT`].
    pub(super) async fn wait_until_ready(&self) -> Result<(), String> {
        let mut patience = Patience::new(SETTLE_TIMEOUT);
        for node in &self.nodes {
            while !ask::is_ready(node.http(), ASK_TIMEOUT).await {
                if patience.is_over() {
                    return Err(format!(
                        "node {} is not ready after {} s; its log: {}",
                        node.id,
                        SETTLE_TIMEOUT.as_secs(),
                        node.log_file().display()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Every node by its own account, in order; `None` where it does not answer.
    pub(super) async fn members(&self) -> Vec<Option<Member>> {
        join_all(self.nodes.iter().map(|node| member(node))).await
    }

    /// The leader that a majority of nodes names.
    pub(super) async fn ask_leader(&self) -> Option<usize> {
        let statuses = join_all(self.nodes.iter().map(|node| ask::status(node.http(), ASK_TIMEOUT))).await;
        let named: Vec<(u64, u64)> = statuses
            .into_iter()
            .flatten()
            .filter_map(|status| Some((status.term, status.leader?)))
            .collect();
        let newest = named.iter().max()?;
        let count = named.iter().filter(|&named| named == newest).count();
        (count > self.size() / 2).then_some(newest.1 as usize - 1)
    }

    /// Waits until all nodes show the same applied index as each other, at which nobody writes any more.
    ///
    /// # Errors
    /// What each says after `timeout`, if they do not meet.
    pub(super) async fn wait_until_equal(&self, timeout: Duration) -> Result<Vec<Member>, String> {
        let mut patience = Patience::new(timeout);
        loop {
            let members = self.members().await;
            let all: Option<Vec<Member>> = members.iter().cloned().collect();
            if let Some(all) = all
                && all
                    .windows(2)
                    .all(|pair| pair[0].applied_index == pair[1].applied_index)
            {
                return Ok(all);
            }
            if patience.is_over() {
                let told: Vec<String> = members
                    .iter()
                    .zip(&self.nodes)
                    .map(|(member, node)| match member {
                        Some(member) => format!("node {} has applied {:?}", node.id, member.applied_index),
                        None => format!("node {} does not answer", node.id),
                    })
                    .collect();
                return Err(told.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// SIGTERM to all, and waits for their ends. Returns what is wrong with how they ended.
    pub(super) async fn stop_all(&self) -> Vec<String> {
        for index in 0..self.size() {
            self.process(index).await.terminate();
        }
        let mut wrong = Vec::new();
        let mut patience = Patience::new(STOP_TIMEOUT);
        for index in 0..self.size() {
            let mut process = self.process(index).await;
            while process.is_started() {
                match process.ended() {
                    Some(status) if !status.success() => {
                        wrong.push(format!("node {} was asked to stop and ended with {status}", index + 1));
                    }
                    Some(_) => {}
                    None if patience.is_over() => {
                        wrong.push(format!("node {} does not stop after SIGTERM", index + 1));
                        process.kill();
                    }
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
        wrong
    }
}

/// `node` by its own account.
async fn member(node: &Node) -> Option<Member> {
    let status = ask::status(node.http(), ASK_TIMEOUT).await?;
    status.members.into_iter().find(|member| member.id == node.id)
}
