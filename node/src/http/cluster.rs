//! `GET /v1/cluster` and `/v1/cluster/members`: who is there, and how far each has come.

use axum::Json;
use axum::extract::State;
use banyan_api::cluster::{ClusterStatus, Member, Members, OpenToken};
use banyan_core::keyspace::member::MemberGoal;

use super::Http;
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
    }
}

fn member(member: MemberStatus) -> Member {
    let role = match member.role {
        MemberRole::Leader => "leader",
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::Entering => "entering",
    };
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
        ..Member::default()
    };
    let Some(node) = member.node else { return base };
    Member {
        version: Some(node.version),
        mqtt_address: Some(node.mqtt_address),
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
        not_ready: node.not_ready,
        ..base
    }
}
