//! Keys of topics.
//!
//! ```text
//! 0x10, stored topic
//! ```
//!
//! The *stored topic* is the UTF-8 of the name with every `/` as 0x00. U+0000 never occurs in a name [MQTT-4.7.3-2], so
//! this can be undone; and 0x00 being the lowest byte, a topic sorts directly before its descendants, and what lies
//! beneath `a` is the one range `a 0x00 .. a 0x01`. With `/` as it is, `a!` and `a-b` would stand between `a` and
//! `a/b`. Bytes 0x01 to 0x1F never occur in a name either, so `a 0x01` is above all of `a`'s descendants and equals no
//! topic.
//!
//! Hence the *key order* of topics: level by level, each by its bytes, a topic before its descendants.

use bytes::{BufMut, Bytes, BytesMut};

use super::KeyKind;
use super::buffer::shared_buffer;
use crate::topic::TopicName;

/// Separates the levels of a stored topic, and of nothing else.
pub const STORED_SEPARATOR: u8 = 0x00;

/// Appended to a stored topic: above the topic and all its descendants, below everything that follows them.
pub const STORED_SUBTREE_END: u8 = 0x01;

/// Appends the stored form of `topic`: as many bytes as the name has.
pub fn put_stored_topic(topic: &TopicName, out: &mut impl BufMut) {
    put_stored(topic.as_bytes(), out);
}

/// Appends `text`, part of a topic name, in stored form.
pub(super) fn put_stored(text: &[u8], out: &mut impl BufMut) {
    for (index, level) in text.split(|byte| *byte == b'/').enumerate() {
        if index > 0 {
            out.put_u8(STORED_SEPARATOR);
        }
        out.put_slice(level);
    }
}

/// The stored form of `topic` by itself, as it stands in the values of indexes.
pub fn stored_topic(topic: &TopicName) -> Bytes {
    let mut stored = BytesMut::with_capacity(topic.len());
    put_stored_topic(topic, &mut stored);
    stored.freeze()
}

/// The topic of a stored form; `None` if these bytes are none.
pub fn topic_of_stored(stored: &[u8]) -> Option<TopicName> {
    // A `/` as it is would come back as a second form of the same topic.
    if stored.contains(&b'/') {
        return None;
    }
    let text: Vec<u8> = stored
        .iter()
        .map(|byte| if *byte == STORED_SEPARATOR { b'/' } else { *byte })
        .collect();
    TopicName::from_utf8(Bytes::from(text)).ok()
}

/// Key of the record of `topic`: `1 + topic.len()` bytes.
pub fn topic_key(topic: &TopicName) -> Bytes {
    key_of_kind(KeyKind::Topic, topic)
}

/// `kind` and the stored form of `topic`.
pub(super) fn key_of_kind(kind: KeyKind, topic: &TopicName) -> Bytes {
    shared_buffer(1 + topic.len(), |mut key| {
        key.put_u8(kind as u8);
        put_stored_topic(topic, &mut key);
        debug_assert!(key.is_empty());
    })
}

/// The topic whose record has this key; `None` if it is no key of a topic.
pub fn topic_of_key(key: &Bytes) -> Option<TopicName> {
    match key.split_first() {
        Some((kind, stored)) if *kind == KeyKind::Topic as u8 => topic_of_stored(stored),
        _ => None,
    }
}

/// The bounds `lower <= key < upper` of `topic` and everything beneath it.
pub fn subtree_range(topic: &TopicName) -> (Bytes, Bytes) {
    let lower = topic_key(topic);
    let mut upper = BytesMut::with_capacity(lower.len() + 1);
    upper.put_slice(&lower);
    upper.put_u8(STORED_SUBTREE_END);
    (lower, upper.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::testing::topic_text;

    fn name(text: &str) -> TopicName {
        TopicName::parse(text).unwrap()
    }

    #[test]
    fn the_format_is_fixed() {
        assert_eq!(topic_key(&name("a/b//c"))[..], *b"\x10a\0b\0\0c");
        assert_eq!(stored_topic(&name("/"))[..], *b"\0");
        let (lower, upper) = subtree_range(&name("a/b"));
        assert_eq!((&lower[..], &upper[..]), (&b"\x10a\0b"[..], &b"\x10a\0b\x01"[..]));
    }

    #[test]
    fn other_bytes_are_no_topic() {
        for key in [
            &b""[..],
            b"\x10",
            b"\x11a",
            b"a",
            b"\x10a/b",
            b"\x10a+",
            b"\x10\xFF",
            b"\x10a\x01",
        ] {
            assert_eq!(topic_of_key(&Bytes::copy_from_slice(key)), None, "{key:?}");
        }
    }

    #[test]
    fn key_order_goes_level_by_level() {
        let sorted = [
            "", "/", "/a", "!", "a", "a/", "a//", "a/!", "a/b", "a/b/c", "a/b!", "a!", "a!/b", "a0", "ab",
        ];
        for pair in sorted[1..].windows(2) {
            assert!(topic_key(&name(pair[0])) < topic_key(&name(pair[1])), "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_return_to_their_topic(text in topic_text()) {
            let topic = name(&text);
            prop_assert_eq!(topic_of_key(&topic_key(&topic)), Some(topic.clone()));
            prop_assert_eq!(topic_of_stored(&stored_topic(&topic)), Some(topic));
        }

        #[test]
        fn key_order_is_the_order_of_the_levels(one in topic_text(), other in topic_text()) {
            let by_key = topic_key(&name(&one)).cmp(&topic_key(&name(&other)));
            prop_assert_eq!(by_key, one.split('/').cmp(other.split('/')));
        }

        #[test]
        fn a_subtree_is_one_range(root in topic_text(), topic in topic_text()) {
            let (lower, upper) = subtree_range(&name(&root));
            let key = topic_key(&name(&topic));
            let below = topic == root || topic.starts_with(&format!("{root}/"));
            prop_assert_eq!(lower <= key && key < upper, below);
        }

        #[test]
        fn arbitrary_keys_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
            let key = Bytes::from([&[KeyKind::Topic as u8], &bytes[..]].concat());
            if let Some(topic) = topic_of_key(&key) {
                prop_assert_eq!(topic_key(&topic), key);
            }
        }
    }
}
