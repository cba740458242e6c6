//! What an operator has to know of a cluster, in a line each.

use banyan_api::cluster::{Alarm, ClusterStatus, Member};

use crate::output::printable;

/// Log entries that a member may be behind without a word.
const LAG_MAX: u64 = 10_000;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concern {
    /// In words.
    pub(super) text: String,
    /// Something does not work, now.
    pub(super) is_severe: bool,
}

impl Concern {
    /// Something does not work.
    pub(super) fn severe(text: String) -> Self {
        Self { text, is_severe: true }
    }

    /// Something will not work, if it goes on.
    fn slight(text: String) -> Self {
        Self { text, is_severe: false }
    }
}

/// What is wrong with a cluster, the worst first.
pub(super) fn all(cluster: &ClusterStatus) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let voters: Vec<_> = cluster.members.iter().filter(|member| is_voter(member)).collect();
    let serving = voters.iter().filter(|member| is_serving(member)).count();
    if serving < cluster.quorum {
        concerns.push(Concern::severe(format!(
            "NO QUORUM: {serving} of {} voters serve, {} are needed; nothing can be written",
            voters.len(),
            cluster.quorum,
        )));
    } else if serving == cluster.quorum && voters.len() > cluster.quorum {
        concerns.push(Concern::slight("one more voter lost stops the cluster".to_owned()));
    }
    // What the nodes say themselves is more than can be seen from here.
    let mut told: Vec<_> = cluster.alarms.iter().map(alarm_text).collect();
    told.dedup();
    if !told.is_empty() {
        concerns.extend(told.into_iter().map(Concern::severe));
        return concerns;
    }
    if digests_differ(&cluster.members) {
        let text = "digests DIFFER at the same applied index: stop writing and compare the nodes";
        concerns.push(Concern::severe(text.to_owned()));
    }
    for member in cluster.members.iter().filter(|member| !member.reachable) {
        concerns.push(Concern::severe(format!(
            "node {} is unreachable at {}",
            member.id,
            printable(&member.peer_address)
        )));
    }
    let committed = cluster.members.iter().filter_map(|member| member.committed_index).max();
    for member in &cluster.members {
        if let Some(reason) = &member.not_ready {
            concerns.push(Concern::severe(format!(
                "node {} is not ready: {}",
                member.id,
                printable(reason)
            )));
        }
        let lag = committed
            .zip(member.applied_index)
            .map(|(all, own)| all.saturating_sub(own));
        if let Some(lag) = lag.filter(|lag| *lag > LAG_MAX) {
            concerns.push(Concern::slight(format!(
                "node {} is {lag} log entries behind",
                member.id
            )));
        }
    }
    concerns
}

fn alarm_text(alarm: &Alarm) -> String {
    let (kind, detail) = (printable(&alarm.kind), printable(&alarm.detail));
    format!("{kind}, node {}: {detail}", alarm.node_id)
}

/// Whether a member has a vote.
pub(super) fn is_voter(member: &Member) -> bool {
    matches!(member.role.as_str(), "leader" | "voter")
}

fn is_serving(member: &Member) -> bool {
    member.reachable && member.not_ready.is_none()
}

/// Whether two members differ that are at the same applied index; others cannot be compared.
pub(super) fn digests_differ(members: &[Member]) -> bool {
    let known = members
        .iter()
        .filter_map(|member| Some((member.applied_index?, member.digest.as_ref()?)));
    let mut known: Vec<_> = known.collect();
    known.sort();
    known.windows(2).any(|pair| match pair {
        [(index, digest), (other, text)] => index == other && digest != text,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id,
            role: "voter".to_owned(),
            reachable: true,
            peer_address: format!("127.0.0.1:740{id}"),
            ..Member::default()
        }
    }

    fn cluster(members: Vec<Member>) -> ClusterStatus {
        ClusterStatus {
            quorum: members.len() / 2 + 1,
            members,
            ..ClusterStatus::default()
        }
    }

    fn texts(cluster: &ClusterStatus) -> Vec<String> {
        all(cluster).into_iter().map(|concern| concern.text).collect()
    }

    #[test]
    fn a_healthy_cluster_is_no_concern() {
        assert_eq!(all(&cluster(vec![member(1), member(2), member(3)])), []);
        assert_eq!(all(&cluster(vec![member(1)])), [], "one alone is as it was made");
    }

    #[test]
    fn lost_voters() {
        let down = |id| Member {
            reachable: false,
            ..member(id)
        };
        let one = cluster(vec![member(1), member(2), down(3)]);
        assert_eq!(
            texts(&one),
            [
                "one more voter lost stops the cluster",
                "node 3 is unreachable at 127.0.0.1:7403"
            ]
        );
        let two = cluster(vec![member(1), down(2), down(3)]);
        assert!(texts(&two)[0].starts_with("NO QUORUM: 1 of 3 voters serve, 2 are needed"));
        assert!(all(&two)[0].is_severe);
    }

    #[test]
    fn lag() {
        let mut members = vec![member(1), member(2), member(3)];
        members[0].committed_index = Some(50_000);
        members[1].applied_index = Some(10);
        assert_eq!(texts(&cluster(members)), ["node 2 is 49990 log entries behind"]);
    }

    #[test]
    fn alarms_say_more_than_can_be_seen_from_here() {
        let down = Member {
            reachable: false,
            ..member(3)
        };
        let mut status = cluster(vec![member(1), member(2), down]);
        status.alarms = vec![Alarm {
            kind: "unreachable".to_owned(),
            node_id: 3,
            detail: "for 12 s".to_owned(),
            ..Alarm::default()
        }];
        assert_eq!(
            texts(&status),
            ["one more voter lost stops the cluster", "unreachable, node 3: for 12 s"]
        );
    }

    #[test]
    fn digests_are_compared_at_equal_index_only() {
        let at = |id, applied, digest: &str| Member {
            applied_index: Some(applied),
            digest: Some(digest.to_owned()),
            ..member(id)
        };
        assert!(digests_differ(&[at(1, 9, "a"), at(2, 8, "c"), at(3, 9, "b")]));
        assert!(!digests_differ(&[at(1, 9, "a"), at(2, 8, "b")]));
        assert!(!digests_differ(&[at(1, 9, "a")]));
    }
}
