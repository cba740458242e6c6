//! Topic filters, shared subscriptions, matching, and the trie of subscriptions.
//!
//! Input: texts with 0xFE between them, a byte that UTF-8 never has. Every text is tried as a filter and as a name.
//!
//! What must hold:
//!
//! - A filter is accepted exactly if the plain rules accept it, however it is given.
//! - A filter matches a name exactly if it does so level by level.
//! - The trie finds exactly the filters that match, also after some are gone.

use std::collections::BTreeMap;

use banyan_core::keyspace::plan::FilterPlan;
use banyan_core::keyspace::topic_key;
use banyan_core::topic::{FilterTrie, SubscriptionFilter, TopicFilter, TopicName};
use bytes::Bytes;

use crate::naive;

/// Texts of one input that are matched against each other.
const TEXTS_MAX: usize = 12;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mut filters, mut names) = (Vec::new(), Vec::new());
    for bytes in data.split(|byte| *byte == 0xFE).take(TEXTS_MAX) {
        filters.extend(check_filter(bytes));
        check_subscription(bytes);
        names.extend(TopicName::from_utf8(Bytes::copy_from_slice(bytes)));
    }
    for filter in &filters {
        let (lower, upper) = FilterPlan::new(filter).range();
        for name in &names {
            let matches = naive::matches(filter.as_str(), name.as_str());
            assert_eq!(filter.matches(name), matches, "{filter:?} matches {name:?}");
            let is_read = (&lower..&upper).contains(&&topic_key(name));
            assert!(
                is_read || !matches,
                "{name:?} is outside of what is read for {filter:?}"
            );
        }
    }
    check_trie(&filters, &names);
}

fn check_filter(bytes: &[u8]) -> Option<TopicFilter> {
    let parsed = TopicFilter::from_utf8(Bytes::copy_from_slice(bytes));
    assert_eq!(parsed.is_ok(), naive::is_filter(bytes), "{parsed:?} of {bytes:02X?}");
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(TopicFilter::parse(text), parsed, "{bytes:02X?}");
    }
    let filter = parsed.ok()?;
    assert_eq!(filter.as_bytes(), bytes);
    assert_eq!(filter.levels().count(), filter.as_str().split('/').count());
    assert_eq!(filter.is_exact(), naive::is_name(bytes), "{filter:?}");
    assert_eq!(&filter.detach(), &filter);
    Some(filter)
}

fn check_subscription(bytes: &[u8]) {
    let parsed = SubscriptionFilter::from_utf8(Bytes::copy_from_slice(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(SubscriptionFilter::parse(text), parsed, "{bytes:02X?}");
    }
    match (parsed, naive::shared(bytes)) {
        (Ok(SubscriptionFilter::Shared(shared)), Some((group, filter))) => {
            assert_eq!((shared.group(), shared.filter().as_str()), (group, filter));
            assert_eq!(shared.as_str().as_bytes(), bytes);
        }
        (Ok(SubscriptionFilter::Plain(filter)), None) => {
            assert_eq!(filter.as_bytes(), bytes);
            assert!(naive::is_filter(bytes), "{filter:?}");
        }
        (Err(_), None) => assert!(!naive::is_filter(bytes), "{bytes:02X?}"),
        (parsed, naive) => panic!("{parsed:?}, but {naive:?}"),
    }
}

/// Inserts all filters, the keys of some being shared, and removes every second one.
fn check_trie(filters: &[TopicFilter], names: &[TopicName]) {
    let mut trie = FilterTrie::new();
    let mut list = BTreeMap::new();
    for (number, filter) in filters.iter().enumerate() {
        let key = number % 3;
        assert_eq!(trie.insert(filter, key, number), list.insert((filter, key), number));
    }
    check_found(&trie, &list, names);
    for (number, filter) in filters.iter().enumerate().step_by(2) {
        let key = number % 3;
        assert_eq!(trie.remove(filter, &key), list.remove(&(filter, key)));
    }
    check_found(&trie, &list, names);
}

fn check_found(trie: &FilterTrie<usize, usize>, list: &BTreeMap<(&TopicFilter, usize), usize>, names: &[TopicName]) {
    assert_eq!((trie.len(), trie.is_empty()), (list.len(), list.is_empty()));
    for name in names {
        let mut found = Vec::new();
        trie.for_each_match(name, &mut |key, value| found.push((*key, *value)));
        let matches = |((filter, key), value): (&(&TopicFilter, usize), &usize)| {
            naive::matches(filter.as_str(), name.as_str()).then_some((*key, *value))
        };
        let mut expected: Vec<_> = list.iter().filter_map(matches).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name:?}");
    }
}
