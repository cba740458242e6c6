//! Random topics and filters over a small alphabet, so that they meet; and a matcher too simple to be wrong.

use proptest::prelude::*;

use crate::limits::TOPIC_LEVELS_MAX;

/// Levels that share prefixes, are empty, reserved, sort around `/`, or need more than one byte.
fn level() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "a", "b", "b", "ab", "a!", "a0", "!", "$", "$a", "é", "c"])
        .prop_map(String::from)
}

fn joined(levels: &[String]) -> Option<String> {
    let text = levels.join("/");
    (!text.is_empty() && levels.len() <= TOPIC_LEVELS_MAX).then_some(text)
}

/// Topic names; mostly shallow, some as deep as allowed.
pub(crate) fn topic_text() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::collection::vec(level(), 1..6),
        1 => prop::collection::vec(level(), 6..=TOPIC_LEVELS_MAX),
    ]
    .prop_filter_map("empty", |levels| joined(&levels))
}

/// Topic filters with `+` and `#` anywhere that they may stand; some are plain topics.
pub(crate) fn filter_text() -> impl Strategy<Value = String> {
    let filter_level = || prop_oneof![2 => level(), 1 => Just(String::from("+"))];
    let levels = prop_oneof![
        12 => prop::collection::vec(filter_level(), 0..5),
        1 => prop::collection::vec(filter_level(), 5..TOPIC_LEVELS_MAX),
    ];
    (levels, any::<bool>()).prop_filter_map("empty", |(mut levels, multi)| {
        if multi {
            levels.push(String::from("#"));
        }
        joined(&levels)
    })
}

/// §4.7 word for word: recursive, over lists of levels.
pub(crate) fn naive_matches(filter: &str, topic: &str) -> bool {
    fn below(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => below(filter, topic),
            ([literal, filter @ ..], [level, topic @ ..]) => literal == level && below(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    let leading_wildcard = matches!(filter.first(), Some(&"+" | &"#"));
    !(leading_wildcard && topic[0].starts_with('$')) && below(&filter, &topic)
}
