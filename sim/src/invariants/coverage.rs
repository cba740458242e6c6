//! I-65: a set of seeds that never saw what it was to see proves nothing.
//!
//! Each run counts what happened in it. Over a set of seeds none of the [`REQUIRED`] may be zero.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Answer, Finished, Operation};
use crate::model::{Outcome, SessionWhat, What};

/// What a set of seeds must have seen.
pub const REQUIRED: &[&str] = &[
    LEADER_CHANGES,
    SNAPSHOT_INSTALLS,
    ORIGIN_RESENDS,
    TORN_TAILS,
    FAILPOINTS,
    RARE,
    REPEATS,
    REFUSED_CORRUPTIONS,
    REFUSED_READS,
    "unknown writes",
    "resent messages",
    "superseded writes",
    "failed conditions",
    "expired topics",
    "deletes forgotten",
    "resumed subscriptions",
    "takeovers",
    "sessions resumed",
    "fenced commands",
    RECEIPTS,
    LATE_RECEIPTS,
    SHARED_RECEIPTS,
    "wills published",
    "sessions ended",
    "learners added",
    "voters added",
    "votes taken away",
    "members removed",
    "two sets of voters",
    JOINT_CRASHES,
    SNAPSHOT_BEGINNINGS,
    TRANSFERS,
    ELECTIONS,
    BLANK_RETURNS,
    MEMBER_ACCEPTANCES,
    MEMBER_REFUSALS,
    MEMBER_GOALS,
    REMOVALS,
];

/// Crashes while one set of voters was replacing another. Counted by the cluster.
pub const JOINT_CRASHES: &str = "crashes in between";
/// Nodes that came later and began with a snapshot. Counted by the run.
pub const SNAPSHOT_BEGINNINGS: &str = "learners by snapshot";
/// Leaderships handed over. Counted by the cluster.
pub const TRANSFERS: &str = "leaders told to go";
/// Elections forced. Counted by the cluster.
pub const ELECTIONS: &str = "elections forced";
/// Nodes that came back without their data. Counted by the cluster.
pub const BLANK_RETURNS: &str = "blank returns";

/// Requests to change the members that the run made. Counted by the cluster, as those below.
pub const MEMBER_REQUESTS: &str = "members requests";
/// Those of them that were accepted, each part of them by itself.
pub const MEMBER_ACCEPTANCES: &str = "members accepted";
/// Those that were refused.
pub const MEMBER_REFUSALS: &str = "members refused";
/// Changes of members that were accepted and came about while things went wrong.
pub const MEMBER_GOALS: &str = "members goals reached";
/// Nodes that stopped because they were removed.
pub const REMOVALS: &str = "members stopped";

