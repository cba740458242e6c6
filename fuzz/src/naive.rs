//! The rules of topics said again, too plainly to be wrong and too slowly to be used.

use banyan_core::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// The text of a name or filter, if length, characters and number of levels are legal (§1.5.4, §4.7.3).
pub fn legal_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_legal = |character: char| {
        let code = u32::from(character);
        let is_non_character = (0xFDD0..=0xFDEF).contains(&code) || code % 0x1_0000 >= 0xFFFE;
        !character.is_control() && !is_non_character
    };
    let is_right = !text.is_empty()
        && text.len() <= TOPIC_BYTES_MAX
        && text.split('/').count() <= TOPIC_LEVELS_MAX
        && text.chars().all(is_legal);
    is_right.then_some(text)
}

/// Whether `bytes` are a topic name.
pub fn is_name(bytes: &[u8]) -> bool {
    legal_text(bytes).is_some_and(|text| !text.contains(['+', '#']))
}

/// Whether `bytes` are a topic filter that is not shared (§4.7.1).
pub fn is_filter(bytes: &[u8]) -> bool {
    let Some(text) = legal_text(bytes) else { return false };
    let levels: Vec<&str> = text.split('/').collect();
    let is_level = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at + 1 == levels.len(),
        literal => !literal.contains(['+', '#']),
    };
    levels.iter().enumerate().all(is_level) && !text.starts_with("$share/")
}

/// Group and filter of `bytes`, if they are a shared subscription (§4.8.2).
pub fn shared(bytes: &[u8]) -> Option<(&str, &str)> {
    // Levels are counted with the group's, so the bounds are those of the whole.
    let text = std::str::from_utf8(bytes).ok()?;
    let (group, filter) = text.strip_prefix("$share/")?.split_once('/')?;
    let is_group = !group.is_empty() && !group.contains(['+', '#']) && is_characters(group);
    (is_group && text.len() <= TOPIC_BYTES_MAX && is_filter(filter.as_bytes())).then_some((group, filter))
}

fn is_characters(text: &str) -> bool {
    text.split('/')
        .all(|level| level.is_empty() || legal_text(level.as_bytes()).is_some())
}

/// Whether `filter` matches `name` (§4.7), level by level.
pub fn matches(filter: &str, name: &str) -> bool {
    fn below(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => below(filter, name),
            ([literal, filter @ ..], [level, name @ ..]) => literal == level && below(filter, name),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    let is_hidden = name[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#"); // [MQTT-4.7.2-1]
    !is_hidden && below(&filter, &name)
}
