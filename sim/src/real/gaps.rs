//! How long nobody could write.

use crate::history::{History, Operation, Time};

/// The times at which writes were acknowledged, ascending.
fn acknowledgements(history: &History) -> Vec<Time> {
    let mut times: Vec<Time> = history
        .operations
        .iter()
        .filter(|operation| is_acknowledged(operation))
        .filter_map(|operation| operation.returned_at)
        .collect();
    times.sort_unstable();
    times
}

/// Number of acknowledged writes.
pub(super) fn acknowledged(history: &History) -> usize {
    history
        .operations
        .iter()
        .filter(|operation| is_acknowledged(operation))
        .count()
}

fn is_acknowledged(operation: &Operation) -> bool {
    !operation.call.is_read()
        && operation
            .answer
            .as_ref()
            .is_some_and(crate::history::Answer::is_certain)
}

/// The longest time between two acknowledgements, and when it began.
pub(super) fn longest(history: &History) -> Option<(Time, Time)> {
    let times = acknowledgements(history);
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    gaps.max()
}

/// The time from each of `moments` to the first acknowledgement of a write that was sent after it.
pub(super) fn after(history: &History, moments: &[Time]) -> Vec<Time> {
    let first_after = |moment: Time| {
        let later = history
            .operations
            .iter()
            .filter(|operation| operation.invoked_at >= moment);
        let acknowledged = later.filter(|operation| is_acknowledged(operation));
        acknowledged.filter_map(|operation| operation.returned_at).min()
    };
    moments
        .iter()
        .filter_map(|&moment| Some(first_after(moment)? - moment))
        .collect()
}

/// The value below which `percent` of `values` lie, by the nearest rank.
pub(super) fn percentile(values: &[Time], percent: usize) -> Option<Time> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call, Transport};

    fn delete(invoked_at: Time, returned_at: Time, answer: Answer) -> Operation {
        Operation {
            client: 1,
            node: 1,
            transport: Transport::Http,
            call: Call::DeleteFilter { filter: "#".to_owned() },
            invoked_at,
            returned_at: Some(returned_at),
            answer: Some(answer),
        }
    }

    #[test]
    fn only_acknowledged_writes_end_a_gap() {
        let done = || Answer::Deleted { revision: None };
        let history = History {
            operations: vec![
                delete(0, 10, done()),
                delete(20, 25, Answer::Unknown(String::new())),
                delete(22, 40, done()),
                delete(30, 45, done()),
            ],
            ..History::default()
        };
        assert_eq!(longest(&history), Some((30, 10)));
        assert_eq!(after(&history, &[0, 21, 25]), [10, 19, 20]);
    }

    #[test]
    fn percentiles_go_by_the_nearest_rank() {
        let values: Vec<Time> = (1..=30).rev().collect();
        assert_eq!(percentile(&values, 50), Some(15));
        assert_eq!(percentile(&values, 99), Some(30));
        assert_eq!(percentile(&[], 50), None);
    }
}
