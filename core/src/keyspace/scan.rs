//! Reading topics by filter, subtree and range: in either direction, in chunks, to be stopped and continued.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::KeyKind;
use super::plan::{FilterPlan, Next, STEPS_BEFORE_SEEK};
use super::record::TopicRecord;
use super::topic::{subtree_range, topic_key, topic_of_key};
use crate::store::{Direction, ReadView, StoreError};
use crate::topic::{TopicFilter, TopicName};

/// How much one call of [`Scan::next_chunk`] looks at before it returns with what it has, in rows; a range counts as
/// [`STEPS_BEFORE_SEEK`] of them. Some milliseconds, so that a scan that finds little does not hold up its thread.
pub const CHUNK_COST_MAX: u32 = 16_384;

/// Which topics to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those that match.
    Filter(TopicFilter),
    /// Those within all the given bounds. `start` and `end` compare in key order; see [`super::topic`].
    Range {
        /// This topic and everything beneath it.
        prefix: Option<TopicName>,
        /// At or after this topic.
        start: Option<TopicName>,
        /// Before this topic.
        end: Option<TopicName>,
    },
}

/// How rows within the bounds are judged.
#[derive(Debug, Clone)]
enum Mode {
    /// All of them match.
    All,
    /// There is at most one, the lower bound.
    Exact(Bytes),
    /// The plan tells.
    Plan(FilterPlan),
}

/// A read of the selected topics of one view, in key order or its reverse. See [`super::plan`] for how wildcards are
/// read.
///
/// Holds its view for as long as it lives. To continue later, or elsewhere on a view of the same state, keep the last
/// topic and use [`Scan::resume_after`].
#[derive(Clone)]
pub struct Scan {
    view: Arc<dyn ReadView>,
    direction: Direction,
    mode: Mode,
    /// What is left: `lower <= key < upper`.
    lower: Bytes,
    upper: Bytes,
    /// The plan's target, kept to spare an allocation per row.
    target: Vec<u8>,
    rows_touched: u64,
    seeks: u64,
}

impl Scan {
    /// Reads the topics of `selection` from `view`, from the first in `direction`.
    pub fn new(view: Arc<dyn ReadView>, selection: Selection, direction: Direction) -> Self {
        let (mode, (lower, upper)) = match selection {
            Selection::Filter(filter) => {
                let plan = FilterPlan::new(&filter);
                let range = plan.range();
                let mode = if plan.is_exact() {
                    Mode::Exact(range.0.clone())
                } else if plan.is_subtree() {
                    Mode::All
                } else {
                    Mode::Plan(plan)
                };
                (mode, range)
            }
            Selection::Range { prefix, start, end } => {
                (Mode::All, range_of(prefix.as_ref(), start.as_ref(), end.as_ref()))
            }
        };
        Self {
            view,
            direction,
            mode,
            lower,
            upper,
            target: Vec::new(),
            rows_touched: 0,
            seeks: 0,
        }
    }

    /// Reads the topics of `selection` from `view` that come after `last` in `direction`. `last` needs neither exist
    /// nor be selected.
    pub fn resume_after(view: Arc<dyn ReadView>, selection: Selection, direction: Direction, last: &TopicName) -> Self {
        let mut scan = Self::new(view, selection, direction);
        let key = topic_key(last);
        match direction {
            Direction::Ascending => scan.lower = scan.lower.max(successor(&key)),
            Direction::Descending => scan.upper = scan.upper.min(key),
        }
        scan
    }

    /// Appends the next rows to `out`: at most `rows_max`, and none after those that together have `bytes_max` bytes of
    /// topic and record or more, so that at least one is taken. Returns whether there may be more: `false` once all are
    /// read. `true` may come with fewer rows than asked for, or none, after [`CHUNK_COST_MAX`].
    ///
    /// # Errors
    /// The store could not be read, or holds what is no record. Rows may have been appended; the scan must not be
    /// continued.
    pub fn next_chunk(
        &mut self,
        rows_max: usize,
        bytes_max: usize,
        out: &mut Vec<(TopicName, TopicRecord)>,
    ) -> Result<bool, StoreError> {
        if self.is_exhausted() || rows_max == 0 {
            return Ok(!self.is_exhausted());
        }
        if let Mode::Exact(key) = &self.mode {
            let key = key.clone();
            self.exhaust();
            if let Some(value) = self.view.get(&key)? {
                self.rows_touched += 1;
                out.push(row(&key, value)?);
            }
            return Ok(false);
        }
        let mut chunk = Chunk {
            rows_left: rows_max,
            bytes_left: bytes_max,
            cost_left: CHUNK_COST_MAX,
        };
        while !self.is_exhausted() {
            if self.read_range(&mut chunk, out)? == Reading::Chunk {
                return Ok(!self.is_exhausted());
            }
        }
        Ok(false)
    }

    /// Rows that have been read, matching or not.
    pub fn rows_touched(&self) -> u64 {
        self.rows_touched
    }

