//! The tasks behind the alarms: one looks at this node every second, one asks the other members, one follows the quorum.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::board::Settled;
use super::divergence::{self, Told};
use super::room::{self, Room};
use super::skew::{self, Offset};
use super::slow::{self, Candidate};
use super::space::SpaceWatch;
use super::vitals::{DIVERGED_REQUEST, DiskSpace, SyncTime, VITALS_REQUEST, Vitals};
use super::{AlarmKind, Alarms, HEARD_MAX, Heard, diverged};
use crate::consensus::Replica;
use crate::consensus::replica::Member;
use crate::fatal::{Fatal, FatalError};
use crate::log_limit::LogLimit;
use crate::peer::{Lane, Peers};
use crate::storage::disk::Disk;

/// How often a node looks at itself, and asks the others.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it looks whether it has a quorum.
const QUORUM_INTERVAL: Duration = Duration::from_millis(250);
/// A member answers within this or not at all.
const ASK_TIMEOUT: Duration = Duration::from_millis(900);
/// An alarm about the quorum is raised after so long without contact: an election is over by then.
const NO_QUORUM_AFTER: Duration = Duration::from_millis(750);
/// A member that does not answer for so long is unreachable.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(4);
/// What was committed so long ago should have been applied.
const LAG_MAX: Duration = Duration::from_secs(5);
/// A disk is slow after so long, and not any more after so long.
const SLOW_AFTER: Duration = Duration::from_secs(4);
const SLOW_UNTIL: Duration = Duration::from_secs(15);
/// A leader that has handed over because of its disk, or tried to, does so again after this at the earliest.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(60);
/// How long handing over may take.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Clocks are judged after this, and a wrong one must have been right for as long.
const SKEW_AFTER: Duration = Duration::from_secs(3);

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

fn every(interval: Duration) -> tokio::time::Interval {
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
        let detail = || match replica.leadership().borrow().leader {
            None if replica.members().borrow().is_empty() => "it is in no cluster yet".to_owned(),
            None => "no leader is known".to_owned(),
            Some(leader) if leader == node_id => "it leads, and no quorum answers it".to_owned(),
            Some(leader) => format!("it hears nothing of the leader, node {leader}"),
        };
        alarms.set(AlarmKind::NoQuorum, node_id, is_lost.then(detail));
    }
}

/// Looks at this node.
struct Looking {
    alarms: Alarms,
    watched: Watched,
    space: Option<SpaceWatch>,
    space_errors: LogLimit,
    slow: Settled,
    lagging: Settled,
    /// How far the log was committed, as any member has told, and when.
    committed: VecDeque<(Instant, u64)>,
    handed_over_at: Option<Instant>,
}

impl Looking {
    fn new(alarms: Alarms, watched: Watched) -> Self {
        let settings = &alarms.0.settings;
        Self {
            space: Some(SpaceWatch::new(
                Arc::clone(&watched.disk),
                &settings.data_dir,
                settings.space,
            )),
            space_errors: LogLimit::default(),
            slow: Settled::new(SLOW_AFTER, SLOW_UNTIL),
            lagging: Settled::new(Duration::ZERO, INTERVAL),
            committed: VecDeque::new(),
            handed_over_at: None,
            alarms,
            watched,
        }
    }

    async fn run(mut self) {
        let mut tick = every(INTERVAL);
        loop {
            tick.tick().await;
            let disk = self.look_at_space().await;
            let sync = self.watched.replica.log().sync_latency().map(|latency| SyncTime {
                count: latency.count as u64,
                median_us: u64::try_from(latency.median.as_micros()).unwrap_or(u64::MAX),
            });
            let progress = self.watched.replica.progress();
            *self.alarms.0.own.lock() = Vitals {
                committed_index: progress.committed_index,
                applied_index: progress.applied_index,
                digests: self.watched.replica.digests(),
                disk,
                sync,
                ..Vitals::default()
            };
            judge_room(&self.alarms, &self.watched.replica);
            self.judge_lag(progress.committed_index);
            self.judge_disk(sync).await;
        }
    }

    async fn look_at_space(&mut self) -> Option<DiskSpace> {
        let mut watch = self.space.take()?;
        let (watch, looked) = crate::blocking::run(move || {
            let looked = watch.look();
            (watch, looked)
        })
        .await;
        self.space = Some(watch);
        looked.unwrap_or_else(|error| {
            if let Some(suppressed) = self.space_errors.pass() {
                tracing::warn!(%error, suppressed, "it cannot be told how much room there is on the disk");
            }
            None
        })
    }

