//! What a SUBSCRIBE may ask for: a topic filter, alone or as a shared subscription (§4.8.2).

use bytes::Bytes;

use super::filter::{TopicFilter, TopicFilterError, check_text, utf8};

/// How a shared subscription begins [MQTT-4.8.2-1].
pub(super) const PREFIX: &str = "$share/";

/// A shared subscription: `$share/GROUP/FILTER`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedFilter {
    text: Bytes,
    group_bytes: usize,
    filter: TopicFilter,
}

impl SharedFilter {
    /// The Share Name; never empty [MQTT-4.8.2-1].
    pub fn group(&self) -> &str {
        let group = self.text.get(PREFIX.len()..PREFIX.len() + self.group_bytes);
        std::str::from_utf8(group.unwrap_or_default()).unwrap_or_default()
    }

    /// The topic filter within.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The whole text, as bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// The whole text, as it came.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// What one entry of SUBSCRIBE or UNSUBSCRIBE names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubscriptionFilter {
    /// A topic filter.
    Plain(TopicFilter),
    /// A topic filter shared by the members of a group.
    Shared(SharedFilter),
}

impl SubscriptionFilter {
    /// Checks `text` and copies it. Its bounds hold for the whole text, `$share/GROUP/` included.
    ///
    /// # Errors
    /// `ShareName` if `text` begins with `$share/` and does not go on with a group and a filter [MQTT-4.8.2-1]
    /// [MQTT-4.8.2-2], else the first rule of topic filters that is broken. All answer 0x8F.
    pub fn parse(text: &str) -> Result<Self, TopicFilterError> {
        check_text(text)?;
        Self::from_utf8(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Checks `bytes` and keeps them without a copy.
    ///
    /// # Errors
    /// As [`SubscriptionFilter::parse`], and `Utf8`.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, TopicFilterError> {
        let text = utf8(&bytes)?;
        let Some(rest) = text.strip_prefix(PREFIX) else {
            return TopicFilter::from_utf8(bytes).map(Self::Plain);
        };
        check_text(text)?;
        let (group, filter) = rest
            .split_once(super::LEVEL_SEPARATOR)
            .ok_or(TopicFilterError::ShareName)?;
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicFilterError::ShareName);
        }
        let group_bytes = group.len();
        let filter = TopicFilter::from_utf8(bytes.slice(PREFIX.len() + group_bytes + 1..))?;
        Ok(Self::Shared(SharedFilter {
            text: bytes,
            group_bytes,
            filter,
        }))
    }

    /// The topic filter, without a group.
    pub fn filter(&self) -> &TopicFilter {
        match self {
            Self::Plain(filter) => filter,
            Self::Shared(shared) => shared.filter(),
        }
    }

    /// The whole text, as it came.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Plain(filter) => filter.as_str(),
            Self::Shared(shared) => shared.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TOPIC_BYTES_MAX;

    #[test]
    fn a_shared_subscription_has_a_group_and_a_filter() {
        // The examples of §4.8.2.
        for (text, group, filter) in [
            ("$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+"),
            ("$share/consumer2/sport/tennis/+", "consumer2", "sport/tennis/+"),
            ("$share/consumer1//finance", "consumer1", "/finance"),
            ("$share/g/#", "g", "#"),
            ("$share/$share/a", "$share", "a"),
        ] {
            let parsed = SubscriptionFilter::parse(text).unwrap();
            assert_eq!(parsed.as_str(), text);
            assert_eq!(parsed.filter().as_str(), filter);
            let SubscriptionFilter::Shared(shared) = parsed else {
                panic!("{text} is shared")
            };
            assert_eq!(shared.group(), group);
        }
    }

    #[test]
    fn a_plain_filter_is_kept() {
        for text in ["a/+", "$share", "$shared/g/a", "a/$share/g/b"] {
            let parsed = SubscriptionFilter::parse(text).unwrap();
            assert_eq!(parsed, SubscriptionFilter::Plain(TopicFilter::parse(text).unwrap()));
            assert_eq!(parsed.as_str(), text);
        }
    }

    #[test]
    fn refuses_by_rule() {
        // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
        for (text, error) in [
            ("$share/", TopicFilterError::ShareName),
            ("$share/g", TopicFilterError::ShareName),
            ("$share/g/", TopicFilterError::ShareName),
            ("$share//x", TopicFilterError::ShareName),
            ("$share/g+/x", TopicFilterError::ShareName),
            ("$share/#/x", TopicFilterError::ShareName),
            ("$share/g\0/x", TopicFilterError::Null),
            ("$share/g\u{1}/x", TopicFilterError::ControlCharacter),
            ("$share/g/a#", TopicFilterError::WildcardNotWholeLevel),
            ("$share/g/$share/h/a", TopicFilterError::Shared),
            ("", TopicFilterError::Empty),
        ] {
            assert_eq!(SubscriptionFilter::parse(text), Err(error), "{text:?}");
        }
        let long = format!("$share/g/{}", "a".repeat(TOPIC_BYTES_MAX));
        assert_eq!(
            SubscriptionFilter::parse(&long),
            Err(TopicFilterError::TooLong { bytes: long.len() })
        );
    }
}
