//! Topic names, and the keys made of them.
//!
//! Input: texts with 0xFE between them, a byte that UTF-8 never has.
//!
//! What must hold:
//!
//! - A name is accepted exactly if the plain rules accept it, however it is given.
//! - Its key gives it back. Keys sort as the names do with `/` below every other character.
//! - The keys of a subtree are exactly those of the topic itself and of what is below it.

use banyan_core::keyspace::topic::{stored_topic, topic_of_stored};
use banyan_core::keyspace::{KeyKind, subtree_range, topic_key, topic_of_key};
use banyan_core::topic::TopicName;
use bytes::Bytes;

use crate::naive;

/// Names of one input; their pairs are compared.
const NAMES_MAX: usize = 8;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut names = Vec::new();
    for bytes in data.split(|byte| *byte == 0xFE) {
        let parsed = TopicName::from_utf8(Bytes::copy_from_slice(bytes));
        assert_eq!(parsed.is_ok(), naive::is_name(bytes), "{parsed:?} of {bytes:02X?}");
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert_eq!(TopicName::parse(text), parsed, "{bytes:02X?}");
        }
        names.extend(parsed.ok().filter(|_| names.len() < NAMES_MAX));
        check_stored(bytes);
    }
    for name in &names {
        check_one(name);
        for other in &names {
            check_pair(name, other);
        }
    }
}

/// Stored bytes are a topic or are refused.
fn check_stored(bytes: &[u8]) {
    if let Some(topic) = topic_of_stored(bytes) {
        assert_eq!(stored_topic(&topic), bytes, "{topic:?}");
    }
}

fn check_one(name: &TopicName) {
    let text = name.as_str();
    assert_eq!(name.len(), text.len());
    assert_eq!(name.levels().collect::<Vec<_>>(), text.split('/').collect::<Vec<_>>());
    assert_eq!(name.is_reserved(), text.starts_with('$'));
    assert_eq!(&name.detach(), name);
    let key = topic_key(name);
    assert_eq!(KeyKind::of_key(&key), Some(KeyKind::Topic));
    assert_eq!(topic_of_key(&key).as_ref(), Some(name));
}

fn check_pair(name: &TopicName, other: &TopicName) {
    let ordered = |name: &TopicName| name.as_str().replace('/', "\0");
    let (key, other_key) = (topic_key(name), topic_key(other));
    assert_eq!(
        key.cmp(&other_key),
        ordered(name).cmp(&ordered(other)),
        "{name:?}, {other:?}"
    );
    let (lower, upper) = subtree_range(name);
    let is_below = other == name || other.as_str().starts_with(&format!("{name}/"));
    assert_eq!(
        (lower..upper).contains(&other_key),
        is_below,
        "{other:?} below {name:?}"
    );
}
