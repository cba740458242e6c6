//! Which topics a filter needs to look at: the skip-scan.
//!
//! # The algorithm
//!
//! Topics are read in key order (level by level, each by its bytes, a topic before its descendants; see
//! [`super::topic`]) or in its reverse. Every row read is *judged*: does it match, and which key is the next that can
//! match? When the next row is before that key, rows are stepped over without judging them; after
//! [`STEPS_BEFORE_SEEK`] of them a new range is opened at that key. A range costs about as much as that many rows, so
//! this never costs more than twice what the better of both choices would.
//!
//! **Bounds.** The levels before the first wildcard, `P` for short, bound the scan: `P <= key < P 0x01`, the subtree of
//! `P`, or all topics if the filter begins with a wildcard. A filter without a wildcard is one point read. What is
//! left, the *tail*, is empty (`P/#`: everything within the bounds matches) or begins with `+`.
//!
//! **Judging.** The levels of the key below `P` are compared with the tail, one by one, until the first that settles
//! it. `+` is always equal. Let `K₊` be the key cut off after the last level that met a `+` so far: what is left when
//! the choice made there has to change. `0x00` separates levels, `0x01` is above all descendants.
//!
//! | the comparison finds | matches | ascending: next key is at or above | descending: next key is below |
//! |---|---|---|---|
//! | a level below its literal | no | the key cut before that level, the literal, *least* | `K₊` |
//! | a level above its literal | no | `K₊ 0x01` | the key cut before that level, the literal, *greatest* |
//! | the key ends before the tail does | no | the key, *least* | `K₊`; without one: the end |
//! | the tail ends before the key does, without `#` | no | `K₊ 0x01` | the key cut to the filter's levels, `0x00` |
//! | both end together | yes | `K₊ 0x01`, or with `#` any | `K₊`, or with `#` any |
//! | the tail ends with `#` | yes | any | any |
//!
//! *least* appends the rest of the tail as the least key that can match: `0x00` and the literal for a literal, `0x00`
//! and the empty level for a `+`. *greatest* appends the rest's literals up to its first wildcard, then what is just
//! above the greatest match: `0x01` if a wildcard follows, so that all descendants come into view, `0x00` if nothing
//! follows, so that the topic itself does and its descendants do not.
//!
//! **Reserved topics.** Under a leading wildcard, a key whose topic begins with `$` does not match [MQTT-4.7.2-1], and
//! the next key is the first beyond all of them: at or above `%` (the byte after `$`), or below `$`.
//!
//! # Why nothing is missed
//!
//! Each row of the table names a key such that nothing between it and the judged key matches. Take the first,
//! ascending: a key above the judged one and below the target agrees with the judged key up to the level in question
//! (or it would differ in an earlier level, hence lie above the target), and its own level there is below the literal,
//! or equal to it with a rest below the least. The others follow in the same way.
//!
//! # What it costs
//!
//! `regions/+/sites/7/devices/+` jumps twice for each region: from a region's first row to its site 7, and from the end
//! of that site to the next region. Rows and ranges follow the number of branches where the wildcards find something to
//! choose from, never the number of topics beside them. A wildcard over branches that end nowhere (`+/+/x` with a
//! million second levels and no `x`) must still look at each branch.

use bytes::Bytes;

use super::KeyKind;
use super::topic::{STORED_SEPARATOR, STORED_SUBTREE_END, put_stored};
use crate::store::Direction;
use crate::topic::{FilterLevel, TopicFilter};

/// Rows that are stepped over before a new range is opened: about what opening one costs.
pub const STEPS_BEFORE_SEEK: u32 = 32;

/// A topic filter, ready to judge keys.
#[derive(Debug, Clone)]
pub struct FilterPlan {
    /// The kind and the levels before the first wildcard.
    prefix: Bytes,
    /// The levels from the first wildcard on, without a final `#`.
    tail: Vec<TailLevel>,
    /// Whether the filter ends with `#`.
    multi: bool,
    /// Whether the filter begins with a wildcard.
    leading_wildcard: bool,
}

/// One level of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TailLevel {
    Literal(Bytes),
    Single,
}

/// What a row says about itself and the rows after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The row's topic matches.
    pub matches: bool,
    /// Where the next match can be.
    pub next: Next,
}

/// Where the next match can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next row may match.
    Row,
    /// Not before the target: at or above it when ascending, below it when descending.
    Target,
    /// Nowhere.
    End,
}

impl Judgement {
    const MATCH: Self = Self {
        matches: true,
        next: Next::Row,
    };
    const MATCH_AND_JUMP: Self = Self {
        matches: true,
        next: Next::Target,
    };
    const JUMP: Self = Self {
        matches: false,
        next: Next::Target,
    };
}

