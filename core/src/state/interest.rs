//! Who waits for messages, as far as `apply` has to know it: not which session for which message, but whether anybody may.
//!
//! All of it follows from the rows of sessions and groups and is built again when a state is opened. Nothing here grows with
//! the number of sessions that say the same: 100,000 sessions on one filter are one entry with a count, and so are 100,000
//! cursors at one position.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::keyspace::MessagePosition;
use crate::topic::{FilterTrie, TopicFilter, TopicName};

/// For which messages a subscription waits while its session is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wants {
    /// All of them.
    Every,
    /// Events, and of each topic the latest change (`deliver=latest`): a change that is superseded is of no use any more.
    Latest,
}

/// How many say the same.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<MessagePosition, u32>);

impl Positions {
    pub(super) fn add(&mut self, position: MessagePosition) {
        *self.0.entry(position).or_insert(0) += 1;
    }

    /// Takes one away; returns whether it was the last at that position.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn remove(&mut self, position: MessagePosition) -> bool {
        let Entry::Occupied(mut entry) = self.0.entry(position) else {
            panic!("nobody is at {position:?}")
        };
        *entry.get_mut() -= 1;
        let is_last = *entry.get() == 0;
        if is_last {
            entry.remove();
        }
        is_last
    }

    pub(super) fn contains(&self, position: MessagePosition) -> bool {
        self.0.contains_key(&position)
    }

    pub(super) fn first(&self) -> Option<MessagePosition> {
        self.0.first_key_value().map(|(position, _)| *position)
    }
}

/// What persistent sessions and shared groups wait for.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Filters of plain subscriptions with QoS 1 or 2, and how many sessions have them.
    filters: FilterTrie<Wants, u32>,
    /// Where those sessions stand, and the groups that are behind.
    pub(super) cursors: Positions,
    /// Messages that are on their way to somebody: sent and not received, or assigned, or returned to a group. They are
    /// there until let go, wherever cursors stand.
    pub(super) held: Positions,
}

impl Interest {
    pub(super) fn subscribe(&mut self, filter: &TopicFilter, wants: Wants) {
        match self.filters.get_mut(filter, &wants) {
            Some(count) => *count += 1,
            None => drop(self.filters.insert(filter, wants, 1)),
        }
    }

    /// # Panics
    /// If nobody has this subscription.
    pub(super) fn unsubscribe(&mut self, filter: &TopicFilter, wants: Wants) {
        let count = self.filters.get_mut(filter, &wants);
        let count = count.expect("whoever unsubscribes had subscribed");
        *count -= 1;
        if *count == 0 {
            self.filters.remove(filter, &wants);
        }
    }

    /// Whether a session waits for messages of `topic`.
    pub(super) fn wants(&self, topic: &TopicName) -> bool {
        !self.filters.is_empty() && self.filters.any_match(topic, &mut |_, _| true)
    }

    /// Whether a session waits for a change of `topic` also when the topic has changed again.
    pub(super) fn wants_every(&self, topic: &TopicName) -> bool {
        !self.filters.is_empty() && self.filters.any_match(topic, &mut |wants, _| *wants == Wants::Every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    fn at(revision: u64) -> MessagePosition {
        MessagePosition::first_of(revision)
    }

    #[test]
    fn a_filter_is_wanted_until_the_last_who_had_it_leaves() {
        let mut interest = Interest::default();
        let topic = TopicName::parse("a/b").unwrap();
        assert!(!interest.wants(&topic));
        interest.subscribe(&filter("a/+"), Wants::Latest);
        interest.subscribe(&filter("a/+"), Wants::Latest);
        assert!(interest.wants(&topic) && !interest.wants_every(&topic));
        interest.subscribe(&filter("#"), Wants::Every);
        assert!(interest.wants_every(&topic));
        interest.unsubscribe(&filter("#"), Wants::Every);
        interest.unsubscribe(&filter("a/+"), Wants::Latest);
        assert!(interest.wants(&topic) && !interest.wants_every(&topic));
        interest.unsubscribe(&filter("a/+"), Wants::Latest);
        assert!(!interest.wants(&topic));
    }

    #[test]
    fn the_lowest_counts_while_somebody_is_there() {
        let mut positions = Positions::default();
        for revision in [5, 3, 3, 9] {
            positions.add(at(revision));
        }
        assert_eq!(positions.first(), Some(at(3)));
        assert!(!positions.remove(at(3)));
        assert_eq!(positions.first(), Some(at(3)));
        assert!(positions.remove(at(3)));
        assert_eq!(positions.first(), Some(at(5)));
        assert!(positions.contains(at(9)) && !positions.contains(at(3)));
    }
}
