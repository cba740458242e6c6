//! Topic names and topic filters (§4.7, §4.8.2): checked once, then the type is the proof.
//!
//! | type | is |
//! |---|---|
//! | [`TopicName`] | a topic: no wildcards |
//! | [`TopicFilter`] | what a subscription or a query asks for: levels, `+` and `#` |
//! | [`SubscriptionFilter`] | what SUBSCRIBE may carry: a filter, alone or as `$share/GROUP/FILTER` |
//! | [`FilterTrie`] | many filters with their subscribers: which of them match a topic |
//!
//! Names and filters obey the same bounds ([`crate::limits`]) and the same rules about characters: well-formed UTF-8
//! without U+0000 [MQTT-4.7.3-2], at least one character [MQTT-4.7.3-1], and, as §1.5.4 allows a receiver to demand,
//! neither control characters nor Unicode non-characters. Levels may be empty: `a//b` has three, `/` has two.
//! Nothing is folded or normalised [MQTT-4.7.3-4].

mod character;
mod filter;
mod name;
mod shared;
mod trie;

#[cfg(test)]
pub(crate) mod testing;

pub use filter::{FilterLevel, TopicFilter, TopicFilterError};
pub use name::{TopicName, TopicNameError};
pub use shared::{SharedFilter, SubscriptionFilter};
pub use trie::FilterTrie;

/// Separates topic levels (§4.7.1.1).
pub const LEVEL_SEPARATOR: char = '/';