impl FilterPlan {
    /// Plans `filter`.
    pub fn new(filter: &TopicFilter) -> Self {
        let mut prefix = vec![KeyKind::Topic as u8];
        let mut tail = Vec::new();
        let mut multi = false;
        for (index, level) in filter.levels().enumerate() {
            match level {
                FilterLevel::Multi => multi = true,
                FilterLevel::Single => tail.push(TailLevel::Single),
                FilterLevel::Literal(text) if !tail.is_empty() => {
                    tail.push(TailLevel::Literal(Bytes::copy_from_slice(text.as_bytes())));
                }
                FilterLevel::Literal(text) => {
                    if index > 0 {
                        prefix.push(STORED_SEPARATOR);
                    }
                    put_stored(text.as_bytes(), &mut prefix);
                }
            }
        }
        Self {
            prefix: Bytes::from(prefix),
            tail,
            multi,
            leading_wildcard: filter.has_leading_wildcard(),
        }
    }

    /// The bounds `lower <= key < upper` of every key that can match.
    pub fn range(&self) -> (Bytes, Bytes) {
        let mut upper = self.prefix.to_vec();
        if self.leading_wildcard {
            let (_, end) = KeyKind::Topic.range();
            upper = end.to_vec();
        } else if self.is_exact() {
            upper.push(STORED_SEPARATOR);
        } else {
            upper.push(STORED_SUBTREE_END);
        }
        (self.prefix.clone(), Bytes::from(upper))
    }

    /// Whether the one key that can match is the lower bound.
    pub fn is_exact(&self) -> bool {
        self.tail.is_empty() && !self.multi
    }

    /// Whether every key within the bounds matches.
    pub fn is_subtree(&self) -> bool {
        self.tail.is_empty() && self.multi && !self.leading_wildcard
    }

    /// Judges `key`, which is within the bounds. With [`Next::Target`] the target is in `target`, else its contents
    /// mean nothing.
    pub fn judge(&self, key: &[u8], direction: Direction, target: &mut Vec<u8>) -> Judgement {
        let ascending = direction == Direction::Ascending;
        target.clear();
        if self.leading_wildcard && key.get(1) == Some(&b'$') {
            target.extend([KeyKind::Topic as u8, if ascending { b'$' + 1 } else { b'$' }]);
            return Judgement::JUMP;
        }
        // `key[..end]` has been compared; `chosen` is the length of `K₊`.
        let mut end = self.prefix.len();
        let mut chosen = None;
        for (index, level) in self.tail.iter().enumerate() {
            // Every level but the very first of the topic has a separator before it.
            let start = if index == 0 && self.leading_wildcard {
                end
            } else {
                end + 1
            };
            if start > key.len() {
                if ascending {
                    target.extend_from_slice(key);
                    put_least(&self.tail[index..], target);
                    return Judgement::JUMP;
                }
                return jump_to_choice(key, chosen, direction, Judgement::JUMP, target);
            }
            end = key[start..]
                .iter()
                .position(|byte| *byte == STORED_SEPARATOR)
                .map_or(key.len(), |at| start + at);
            let TailLevel::Literal(literal) = level else {
                chosen = Some(end);
                continue;
            };
            let order = key[start..end].cmp(literal);
            if order.is_eq() {
                continue;
            }
            if order.is_lt() != ascending {
                return jump_to_choice(key, chosen, direction, Judgement::JUMP, target);
            }
            target.extend_from_slice(&key[..start]);
            target.extend_from_slice(literal);
            if ascending {
                put_least(&self.tail[index + 1..], target);
            } else {
                self.put_greatest(index + 1, target);
            }
            return Judgement::JUMP;
        }
        if self.multi {
            return Judgement::MATCH;
        }
        if end == key.len() {
            return jump_to_choice(key, chosen, direction, Judgement::MATCH_AND_JUMP, target);
        }
        if ascending {
            return jump_to_choice(key, chosen, direction, Judgement::JUMP, target);
        }
        target.extend_from_slice(&key[..end]);
        target.push(STORED_SEPARATOR);
        Judgement::JUMP
    }

    /// Appends the rest of the tail from level `from` on as the bound just above the greatest key that can match.
    fn put_greatest(&self, from: usize, target: &mut Vec<u8>) {
        for level in &self.tail[from..] {
            let TailLevel::Literal(literal) = level else {
                target.push(STORED_SUBTREE_END);
                return;
            };
            target.push(STORED_SEPARATOR);
            target.extend_from_slice(literal);
        }
        target.push(if self.multi {
            STORED_SUBTREE_END
        } else {
            STORED_SEPARATOR
        });
    }
}

/// Appends `rest` as the least key that can match.
fn put_least(rest: &[TailLevel], target: &mut Vec<u8>) {
    for level in rest {
        target.push(STORED_SEPARATOR);
        if let TailLevel::Literal(literal) = level {
            target.extend_from_slice(literal);
        }
    }
}

/// The target where the choice made for the last `+` changes; the end if there was none.
fn jump_to_choice(
    key: &[u8],
    chosen: Option<usize>,
    direction: Direction,
    judgement: Judgement,
    target: &mut Vec<u8>,
) -> Judgement {
    let Some(chosen) = chosen else {
        // The tail begins with `+`, so nothing was compared: the key is the prefix itself, or the filter is exact.
        return Judgement {
            next: Next::End,
            ..judgement
        };
    };
    target.extend_from_slice(&key[..chosen]);
    if direction == Direction::Ascending {
        target.push(STORED_SUBTREE_END);
    }
    judgement
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
