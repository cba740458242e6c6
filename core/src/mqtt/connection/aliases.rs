//! Topic aliases (§3.3.2.3.4): what the client's mean, and which ones we use towards it.
//!
//! Neither outlives the connection [MQTT-3.3.2-7].

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::topic::{TopicName, TopicNameError};

/// The client's aliases: at most as many as its Topic Alias Maximum, since the caller refuses greater ones.
///
/// An alias may stand for a topic that was refused; then so is every later PUBLISH that uses it.
#[derive(Debug, Default)]
pub(super) struct InboundAliases(BTreeMap<u16, Result<TopicName, TopicNameError>>);

impl InboundAliases {
    /// Lets `alias` stand for `topic` from now on.
    pub(super) fn set(&mut self, alias: u16, topic: Result<TopicName, TopicNameError>) {
        self.0.insert(alias, topic);
    }

    /// What `alias` stands for.
    pub(super) fn get(&self, alias: u16) -> Option<&Result<TopicName, TopicNameError>> {
        self.0.get(&alias)
    }
}

/// Topics remembered to find out which of them repeat.
const RECENT_TOPICS: usize = 64;

/// How a PUBLISH names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AliasUse {
    /// By name.
    Name,
    /// By name, and by this alias from now on.
    Assign(u16),
    /// By this alias alone.
    Known(u16),
}

/// Our aliases towards the client: first come, first served, and only for topics that repeat, so that a walk over many
/// topics does not use them up.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    /// Greatest alias to use; 0: none [MQTT-3.1.2-26], [MQTT-3.1.2-27].
    maximum: u16,
    assigned: BTreeMap<TopicName, u16>,
    /// Hashes of topics sent lately, each at the place its hash says. Empty without aliases.
    recent: Vec<u64>,
}

impl OutboundAliases {
    pub(super) fn new(maximum: u16) -> Self {
        let recent = if maximum == 0 {
            Vec::new()
        } else {
            vec![0; RECENT_TOPICS]
        };
        Self {
            maximum,
            assigned: BTreeMap::new(),
            recent,
        }
    }

    /// How to name `topic` in the next PUBLISH. Takes effect with [`Self::sent`].
    pub(super) fn choose(&self, topic: &TopicName) -> AliasUse {
        if self.maximum == 0 {
            return AliasUse::Name;
        }
        if let Some(&alias) = self.assigned.get(topic) {
            return AliasUse::Known(alias);
        }
        // At most `maximum` are assigned, and it is a u16.
        let next = self.assigned.len() as u16 + 1;
        if self.assigned.len() < usize::from(self.maximum) && self.is_recent(topic) {
            AliasUse::Assign(next)
        } else {
            AliasUse::Name
        }
    }

    /// The PUBLISH that `alias` was chosen for is on its way.
    pub(super) fn sent(&mut self, topic: &TopicName, alias: AliasUse) {
        match alias {
            AliasUse::Known(_) => {}
            AliasUse::Assign(alias) => {
                self.assigned.insert(topic.detach(), alias);
            }
            AliasUse::Name => {
                let hash = xxh3_64(topic.as_bytes());
                if let Some(place) = self.recent.get_mut(hash as usize % RECENT_TOPICS) {
                    *place = hash;
                }
            }
        }
    }

    fn is_recent(&self, topic: &TopicName) -> bool {
        let hash = xxh3_64(topic.as_bytes());
        self.recent.get(hash as usize % RECENT_TOPICS) == Some(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text).unwrap()
    }

    fn send(aliases: &mut OutboundAliases, text: &str) -> AliasUse {
        let topic = topic(text);
        let alias = aliases.choose(&topic);
        aliases.sent(&topic, alias);
        alias
    }

    /// [MQTT-3.1.2-27]: without a Topic Alias Maximum no alias is ever sent.
    #[test]
    fn none_without_a_maximum() {
        let mut aliases = OutboundAliases::new(0);
        for _ in 0..3 {
            assert_eq!(send(&mut aliases, "a"), AliasUse::Name);
        }
    }

    /// [MQTT-3.1.2-26], [MQTT-3.3.2-11]: none is greater than the maximum.
    #[test]
    fn repeated_topics_get_aliases_up_to_the_maximum() {
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(send(&mut aliases, "a"), AliasUse::Name);
        assert_eq!(send(&mut aliases, "a"), AliasUse::Assign(1));
        assert_eq!(send(&mut aliases, "a"), AliasUse::Known(1));
        send(&mut aliases, "b");
        assert_eq!(send(&mut aliases, "b"), AliasUse::Assign(2));
        for _ in 0..3 {
            assert_eq!(send(&mut aliases, "c"), AliasUse::Name);
        }
        assert_eq!(send(&mut aliases, "b"), AliasUse::Known(2));
    }

    #[test]
    fn a_walk_over_many_topics_uses_none_up() {
        let mut aliases = OutboundAliases::new(16);
        for number in 0..10_000 {
            assert_eq!(send(&mut aliases, &format!("t/{number}")), AliasUse::Name);
        }
    }

    #[test]
    fn what_was_not_sent_assigns_nothing() {
        let mut aliases = OutboundAliases::new(1);
        send(&mut aliases, "a");
        assert_eq!(aliases.choose(&topic("a")), AliasUse::Assign(1));
        assert_eq!(aliases.choose(&topic("a")), AliasUse::Assign(1));
    }
}
