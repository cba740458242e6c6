//! The table of the module documentation, row by row; then every judgement against all topics of small random trees.

use proptest::prelude::*;

use super::*;
use crate::keyspace::topic_key;
use crate::topic::TopicName;
use crate::topic::testing::{filter_text, naive_matches, topic_text};

use Direction::{Ascending, Descending};

fn plan(filter: &str) -> FilterPlan {
    FilterPlan::new(&TopicFilter::parse(filter).unwrap())
}

fn key(topic: &str) -> Bytes {
    topic_key(&TopicName::parse(topic).unwrap())
}

/// The judgement in words; in targets `/` for 0x00 and `>` for 0x01, without the kind.
fn judged(filter: &str, topic: &str, direction: Direction) -> String {
    let mut target = Vec::new();
    let judgement = plan(filter).judge(&key(topic), direction, &mut target);
    let next = match judgement.next {
        Next::Row => String::from("row"),
        Next::End => String::from("end"),
        Next::Target => {
            assert_eq!(target[0], KeyKind::Topic as u8);
            String::from_utf8(target[1..].to_vec())
                .unwrap()
                .replace('\0', "/")
                .replace('\x01', ">")
        }
    };
    format!("{} {next}", if judgement.matches { "match" } else { "no" })
}

#[test]
fn judges_as_the_table_says() {
    for (filter, topic, ascending, descending) in [
        // A level below its literal.
        ("a/+/m", "a/x/c", "no a/x/m", "no a/x"),
        ("a/+/m/+/n", "a/x/c/d", "no a/x/m//n", "no a/x"),
        ("a/+/m/#", "a/x", "no a/x/m", "no a/x"),
        // A level above its literal.
        ("a/+/m", "a/x/z", "no a/x>", "no a/x/m/"),
        ("a/+/m/n", "a/x/z", "no a/x>", "no a/x/m/n/"),
        ("a/+/m/+/n", "a/x/z/1", "no a/x>", "no a/x/m>"),
        ("a/+/m/n/#", "a/x/z/1", "no a/x>", "no a/x/m/n>"),
        ("+/m", "x/z", "no x>", "no x/m/"),
        // The key ends before the tail does.
        ("a/+/m", "a", "no a//m", "no end"),
        ("a/+", "a", "no a/", "no end"),
        ("+/+/m", "x", "no x//m", "no x"),
        ("+/+/m", "x/y", "no x/y/m", "no x/y"),
        // The tail ends before the key does.
        ("a/+", "a/x/y", "no a/x>", "no a/x/"),
        ("a/+/m", "a/x/m/y", "no a/x>", "no a/x/m/"),
        ("+", "x/y", "no x>", "no x/"),
        // Both end together.
        ("a/+/m", "a/x/m", "match a/x>", "match a/x"),
        ("a/+", "a/x", "match a/x>", "match a/x"),
        ("a/+/#", "a/x", "match row", "match row"),
        ("a/#", "a", "match row", "match row"),
        // The tail ends with `#`.
        ("a/+/m/#", "a/x/m/y/z", "match row", "match row"),
        ("#", "a", "match row", "match row"),
        // Reserved topics.
        ("#", "$SYS/x", "no %", "no $"),
        ("+/x", "$SYS/x", "no %", "no $"),
        ("$SYS/+", "$SYS/x", "match $SYS/x>", "match $SYS/x"),
        // Empty levels.
        ("+/a", "/a", "match >", "match "),
        ("+/+", "/", "match />", "match /"),
        ("/+/b", "/", "no //b", "no /"),
    ] {
        assert_eq!(
            judged(filter, topic, Ascending),
            ascending,
            "{filter} {topic} ascending"
        );
        assert_eq!(
            judged(filter, topic, Descending),
            descending,
            "{filter} {topic} descending"
        );
    }
}

#[test]
fn bounds_are_the_literal_beginning() {
    for (filter, lower, upper) in [
        ("a/b/+/c", &b"\x10a\0b"[..], &b"\x10a\0b\x01"[..]),
        ("a/#", b"\x10a", b"\x10a\x01"),
        ("a/b", b"\x10a\0b", b"\x10a\0b\0"),
        ("/+", b"\x10", b"\x10\x01"),
        ("//a/+", b"\x10\0\0a", b"\x10\0\0a\x01"),
        ("+/a", b"\x10", b"\x11"),
        ("#", b"\x10", b"\x11"),
    ] {
        let range = plan(filter).range();
        assert_eq!((&range.0[..], &range.1[..]), (lower, upper), "{filter}");
    }
}

#[test]
fn the_simple_forms_are_recognised() {
    for (filter, exact, subtree) in [
        ("a/b", true, false),
        ("a/#", false, true),
        ("#", false, false),
        ("a/+", false, false),
        ("+/#", false, false),
    ] {
        assert_eq!(
            (plan(filter).is_exact(), plan(filter).is_subtree()),
            (exact, subtree),
            "{filter}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_judgement_is_right(filter in filter_text(), topics in prop::collection::btree_set(topic_text(), 1..40)) {
        let plan = plan(&filter);
        let (lower, upper) = plan.range();
        let mut target = Vec::new();
        for topic in &topics {
            let judged_key = key(topic);
            if judged_key < lower || judged_key >= upper {
                prop_assert!(!naive_matches(&filter, topic), "{} is outside the bounds of {}", topic, filter);
                continue;
            }
            for direction in [Ascending, Descending] {
                let judgement = plan.judge(&judged_key, direction, &mut target);
                prop_assert_eq!(judgement.matches, naive_matches(&filter, topic));
                if judgement.next == Next::Target {
                    // It leads on, never back.
                    match direction {
                        Ascending => prop_assert!(target[..] > judged_key[..]),
                        Descending => prop_assert!(target[..] <= judged_key[..]),
                    }
                }
                for other in topics.iter().filter(|other| naive_matches(&filter, other)) {
                    let other_key = key(other);
                    let follows = match direction {
                        Ascending => other_key > judged_key,
                        Descending => other_key < judged_key,
                    };
                    let skipped = match (judgement.next, direction) {
                        (Next::Row, _) => false,
                        (Next::Target, Ascending) => other_key[..] < target[..],
                        (Next::Target, Descending) => other_key[..] >= target[..],
                        (Next::End, _) => true,
                    };
                    prop_assert!(!(follows && skipped), "{} skips {} from {} {:?}", filter, other, topic, direction);
                }
            }
        }
    }

    #[test]
    fn arbitrary_keys_are_judged_without_a_panic(
        filter in filter_text(),
        rest in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(b'a'), any::<u8>()], 0..16),
    ) {
        let plan = plan(&filter);
        // Within the bounds, as a range of a damaged store would be.
        let key = [&plan.range().0[..], &rest].concat();
        let mut target = Vec::new();
        for direction in [Ascending, Descending] {
            let _ = plan.judge(&key, direction, &mut target);
        }
    }
}
