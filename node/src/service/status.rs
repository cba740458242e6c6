//! What a node tells about itself and its cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use banyan_core::keyspace::member::{MemberGoal, MemberRow, TokenHash, TokenRow};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Service;
use super::first_status::FirstStatus;
use crate::alarms::{ClusterAlarm, Vitals};
use crate::consensus::replica::Member;
use crate::consensus::wire;
use crate::metrics::{Recorded, Window, process};
use crate::peer::{Lane, PeerError};
use crate::simulation;

/// Kind of the control request that asks a node for its [`NodeStatus`] as JSON: what a version does not know of it is passed over,
/// what it misses is as [`NodeStatus::default`] has it. Fields are added, and never change their meaning.
pub const STATUS_REQUEST: u8 = 0x50;
/// The same, of the first version: a `FirstStatus`.
pub const FIRST_STATUS_REQUEST: u8 = 0x42;
/// A member that has not answered within this is shown as unreachable.
const STATUS_TIMEOUT: Duration = Duration::from_millis(700);

/// A node, by its own account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Version of the program.
    pub version: String,
    /// Feature level of its state; 0 of those that know of none, whose level is the first.
    pub feature_level: u16,
    /// The last feature level that it takes part in; 0 as above.
    pub feature_level_max: u16,
    /// Where MQTT clients can be sent to it; empty: nowhere.
    pub mqtt_address: String,
    /// The same, with TLS.
    pub mqtts_address: String,
    /// First HTTP listener.
    pub http_address: String,
    /// Term that it is in.
    pub term: u64,
    /// Last log index held.
    pub last_log_index: u64,
    /// Last log index known to be committed.
    pub committed_index: u64,
    /// Last log index applied.
    pub applied_index: u64,
    /// Last log index that is purged.
    pub purged_index: u64,
    /// Last log index that a checkpoint covers.
    pub snapshot_index: u64,
    /// Revision of the keyspace.
    pub revision: u64,
    /// Digest of the state at the applied index, hexadecimal.
    pub digest: String,
    /// Topics that hold a value.
    pub topic_count: u64,
    /// Connected clients.
    pub client_count: u64,
    /// Sessions of the cluster, connected or not.
    pub session_count: u64,
    /// Superseded messages that are kept for sessions.
    pub message_count: u64,
    /// Bytes of these.
    pub message_bytes: u64,
    /// Messages handed to connections since the start.
    pub delivered_count: u64,
    /// Messages of QoS 0 dropped since the start, as their connections read too slowly.
    pub dropped_count: u64,
    /// How often a connected session fell behind since the start, as it read too slowly.
    pub fallen_behind_count: u64,
    /// How often a session was told since the start that messages are gone that it had not had.
    pub gap_count: u64,
    /// Log appends that were fsynced, and fsyncs of the log and vote, since the start.
    pub log_appends: u64,
    /// As above.
    pub log_fsyncs: u64,
    /// Commands of clients answered since the start, whatever became of them.
    pub write_count: u64,
    /// What 99 in 100 of them did not exceed lately, microseconds; `None` if there were none.
    pub write_p99_us: Option<u64>,
    /// What 99 in 100 syncs of the log did not exceed lately, microseconds; `None` if there were none.
    pub log_fsync_p99_us: Option<u64>,
    /// Memory of the process, bytes.
    pub memory_bytes: Option<u64>,
    /// Since when the process serves, seconds.
    pub uptime_s: u64,
    /// Why it cannot serve, if it cannot.
    pub not_ready: Option<String>,
}

/// What a member is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// Leads.
    Leader,
    /// Has a vote.
    Voter,
    /// Receives the log, has no vote.
    Learner,
    /// Was let in, and is about to receive the log.
    Entering,
}

impl MemberRole {
    /// Whether it has a vote.
    #[must_use]
    pub fn is_voter(self) -> bool {
        matches!(self, Self::Leader | Self::Voter)
    }
}

/// A member, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub node_id: u64,
    /// Where its peers reach it.
    pub peer_address: String,
    /// What it is.
    pub role: MemberRole,
    /// What it is to be, where that was ever said.
    pub goal: Option<MemberGoal>,
    /// The member that leaves once this one is a voter.
    pub replaces: Option<u64>,
    /// Its own account; `None` if it does not answer.
    pub node: Option<NodeStatus>,
    /// How it is: what it has told last.
    pub vitals: Option<Vitals>,
}

/// The cluster, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster_id: u64,
    /// The node that answers.
    pub node_id: u64,
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// All members, by id; then those that are about to be members.
    pub members: Vec<MemberStatus>,
    /// What is wrong, as far as this node hears.
    pub alarms: Vec<ClusterAlarm>,
    /// Join tokens that can still be used: until when, and whether for a voter.
    pub tokens: Vec<(u64, bool)>,
}

/// How this node stands in its cluster, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The cluster.
    pub cluster_id: u64,
    /// Who leads, if this node knows.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// `leader`, `follower`, `learner`, or `none` if it is no member.
    pub role: &'static str,
    /// Members that have a vote.
    pub voters: usize,
    /// Members that have none.
    pub learners: usize,
    /// Last log index known to be committed.
    pub committed_index: u64,
    /// Last log index applied.
    pub applied_index: u64,
    /// Why it cannot serve, if it cannot.
    pub not_ready: Option<String>,
}

/// What was recorded lately of what nodes tell each other.
#[derive(Debug, Default)]
pub(super) struct Windows {
    writes: Window,
    fsyncs: Window,
}

fn p99_us(window: &Window, recorded: &Recorded) -> Option<u64> {
    let recent = window.recent(Instant::now(), recorded);
    u64::try_from(recent.quantile(0.99)?.as_micros()).ok()
}

