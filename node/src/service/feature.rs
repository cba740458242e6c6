//! The feature level of the cluster: the leader raises it once all members know the next one; whoever wants to propose what a
//! level brings asks first. What the levels are is told in [`banyan_core::feature`].

use std::time::Duration;

use banyan_core::feature::FeatureLevel;

use super::Service;
use super::status::{ClusterStatus, MemberStatus};
use crate::consensus::intake::Submission;

/// How often a leader asks whether all members know more than the cluster uses.
const RAISE_INTERVAL: Duration = Duration::from_secs(1);

/// What a node is asked for needs a level that the cluster has not reached. Nothing has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs feature level {needed}, and the cluster is at {level}: {}", held_back(.by))]
pub struct LevelTooLow {
    /// What was asked for, for people.
    pub what: &'static str,
    /// What it needs.
    pub needed: FeatureLevel,
    /// What there is.
    pub level: FeatureLevel,
    /// The members that do not know the level: id, version, and the level they go up to; `None` if they do not answer.
    pub by: Vec<(u64, Option<(String, FeatureLevel)>)>,
}

fn held_back(by: &[(u64, Option<(String, FeatureLevel)>)]) -> String {
    if by.is_empty() {
        return "it is being raised; try again".to_owned();
    }
    let holders = by.iter().map(|(node_id, known)| match known {
        Some((version, level)) => format!("node {node_id} holds it back (version {version}, level {level})"),
        None => {
            format!("node {node_id} does not answer; start it, or remove it with `banyanctl member remove {node_id}`")
        }
    });
    holders.collect::<Vec<_>>().join(", ")
}

impl MemberStatus {
    /// The last level that the member takes part in, if it answers.
    #[must_use]
    pub fn feature_level_max(&self) -> Option<FeatureLevel> {
        let node = self.node.as_ref()?;
        Some(FeatureLevel::new(node.feature_level_max).unwrap_or_default())
    }
}

impl ClusterStatus {
    /// The greatest level that every member takes part in; `None` while one does not answer.
    #[must_use]
    pub fn common_level(&self) -> Option<FeatureLevel> {
        let levels: Option<Vec<FeatureLevel>> = self.members.iter().map(MemberStatus::feature_level_max).collect();
        levels?.into_iter().min()
    }
}

impl Service {
    /// The feature level of the cluster, as far as this node has applied.
    #[must_use]
    pub fn feature_level(&self) -> FeatureLevel {
        self.0.replica.feature_level()
    }

    /// Asks whether `what`, which came with the level `needed`, may be proposed.
    ///
    /// # Errors
    /// The cluster has not reached that level; says who holds it back.
    pub async fn require_level(&self, needed: FeatureLevel, what: &'static str) -> Result<(), LevelTooLow> {
        let level = self.feature_level();
        if level >= needed {
            return Ok(());
        }
        let status = self.status().await;
        let knows = |member: &&MemberStatus| member.feature_level_max().is_some_and(|known| known >= needed);
        let holding = status.members.iter().filter(|member| !knows(member));
        let by = holding.map(|member| {
            let version = member.node.as_ref().map(|node| node.version.clone());
            (member.node_id, version.zip(member.feature_level_max()))
        });
        Err(LevelTooLow {
            what,
            needed,
            level,
            by: by.collect(),
        })
    }

    /// Raises the level while this node leads, as far as all members know. Runs as long as the node.
    pub async fn raise_level(self) {
        let own = self.0.replica.feature_level_max();
        let mut look = tokio::time::interval(RAISE_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let level = self.feature_level();
            if level >= own {
                // A level never falls, and this program knows no other.
                return;
            }
            if self.0.replica.leadership().leader != Some(self.node_id()) {
                continue;
            }
            if let Some(common) = self.status().await.common_level().filter(|common| *common > level) {
                tracing::info!(level = %common, "all members know a new feature level");
                self.0.replica.submit(Submission::RaiseLevel(common));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{MemberRole, NodeStatus};

    fn member(node_id: u64, feature_level_max: Option<u16>) -> MemberStatus {
        MemberStatus {
            node_id,
            peer_address: String::new(),
            role: MemberRole::Learner,
            node: feature_level_max.map(|feature_level_max| NodeStatus {
                feature_level_max,
                ..NodeStatus::default()
            }),
            goal: None,
            replaces: None,
            vitals: None,
        }
    }

    #[test]
    fn the_level_is_what_all_members_know() {
        let common = |levels: &[Option<u16>]| {
            let status = ClusterStatus {
                cluster_id: 1,
                node_id: 1,
                term: 1,
                leader: None,
                members: (1..).zip(levels).map(|(id, level)| member(id, *level)).collect(),
                alarms: Vec::new(),
                tokens: Vec::new(),
            };
            status.common_level().map(FeatureLevel::number)
        };
        assert_eq!(common(&[Some(2), Some(3), Some(2)]), Some(2));
        assert_eq!(
            common(&[Some(2), Some(0)]),
            Some(1),
            "a program that knows of no levels"
        );
        assert_eq!(
            common(&[Some(2), None]),
            None,
            "who does not answer may be of any version"
        );
    }

    #[test]
    fn who_holds_back_is_named() {
        let too_low = LevelTooLow {
            what: "a join token",
            needed: FeatureLevel::FIRST.next(),
            level: FeatureLevel::FIRST,
            by: vec![(2, Some(("0.1.0".to_owned(), FeatureLevel::FIRST))), (3, None)],
        };
        assert_eq!(
            too_low.to_string(),
            "a join token needs feature level 2, and the cluster is at 1: node 2 holds it back (version 0.1.0, level 1), \
             node 3 does not answer; start it, or remove it with `banyanctl member remove 3`"
        );
        let raising = LevelTooLow {
            by: Vec::new(),
            ..too_low
        };
        assert!(raising.to_string().ends_with("it is being raised; try again"));
    }
}
