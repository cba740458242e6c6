//! `banyanctl status`: the cluster on one screen.

use banyan_api::cluster::{ClusterStatus, Member};

use super::concern::{self, digests_differ, is_voter};
use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, bytes_text, duration, or_dash, shorten};

/// Characters of a digest that are shown; all of it is in the JSON.
const DIGEST_CHARACTERS: usize = 9;

/// Asks any node for the cluster as it sees it.
pub(super) fn run(client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
    let status: ClusterStatus = client.fetch(&Call {
        path: "/v1/cluster",
        ..Call::default()
    })?;
    print(&status, output)
}

fn print(status: &ClusterStatus, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(status);
    }
    output.line(&head_line(status))?;
    if let Some(line) = held_back(&status.members) {
        output.line(&line)?;
    }
    output.line(&data_line(&status.members))?;
    output.line("")?;
    let header = [
        "NODE", "ROLE", "STATE", "LAG", "APPLIED", "REVISION", "CLIENTS", "DIGEST", "FREE", "UP", "VERSION", "MQTT",
        "HTTP", "PEERS",
    ];
    let committed = status.members.iter().filter_map(|member| member.committed_index).max();
    let rows = status.members.iter().map(|member| row(member, committed)).collect();
    output.table(header, rows)?;
    let concerns = concern::all(status);
    if !concerns.is_empty() {
        output.line("")?;
    }
    for concern in concerns {
        output.line(&format!("! {}", concern.text))?;
    }
    Ok(())
}

/// The cluster in a line.
pub(super) fn head_line(status: &ClusterStatus) -> String {
    let voters = status.members.iter().filter(|member| is_voter(member)).count();
    format!(
        "cluster {}  term {}  leader {}  quorum {} of {voters}  asked node {}{}",
        status.cluster_id,
        status.term,
        or_dash(status.leader),
        status.quorum,
        status.node_id,
        level(&status.members),
    )
}

/// The feature level of the cluster: the highest that a member has applied.
fn level(members: &[Member]) -> String {
    let level = members.iter().filter_map(|member| member.feature_level).max();
    level.map(|level| format!("  level {level}")).unwrap_or_default()
}

/// Who keeps the cluster from a level that others know.
fn held_back(members: &[Member]) -> Option<String> {
    let known: Vec<_> = members
        .iter()
        .filter_map(|member| Some((member, member.feature_level_max?)))
        .collect();
    let highest = known.iter().map(|(_, level)| *level).max()?;
    let holding: Vec<_> = known
        .iter()
        .filter(|(_, level)| *level < highest)
        .map(|(member, level)| {
            format!(
                "node {} (version {}, level {level})",
                member.id,
                or_dash(member.version.as_deref())
            )
        })
        .collect();
    (!holding.is_empty()).then(|| format!("feature level {highest} is held back by {}", holding.join(", ")))
}

/// What the cluster holds, which is the same on all members that are not behind; and whether it is.
fn data_line(members: &[Member]) -> String {
    let most = |count: fn(&Member) -> Option<u64>| or_dash(members.iter().filter_map(count).max());
    format!(
        "{} topics  {} sessions  {} messages kept for them  {}",
        most(|member| member.topic_count),
        most(|member| member.session_count),
        most(|member| member.message_count),
        digests(members),
    )
}

fn row(member: &Member, committed: Option<u64>) -> [String; 14] {
    let lag = committed
        .zip(member.applied_index)
        .map(|(all, own)| all.saturating_sub(own));
    let digest = member.digest.as_deref();
    [
        member.id.to_string(),
        member.role.clone(),
        state(member).to_owned(),
        or_dash(lag),
        or_dash(member.applied_index),
        or_dash(member.revision),
        or_dash(member.client_count),
        or_dash(digest.map(|digest| shorten(digest, DIGEST_CHARACTERS))),
        or_dash(member.disk_free_bytes.map(bytes_text)),
        or_dash(member.uptime_s.map(duration)),
        or_dash(member.version.as_deref()),
        or_dash(member.mqtt_address.as_deref()),
        or_dash(member.http_address.as_deref()),
        member.peer_address.clone(),
    ]
}

