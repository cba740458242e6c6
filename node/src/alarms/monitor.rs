//! What the tasks behind the alarms have in common, and the one that follows the quorum.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::asking::Asking;
use super::board::Settled;
use super::looking::Looking;
use super::room::{self, Room};
use super::vitals::DiskSpace;
use super::{AlarmKind, Alarms};
use crate::consensus::Replica;
use crate::fatal::Fatal;
use crate::peer::Peers;
use crate::storage::disk::Disk;

/// How often a node looks at itself, and asks the others.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// How often it looks whether it has a quorum.
const QUORUM_INTERVAL: Duration = Duration::from_millis(250);
/// An alarm about the quorum is raised after so long without contact: an election is over by then.
const NO_QUORUM_AFTER: Duration = Duration::from_millis(750);

/// What is looked at.
#[derive(Clone)]
pub struct Watched {
    /// The state, the log, who leads.
    pub replica: Arc<Replica>,
    /// The way to the other members.
    pub peers: Peers,
    /// Where the data is.
    pub disk: Arc<dyn Disk>,
    /// How the node stops if its state has diverged.
    pub fatal: Fatal,
    /// When to look no more.
    pub stop: CancellationToken,
}

pub(super) fn start(alarms: Alarms, watched: Watched) {
    let stop = watched.stop.clone();
    spawn(&stop, follow_quorum(alarms.clone(), Arc::clone(&watched.replica)));
    spawn(&stop, Asking::new(alarms.clone(), watched.clone()).run());
    spawn(&stop, Looking::new(alarms, watched).run());
}

fn spawn(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(stop.clone().run_until_cancelled_owned(task));
}

pub(super) fn every(interval: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Follows whether there is a leader that has a quorum, and contact with it.
async fn follow_quorum(alarms: Alarms, replica: Arc<Replica>) {
    let node_id = replica.node_id();
    let mut lost = Settled::new(NO_QUORUM_AFTER, Duration::ZERO);
    let mut tick = every(QUORUM_INTERVAL);
    loop {
        tick.tick().await;
        let is_lost = lost.see(!replica.has_contact().await);
        let detail = || match replica.leadership().leader {
            None if replica.members().is_empty() => "it is in no cluster yet".to_owned(),
            None => "no leader is known".to_owned(),
            Some(leader) if leader == node_id => "it leads, and no quorum answers it".to_owned(),
            Some(leader) => format!("it hears nothing of the leader, node {leader}"),
        };
        alarms.set(AlarmKind::NoQuorum, node_id, is_lost.then(detail));
    }
}

/// Judges whether there is room for what clients write, by what this node has seen and the others have told last.
pub(super) fn judge_room(alarms: &Alarms, replica: &Replica) {
    let node_id = replica.node_id();
    let room_of = |space: Option<DiskSpace>| match space {
        Some(space) if space.is_low => Room::Low(space),
        _ => Room::Enough,
    };
    let own = alarms.0.own.lock().disk;
    let low = own.filter(|space| space.is_low);
    alarms.set(AlarmKind::DiskSpace, node_id, low.map(|space| space.to_string()));
    let members = replica.members();
    let voters: Vec<_> = members
        .iter()
        .filter(|member| member.voter)
        .map(|member| match member.node_id {
            id if id == node_id => (id, room_of(own)),
            id => match alarms.vitals_of(id) {
                Some(vitals) => (id, room_of(vitals.disk)),
                None => (id, Room::Unknown),
            },
        })
        .collect();
    let refusal = room::refusal(&voters);
    alarms.refuse(refusal.as_deref());
    alarms.set(AlarmKind::WritesRefused, node_id, refusal);
}