    fn judge_lag(&mut self, own_committed: u64) {
        let now = Instant::now();
        let told = {
            let heard = self.alarms.0.heard.lock();
            let recent = heard.values().filter(|heard| now - heard.at < HEARD_MAX);
            recent.map(|heard| heard.vitals.committed_index).max().unwrap_or(0)
        };
        self.committed.push_back((now, told.max(own_committed)));
        // The last one that is old enough stays in front.
        while self.committed.get(1).is_some_and(|(at, _)| now - *at >= LAG_MAX) {
            self.committed.pop_front();
        }
        let due = self.committed.front().filter(|(at, _)| now - *at >= LAG_MAX);
        let applied = self.watched.replica.applied().borrow().index;
        let missing = due.map_or(0, |(_, index)| index.saturating_sub(applied));
        let node_id = self.watched.replica.node_id();
        let is_lagging = self.lagging.see(missing > 0 && self.is_voter());
        let detail = is_lagging.then(|| {
            format!(
                "{missing} entries that were committed {} s ago are not applied",
                LAG_MAX.as_secs()
            )
        });
        self.alarms.set(AlarmKind::Lagging, node_id, detail);
    }

    /// One without a vote is behind until it has caught up, and holds up nobody.
    fn is_voter(&self) -> bool {
        let node_id = self.watched.replica.node_id();
        let members = self.watched.replica.members();
        let members = members.borrow();
        members.iter().any(|member| member.node_id == node_id && member.voter)
    }

    async fn judge_disk(&mut self, sync: Option<SyncTime>) {
        let bound = self.alarms.0.settings.disk_slow;
        let node_id = self.watched.replica.node_id();
        // Clear only well below the bound.
        let bound_now = if self.slow.is_on() { bound / 2 } else { bound };
        let is_slow = self.slow.see(slow::is_slow(sync, bound_now));
        let detail = is_slow.then(|| match sync {
            Some(sync) => format!(
                "syncs of its log take {sync}; {} ms and more are slow",
                bound.as_millis()
            ),
            None => "its log has not been written lately".to_owned(),
        });
        self.alarms.set(AlarmKind::DiskSlow, node_id, detail);
        if let Some(sync) = sync.filter(|_| is_slow) {
            self.hand_over(sync, bound).await;
        }
    }

    /// Hands the leadership to a voter whose disk is not slow, if this node has it.
    async fn hand_over(&mut self, own: SyncTime, bound: Duration) {
        let replica = &self.watched.replica;
        let is_paused = self.handed_over_at.is_some_and(|at| at.elapsed() < HAND_OVER_PAUSE);
        if is_paused || replica.leadership().borrow().leader != Some(replica.node_id()) {
            return;
        }
        let members = Arc::clone(&replica.members().borrow());
        let candidates: Vec<_> = members
            .iter()
            .filter(|member| member.voter && member.node_id != replica.node_id())
            .filter_map(|member| {
                let vitals = self.alarms.vitals_of(member.node_id)?;
                Some(Candidate {
                    node_id: member.node_id,
                    sync: vitals.sync,
                    is_low: vitals.disk.is_some_and(|disk| disk.is_low),
                })
            })
            .collect();
        let Some((heir, theirs)) = slow::heir(own, bound, &candidates) else {
            return;
        };
        self.handed_over_at = Some(Instant::now());
        tracing::warn!(
            heir,
            "this node's disk is slow (syncs take {own}): the leadership goes to node {heir} ({theirs})"
        );
        if tokio::time::timeout(HAND_OVER_TIMEOUT, replica.hand_over_to(heir))
            .await
            .is_err()
        {
            tracing::warn!(heir, "the leadership was not handed over in time");
        }
    }
}

/// Judges whether there is room for what clients write, by what this node has seen and the others have told last.
fn judge_room(alarms: &Alarms, replica: &Replica) {
    let node_id = replica.node_id();
    let room_of = |space: Option<DiskSpace>| match space {
        Some(space) if space.is_low => Room::Low(space),
        _ => Room::Enough,
    };
    let own = alarms.0.own.lock().disk;
    let low = own.filter(|space| space.is_low);
    alarms.set(AlarmKind::DiskSpace, node_id, low.map(|space| space.to_string()));
    let members = Arc::clone(&replica.members().borrow());
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
    *alarms.0.refusal.lock() = refusal.as_deref().map(Arc::from);
    alarms.set(AlarmKind::WritesRefused, node_id, refusal);
}

/// Asks the other members.
struct Asking {
    alarms: Alarms,
    watched: Watched,
    /// Since when members have not answered.
    silent: BTreeMap<u64, Instant>,
    skewed: Settled,
}

impl Asking {
    fn new(alarms: Alarms, watched: Watched) -> Self {
        Self {
            alarms,
            watched,
            silent: BTreeMap::new(),
            skewed: Settled::new(SKEW_AFTER, SKEW_AFTER),
        }
    }

    async fn run(mut self) {
        let mut tick = every(INTERVAL);
        loop {
            tick.tick().await;
            let members = Arc::clone(&self.watched.replica.members().borrow());
            let others: Vec<u64> = self.others(&members);
            let answers = futures_util::future::join_all(others.iter().map(|id| self.ask(*id))).await;
            for (node_id, answer) in others.iter().zip(answers) {
                self.hear(*node_id, answer);
            }
            self.forget_former(&others);
            judge_room(&self.alarms, &self.watched.replica);
            self.judge_clock();
            if self.judge_state(&members).await {
                return;
            }
        }
    }

    fn others(&self, members: &[Member]) -> Vec<u64> {
        let ids = members.iter().map(|member| member.node_id);
        ids.filter(|id| *id != self.watched.replica.node_id()).collect()
    }