fn state(member: &Member) -> &'static str {
    match (&member.not_ready, member.reachable) {
        (_, false) => "unreachable",
        (Some(reason), true) if reason.starts_with("drained") => "drained",
        (Some(reason), true) if reason.starts_with("draining") => "draining",
        (Some(_), true) => "not ready",
        (None, true) => "ready",
    }
}

/// What the digests say: they can be compared only between members at the same applied index.
fn digests(members: &[Member]) -> &'static str {
    let known: Vec<_> = members
        .iter()
        .filter_map(|member| Some((member.applied_index?, member.digest.as_ref()?)))
        .collect();
    let same_index = known
        .iter()
        .all(|(index, _)| known.first().is_some_and(|(first, _)| first == index));
    match (digests_differ(members), known.len() > 1 && same_index) {
        (true, _) => "digests DIFFER",
        (false, true) => "digests are equal",
        (false, false) => "digests cannot be compared at this moment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, printed};

    fn member(id: u64, applied: u64, digest: &str) -> Member {
        Member {
            id,
            role: if id == 1 { "leader" } else { "voter" }.into(),
            reachable: true,
            peer_address: format!("127.0.0.1:740{id}"),
            mqtt_address: Some(format!("127.0.0.1:188{id}")),
            http_address: Some(format!("127.0.0.1:808{id}")),
            version: Some("0.1.0".into()),
            applied_index: Some(applied),
            committed_index: Some(9),
            revision: Some(5),
            topic_count: Some(2),
            client_count: Some(0),
            session_count: Some(7),
            message_count: Some(0),
            digest: Some(digest.into()),
            disk_free_bytes: Some(50 << 30),
            uptime_s: Some(90),
            ..Member::default()
        }
    }

    #[test]
    fn one_line_per_member() {
        let down = Member {
            id: 3,
            role: "voter".into(),
            peer_address: "127.0.0.1:7403".into(),
            ..Member::default()
        };
        let status = ClusterStatus {
            cluster_id: "00000000000000ab".into(),
            node_id: 2,
            term: 4,
            leader: Some(1),
            quorum: 2,
            alarms: Vec::new(),
            members: vec![member(1, 9, "00112233445566"), member(2, 9, "00112233445566"), down],
        };
        let text = printed(Format::Table, |output| print(&status, output));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "cluster 00000000000000ab  term 4  leader 1  quorum 2 of 3  asked node 2"
        );
        assert_eq!(
            lines[1],
            "2 topics  7 sessions  0 messages kept for them  digests are equal"
        );
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(lines[4]),
            "1 leader ready 0 9 5 0 00112233… 50.0 GiB 1m 30s 0.1.0 127.0.0.1:1881 127.0.0.1:8081 127.0.0.1:7401",
            "{text}"
        );
        assert!(lines[6].starts_with("3     voter   unreachable  -"), "{text}");
        assert_eq!(
            lines[8..],
            [
                "! one more voter lost stops the cluster",
                "! node 3 is unreachable at 127.0.0.1:7403"
            ],
            "{text}"
        );
        let json = printed(Format::Json, |output| print(&status, output));
        assert_eq!(serde_json::from_str::<ClusterStatus>(&json).unwrap(), status);
    }

    #[test]
    fn who_holds_a_level_back_is_named() {
        let with = |id: u64, level: u16| Member {
            version: Some("0.1.0".into()),
            feature_level: Some(1),
            feature_level_max: Some(level),
            ..member(id, 9, "a")
        };
        assert_eq!(held_back(&[with(1, 2), with(2, 2)]), None);
        assert_eq!(
            held_back(&[with(1, 2), with(2, 1)]).as_deref(),
            Some("feature level 2 is held back by node 2 (version 0.1.0, level 1)")
        );
        assert_eq!(level(&[with(1, 2)]), "  level 1");
    }

    #[test]
    fn digests_are_compared_at_equal_index_only() {
        assert_eq!(digests(&[member(1, 9, "a"), member(2, 9, "b")]), "digests DIFFER");
        assert!(digests(&[member(1, 9, "a"), member(2, 8, "b")]).contains("cannot be compared"));
        assert!(digests(&[member(1, 9, "a")]).contains("cannot be compared"));
    }
}
