//! What the nodes told, and how fast it grows.

use std::collections::VecDeque;
use std::time::Instant;

use banyan_api::cluster::{ClusterStatus, Member};

use super::Column;

/// Totals that are remembered for the curve.
const HISTORY_MAX: usize = 240;

/// Answers of the cluster, one after the other.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Option<(ClusterStatus, Instant)>,
    rows: Vec<Row>,
    /// Writes a second of all nodes, oldest first.
    pub(super) writes: VecDeque<u64>,
}

/// A node, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// What it told.
    pub(super) member: Member,
    /// Per second, since the answer before; `None` without one, or if the node has started anew since.
    pub(super) writes: Option<f64>,
    /// As above.
    pub(super) deliveries: Option<f64>,
    /// Log entries that it has not applied, of those that any member knows to be committed.
    pub(super) lag: Option<u64>,
}

impl Sampler {
    /// Takes an answer that came `at`.
    pub(super) fn add(&mut self, status: ClusterStatus, at: Instant) {
        let committed = status.members.iter().filter_map(|member| member.committed_index).max();
        let rows: Vec<_> = status
            .members
            .iter()
            .map(|member| self.row(member, committed, at))
            .collect();
        if rows.iter().any(|row| row.writes.is_some()) {
            let writes: f64 = rows.iter().filter_map(|row| row.writes).sum();
            self.writes.push_back(writes.round() as u64);
            if self.writes.len() > HISTORY_MAX {
                self.writes.pop_front();
            }
        }
        self.rows = rows;
        self.last = Some((status, at));
    }

    /// The latest answer.
    pub(super) fn status(&self) -> Option<&ClusterStatus> {
        self.last.as_ref().map(|(status, _)| status)
    }

    /// When it came.
    pub(super) fn at(&self) -> Option<Instant> {
        self.last.as_ref().map(|(_, at)| *at)
    }

    /// The nodes in this order; what is most first, but for their ids.
    pub(super) fn rows(&self, sort: Column, reverse: bool) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        let number = |value: Option<f64>| value.unwrap_or(-1.0);
        let most = |row: &Row| match sort {
            Column::Node => 0.0,
            Column::Writes => number(row.writes),
            Column::Deliveries => number(row.deliveries),
            Column::Clients => number(row.member.client_count.map(|count| count as f64)),
            Column::Lag => number(row.lag.map(|lag| lag as f64)),
            Column::Fsync => number(row.member.log_fsync_p99_us.map(|us| us as f64)),
        };
        rows.sort_by(|a, b| most(b).total_cmp(&most(a)).then(a.member.id.cmp(&b.member.id)));
        if reverse {
            rows.reverse();
        }
        rows
    }

    /// All nodes together, a second.
    pub(super) fn total(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.rows.iter().filter_map(of).reduce(|sum, rate| sum + rate)
    }

    fn row(&self, member: &Member, committed: Option<u64>, at: Instant) -> Row {
        let former = self.last.as_ref().and_then(|(status, before)| {
            let former = status.members.iter().find(|former| former.id == member.id)?;
            Some((former, at.saturating_duration_since(*before).as_secs_f64()))
        });
        let rate = |count: fn(&Member) -> Option<u64>| {
            let (former, seconds) = former?;
            let grown = count(member)?.checked_sub(count(former)?)?;
            (seconds > 0.0).then(|| grown as f64 / seconds)
        };
        Row {
            writes: rate(|member| member.write_count),
            deliveries: rate(|member| member.delivered_count),
            lag: member
                .applied_index
                .and_then(|applied| Some(committed?.saturating_sub(applied))),
            member: member.clone(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(counts: &[(u64, u64)]) -> ClusterStatus {
        let members = counts.iter().zip(1..).map(|((writes, applied), id)| Member {
            id,
            write_count: Some(*writes),
            delivered_count: Some(0),
            applied_index: Some(*applied),
            committed_index: Some(*applied),
            ..Member::default()
        });
        ClusterStatus {
            members: members.collect(),
            ..ClusterStatus::default()
        }
    }

    #[test]
    fn rates_are_of_what_came_between_two_answers() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        sampler.add(status(&[(100, 5), (10, 5)]), start);
        assert_eq!(sampler.rows(Column::Node, false)[0].writes, None);
        assert!(sampler.writes.is_empty());
        sampler.add(status(&[(300, 9), (20, 7)]), start + Duration::from_secs(2));
        let rows = sampler.rows(Column::Node, false);
        assert_eq!((rows[0].writes, rows[1].writes), (Some(100.0), Some(5.0)));
        assert_eq!((rows[0].lag, rows[1].lag), (Some(0), Some(2)));
        assert_eq!(sampler.writes, [105]);
        assert_eq!(sampler.total(|row| row.writes), Some(105.0));
    }

    #[test]
    fn a_node_that_starts_anew_has_no_rate_at_first() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        sampler.add(status(&[(100, 5), (10, 5)]), start);
        sampler.add(status(&[(3, 5), (30, 5)]), start + Duration::from_secs(1));
        let rows = sampler.rows(Column::Node, false);
        assert_eq!((rows[0].writes, rows[1].writes), (None, Some(20.0)));
    }

    #[test]
    fn what_is_most_comes_first() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        sampler.add(status(&[(0, 1), (0, 3), (0, 2)]), start);
        let ids = |sampler: &Sampler, sort, reverse| -> Vec<_> {
            sampler.rows(sort, reverse).iter().map(|row| row.member.id).collect()
        };
        assert_eq!(ids(&sampler, Column::Node, false), [1, 2, 3]);
        assert_eq!(ids(&sampler, Column::Lag, false), [1, 3, 2]);
        assert_eq!(ids(&sampler, Column::Lag, true), [2, 3, 1]);
    }
}
