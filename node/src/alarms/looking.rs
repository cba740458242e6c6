//! The task that looks at this node every second: its disk, its log, how far it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::Settled;
use super::monitor::{INTERVAL, Watched, every, judge_room};
use super::slow::{self, Candidate};
use super::space::SpaceWatch;
use super::vitals::{DiskSpace, SyncTime, Vitals};
use super::{AlarmKind, Alarms, HEARD_MAX};
use crate::log_limit::LogLimit;

/// What was committed so long ago should have been applied.
const LAG_MAX: Duration = Duration::from_secs(5);
/// A disk is slow after so long, and not any more after so long.
const SLOW_AFTER: Duration = Duration::from_secs(3);
const SLOW_UNTIL: Duration = Duration::from_secs(15);
/// A leader that has handed over because of its disk, or tried to, does so again after this at the earliest.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(60);
/// How long handing over may take.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at this node.
pub(super) struct Looking {
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
    pub(super) fn new(alarms: Alarms, watched: Watched) -> Self {
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

    pub(super) async fn run(mut self) {
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
        let applied = self.watched.replica.applied().index;
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
        if is_paused || replica.leadership().leader != Some(replica.node_id()) {
            return;
        }
        let members = replica.members();
        let candidates: Vec<_> = members
            .iter()
            .filter(|member| member.voter && member.node_id != replica.node_id())
            .filter_map(|member| {
                let vitals = self.alarms.vitals_of(member.node_id)?;
                Some(Candidate {
                    node_id: member.node_id,
                    sync: vitals.sync,
                    is_low: vitals.disk.is_some_and(|disk| disk.is_low),
                    is_draining: vitals.is_draining,
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
