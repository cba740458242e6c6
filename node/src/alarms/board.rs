//! The alarms that this node has raised: one log line when one is raised, one when it clears.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::AlarmKind;

/// An alarm that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// With which node.
    pub node_id: u64,
    /// Since when, by the clock of the node that has raised it, microseconds since the epoch.
    pub since_us: u64,
    /// The numbers, for people.
    pub detail: String,
}

/// What is raised, by kind and the node that it is about.
#[derive(Debug, Default)]
pub(super) struct Board {
    raised: BTreeMap<(AlarmKind, u64), (Alarm, Instant)>,
}

impl Board {
    /// Raises the alarm with this `detail`, renews the detail of one that is raised, or clears it. Returns whether it was
    /// raised or cleared.
    pub(super) fn set(&mut self, kind: AlarmKind, node_id: u64, detail: Option<String>, now_us: u64) -> bool {
        let Some(detail) = detail else {
            let Some((_, since)) = self.raised.remove(&(kind, node_id)) else {
                return false;
            };
            let lasted = since.elapsed();
            tracing::info!(
                alarm = kind.name(),
                about = node_id,
                "alarm cleared after {}",
                seconds(lasted)
            );
            return true;
        };
        if let Some((raised, _)) = self.raised.get_mut(&(kind, node_id)) {
            raised.detail = detail;
            return false;
        }
        tracing::warn!(alarm = kind.name(), about = node_id, "alarm: {detail}");
        let alarm = Alarm {
            kind,
            node_id,
            since_us: now_us,
            detail,
        };
        self.raised.insert((kind, node_id), (alarm, Instant::now()));
        true
    }

    /// Whom alarms of this kind are about.
    pub(super) fn about(&self, kind: AlarmKind) -> Vec<u64> {
        let of_kind = self.raised.keys().filter(|(raised, _)| *raised == kind);
        of_kind.map(|(_, node_id)| *node_id).collect()
    }

    pub(super) fn raised(&self) -> impl Iterator<Item = &Alarm> {
        self.raised.values().map(|(alarm, _)| alarm)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Something that is so only once it has been so for a while, and no more only once it has not been for a while.
#[derive(Debug)]
pub(super) struct Settled {
    after: Duration,
    until: Duration,
    is_on: bool,
    otherwise_since: Option<Instant>,
}

impl Settled {
    /// On `after` that long, off again after `until`.
    pub(super) fn new(after: Duration, until: Duration) -> Self {
        Self {
            after,
            until,
            is_on: false,
            otherwise_since: None,
        }
    }

    /// What counts.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// What is seen now; returns what counts.
    pub(super) fn see(&mut self, is_so: bool) -> bool {
        let now = Instant::now();
        if is_so == self.is_on {
            self.otherwise_since = None;
            return self.is_on;
        }
        let wait = if self.is_on { self.until } else { self.after };
        if now - *self.otherwise_since.get_or_insert(now) >= wait {
            self.is_on = is_so;
            self.otherwise_since = None;
        }
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_once_and_cleared_once() {
        let mut board = Board::default();
        assert!(board.set(AlarmKind::DiskSpace, 1, Some("9 free".into()), 100));
        assert!(!board.set(AlarmKind::DiskSpace, 1, Some("8 free".into()), 200));
        let raised: Vec<_> = board.raised().cloned().collect();
        assert_eq!((raised[0].since_us, raised[0].detail.as_str()), (100, "8 free"));
        assert!(!board.set(AlarmKind::DiskSpace, 2, None, 300), "about another node");
        assert!(board.set(AlarmKind::DiskSpace, 1, None, 300));
        assert!(!board.set(AlarmKind::DiskSpace, 1, None, 300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_does_not_count() {
        let second = Duration::from_secs(1);
        let mut settled = Settled::new(2 * second, 5 * second);
        for _ in 0..10 {
            assert!(!settled.see(true));
            tokio::time::advance(second).await;
            assert!(!settled.see(false));
            tokio::time::advance(second).await;
        }
        assert!(!settled.see(true));
        tokio::time::advance(2 * second).await;
        assert!(settled.see(true));
        assert!(settled.see(false));
        tokio::time::advance(4 * second).await;
        assert!(settled.see(false));
        tokio::time::advance(second).await;
        assert!(!settled.see(false));
    }
}
