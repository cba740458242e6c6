//! What the whole world had seen at a time.

use crate::history::{Answer, History, Time};

/// At any time, the greatest revision that any client had seen: whoever asks later must not be shown less.
#[derive(Debug, Clone, Default)]
pub struct Floors {
    /// At a time, the greatest revision seen until then. Both increase.
    steps: Vec<(Time, u64)>,
}

impl Floors {
    /// What the clients of a history saw.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut seen: Vec<(Time, u64)> = Vec::new();
        for operation in &history.operations {
            let revision = match &operation.answer {
                Some(Answer::Written { revision, .. } | Answer::Rows { revision, .. }) => *revision,
                Some(
                    Answer::Deleted {
                        revision: Some(revision),
                    }
                    | Answer::Event {
                        revision: Some(revision),
                    },
                ) => *revision,
                Some(Answer::Value(Some(value))) => value.revision,
                Some(Answer::ConditionFailed { current }) => *current,
                _ => continue,
            };
            seen.extend(operation.returned_at.map(|at| (at, revision)));
        }
        for subscription in &history.subscriptions {
            seen.extend(subscription.granted);
            let deliveries = subscription.deliveries.iter();
            seen.extend(deliveries.filter_map(|delivery| Some((delivery.at, delivery.revision?))));
        }
        seen.sort_unstable();
        let mut steps: Vec<(Time, u64)> = Vec::new();
        for (at, revision) in seen {
            if steps.last().is_none_or(|(_, greatest)| revision > *greatest) {
                steps.push((at, revision));
            }
        }
        Self { steps }
    }

    /// The greatest revision seen before `at`.
    #[must_use]
    pub fn before(&self, at: Time) -> u64 {
        let count = self.steps.partition_point(|(time, _)| *time < at);
        count.checked_sub(1).map_or(0, |last| self.steps[last].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Delivery, Subscription};

    #[test]
    fn floors_rise() {
        let delivery = |at, revision| Delivery {
            at,
            topic: "a".to_owned(),
            serial: None,
            revision: Some(revision),
            retain: true,
        };
        let history = History {
            subscriptions: vec![Subscription {
                granted: Some((10, 5)),
                deliveries: vec![delivery(20, 4), delivery(30, 7)],
                ..Subscription::new(1, 1, "#", 0)
            }],
            ..History::default()
        };
        let floors = Floors::of(&history);
        let at = [0, 10, 11, 30, 31].map(|at| floors.before(at));
        assert_eq!(at, [0, 0, 5, 5, 7]);
    }
}
