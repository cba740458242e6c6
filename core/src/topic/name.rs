//! Topic names (§4.7).

use std::fmt;

use bytes::Bytes;

use super::LEVEL_SEPARATOR;
use super::character::{self, BadCharacter};
use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// The name of a topic: checked UTF-8 of 1 to [`TOPIC_BYTES_MAX`] bytes and at most [`TOPIC_LEVELS_MAX`] levels,
/// without wildcards [MQTT-3.3.2-2], U+0000, control characters and non-characters.
///
/// Cheap to clone. Ordered by the bytes of the text, which is not the order of the keyspace (there `/` sorts lowest).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Bytes);

/// Why a text is no topic name. Over MQTT: reason code 0x90, Topic Name invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// [MQTT-4.7.3-1]
    #[error("a topic name needs at least one character")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("the topic name has {bytes} bytes; shorten it to {TOPIC_BYTES_MAX}")]
    TooLong {
        /// Its length, bytes.
        bytes: usize,
    },
    /// More than [`TOPIC_LEVELS_MAX`].
    #[error("the topic name has {levels} levels; use at most {TOPIC_LEVELS_MAX}")]
    TooManyLevels {
        /// How many it has.
        levels: usize,
    },
    /// [MQTT-3.3.2-2]
    #[error("a topic name must not contain `+` or `#`; replace them")]
    Wildcard,
    /// [MQTT-4.7.3-2]
    #[error("a topic name must not contain U+0000; remove it")]
    Null,
    /// [MQTT-1.5.4-1]
    #[error("a topic name must be well-formed UTF-8")]
    Utf8,
    /// §1.5.4
    #[error("a topic name must not contain control characters or Unicode non-characters; remove them")]
    ControlCharacter,
}

impl TopicName {
    /// Checks `text` and copies it.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, TopicNameError> {
        check(text)?;
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Checks `bytes` and keeps them without a copy, and with them the buffer that they are a slice of: see
    /// [`TopicName::detach`].
    ///
    /// # Errors
    /// `Utf8`, or the first rule that the text breaks.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, TopicNameError> {
        // The length first, so that a huge text costs nothing.
        if bytes.len() > TOPIC_BYTES_MAX {
            return Err(TopicNameError::TooLong { bytes: bytes.len() });
        }
        check(std::str::from_utf8(&bytes).map_err(|_| TopicNameError::Utf8)?)?;
        Ok(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked when `self` was made; without `unsafe` the compiler wants to see it again.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text, as bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length of the text, bytes; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a topic name is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The levels from the root; at least one, any of them may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.as_str().split(LEVEL_SEPARATOR)
    }

    /// Whether the name begins with `$`: not for applications, and never matched by a leading wildcard (§4.7.2).
    pub fn is_reserved(&self) -> bool {
        self.0.first() == Some(&b'$')
    }

    /// A copy of exact size: what is kept must not hold on to the read buffer that it came in.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl std::str::FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, TopicNameError> {
        Self::parse(text)
    }
}

fn check(text: &str) -> Result<(), TopicNameError> {
    if text.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: text.len() });
    }
    character::check(text).map_err(|bad| match bad {
        BadCharacter::Null => TopicNameError::Null,
        BadCharacter::Control => TopicNameError::ControlCharacter,
    })?;
    let mut levels = 1;
    for byte in text.bytes() {
        match byte {
            b'/' => levels += 1,
            b'+' | b'#' => return Err(TopicNameError::Wildcard),
            _ => {}
        }
    }
    if levels > TOPIC_LEVELS_MAX {
        return Err(TopicNameError::TooManyLevels { levels });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_standard_allows() {
        // §4.7.1.1 and §4.7.3: empty levels, a lone separator, spaces, any script.
        for text in [
            "a",
            "/",
            "//",
            "a//b",
            "/finance",
            "finance/",
            "sport/tennis player",
            "$SYS/x",
            "a$",
            "温度/🌳",
        ] {
            let topic = TopicName::parse(text).unwrap();
            assert_eq!(topic.as_str(), text);
            assert_eq!(topic.len(), text.len());
            assert_eq!(
                TopicName::from_utf8(Bytes::copy_from_slice(text.as_bytes())).unwrap(),
                topic
            );
            assert_eq!(topic.levels().collect::<Vec<_>>().join("/"), text);
        }
    }

    /// Shows [MQTT-4.7.3-1], [MQTT-4.7.3-2]; 3.1.1 [MQTT-4.7.3-1], [MQTT-4.7.3-2].
    #[test]
    fn refuses_by_rule() {
        for (text, error) in [
            ("", TopicNameError::Empty),
            ("a/+", TopicNameError::Wildcard),
            ("a#b", TopicNameError::Wildcard),
            ("a\0b", TopicNameError::Null),
            ("a\nb", TopicNameError::ControlCharacter),
            ("a\u{85}b", TopicNameError::ControlCharacter),
            ("a\u{FFFE}b", TopicNameError::ControlCharacter),
        ] {
            assert_eq!(TopicName::parse(text), Err(error.clone()), "{text:?}");
            assert_eq!(
                TopicName::from_utf8(Bytes::copy_from_slice(text.as_bytes())),
                Err(error),
                "{text:?}"
            );
        }
        assert_eq!(
            TopicName::from_utf8(Bytes::from_static(&[b'a', 0xC0, 0x80])),
            Err(TopicNameError::Utf8)
        );
        assert_eq!(
            TopicName::from_utf8(Bytes::from_static(&[0xED, 0xA0, 0x80])),
            Err(TopicNameError::Utf8)
        );
    }

    /// Shows [MQTT-4.7.3-3]; 3.1.1 [MQTT-4.7.3-3].
    #[test]
    fn bounds_are_exact() {
        let longest = "a".repeat(TOPIC_BYTES_MAX);
        assert!(TopicName::parse(&longest).is_ok());
        let error = TopicNameError::TooLong {
            bytes: TOPIC_BYTES_MAX + 1,
        };
        assert_eq!(TopicName::parse(&format!("{longest}a")), Err(error.clone()));
        assert_eq!(TopicName::from_utf8(Bytes::from(format!("{longest}a"))), Err(error));

        let deepest = "/".repeat(TOPIC_LEVELS_MAX - 1);
        assert!(TopicName::parse(&deepest).is_ok());
        let error = TopicNameError::TooManyLevels {
            levels: TOPIC_LEVELS_MAX + 1,
        };
        assert_eq!(TopicName::parse(&format!("{deepest}/")), Err(error));
    }

    #[test]
    fn reserved_names_begin_with_a_dollar_sign() {
        assert!(TopicName::parse("$SYS/uptime").unwrap().is_reserved());
        assert!(!TopicName::parse("a/$SYS").unwrap().is_reserved());
    }

    #[test]
    fn detaching_copies() {
        let buffer = Bytes::from_static(b"header topic payload");
        let topic = TopicName::from_utf8(buffer.slice(7..12)).unwrap();
        let detached = topic.detach();
        assert_eq!(detached, topic);
        assert_ne!(detached.as_bytes().as_ptr(), topic.as_bytes().as_ptr());
    }
}
