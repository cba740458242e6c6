//! Whether this node's clock is wrong: it is if most of the others say so.

use std::time::Duration;

/// Clocks may be that far apart.
const SKEW_MAX_US: i64 = 5_000_000;

/// How far another clock is ahead of this node's, microseconds, and how far off that may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offset {
    ahead_us: i64,
    error_us: i64,
}

impl Offset {
    /// Of a clock that showed `theirs_us`, asked for when ours showed `asked_us`, on a way there and back of `round_trip`. Our
    /// own clock may step meanwhile, so it is read once.
    pub(super) fn new(asked_us: u64, theirs_us: u64, round_trip: Duration) -> Self {
        let half_us = i64::try_from(round_trip.as_micros() / 2).unwrap_or(i64::MAX);
        let ours_us = asked_us.saturating_add_signed(half_us);
        let ahead_us = theirs_us.checked_signed_diff(ours_us);
        Self {
            ahead_us: ahead_us.unwrap_or(if theirs_us > ours_us { i64::MAX } else { i64::MIN }),
            error_us: half_us,
        }
    }

    fn is_beyond(self) -> bool {
        self.ahead_us.saturating_abs().saturating_sub(self.error_us) > SKEW_MAX_US
    }
}

/// How far this node's clock is off against most of the others, if it is; the others' `offsets`.
pub(super) fn skew(offsets: &[Offset]) -> Option<String> {
    let mut beyond: Vec<i64> = offsets
        .iter()
        .filter(|offset| offset.is_beyond())
        .map(|offset| offset.ahead_us)
        .collect();
    if beyond.len() * 2 <= offsets.len() {
        return None;
    }
    beyond.sort_unstable();
    let ahead_us = *beyond.get(beyond.len() / 2)?;
    let seconds = ahead_us.unsigned_abs() as f64 / 1e6;
    let direction = if ahead_us > 0 { "behind" } else { "ahead of" };
    Some(format!(
        "its clock is {seconds:.1} s {direction} those of {} of the {} other nodes that answer",
        beyond.len(),
        offsets.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn offset(theirs_s: u64, round_trip_s: u64) -> Offset {
        Offset::new(100 * SECOND_US, theirs_s * SECOND_US, Duration::from_secs(round_trip_s))
    }

    #[test]
    fn only_against_most_of_the_others() {
        assert_eq!(skew(&[]), None);
        assert_eq!(skew(&[offset(100, 0), offset(103, 0)]), None);
        assert_eq!(skew(&[offset(100, 0), offset(110, 0)]), None, "it is the other's");
        let text = skew(&[offset(110, 0), offset(111, 0)]).unwrap();
        assert_eq!(
            text,
            "its clock is 11.0 s behind those of 2 of the 2 other nodes that answer"
        );
        assert!(skew(&[offset(90, 0)]).unwrap().contains("10.0 s ahead of"));
    }

    #[test]
    fn what_the_way_may_have_taken_does_not_count() {
        assert!(skew(&[offset(106, 0)]).is_some());
        assert_eq!(skew(&[offset(107, 4)]), None);
        assert!(skew(&[offset(0, 0)]).is_some());
    }
}
