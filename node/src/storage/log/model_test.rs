//! What a log should hold, beside the log: shared by the tests of crashes, damage and ordinary use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::storage::disk::MemoryDisk;

/// Numbers that look random and come again with the seed.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Everything a log answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) purged: Option<EntryId>,
    pub(super) last: Option<EntryId>,
    pub(super) entries: Vec<LogEntry>,
    pub(super) vote: Option<Vote>,
}

impl Model {
    /// What `log` answers.
    pub(super) fn of(log: &Log) -> Self {
        let (purged, last) = log.ends().unwrap();
        Self {
            purged,
            last,
            entries: log.read(0..u64::MAX, usize::MAX).unwrap(),
            vote: log.vote().unwrap(),
        }
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(entries) => {
                self.last = entries.last().map(|entry| entry.id).or(self.last);
                self.entries.extend(entries.iter().cloned());
            }
            Step::Truncate(after) => {
                self.entries
                    .retain(|entry| Some(entry.id.index) <= after.map(|after| after.index));
                self.last = *after;
            }
            Step::Purge(purged) => {
                self.entries.retain(|entry| entry.id.index > purged.index);
                self.purged = Some(*purged);
                self.last = if self.entries.is_empty() {
                    Some(*purged)
                } else {
                    self.last
                };
            }
            Step::Vote(vote) => self.vote = Some(*vote),
            Step::Commit(_) => {}
        }
    }
}

/// One call of a log.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Vec<LogEntry>),
    Truncate(Option<EntryId>),
    Purge(EntryId),
    Vote(Vote),
    Commit(EntryId),
}

/// A step that is legal after `model`.
pub(super) fn random_step(numbers: &mut Numbers, model: &Model, term: &mut u64) -> Step {
    match numbers.below(100) {
        0..60 => {
            let count = 1 + numbers.below(4);
            let entry = |number| {
                let (kind, len) = match numbers.below(20) {
                    0 => (EntryKind::Blank, 0),
                    1 => (EntryKind::Membership, 30),
                    2 => (EntryKind::Normal, 3000 + numbers.below(3000)),
                    _ => (EntryKind::Normal, numbers.below(300)),
                };
                let payload: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
                let id = EntryId {
                    term: *term,
                    node_id: 1,
                    index: model.next_index() + number,
                };
                LogEntry {
                    id,
                    kind,
                    payload: Bytes::from(payload),
                }
            };
            Step::Append((0..count).map(entry).collect())
        }
        60..72 => {
            *term += 1;
            match model.entries.len() as u64 {
                0 => Step::Truncate(model.purged),
                held => {
                    let kept = held - numbers.below(held.min(6) + 1);
                    let after = kept.checked_sub(1).map(|at| model.entries[at as usize].id);
                    Step::Truncate(after.or(model.purged))
                }
            }
        }
        72..82 => match model.entries.len() as u64 {
            held if held > 0 && numbers.below(10) > 0 => Step::Purge(model.entries[numbers.below(held) as usize].id),
            _ => {
                let index = model.next_index() + numbers.below(5);
                Step::Purge(EntryId {
                    term: *term,
                    node_id: 1,
                    index,
                })
            }
        },
        82..92 => {
            *term += 1;
            Step::Vote(Vote {
                term: *term,
                node_id: numbers.below(3),
                committed: numbers.below(2) == 1,
            })
        }
        _ => Step::Commit(model.last.unwrap_or(EntryId {
            term: 0,
            node_id: 0,
            index: 0,
        })),
    }
}

/// Settings under which little data makes many segments and marks.
pub(super) fn small_settings() -> LogSettings {
    LogSettings {
        segment_bytes: 8192,
        spare_count_max: 2,
        cache_bytes: 1000,
        write_bytes_max: 2000,
        mark_bytes: 3000,
        mark_idle: Duration::from_secs(3600),
        salt: 0xC0FF_EE00,
        thread: false,
    }
}

pub(super) const DIR: &str = "node/log";

pub(super) fn open(disk: &MemoryDisk) -> Result<Log, LogError> {
    open_with(disk, &small_settings())
}

pub(super) fn open_with(disk: &MemoryDisk, settings: &LogSettings) -> Result<Log, LogError> {
    Log::open(Arc::new(disk.clone()), Path::new(DIR), settings, None)
}

/// A log and all states it has been in.
pub(super) struct Driver {
    pub(super) log: Arc<Log>,
    /// The model before the first step, and after each.
    pub(super) history: Vec<Model>,
    /// How many steps are known to be durable.
    pub(super) confirmed: Arc<AtomicUsize>,
    pub(super) term: u64,
}

impl Driver {
    pub(super) fn new(log: Log) -> Self {
        let model = Model::of(&log);
        let term = model.last.map_or(0, |last| last.term) + model.vote.map_or(0, |vote| vote.term) + 1;
        Self {
            log: Arc::new(log),
            history: vec![model],
            confirmed: Arc::new(AtomicUsize::new(0)),
            term,
        }
    }

    pub(super) fn model(&self) -> &Model {
        self.history.last().unwrap()
    }

    /// Calls the log.
    pub(super) fn step(&mut self, step: Step) -> Result<(), LogError> {
        let mut model = self.model().clone();
        match &step {
            // A long append takes several writes, between which the power may go.
            Step::Append(entries) => {
                for entry in entries {
                    model.apply(&Step::Append(vec![entry.clone()]));
                    self.history.push(model.clone());
                }
            }
            _ => {
                model.apply(&step);
                self.history.push(model);
            }
        }
        let (number, confirmed) = (self.history.len() - 1, Arc::clone(&self.confirmed));
        let completion: Completion = Box::new(move |result| {
            if result.is_ok() {
                assert!(
                    confirmed.fetch_max(number, Ordering::Relaxed) < number,
                    "completed in order"
                );
            }
        });
        match step {
            Step::Append(entries) => self.log.append(entries, completion),
            Step::Truncate(after) => self.log.truncate_after(after),
            Step::Purge(purged) => self.log.purge(purged),
            Step::Vote(vote) => self.log.save_vote(vote, completion),
            Step::Commit(committed) => self.log.save_committed(committed),
        }
    }

    /// Takes up to `groups` groups of random steps, each carried out by one drain of the writer.
    pub(super) fn run(&mut self, numbers: &mut Numbers, groups: usize) -> Result<(), LogError> {
        for _ in 0..groups {
            let steps = 1 + numbers.below(4);
            let log = Arc::clone(&self.log);
            // Who holds the writer keeps it from working: all steps wait for one drain.
            let held = log.writer.lock();
            for _ in 0..steps {
                let mut term = self.term;
                let step = random_step(numbers, self.model(), &mut term);
                self.term = term;
                self.step(step)?;
            }
            drop(held);
            log.wake();
            log.ends()?;
        }
        Ok(())
    }

    /// Whether `found` is a state this log was in, not before the last one that is known to be durable.
    pub(super) fn is_possible(&self, found: &Model) -> bool {
        self.history[self.confirmed.load(Ordering::Relaxed)..].contains(found)
    }
}