/// Runs of which an entry of the log was not seen in time, so that nothing was held against the log.
pub const UNREAD_LOGS: &str = "logs not read in full";
/// Messages that came over a connection which its client had replaced.
pub const LATE_RECEIPTS: &str = "receipts too late";
/// Messages that members of the shared subscription received.
pub const SHARED_RECEIPTS: &str = "shared receipts";
/// Messages that sessions received.
pub const RECEIPTS: &str = "session receipts";
/// Leaders that committed something, but the first of a run.
pub const LEADER_CHANGES: &str = "leader changes";
/// Snapshots that a follower installed. Counted by the cluster.
pub const SNAPSHOT_INSTALLS: &str = "snapshot installs";
/// Times an origin sent its batches in flight again. Counted by the cluster.
pub const ORIGIN_RESENDS: &str = "origin resends";
/// Logs that ended with a torn record. Counted by the cluster.
pub const TORN_TAILS: &str = "torn tails";
/// Crashes just before or after a named step. Counted by the cluster.
pub const FAILPOINTS: &str = "failpoint crashes";
/// Rare things that nodes did at their sites. Counted by the run.
pub const RARE: &str = "rare things";
/// Requests and messages that came once more. Counted by the run.
pub const REPEATS: &str = "repeated requests";
/// Nodes that refused to start on a damaged log. Counted by the cluster.
pub const REFUSED_CORRUPTIONS: &str = "refused corruptions";
/// Linearizable reads that were refused for want of a quorum.
pub const REFUSED_READS: &str = "minority reads refused";

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage(BTreeMap<Cow<'static, str>, u64>);

impl Coverage {
    /// What the clients and the log of a run tell.
    #[must_use]
    pub fn of(finished: &Finished<'_>) -> Self {
        let mut coverage = Self::default();
        let ids = finished
            .committed
            .values()
            .map(|entry| (entry.id.term, entry.id.leader));
        let changes = ids.clone().zip(ids.skip(1)).filter(|(one, next)| one != next).count();
        coverage.add(LEADER_CHANGES, changes as u64);
        coverage.count_members(finished);
        for operation in &finished.history.operations {
            coverage.count_answer(operation);
        }
        let mut serials: Vec<_> = finished
            .history
            .operations
            .iter()
            .filter_map(|one| one.call.serial())
            .collect();
        serials.sort_unstable();
        coverage.add(
            "resent messages",
            serials.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64,
        );
        coverage.add("takeovers", finished.history.takeovers);
        for subscription in &finished.history.subscriptions {
            let resumed = subscription.since.is_some() && subscription.granted.is_some();
            coverage.add("resumed subscriptions", u64::from(resumed));
            coverage.add("replays begun anew", subscription.resets.len() as u64);
            coverage.add("deliveries", subscription.deliveries.len() as u64);
        }
        coverage.add(RECEIPTS, finished.history.receipts.len() as u64);
        let receipts = || finished.history.receipts.iter();
        coverage.add(LATE_RECEIPTS, receipts().filter(|one| one.is_late).count() as u64);
        coverage.add(SHARED_RECEIPTS, receipts().filter(|one| one.shared).count() as u64);
        coverage.add("receipts again", receipts().filter(|one| one.dup).count() as u64);
        coverage.add("sessions drained", finished.history.drained.len() as u64);
        if finished.replay.is_none() && !finished.committed.is_empty() {
            coverage.add(UNREAD_LOGS, 1);
        }
        if let Some(replay) = finished.replay {
            for step in replay.session_steps() {
                match step.what {
                    SessionWhat::Connected {
                        session_present: true, ..
                    } => coverage.add("sessions resumed", 1),
                    SessionWhat::Connected { .. } => coverage.add("sessions begun", 1),
                    SessionWhat::Ended => coverage.add("sessions ended", 1),
                    SessionWhat::Will { .. } => coverage.add("wills published", 1),
                    _ => {}
                }
            }
            coverage.add("batches not taken", replay.skipped().len() as u64);
            coverage.add("deletes forgotten", replay.forgotten().len() as u64);
            coverage.add("origins opened", replay.origins_opened());
            for decision in replay.decisions() {
                match decision.outcome {
                    Outcome::TooLate => coverage.add("commands too late", 1),
                    Outcome::Fenced => coverage.add("fenced commands", 1),
                    Outcome::Duplicate => coverage.add("QoS 2 duplicates refused", 1),
                    Outcome::Unchanged { .. } => coverage.add("identical writes", 1),
                    _ => {}
                }
            }
            let expired = replay
                .changes()
                .iter()
                .filter(|change| matches!(change.what, What::Expired { .. }));
            coverage.add("expired topics", expired.count() as u64);
        }
        coverage
    }

    /// How the members changed, from one settled membership to the next.
    fn count_members(&mut self, finished: &Finished<'_>) {
        let memberships = || {
            finished
                .committed
                .values()
                .filter_map(|entry| entry.membership.as_ref())
        };
        self.add(
            "two sets of voters",
            memberships().filter(|one| one.is_joint()).count() as u64,
        );
        let settled = || memberships().filter(|one| !one.is_joint());
        for (one, next) in settled().zip(settled().skip(1)) {
            let (were, are) = (one.members(), next.members());
            self.add("members removed", were.difference(&are).count() as u64);
            self.add("learners added", next.learners.difference(&were).count() as u64);
            let voted = were
                .iter()
                .filter(|id| one.has_vote(**id) && next.learners.contains(id));
            self.add("votes taken away", voted.count() as u64);
            let votes = are.iter().filter(|id| next.has_vote(**id) && !one.has_vote(**id));
            self.add("voters added", votes.count() as u64);
        }
    }

    fn count_answer(&mut self, operation: &Operation) {
        self.add("operations", 1);
        let is_read = operation.call.is_read();
        match &operation.answer {
            None | Some(Answer::Unknown(_)) if !is_read => self.add("unknown writes", 1),
            Some(Answer::Refused(reason)) if is_read && reason.starts_with("503") => self.add(REFUSED_READS, 1),
            Some(Answer::Refused(_)) if !is_read => self.add("refused writes", 1),
            Some(Answer::Written {
                superseded_by: Some(_), ..
            }) => self.add("superseded writes", 1),
            Some(Answer::ConditionFailed { .. }) => self.add("failed conditions", 1),
            Some(answer) if answer.is_certain() && !is_read => self.add("acknowledged writes", 1),
            _ => {}
        }
    }

    /// Counts `count` more of `name`.
    pub fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(Cow::Borrowed(name)).or_default() += count;
    }

    /// Takes in what another run has counted.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// How often `name` happened.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All counters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (&**name, *count))
    }

    /// Those of [`REQUIRED`] that never happened. None: the set of seeds counts.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|name| self.get(name) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::Consistency;
    use crate::model::Replay;

    #[test]
    fn a_run_is_counted() {
        let mut run = Run::new();
        run.log.term = 2;
        run.log.push(None);
        run.operation(put_call("a", 1), 0, 1, unknown());
        run.operation(put_call("a", 1), 0, 1, written(1));
        run.operation(get_call("a", Consistency::Linearizable), 0, 1, refused());
        let replay = Replay::of(&run.log.log).unwrap();
        let finished = Finished {
            replay: Some(&replay),
            ..Finished::new(run.at, &run.history, &run.log.log, &run.nodes, &run.settings)
        };
        let coverage = Coverage::of(&finished);
        for name in [
            LEADER_CHANGES,
            REFUSED_READS,
            "unknown writes",
            "resent messages",
            "acknowledged writes",
        ] {
            assert_eq!(coverage.get(name), 1, "{name}");
        }
    }

    #[test]
    fn what_never_happened_is_told() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missing(), REQUIRED);
        let mut other = Coverage::default();
        REQUIRED.iter().for_each(|name| other.add(name, 1));
        coverage.merge(&other);
        assert!(coverage.missing().is_empty());
    }
}
