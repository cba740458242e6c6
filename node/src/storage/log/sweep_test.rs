//! Every byte of a recorded directory is flipped, and every file is cut at every length: what opens then is what was
//! recorded, or it does not open.
//!
//! The quick form takes every byte that carries something and a sample of the rest; `BANYAN_LOG_TESTS=full` takes all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::model_test::{Driver, Model, Numbers, Step, open};
use super::*;
use crate::storage::disk::MemoryDisk;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A directory as recorded, and what it holds.
struct Recorded {
    files: Files,
    model: Model,
    /// What it holds without its last append.
    before_last: Model,
}

/// Several segments, recycled ones among them, truncations, purges, votes.
fn record(seed: u64, clean: bool) -> Recorded {
    let disk = MemoryDisk::new();
    let mut driver = Driver::new(open(&disk).unwrap());
    let mut numbers = Numbers::new(seed);
    driver.run(&mut numbers, 25).unwrap();
    driver
        .step(Step::Vote(Vote {
            term: 1000,
            node_id: 3,
            committed: true,
        }))
        .unwrap();
    let index = driver.model().last.map_or(0, |last| last.index + 1);
    let entries = |from: u64, count: u64, len: usize| {
        let entry = |number| LogEntry {
            id: EntryId {
                term: 1000,
                node_id: 3,
                index: index + from + number,
            },
            kind: EntryKind::Normal,
            payload: vec![b'a' + number as u8; len].into(),
        };
        Step::Append((0..count).map(entry).collect())
    };
    driver.step(entries(0, 2, 50)).unwrap();
    let before_last = driver.model().clone();
    // So small that it does not move the mark.
    driver.step(entries(2, 3, 40)).unwrap();
    let model = driver.model().clone();
    if clean {
        driver.log.close().unwrap();
    }
    drop(driver);
    Recorded {
        files: disk.files(),
        model,
        before_last,
    }
}

fn is_full() -> bool {
    std::env::var("BANYAN_LOG_TESTS").is_ok_and(|value| value == "full")
}

/// Counts of what came of it.
#[derive(Debug, Default)]
struct Tally {
    identical: u64,
    refused: u64,
    cut: u64,
}

impl Recorded {
    fn try_open(&self, path: &Path, bytes: Vec<u8>, what: &str, tally: &mut Tally) {
        let mut files = self.files.clone();
        files.insert(path.to_path_buf(), bytes);
        match open(&MemoryDisk::from_files(files)) {
            Err(error) if error.is_damage() => tally.refused += 1,
            Err(error) => panic!("{what}: {error}"),
            Ok(log) => {
                let found = Model::of(&log);
                if found == self.model {
                    tally.identical += 1;
                } else if found == self.before_last {
                    tally.cut += 1;
                } else {
                    panic!("{what}: neither refused nor what was recorded");
                }
            }
        }
    }

    fn sweep(&self) -> Tally {
        let mut tally = Tally::default();
        for (path, bytes) in &self.files {
            if path.to_str().is_some_and(|path| path.contains("spare-")) {
                continue;
            }
            let name = path.display();
            for at in 0..bytes.len() {
                // Around something that is not zero, every byte; else a sample.
                let around = &bytes[at.saturating_sub(8)..bytes.len().min(at + 8)];
                if !is_full() && around.iter().all(|byte| *byte == 0) && at % 97 != 0 {
                    continue;
                }
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                self.try_open(path, flipped, &format!("{name}, byte {at} flipped"), &mut tally);
            }
            for len in (0..bytes.len()).step_by(if is_full() { 1 } else { 61 }) {
                self.try_open(path, bytes[..len].to_vec(), &format!("{name} cut to {len}"), &mut tally);
            }
        }
        tally
    }
}

#[test]
fn after_a_clean_stop_nothing_at_all_may_be_lost() {
    let tally = record(3, true).sweep();
    assert_eq!(tally.cut, 0, "{tally:?}");
    assert!(tally.identical > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn without_a_clean_stop_only_the_last_append_beyond_the_mark_may_be_cut() {
    let recorded = record(3, false);
    assert_eq!(recorded.before_last.vote, recorded.model.vote);
    let tally = recorded.sweep();
    assert!(tally.identical > 0 && tally.refused > 0 && tally.cut > 0, "{tally:?}");
}

/// Garbage in place of any file does not panic.
#[test]
fn arbitrary_files_are_refused() {
    let recorded = record(5, true);
    let mut numbers = Numbers::new(1);
    for path in recorded
        .files
        .keys()
        .filter(|path| !path.to_str().unwrap().contains("spare-"))
    {
        for _ in 0..20 {
            let len = numbers.below(9000);
            let garbage = (0..len).map(|_| numbers.below(256) as u8).collect();
            let mut tally = Tally::default();
            recorded.try_open(path, garbage, &path.display().to_string(), &mut tally);
            assert_eq!(tally.refused, 1, "{}", path.display());
        }
    }
}
