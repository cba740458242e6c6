//! Those who only look: at what the nodes tell of themselves, at processes that end by themselves, and at the log.

use std::sync::Arc;
use std::time::Duration;

use banyan_api::cluster::{ClusterStatus, Member};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ask;
use super::cluster::ASK_TIMEOUT;
use super::committed::Harvest;
use super::judge::Observations;
use super::node::{Node, STORAGE_EXIT};
use super::scene::Scene;
use crate::history::{LogIdSeen, NodeObservation};

/// Time between two looks at all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A task that is late by so much was not run by this machine.
const STANDSTILL: Duration = Duration::from_secs(1);
/// What is counted then.
pub(super) const STOOD_STILL: &str = "machine stood still";
/// Time between two copies of a log. The logs keep more than is written in this time by far.
const HARVEST_EVERY: Duration = Duration::from_secs(2);

/// Asks every node again and again, and keeps what it says. Runs until it is dropped.
pub(super) async fn watch_nodes(scene: Arc<Scene>, observations: Observations) {
    let mut ready_in_life = vec![None; scene.cluster.size()];
    loop {
        let asked = scene.cluster.nodes().iter().map(|node| look(&scene, node));
        let looks: Vec<Look> = join_all(asked).await.into_iter().flatten().collect();
        let newest = looks.iter().max_by_key(|look| look.observation.term);
        scene
            .cluster
            .saw_leader(newest.and_then(|look| look.observation.leader));
        let mut nodes = Vec::new();
        for look in looks {
            let index = look.observation.node as usize - 1;
            // A node that has just started shows a state that is still being rebuilt, and serves nobody from it.
            if look.is_ready {
                ready_in_life[index] = Some(look.observation.life);
            }
            if ready_in_life[index] == Some(look.observation.life) {
                nodes.push(look.observation);
            }
        }
        observations.keep(scene.now(), nodes);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Look {
    observation: NodeObservation,
    is_ready: bool,
}

async fn look(scene: &Scene, node: &Node) -> Option<Look> {
    let life = node.life();
    if !node.is_up() {
        return None;
    }
    let status = ask::status(node.http(), ASK_TIMEOUT).await?;
    let member = status.members.iter().find(|member| member.id == node.id)?.clone();
    // An answer that was under way across a restart belongs to no life for certain.
    let same_life = node.life() == life;
    same_life.then(|| Look {
        is_ready: member.not_ready.is_none(),
        observation: observation(scene.now(), node.id, life, &status, &member),
    })
}

fn observation(at: u64, node: u64, life: u32, status: &ClusterStatus, member: &Member) -> NodeObservation {
    // Answers tell indexes only.
    let seen = |index: Option<u64>| LogIdSeen {
        term: 0,
        leader: 0,
        index: index.unwrap_or(0),
    };
    let some = |index: Option<u64>| index.filter(|&index| index > 0).map(|index| seen(Some(index)));
    // A node reads its progress a moment before its state, which may have moved on by then.
    let applied = member.applied_index;
    NodeObservation {
        at,
        node,
        life,
        term: status.term,
        vote_for: None,
        leader: status.leader,
        is_leader: status.leader == Some(node),
        last_log: seen(member.last_log_index.max(applied)),
        // What it has heard to be committed may lie beyond its log, or where its log differs.
        committed: some(applied),
        applied: some(applied),
        snapshot: some(member.snapshot_index),
        purged: some(member.purged_index),
        revision: member.revision.unwrap_or(0),
        digest: digest(member.digest.as_deref()),
        topics_digest: None,
        membership: None,
        gauges: std::collections::BTreeMap::new(),
    }
}

/// A digest as nodes tell it: hexadecimal.
pub(super) fn digest(text: Option<&str>) -> u128 {
    text.and_then(|text| u128::from_str_radix(text, 16).ok()).unwrap_or(0)
}

/// Finds nodes that end although nobody does anything to them. Runs until it is dropped.
pub(super) async fn watch_processes(scene: Arc<Scene>) {
    loop {
        for index in 0..scene.cluster.size() {
            let Some(mut process) = scene.cluster.try_process(index) else {
                continue;
            };
            let Some(status) = process.ended() else { continue };
            let id = process.node().id;
            if process.was_full() && status.code() == Some(STORAGE_EXIT) {
                scene.note(format!("node {id} has stopped with exit code 3: its volume was full"));
                scene.count("stopped after a full disk");
                if let Err(error) = process.start() {
                    scene.fail(error);
                }
                continue;
            }
            let log = process.node().log_file().display().to_string();
            scene.violated("I-61", format!("node {id} ended by itself: {status}; its log: {log}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Copies the nodes' logs in turn, so that the committed log is known though nodes purge theirs. Runs until it is dropped.
pub(super) async fn watch_logs(scene: Arc<Scene>, harvest: Arc<Mutex<Harvest>>) {
    loop {
        for node in scene.cluster.nodes() {
            tokio::time::sleep(HARVEST_EVERY).await;
            let (node, harvest) = (Arc::clone(node), Arc::clone(&harvest));
            let gathered = tokio::task::spawn_blocking(move || harvest.lock().gather_live(&node)).await;
            if let Ok(Err(message)) = gathered {
                scene.violated("I-4", message);
            }
        }
    }
}

/// Notices when this machine stands still or is far too busy: then figures mean little. Runs until it is dropped.
pub(super) async fn watch_time(scene: Arc<Scene>) {
    loop {
        let before = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        let late = before.elapsed().saturating_sub(LOOK_EVERY);
        if late >= STANDSTILL {
            scene.note(format!("this machine stood still for {:.1} s", late.as_secs_f64()));
            scene.count(STOOD_STILL);
        }
    }
}