impl Service {
    /// This node, by its own account.
    #[must_use]
    pub fn node_status(&self) -> NodeStatus {
        let progress = self.0.replica.progress();
        // Index, revision and digest of one moment.
        let view = self.0.replica.view();
        let counters = self.0.replica.log().counters();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: self.feature_level().number(),
            feature_level_max: self.0.replica.feature_level_max().number(),
            mqtt_address: self.0.settings.identity.mqtt_address.clone(),
            mqtts_address: self.0.settings.identity.mqtts_address.clone(),
            http_address: self.0.settings.identity.http_address.clone(),
            term: self.0.replica.leadership().term,
            last_log_index: progress.last_log_index,
            committed_index: progress.committed_index,
            applied_index: view.applied.map_or(0, |applied| applied.index),
            purged_index: progress.purged_index,
            snapshot_index: progress.snapshot_index,
            revision: view.revision,
            digest: view.digest.to_string(),
            topic_count: view.topic_count,
            client_count: self.0.broker.client_count() as u64,
            session_count: view.session_count() as u64,
            message_count: view.message_count,
            message_bytes: view.message_bytes,
            delivered_count: self.0.broker.delivered_count(),
            dropped_count: self.0.broker.dropped_count(),
            fallen_behind_count: self.0.broker.fallen_behind_count(),
            gap_count: self.0.broker.gap_count(),
            log_appends: counters.appends,
            log_fsyncs: counters.fsyncs,
            write_count: self.0.origin.counts().answered(),
            write_p99_us: p99_us(&self.0.windows.writes, &self.0.origin.counts().client_times()),
            log_fsync_p99_us: p99_us(&self.0.windows.fsyncs, &self.0.replica.log().times().fsync),
            memory_bytes: self.memory_bytes(),
            uptime_s: self.0.started.elapsed().as_secs(),
            not_ready: self.is_ready().err(),
        }
    }

    /// How this node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let leadership = self.0.replica.leadership();
        let members = self.0.replica.members();
        let progress = self.0.replica.progress();
        let own = members.iter().find(|member| member.node_id == self.node_id());
        let voters = members.iter().filter(|member| member.voter).count();
        Standing {
            cluster_id: self.0.settings.identity.cluster_id,
            leader: leadership.leader,
            term: leadership.term,
            role: match own {
                _ if leadership.leader == Some(self.node_id()) => "leader",
                Some(own) if own.voter => "follower",
                Some(_) => "learner",
                None => "none",
            },
            voters,
            learners: members.len() - voters,
            committed_index: progress.committed_index,
            applied_index: progress.applied_index,
            not_ready: self.is_ready().err(),
        }
    }

    /// Memory of the process, bytes; `None` where there is no process.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        if simulation::is_active() {
            return None;
        }
        process::resident_bytes()
    }

    /// The cluster: every member is asked, those that do not answer in time are shown without an account of their own.
    pub async fn status(&self) -> ClusterStatus {
        let leadership = self.0.replica.leadership();
        let goals = self.0.replica.member_goals();
        let mut members = self.0.replica.members().to_vec();
        let present: BTreeSet<u64> = members.iter().map(|member| member.node_id).collect();
        let entering = |(node_id, row): (u64, &MemberRow)| {
            let enters = row.goal <= MemberGoal::Voter && !present.contains(&node_id);
            enters.then(|| Member {
                node_id,
                peer_address: String::from_utf8_lossy(&row.address).into_owned(),
                voter: false,
            })
        };
        members.extend(goals.rows().filter_map(entering));
        let (goals, present) = (&goals, &present);
        let ask = |member: Member| async move {
            let node = if member.node_id == self.node_id() {
                Some(self.node_status())
            } else {
                self.ask_status(member.node_id).await
            };
            let role = match (leadership.leader == Some(member.node_id), member.voter) {
                (true, _) => MemberRole::Leader,
                (false, true) => MemberRole::Voter,
                (false, false) if present.contains(&member.node_id) => MemberRole::Learner,
                (false, false) => MemberRole::Entering,
            };
            let row = goals.get(member.node_id);
            MemberStatus {
                goal: row.map(|row| row.goal),
                replaces: row.and_then(|row| row.replaces),
                node_id: member.node_id,
                peer_address: member.peer_address,
                role,
                node,
                vitals: self.0.alarms.vitals_of(member.node_id),
            }
        };
        let members = futures_util::future::join_all(members.iter().cloned().map(ask)).await;
        let now_us = self.log_time_us();
        let tokens = goals.tokens();
        let is_open = |(_, row): &(&TokenHash, &TokenRow)| row.used_by.is_none() && row.expires_at_us > now_us;
        ClusterStatus {
            cluster_id: self.0.settings.identity.cluster_id,
            node_id: self.node_id(),
            term: leadership.term,
            leader: leadership.leader,
            members,
            alarms: self.0.alarms.all(),
            tokens: tokens
                .filter(is_open)
                .map(|(_, row)| (row.expires_at_us, row.voter))
                .collect(),
        }
    }

    async fn ask_status(&self, node_id: u64) -> Option<NodeStatus> {
        let ask = |kind| {
            let peers = &self.0.peers;
            peers.request(node_id, Lane::Control, kind, Bytes::new(), STATUS_TIMEOUT)
        };
        match ask(STATUS_REQUEST).await {
            Ok(status) => serde_json::from_slice(&status).ok(),
            Err(PeerError::Failed(_)) => {
                let status = ask(FIRST_STATUS_REQUEST).await.ok()?;
                wire::decode::<FirstStatus>(&status).ok().map(NodeStatus::from)
            }
            Err(_) => None,
        }
    }
}
