//! The standard's own examples, statement by statement, and the matcher against a naive one.

use proptest::prelude::*;

use super::*;
use crate::topic::testing::{filter_text, naive_matches, topic_text};

fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::parse(filter)
        .unwrap()
        .matches(&TopicName::parse(topic).unwrap())
}

#[test]
fn multi_level_wildcard() {
    // §4.7.1.2, non-normative examples of [MQTT-4.7.1-1].
    for topic in [
        "sport/tennis/player1",
        "sport/tennis/player1/ranking",
        "sport/tennis/player1/score/wimbledon",
    ] {
        assert!(matches("sport/tennis/player1/#", topic), "{topic}");
    }
    assert!(matches("sport/#", "sport"));
    assert!(matches("#", "sport/tennis"));
    assert!(matches("#", "/"));
    assert!(!matches("sport/tennis/#", "sport"));
    assert!(!matches("sport/#", "sports"));
    assert_eq!(
        TopicFilter::parse("sport/tennis#"),
        Err(TopicFilterError::WildcardNotWholeLevel)
    );
    assert_eq!(
        TopicFilter::parse("sport/tennis/#/ranking"),
        Err(TopicFilterError::MultiLevelNotLast)
    );
    assert_eq!(TopicFilter::parse("#/"), Err(TopicFilterError::MultiLevelNotLast));
}

#[test]
fn single_level_wildcard() {
    // §4.7.1.3, non-normative examples of [MQTT-4.7.1-2].
    assert!(matches("sport/tennis/+", "sport/tennis/player1"));
    assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!matches("sport/+", "sport"));
    assert!(matches("sport/+", "sport/"));
    assert!(matches("+/+", "/finance"));
    assert!(matches("/+", "/finance"));
    assert!(!matches("+", "/finance"));
    assert!(matches("+/tennis/#", "sport/tennis"));
    assert_eq!(
        TopicFilter::parse("sport+"),
        Err(TopicFilterError::WildcardNotWholeLevel)
    );
    assert_eq!(
        TopicFilter::parse("a/+b/c"),
        Err(TopicFilterError::WildcardNotWholeLevel)
    );
}

/// Shows 3.1.1 [MQTT-4.7.2-1].
#[test]
fn leading_wildcards_do_not_see_reserved_topics() {
    // [MQTT-4.7.2-1]
    assert!(!matches("#", "$SYS"));
    assert!(!matches("#", "$SYS/monitor/Clients"));
    assert!(!matches("+/monitor/Clients", "$SYS/monitor/Clients"));
    assert!(matches("$SYS/#", "$SYS/monitor/Clients"));
    assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert!(matches("+/$SYS", "a/$SYS"));
}

/// Shows 3.1.1 [MQTT-4.7.3-4].
#[test]
fn nothing_is_normalised() {
    // [MQTT-4.7.3-4]; the accounts of §4.7.3.
    assert!(!matches("ACCOUNTS", "Accounts"));
    assert!(!matches("/a", "a"));
    assert!(!matches("a/", "a"));
    assert!(!matches("\u{e9}", "e\u{301}"));
}

/// Shows [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2]; 3.1.1 [MQTT-4.7.1-2], [MQTT-4.7.1-3],
/// [MQTT-4.7.3-1], [MQTT-4.7.3-2].
#[test]
fn refuses_by_rule() {
    for (text, error) in [
        ("", TopicFilterError::Empty),
        ("a\0b", TopicFilterError::Null),
        ("a\tb", TopicFilterError::ControlCharacter),
        ("a/\u{FDD0}", TopicFilterError::ControlCharacter),
        ("##", TopicFilterError::WildcardNotWholeLevel),
        ("++", TopicFilterError::WildcardNotWholeLevel),
        ("+#", TopicFilterError::WildcardNotWholeLevel),
        ("a/#b", TopicFilterError::WildcardNotWholeLevel),
        ("$share/g/a", TopicFilterError::Shared),
        ("$share/", TopicFilterError::Shared),
    ] {
        assert_eq!(TopicFilter::parse(text), Err(error.clone()), "{text:?}");
        assert_eq!(
            TopicFilter::from_utf8(Bytes::copy_from_slice(text.as_bytes())),
            Err(error),
            "{text:?}"
        );
    }
    assert_eq!(
        TopicFilter::from_utf8(Bytes::from_static(&[0xFF])),
        Err(TopicFilterError::Utf8)
    );
}

/// Shows [MQTT-4.7.3-3]; 3.1.1 [MQTT-4.7.3-3].
#[test]
fn bounds_are_exact() {
    let longest = "a".repeat(TOPIC_BYTES_MAX);
    assert!(TopicFilter::parse(&longest).is_ok());
    let error = TopicFilterError::TooLong {
        bytes: TOPIC_BYTES_MAX + 1,
    };
    assert_eq!(TopicFilter::parse(&format!("{longest}a")), Err(error.clone()));
    assert_eq!(TopicFilter::from_utf8(Bytes::from(format!("{longest}a"))), Err(error));
    let deepest = vec!["+"; TOPIC_LEVELS_MAX].join("/");
    assert!(TopicFilter::parse(&deepest).is_ok());
    let error = TopicFilterError::TooManyLevels {
        levels: TOPIC_LEVELS_MAX + 1,
    };
    assert_eq!(TopicFilter::parse(&format!("{deepest}/#")), Err(error));
}

#[test]
fn exact_filters_have_no_wildcard() {
    for (text, exact) in [("a/b", true), ("/", true), ("a/+", false), ("a/#", false), ("#", false)] {
        assert_eq!(TopicFilter::parse(text).unwrap().is_exact(), exact, "{text}");
    }
}

#[test]
fn levels_are_told_apart() {
    let filter = TopicFilter::parse("a//+/#").unwrap();
    let levels: Vec<_> = filter.levels().collect();
    assert_eq!(
        levels,
        [
            FilterLevel::Literal("a"),
            FilterLevel::Literal(""),
            FilterLevel::Single,
            FilterLevel::Multi
        ]
    );
}

proptest! {
    /// Shows [MQTT-3.3.2-3]; 3.1.1 [MQTT-3.3.2-3].
    #[test]
    fn agrees_with_the_naive_matcher(filter in filter_text(), topic in topic_text()) {
        prop_assert_eq!(matches(&filter, &topic), naive_matches(&filter, &topic));
    }

    #[test]
    fn a_topic_is_a_filter_for_itself_alone(one in topic_text(), other in topic_text()) {
        let one = TopicName::parse(&one).unwrap();
        let other = TopicName::parse(&other).unwrap();
        let filter = TopicFilter::from(&one);
        prop_assert!(filter.is_exact());
        prop_assert!(filter.matches(&one));
        prop_assert_eq!(filter.matches(&other), one == other);
    }

    #[test]
    fn arbitrary_bytes_are_checked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(topic) = TopicName::from_utf8(bytes.clone()) {
            prop_assert_eq!(topic.as_str().as_bytes(), &bytes[..]);
        }
        if let Ok(filter) = TopicFilter::from_utf8(bytes.clone()) {
            prop_assert_eq!(filter.as_str().as_bytes(), &bytes[..]);
        }
        if let Ok(filter) = super::super::SubscriptionFilter::from_utf8(bytes.clone()) {
            prop_assert_eq!(filter.as_str().as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn arbitrary_text_is_checked_without_a_panic(text in "[$+#/a-c\u{0}-\u{9}share]{0,24}") {
        let _ = TopicName::parse(&text);
        let _ = TopicFilter::parse(&text);
        let _ = super::super::SubscriptionFilter::parse(&text);
    }
}
