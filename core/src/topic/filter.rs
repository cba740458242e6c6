//! Topic filters and matching (§4.7.1).

use std::fmt;

use bytes::Bytes;

use super::character::{self, BadCharacter};
use super::{LEVEL_SEPARATOR, TopicName};
use crate::limits::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// A topic filter: 1 to [`TOPIC_BYTES_MAX`] bytes of UTF-8, at most [`TOPIC_LEVELS_MAX`] levels, where `+` stands for
/// one level and a final `#` for its parent and everything below. Never a shared subscription: that is a
/// [`SubscriptionFilter`](super::SubscriptionFilter).
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Bytes);

/// One level of a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterLevel<'a> {
    /// Exactly this level; may be empty.
    Literal(&'a str),
    /// `+`: any one level (§4.7.1.3).
    Single,
    /// `#`: the parent and any number of further levels (§4.7.1.2). Always the last.
    Multi,
}

/// Why a text is no topic filter. Over MQTT: reason code 0x8F, Topic Filter invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicFilterError {
    /// [MQTT-4.7.3-1]
    #[error("a topic filter needs at least one character")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("the topic filter has {bytes} bytes; shorten it to {TOPIC_BYTES_MAX}")]
    TooLong {
        /// Its length, bytes.
        bytes: usize,
    },
    /// More than [`TOPIC_LEVELS_MAX`].
    #[error("the topic filter has {levels} levels; use at most {TOPIC_LEVELS_MAX}")]
    TooManyLevels {
        /// How many it has.
        levels: usize,
    },
    /// [MQTT-4.7.1-1]
    #[error("`#` must be the last level of a topic filter; end the filter there")]
    MultiLevelNotLast,
    /// [MQTT-4.7.1-1], [MQTT-4.7.1-2]
    #[error("`+` and `#` must be a whole level of a topic filter; put `/` around them")]
    WildcardNotWholeLevel,
    /// [MQTT-4.7.3-2]
    #[error("a topic filter must not contain U+0000; remove it")]
    Null,
    /// [MQTT-1.5.4-1]
    #[error("a topic filter must be well-formed UTF-8")]
    Utf8,
    /// §1.5.4
    #[error("a topic filter must not contain control characters or Unicode non-characters; remove them")]
    ControlCharacter,
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    #[error("a shared subscription reads `$share/GROUP/FILTER`, with a group without `+` and `#`")]
    ShareName,
    /// `$share/…` where no subscription is made.
    #[error("a shared subscription has no place here; leave `$share/GROUP/` out")]
    Shared,
}

impl TopicFilter {
    /// Checks `text` and copies it.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, TopicFilterError> {
        check(text)?;
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Checks `bytes` and keeps them without a copy, and with them the buffer that they are a slice of: see
    /// [`TopicFilter::detach`].
    ///
    /// # Errors
    /// `Utf8`, or the first rule that the text breaks.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, TopicFilterError> {
        check(utf8(&bytes)?)?;
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

    /// The levels from the root; at least one.
    pub fn levels(&self) -> impl Iterator<Item = FilterLevel<'_>> {
        self.as_str().split(LEVEL_SEPARATOR).map(|level| match level {
            "+" => FilterLevel::Single,
            "#" => FilterLevel::Multi,
            literal => FilterLevel::Literal(literal),
        })
    }

    /// Whether there is no wildcard, so that exactly one topic matches.
    pub fn is_exact(&self) -> bool {
        // Checked filters have wildcards as whole levels only.
        !self.0.iter().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Whether the filter begins with a wildcard, so that no topic matches that begins with `$` [MQTT-4.7.2-1].
    pub fn has_leading_wildcard(&self) -> bool {
        matches!(self.0.first(), Some(b'+' | b'#'))
    }

    /// Whether `topic` matches (§4.7.1, §4.7.2).
    pub fn matches(&self, topic: &TopicName) -> bool {
        if topic.is_reserved() && self.has_leading_wildcard() {
            return false; // [MQTT-4.7.2-1]
        }
        let mut topic_levels = topic.as_bytes().split(is_separator);
        for filter_level in self.0.split(is_separator) {
            match filter_level {
                // `a/#` matches `a` too, so what is left of the topic may be nothing [MQTT-4.7.1-1].
                b"#" => return true,
                b"+" => {
                    if topic_levels.next().is_none() {
                        return false;
                    }
                }
                literal => {
                    if topic_levels.next() != Some(literal) {
                        return false;
                    }
                }
            }
        }
        topic_levels.next().is_none()
    }

    /// A copy of exact size: what is kept must not hold on to the read buffer that it came in.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl From<&TopicName> for TopicFilter {
    /// The filter that matches `topic` alone.
    fn from(topic: &TopicName) -> Self {
        Self(topic.as_bytes().clone())
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl std::str::FromStr for TopicFilter {
    type Err = TopicFilterError;

    fn from_str(text: &str) -> Result<Self, TopicFilterError> {
        Self::parse(text)
    }
}

fn is_separator(byte: &u8) -> bool {
    *byte == b'/'
}

/// The text of `bytes`; the length is checked first, so that a huge text costs nothing.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, TopicFilterError> {
    if bytes.len() > TOPIC_BYTES_MAX {
        return Err(TopicFilterError::TooLong { bytes: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|_| TopicFilterError::Utf8)
}

/// The rules for any filter text, shared subscription or not: length and characters.
pub(super) fn check_text(text: &str) -> Result<(), TopicFilterError> {
    if text.is_empty() {
        return Err(TopicFilterError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicFilterError::TooLong { bytes: text.len() });
    }
    character::check(text).map_err(|bad| match bad {
        BadCharacter::Null => TopicFilterError::Null,
        BadCharacter::Control => TopicFilterError::ControlCharacter,
    })
}

fn check(text: &str) -> Result<(), TopicFilterError> {
    check_text(text)?;
    if text.starts_with(super::shared::PREFIX) {
        return Err(TopicFilterError::Shared);
    }
    let mut levels = 0;
    let mut multi_level = false;
    for level in text.split(LEVEL_SEPARATOR) {
        if multi_level {
            return Err(TopicFilterError::MultiLevelNotLast);
        }
        levels += 1;
        match level {
            "#" => multi_level = true,
            "+" => {}
            literal if literal.bytes().any(|byte| matches!(byte, b'+' | b'#')) => {
                return Err(TopicFilterError::WildcardNotWholeLevel);
            }
            _ => {}
        }
    }
    if levels > TOPIC_LEVELS_MAX {
        return Err(TopicFilterError::TooManyLevels { levels });
    }
    Ok(())
}

#[cfg(test)]
#[path = "filter_test.rs"]
mod tests;
