//! The trie against a list of filters and the naive matcher.

use proptest::prelude::*;

use super::*;
use crate::topic::testing::{filter_text, naive_matches, topic_text};

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn matching(trie: &FilterTrie<u8, char>, topic: &str) -> Vec<(u8, char)> {
    let mut found = Vec::new();
    trie.for_each_match(&TopicName::parse(topic).unwrap(), &mut |key, value| {
        found.push((*key, *value));
    });
    found.sort_unstable();
    found
}

#[test]
fn overlapping_filters_are_each_visited() {
    let mut trie = FilterTrie::new();
    for (index, text) in ["a/b", "a/+", "+/b", "a/#", "#", "a/b/#", "a/b/c", "b/#"]
        .iter()
        .enumerate()
    {
        assert_eq!(trie.insert(&filter(text), 1, char::from(b'a' + index as u8)), None);
    }
    assert_eq!(
        matching(&trie, "a/b"),
        [(1, 'a'), (1, 'b'), (1, 'c'), (1, 'd'), (1, 'e'), (1, 'f')]
    );
    assert_eq!(matching(&trie, "x"), [(1, 'e')]);
    assert_eq!(matching(&trie, "$a/b"), []);
}

#[test]
fn the_same_filter_is_replaced() {
    // [MQTT-3.8.4-3]
    let mut trie = FilterTrie::new();
    assert_eq!(trie.insert(&filter("a/+"), 1, 'x'), None);
    assert_eq!(trie.insert(&filter("a/+"), 1, 'y'), Some('x'));
    assert_eq!(trie.insert(&filter("a/+"), 2, 'z'), None);
    assert_eq!(trie.len(), 2);
    assert_eq!(matching(&trie, "a/b"), [(1, 'y'), (2, 'z')]);
}

#[test]
fn only_the_identical_filter_is_removed() {
    // [MQTT-3.10.4-1]
    let mut trie = FilterTrie::new();
    trie.insert(&filter("a/+"), 1, 'x');
    for other in ["a/b", "a/#", "a", "+/+", "a/+/#", "a/+/b"] {
        assert_eq!(trie.remove(&filter(other), &1), None, "{other}");
    }
    assert_eq!(trie.remove(&filter("a/+"), &2), None);
    assert_eq!(trie.remove(&filter("a/+"), &1), Some('x'));
    assert!(trie.is_empty());
    assert!(trie.root.is_empty(), "empty branches are pruned");
}

#[test]
fn the_first_that_is_taken_ends_the_search() {
    let mut trie = FilterTrie::new();
    for key in 0..100_u8 {
        trie.insert(&filter("a/+"), key, 'x');
    }
    let topic = TopicName::parse("a/b").unwrap();
    let mut asked = 0;
    let mut until = |last: u8| {
        asked = 0;
        let found = trie.any_match(&topic, &mut |key, _| {
            asked += 1;
            *key == last
        });
        (found, asked)
    };
    assert_eq!(until(0), (true, 1));
    assert_eq!(until(9), (true, 10));
    assert_eq!(until(100), (false, 100));
    assert!(!trie.any_match(&TopicName::parse("b").unwrap(), &mut |_, _| true));
}

#[test]
fn what_was_said_can_be_changed() {
    let mut trie = FilterTrie::new();
    for text in ["a/+", "a/b", "a/#"] {
        trie.insert(&filter(text), 1, 'x');
        *trie.get_mut(&filter(text), &1).unwrap() = 'y';
        assert_eq!(trie.get_mut(&filter(text), &2), None);
    }
    assert_eq!(matching(&trie, "a/b"), [(1, 'y'), (1, 'y'), (1, 'y')]);
    assert_eq!(trie.get_mut(&filter("a"), &1), None);
    assert_eq!(trie.get_mut(&filter("+/b"), &1), None);
}

proptest! {
    #[test]
    fn agrees_with_a_list_of_filters(
        steps in prop::collection::vec((filter_text(), 0..3_u8, any::<bool>()), 0..60),
        topics in prop::collection::vec(topic_text(), 1..20),
    ) {
        let mut trie = FilterTrie::new();
        let mut model: BTreeMap<(String, u8), usize> = BTreeMap::new();
        for (step, (text, key, insert)) in steps.into_iter().enumerate() {
            if insert {
                prop_assert_eq!(trie.insert(&filter(&text), key, step), model.insert((text, key), step));
            } else {
                // Mostly something that is there.
                let (text, key) = model.keys().next().cloned().filter(|_| key > 0).unwrap_or((text, key));
                prop_assert_eq!(trie.remove(&filter(&text), &key), model.remove(&(text, key)));
            }
            prop_assert_eq!(trie.len(), model.len());
        }
        for topic in topics {
            let mut found = Vec::new();
            trie.for_each_match(&TopicName::parse(&topic).unwrap(), &mut |key, value| found.push((*key, *value)));
            found.sort_unstable();
            let mut expected: Vec<_> = model
                .iter()
                .filter(|((text, _), _)| naive_matches(text, &topic))
                .map(|((_, key), value)| (*key, *value))
                .collect();
            expected.sort_unstable();
            let taken = expected.first().copied();
            let accept = &mut |key: &u8, value: &usize| Some((*key, *value)) == taken;
            prop_assert_eq!(trie.any_match(&TopicName::parse(&topic).unwrap(), accept), taken.is_some());
            prop_assert_eq!(found, expected);
        }
        for ((text, key), value) in model {
            prop_assert_eq!(trie.remove(&filter(&text), &key), Some(value));
        }
        prop_assert!(trie.root.is_empty());
    }
}
