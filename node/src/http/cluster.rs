//! `GET /v1/cluster` and `/v1/cluster/members`: who is there, and how far each has come.

use axum::Json;
use axum::extract::State;
use banyan_api::cluster::{Alarm, ClusterStatus, Member, Members, OpenToken};
use banyan_core::keyspace::member::MemberGoal;

use super::Http;
use crate::alarms::ClusterAlarm;
use crate::service::{self, MemberRole, MemberStatus};

/// The cluster as this node sees it. Answered without a quorum too.
pub(super) async fn get_status(State(http): State<Http>) -> Json<ClusterStatus> {
    Json(render(http.service.status().await))
}

/// The members alone.
pub(super) async fn get_members(State(http): State<Http>) -> Json<Members> {
    let status = http.service.status().await;
    let tokens = status.tokens.iter().map(|(expires_at, voter)| OpenToken {
        expires_at: *expires_at,
        voter: *voter,
    });
    let tokens = tokens.collect();
    let voters = status.members.iter().filter(|member| member.role.is_voter()).count();
    let ClusterStatus {
        quorum, members: items, ..
    } = render(status);
    Json(Members {
        tokens,
        voters,
        quorum,
        items,
    })
}

fn render(status: service::ClusterStatus) -> ClusterStatus {
    let voters = status.members.iter().filter(|member| member.role.is_voter()).count();
    ClusterStatus {
        cluster_id: format!("{:016x}", status.cluster_id),
        node_id: status.node_id,
        term: status.term,
        leader: status.leader,
        quorum: voters / 2 + 1,
        members: status.members.into_iter().map(member).collect(),
        alarms: status.alarms.into_iter().map(alarm).collect(),
    }
}

fn alarm(ClusterAlarm { alarm, raised_by }: ClusterAlarm) -> Alarm {
    Alarm {
        kind: alarm.kind.name().to_owned(),
        node_id: alarm.node_id,
        since: alarm.since_us,
        detail: alarm.detail,
        meaning: alarm.kind.meaning().to_owned(),
        action: alarm.kind.action().to_owned(),
        raised_by: raised_by.into_iter().collect(),
    }
}

fn member(member: MemberStatus) -> Member {
    let role = match member.role {
        MemberRole::Leader => "leader",
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::Entering => "entering",
    };
    let vitals = member.vitals.as_ref();
    let disk = vitals.and_then(|vitals| vitals.disk);
    let goal = member.goal.map(|goal| match goal {
        MemberGoal::Learner => "learner",
        MemberGoal::Voter => "voter",
        MemberGoal::Leaves | MemberGoal::Gone => "leaves",
    });
    let base = Member {
        id: member.node_id,
        role: role.to_owned(),
        goal: goal.map(str::to_owned),
        replaces: member.replaces,
        reachable: member.node.is_some(),
        peer_address: member.peer_address,
        disk_free_bytes: disk.map(|disk| disk.free_bytes),
        disk_floor_bytes: disk.map(|disk| disk.floor_bytes),
        log_sync_median_us: vitals.and_then(|vitals| vitals.sync).map(|sync| sync.median_us),
        ..Member::default()
    };
    let Some(node) = member.node else { return base };
    Member {
        version: Some(node.version),
        feature_level: Some(node.feature_level.max(1)),
        feature_level_max: Some(node.feature_level_max.max(1)),
        mqtt_address: [node.mqtt_address, node.mqtts_address]
            .into_iter()
            .find(|address| !address.is_empty()),
        http_address: Some(node.http_address),
        term: Some(node.term),
        last_log_index: Some(node.last_log_index),
        committed_index: Some(node.committed_index),
        applied_index: Some(node.applied_index),
        purged_index: Some(node.purged_index),
        snapshot_index: Some(node.snapshot_index),
        revision: Some(node.revision),
        digest: Some(node.digest),
        topic_count: Some(node.topic_count),
        client_count: Some(node.client_count),
        session_count: Some(node.session_count),
        message_count: Some(node.message_count),
        message_bytes: Some(node.message_bytes),
        delivered_count: Some(node.delivered_count),
        dropped_count: Some(node.dropped_count),
        fallen_behind_count: Some(node.fallen_behind_count),
        gap_count: Some(node.gap_count),
        log_appends: Some(node.log_appends),
        log_fsyncs: Some(node.log_fsyncs),
        write_count: Some(node.write_count),
        write_p99_us: node.write_p99_us,
        log_fsync_p99_us: node.log_fsync_p99_us,
        memory_bytes: node.memory_bytes,
        uptime_s: Some(node.uptime_s),
        not_ready: node.not_ready,
        ..base
    }
}
