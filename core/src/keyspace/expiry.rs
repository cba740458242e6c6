//! The records that expire, by time (kind 0x13).
//!
//! | key | value |
//! |---|---|
//! | time of expiry u64, microseconds since the Unix epoch; stored topic | empty |
//!
//! A row is there exactly while the topic's record says the same time.

use bytes::Bytes;

use super::KeyKind;
use super::record::FormatError;

const TOPIC_AT: usize = 1 + 8;

/// Key of the expiry of a stored topic.
#[must_use]
pub fn expiry_key(expires_at_us: u64, stored_topic: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(TOPIC_AT + stored_topic.len());
    key.push(KeyKind::Expiry as u8);
    key.extend_from_slice(&expires_at_us.to_be_bytes());
    key.extend_from_slice(stored_topic);
    Bytes::from(key)
}

/// Time and stored topic of a key of kind 0x13.
///
/// # Errors
/// It is none.
pub fn expiry_of_key(key: &[u8]) -> Result<(u64, &[u8]), FormatError> {
    match key.split_first_chunk::<TOPIC_AT>() {
        Some(([kind, time @ ..], topic)) if *kind == KeyKind::Expiry as u8 && !topic.is_empty() => {
            Ok((u64::from_be_bytes(*time), topic))
        }
        _ => Err(FormatError::new("index by expiry", "has a malformed key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_time() {
        assert_eq!(expiry_key(1, b"a\0b")[..], *b"\x13\0\0\0\0\0\0\0\x01a\0b");
        assert!(expiry_key(255, b"b") < expiry_key(256, b"a"));
    }

    #[test]
    fn keys_return_to_time_and_topic() {
        assert_eq!(expiry_of_key(&expiry_key(9, b"a\0b")), Ok((9, &b"a\0b"[..])));
        assert!(expiry_of_key(&expiry_key(9, b"")).is_err());
        assert!(expiry_of_key(b"\x12\0\0\0\0\0\0\0\x01a").is_err());
    }
}
