//! The task that asks the other members every second how they are, and compares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::board::Settled;
use super::divergence::{self, Told};
use super::monitor::{INTERVAL, Watched, every, judge_room};
use super::skew::{self, Offset};
use super::vitals::{DIVERGED_REQUEST, VITALS_REQUEST, Vitals};
use super::{AlarmKind, Alarms, HEARD_MAX, Heard, diverged};
use crate::consensus::replica::Member;
use crate::fatal::FatalError;
use crate::peer::Lane;

/// A member answers within this or not at all.
const ASK_TIMEOUT: Duration = Duration::from_millis(900);
/// A member that does not answer for so long is unreachable.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(4);
/// Clocks are judged after this, and a wrong one must have been right for as long.
const SKEW_AFTER: Duration = Duration::from_secs(3);

/// Asks the other members.
pub(super) struct Asking {
    alarms: Alarms,
    watched: Watched,
    /// Since when members have not answered.
    silent: BTreeMap<u64, Instant>,
    skewed: Settled,
}

impl Asking {
    pub(super) fn new(alarms: Alarms, watched: Watched) -> Self {
        Self {
            alarms,
            watched,
            silent: BTreeMap::new(),
            skewed: Settled::new(SKEW_AFTER, SKEW_AFTER),
        }
    }

    pub(super) async fn run(mut self) {
        let mut tick = every(INTERVAL);
        loop {
            tick.tick().await;
            let members = self.watched.replica.members();
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
