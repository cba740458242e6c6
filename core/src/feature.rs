//! Feature levels: what every member of a cluster must understand before any of them uses it.
//!
//! The level of a cluster is in the replicated state ([`crate::state::State::feature_level`]). The leader raises it with an entry of
//! the log once all members say that they know the next one, and it never falls. Until then, what a level brings is refused by
//! whoever is asked for it, so that members of different versions apply the same log alike; and what is stored can be read by the
//! version before, which is the way back. `docs/adr` has the promise.
//!
//! **A new command, item or stored format, or another outcome of one that there is**: add a level to [`LEVELS`] unless the version to come has one already; answer it from
//! [`crate::command::Operation::feature_level`] or [`crate::command::Item::feature_level`]; have the node ask before it proposes.

use std::fmt;

/// A feature level. 1 is the first, and what a state has that tells none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureLevel(u16);

/// What came with each level, in order: the place where this is told.
pub const LEVELS: [Brings; 2] = [
    Brings {
        level: FeatureLevel(1),
        version: "0.1",
        what: "the first version",
    },
    Brings {
        level: FeatureLevel(2),
        version: "0.1",
        what: "the level itself in the state; join tokens and changes of the members; shared groups that are behind are served alike wherever checkpoints fell",
    },
];

/// What a shared group gets of what waits depends on the log alone from here on. At the first level it also depended on how many
/// stale rows a replica's checkpoints had left in its index of changes.
pub const SERVES_GROUPS_ALIKE: FeatureLevel = FeatureLevel(2);

/// What a level brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brings {
    /// The level.
    pub level: FeatureLevel,
    /// The first version that knows it.
    pub version: &'static str,
    /// What it brings.
    pub what: &'static str,
}

impl FeatureLevel {
    /// The first.
    pub const FIRST: Self = Self(1);
    /// The last that this program knows.
    pub const KNOWN: Self = LEVELS[LEVELS.len() - 1].level;

    /// The level with this number; 0 is none.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            0 => None,
            number => Some(Self(number)),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The level after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Default for FeatureLevel {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster has a level that this node does not know. It must not go on: it could not apply what the others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster has feature level {level}, and this node goes up to {known}: install the version that the other members run \
     (or take `feature_level_max` out of its settings); a level never falls"
)]
pub struct UnknownLevel {
    /// The level of the cluster.
    pub level: FeatureLevel,
    /// The last that the node knows.
    pub known: FeatureLevel,
}

impl FeatureLevel {
    /// # Errors
    /// The level is above `known`.
    pub fn check(self, known: Self) -> Result<(), UnknownLevel> {
        match self <= known {
            true => Ok(()),
            false => Err(UnknownLevel { level: self, known }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_without_a_gap() {
        for (at, brings) in (1..).zip(LEVELS) {
            assert_eq!(brings.level.number(), at);
        }
        assert_eq!(FeatureLevel::KNOWN.check(FeatureLevel::KNOWN), Ok(()));
        let next = FeatureLevel::KNOWN.next();
        let unknown = next.check(FeatureLevel::KNOWN).unwrap_err();
        assert_eq!((unknown.level, unknown.known), (next, FeatureLevel::KNOWN));
        assert_eq!(FeatureLevel::new(0), None);
    }
}