    async fn ask(&self, node_id: u64) -> Option<Heard> {
        let (asked_us, asked_at) = (self.alarms.0.clock.now_us(), Instant::now());
        let peers = &self.watched.peers;
        let asked = peers.request(node_id, Lane::Control, VITALS_REQUEST, Bytes::new(), ASK_TIMEOUT);
        let vitals = Vitals::decode(&asked.await.ok()?)?;
        Some(Heard {
            at: Instant::now(),
            offset: Offset::new(asked_us, vitals.now_us, asked_at.elapsed()),
            vitals,
        })
    }

    fn hear(&mut self, node_id: u64, answer: Option<Heard>) {
        let now = Instant::now();
        if let Some(heard) = answer {
            self.silent.remove(&node_id);
            self.alarms.0.heard.lock().insert(node_id, heard);
            self.alarms.set(AlarmKind::Unreachable, node_id, None);
            return;
        }
        let silent = now - *self.silent.entry(node_id).or_insert(now);
        if silent >= UNREACHABLE_AFTER {
            let detail = format!(
                "it has not answered node {} for {} s",
                self.alarms.0.node_id,
                silent.as_secs()
            );
            self.alarms.set(AlarmKind::Unreachable, node_id, Some(detail));
        }
    }

    /// Nothing is said of nodes that are members no more.
    fn forget_former(&mut self, others: &[u64]) {
        self.silent.retain(|node_id, _| others.contains(node_id));
        self.alarms.0.heard.lock().retain(|node_id, _| others.contains(node_id));
        for kind in [AlarmKind::Unreachable, AlarmKind::Divergence] {
            let about = self.alarms.0.board.lock().about(kind);
            for former in about
                .into_iter()
                .filter(|id| *id != self.alarms.0.node_id && !others.contains(id))
            {
                self.alarms.set(kind, former, None);
            }
        }
    }

    fn judge_clock(&mut self) {
        let offsets: Vec<_> = {
            let heard = self.alarms.0.heard.lock();
            let recent = heard.values().filter(|heard| heard.at.elapsed() < HEARD_MAX);
            recent.map(|heard| heard.offset).collect()
        };
        let skew = skew::skew(&offsets);
        let is_skewed = self.skewed.see(skew.is_some());
        let detail = is_skewed.then(|| skew.unwrap_or_else(|| "its clock was off until just now".to_owned()));
        self.alarms.set(AlarmKind::ClockSkew, self.alarms.0.node_id, detail);
    }

    /// Compares states; returns whether this node has diverged, and stops.
    async fn judge_state(&self, members: &[Member]) -> bool {
        let own_id = self.alarms.0.node_id;
        let mut told = Vec::new();
        {
            let heard = self.alarms.0.heard.lock();
            for member in members {
                let digests = match heard.get(&member.node_id) {
                    _ if member.node_id == own_id => self.watched.replica.digests(),
                    Some(heard) if heard.at.elapsed() < HEARD_MAX => heard.vitals.digests.clone(),
                    _ => continue,
                };
                told.push(Told {
                    node_id: member.node_id,
                    is_voter: member.voter,
                    digests,
                });
            }
        }
        let voter_count = members.iter().filter(|member| member.voter).count();
        let Some(found) = divergence::compare(&told, voter_count) else {
            return false;
        };
        for node_id in &found.nodes {
            let detail = match found.is_decided {
                true => format!(
                    "its state differs at log index {} from that of a majority of the voters",
                    found.index
                ),
                false => format!(
                    "nodes {} differ at log index {}, and there is no majority to tell which is right",
                    list(found.nodes.iter()),
                    found.index
                ),
            };
            self.alarms.set(AlarmKind::Divergence, *node_id, Some(detail));
        }
        let is_wrong = found.is_decided && found.nodes.contains(&own_id);
        if is_wrong {
            self.stop(found.index, members).await;
        }
        is_wrong
    }

    /// Marks the data directory, tells the others, and stops the node.
    async fn stop(&self, index: u64, members: &[Member]) {
        let reason = format!(
            "the state of node {} differs at log index {index} from that of a majority",
            self.alarms.0.node_id
        );
        let (disk, dir, text) = (
            Arc::clone(&self.watched.disk),
            self.alarms.0.settings.data_dir.clone(),
            reason.clone(),
        );
        let marked = crate::blocking::run(move || diverged::write(&*disk, &dir, &text)).await;
        if let Err(error) = marked {
            tracing::error!(%error, "the data directory cannot be marked: do not start a node on it again");
        }
        let tell = |node_id| {
            let body = Bytes::copy_from_slice(reason.as_bytes());
            self.watched
                .peers
                .request(node_id, Lane::Control, DIVERGED_REQUEST, body, ASK_TIMEOUT)
        };
        // Those who do not hear it see it for themselves, or see this node gone.
        futures_util::future::join_all(self.others(members).into_iter().map(tell)).await;
        self.watched.fatal.stop(FatalError::Diverged(reason));
    }
}

fn list<'a>(ids: impl Iterator<Item = &'a u64>) -> String {
    ids.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
