//! Topic filters, matched level by level (§4.7).

/// Whether `filter` matches `topic`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    let leads_with_wildcard = filter.starts_with('#') || filter.starts_with('+');
    if leads_with_wildcard && topic.starts_with('$') {
        return false;
    }
    let topic: Vec<&str> = topic.split('/').collect();
    let filter: Vec<&str> = filter.split('/').collect();
    match filter.split_last() {
        // `a/#` matches `a` too (§4.7.1.2).
        Some((&"#", parents)) => topic.len() >= parents.len() && levels_match(parents, &topic[..parents.len()]),
        _ => levels_match(&filter, &topic),
    }
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    filter.len() == topic.len()
        && filter
            .iter()
            .zip(topic)
            .all(|(filter, level)| *filter == "+" || filter == level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (filter, topic, expected) in [
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/#", "a", true),
            ("a/#", "ab", false),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("+", "/a", false),
            ("+/+", "/a", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
