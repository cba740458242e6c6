//! `banyanctl status`: the cluster on one screen.

use banyan_api::cluster::{ClusterStatus, Member};

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash, shorten};

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
    let voters = status
        .members
        .iter()
        .filter(|member| matches!(member.role.as_str(), "leader" | "voter"))
        .count();
    output.line(&format!(
        "cluster {}  term {}  leader {}  quorum {} of {voters}  asked node {}{}",
        status.cluster_id,
        status.term,
        or_dash(status.leader),
        status.quorum,
        status.node_id,
        level(&status.members),
    ))?;
    if let Some(line) = held_back(&status.members) {
        output.line(&line)?;
    }
    output.line(digest_line(&status.members))?;
    output.line("")?;
    let header = [
        "NODE",
        "ROLE",
        "STATE",
        "APPLIED",
        "COMMITTED",
        "REVISION",
        "TOPICS",
        "CLIENTS",
        "SESSIONS",
        "DIGEST",
        "MQTT",
        "HTTP",
        "PEERS",
    ];
    output.table(header, status.members.iter().map(row).collect())
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

fn row(member: &Member) -> [String; 13] {
    [
        member.id.to_string(),
        member.role.clone(),
        state(member),
        or_dash(member.applied_index),
        or_dash(member.committed_index),
        or_dash(member.revision),
        or_dash(member.topic_count),
        or_dash(member.client_count),
        or_dash(member.session_count),
        or_dash(
            member
                .digest
                .as_deref()
                .map(|digest| shorten(digest, DIGEST_CHARACTERS)),
        ),
        or_dash(member.mqtt_address.as_deref()),
        or_dash(member.http_address.as_deref()),
        member.peer_address.clone(),
    ]
}

fn state(member: &Member) -> String {
    match (&member.not_ready, member.reachable) {
        (_, false) => "unreachable".to_owned(),
        (Some(reason), true) if reason.starts_with("drain") => reason.clone(),
        (Some(reason), true) => format!("not ready: {reason}"),
        (None, true) => "ready".to_owned(),
    }
}

/// What the digests say: they can be compared only between members at the same applied index.
fn digest_line(members: &[Member]) -> &'static str {
    let known: Vec<_> = members
        .iter()
        .filter_map(|member| Some((member.applied_index?, member.digest.as_ref()?)))
        .collect();
    let differ = known
        .iter()
        .any(|(index, digest)| known.iter().any(|(other, text)| index == other && digest != text));
    let same_index = known
        .iter()
        .all(|(index, _)| known.first().is_some_and(|(first, _)| first == index));
    match (differ, known.len() > 1 && same_index) {
        (true, _) => "digests DIFFER at the same applied index: stop writing and compare the nodes",
        (false, true) => "digests are equal",
        (false, false) => "digests cannot be compared: the members are at different applied indexes",
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
            applied_index: Some(applied),
            committed_index: Some(applied),
            revision: Some(5),
            topic_count: Some(2),
            client_count: Some(0),
            session_count: Some(7),
            digest: Some(digest.into()),
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
            members: vec![member(1, 9, "00112233445566"), member(2, 9, "00112233445566"), down],
            alarms: Vec::new(),
        };
        let text = printed(Format::Table, |output| print(&status, output));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "cluster 00000000000000ab  term 4  leader 1  quorum 2 of 3  asked node 2"
        );
        assert_eq!(lines[1], "digests are equal");
        assert!(
            lines[4].starts_with(
                "1     leader  ready        9        9          5         2       0        7         00112233…"
            ),
            "{text}"
        );
        assert!(lines[6].starts_with("3     voter   unreachable  -"), "{text}");
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
        assert!(digest_line(&[member(1, 9, "a"), member(2, 9, "b")]).contains("DIFFER"));
        assert!(digest_line(&[member(1, 9, "a"), member(2, 8, "b")]).contains("cannot be compared"));
        assert!(digest_line(&[member(1, 9, "a")]).contains("cannot be compared"));
    }
}
