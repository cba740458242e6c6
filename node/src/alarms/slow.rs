//! A disk that is slow, and who leads instead.

use std::time::Duration;

use super::vitals::SyncTime;

/// The next leader's disk takes at most this part of what this one's takes.
const FASTER: u64 = 4;

/// A voter that might lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) node_id: u64,
    pub(super) sync: Option<SyncTime>,
    pub(super) is_low: bool,
    pub(super) is_draining: bool,
}

/// Whether syncs that take so long make a disk slow.
pub(super) fn is_slow(sync: Option<SyncTime>, bound: Duration) -> bool {
    sync.is_some_and(|sync| u128::from(sync.median_us) >= bound.as_micros())
}

/// To whom a leader hands over whose syncs take `own`: the voter whose disk is fastest, if it is healthy and much faster. None
/// of whose disk nothing is known.
pub(super) fn heir(own: SyncTime, bound: Duration, candidates: &[Candidate]) -> Option<(u64, SyncTime)> {
    let healthy = candidates
        .iter()
        .filter(|candidate| !candidate.is_low && !candidate.is_draining);
    let timed = healthy.filter_map(|candidate| Some((candidate.node_id, candidate.sync?)));
    timed
        .filter(|(_, sync)| !is_slow(Some(*sync), bound / 2) && sync.median_us <= own.median_us / FASTER)
        .min_by_key(|(_, sync)| sync.median_us)
}

impl std::fmt::Display for SyncTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} ms in the median of {}",
            self.median_us as f64 / 1_000.0,
            self.count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(100);

    fn sync(median_ms: u64) -> SyncTime {
        SyncTime {
            count: 9,
            median_us: median_ms * 1_000,
        }
    }

    fn candidate(node_id: u64, median_ms: u64) -> Candidate {
        Candidate {
            node_id,
            sync: Some(sync(median_ms)),
            is_low: false,
            is_draining: false,
        }
    }

    #[test]
    fn slow_from_the_bound_on() {
        assert!(!is_slow(None, BOUND));
        assert!(!is_slow(Some(sync(99)), BOUND));
        assert!(is_slow(Some(sync(100)), BOUND));
    }

    #[test]
    fn the_fastest_healthy_disk_that_is_much_faster() {
        let to = |candidates: &[Candidate]| heir(sync(150), BOUND, candidates).map(|(node_id, _)| node_id);
        assert_eq!(to(&[candidate(2, 9), candidate(3, 4)]), Some(3));
        assert_eq!(to(&[candidate(2, 40)]), None, "not much faster");
        assert_eq!(
            heir(sync(900), BOUND, &[candidate(2, 60)]).map(|heir| heir.0),
            None,
            "soon slow itself"
        );
        let low = Candidate {
            is_low: true,
            ..candidate(2, 1)
        };
        let silent = Candidate {
            sync: None,
            ..candidate(3, 1)
        };
        let draining = Candidate {
            is_draining: true,
            ..candidate(4, 1)
        };
        assert_eq!(to(&[low, silent, draining]), None);
    }
}