    /// Ranges that have been opened.
    pub fn seeks(&self) -> u64 {
        self.seeks
    }

    /// Opens one range at the present position and reads on until the chunk is full, a jump is better made by another
    /// range, or nothing is left.
    fn read_range(
        &mut self,
        chunk: &mut Chunk,
        out: &mut Vec<(TopicName, TopicRecord)>,
    ) -> Result<Reading, StoreError> {
        let view = Arc::clone(&self.view);
        let mut rows = view.range(&self.lower, Some(&self.upper), self.direction);
        self.seeks += 1;
        chunk.cost_left = chunk.cost_left.saturating_sub(STEPS_BEFORE_SEEK);
        // While jumping, `self.target` says where to.
        let mut jumping = false;
        let mut stepped = 0;
        loop {
            let Some(next) = rows.next() else {
                self.exhaust();
                return Ok(Reading::Range);
            };
            let (key, value) = next?;
            self.rows_touched += 1;
            chunk.cost_left = chunk.cost_left.saturating_sub(1);
            if jumping && self.is_before_target(&key) {
                stepped += 1;
                if chunk.cost_left == 0 || stepped == STEPS_BEFORE_SEEK {
                    self.move_to_target();
                    return Ok(if chunk.cost_left == 0 {
                        Reading::Chunk
                    } else {
                        Reading::Range
                    });
                }
                continue;
            }
            let (matches, next) = match &self.mode {
                Mode::Plan(plan) => {
                    let judgement = plan.judge(&key, self.direction, &mut self.target);
                    (judgement.matches, judgement.next)
                }
                Mode::All | Mode::Exact(_) => (true, Next::Row),
            };
            if matches {
                chunk.rows_left -= 1;
                chunk.bytes_left = chunk.bytes_left.saturating_sub(key.len() - 1 + value.len());
                out.push(row(&key, value)?);
            }
            jumping = next == Next::Target;
            stepped = 0;
            if next == Next::End {
                self.exhaust();
                return Ok(Reading::Range);
            }
            if chunk.is_over() {
                if jumping {
                    self.move_to_target();
                } else {
                    self.move_beyond(&key);
                }
                return Ok(Reading::Chunk);
            }
        }
    }

    fn is_before_target(&self, key: &[u8]) -> bool {
        match self.direction {
            Direction::Ascending => *key < *self.target,
            Direction::Descending => *key >= *self.target,
        }
    }

    fn move_to_target(&mut self) {
        let target = Bytes::copy_from_slice(&self.target);
        match self.direction {
            Direction::Ascending => self.lower = target,
            Direction::Descending => self.upper = target,
        }
    }

    fn move_beyond(&mut self, key: &Bytes) {
        match self.direction {
            Direction::Ascending => self.lower = successor(key),
            Direction::Descending => self.upper = Bytes::copy_from_slice(key),
        }
    }

    fn is_exhausted(&self) -> bool {
        self.lower >= self.upper
    }

    fn exhaust(&mut self) {
        self.upper = self.lower.clone();
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scan")
            .field("direction", &self.direction)
            .field("mode", &self.mode)
            .field("lower", &self.lower)
            .field("upper", &self.upper)
            .field("rows_touched", &self.rows_touched)
            .field("seeks", &self.seeks)
            .finish_non_exhaustive()
    }
}

/// What one call may still take.
struct Chunk {
    rows_left: usize,
    bytes_left: usize,
    cost_left: u32,
}

impl Chunk {
    fn is_over(&self) -> bool {
        self.rows_left == 0 || self.bytes_left == 0 || self.cost_left == 0
    }
}

/// What has come to its end.
#[derive(PartialEq, Eq)]
enum Reading {
    /// The chunk.
    Chunk,
    /// The range.
    Range,
}

/// The least key above `key`.
fn successor(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

fn range_of(prefix: Option<&TopicName>, start: Option<&TopicName>, end: Option<&TopicName>) -> (Bytes, Bytes) {
    let (mut lower, mut upper) = match prefix {
        Some(prefix) => subtree_range(prefix),
        None => {
            let (lower, upper) = KeyKind::Topic.range();
            (Bytes::copy_from_slice(&lower), Bytes::copy_from_slice(&upper))
        }
    };
    if let Some(start) = start {
        lower = lower.max(topic_key(start));
    }
    if let Some(end) = end {
        upper = upper.min(topic_key(end));
    }
    (lower, upper)
}

/// The topic and record of a row as it is stored.
fn row(key: &Bytes, value: Bytes) -> Result<(TopicName, TopicRecord), StoreError> {
    let topic = topic_of_key(key).ok_or_else(|| StoreError(format!("{key:?} is no key of a topic")))?;
    let record = TopicRecord::parse(value)
        .map_err(|error| StoreError(format!("the record of {topic:?} is damaged: {error}")))?;
    Ok((topic, record))
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
