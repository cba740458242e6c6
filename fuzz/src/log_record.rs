//! The log's files: a directory that was damaged, one whose records are well-formed and make no sense, and garbage.
//!
//! Input: form u8 and what it needs.
//!
//! | form | the directory |
//! |---|---|
//! | 0, 1 | a recorded one (1: that was not stopped cleanly), with one file cut or up to 64 bytes in a row changed |
//! | 2 | segments laid here, by the documented format: right checksums around anything |
//! | 3 | files of the right names with any bytes |
//!
//! What must hold: no panic; what opens is consistent, opens the same again, and takes the next entry; what was recorded
//! comes back whole or is refused, except for the last append of a log that was not stopped.

mod forge;
mod format;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::choices::Choices;
use banyan_node::storage::disk::MemoryDisk;
use banyan_node::storage::log::{EntryId, EntryKind, Log, LogEntry, LogError, LogSettings, Vote};

const DIR: &str = "log";
const SALT: u32 = 0xC0FF_EE00;
const PAGE: usize = 4096;
/// Not more than this is changed in a row: less than the records of one append, so that no two can vanish without a trace.
const DAMAGE_BYTES_MAX: usize = 64;

/// A directory: contents by path.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Everything a log answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    purged: Option<EntryId>,
    last: Option<EntryId>,
    entries: Vec<LogEntry>,
    vote: Option<Vote>,
}

/// A recorded directory and what it holds.
struct Recorded {
    files: Files,
    contents: Contents,
    /// What it holds without its last append.
    before_last: Contents,
}

static STOPPED: LazyLock<Recorded> = LazyLock::new(|| record(true));
static RUNNING: LazyLock<Recorded> = LazyLock::new(|| record(false));

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(4) {
        0 => check_damaged(&STOPPED, false, &mut choices),
        1 => check_damaged(&RUNNING, true, &mut choices),
        2 => check_any(forge::log(&mut choices)),
        _ => check_any(forge::garbage(&mut choices)),
    }
}

fn open(disk: &MemoryDisk) -> Result<Log, LogError> {
    let settings = LogSettings {
        segment_bytes: 2 * PAGE as u64,
        spare_count_max: 1,
        cache_bytes: 200,
        write_bytes_max: 2000,
        mark_bytes: 1500,
        mark_idle: Duration::from_secs(3600),
        salt: SALT,
        thread: false,
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), &settings, None)
}

fn contents(log: &Log) -> Contents {
    let (purged, last) = log.ends().expect("an open log");
    Contents {
        purged,
        last,
        entries: log.read(0..u64::MAX, usize::MAX).expect("what was found can be read"),
        vote: log.vote().expect("an open log"),
    }
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId {
        term,
        node_id: 1,
        index,
    }
}

fn append(log: &Log, ids: impl Iterator<Item = EntryId>, payload_bytes: usize) {
    let entry = |id: EntryId| LogEntry {
        id,
        kind: EntryKind::Normal,
        payload: vec![b'a' + (id.index % 26) as u8; payload_bytes].into(),
    };
    log.append(ids.map(entry).collect(), Box::new(|result| result.expect("memory")))
        .expect("in order");
}

/// Several segments, a truncation, a purge and two votes.
fn record(stop: bool) -> Recorded {
    let disk = MemoryDisk::new();
    let log = open(&disk).expect("a new log");
    let vote = |term| Vote {
        term,
        node_id: 1,
        committed: true,
    };
    let save_vote = |term| {
        log.save_vote(vote(term), Box::new(|result| result.expect("memory")))
            .expect("open")
    };
    save_vote(1);
    for first in (0..40).step_by(4) {
        append(&log, (first..first + 4).map(|index| id(1, index)), 300);
    }
    log.truncate_after(Some(id(1, 36))).expect("open");
    save_vote(2);
    append(&log, [id(2, 37), id(2, 38)].into_iter(), 20);
    log.save_committed(id(2, 37)).expect("open");
    log.purge(id(1, 25)).expect("open");
    append(&log, [id(2, 39)].into_iter(), 30);
    let before_last = contents(&log);
    append(&log, [id(2, 40), id(2, 41)].into_iter(), 40);
    let contents = contents(&log);
    if stop {
        log.close().expect("memory");
    }
    drop(log);
    Recorded {
        files: disk.files(),
        contents,
        before_last,
    }
}

fn check_damaged(recorded: &Recorded, may_cut: bool, choices: &mut Choices<'_>) {
    let mut files = recorded.files.clone();
    // The content of a spare file means nothing, and the lock has none.
    let names: Vec<PathBuf> = files
        .iter()
        .filter(|(path, bytes)| !bytes.is_empty() && !path.to_string_lossy().contains("spare-"))
        .map(|(path, _)| path.clone())
        .collect();
    let name = &names[choices.below(names.len())];
    let bytes = files.get_mut(name).expect("one of the names");
    let at = usize::from(choices.u16()) % bytes.len();
    match choices.below(3) {
        0 => bytes.truncate(at),
        form => {
            let damage = choices.take(DAMAGE_BYTES_MAX);
            for (byte, change) in bytes[at..].iter_mut().zip(damage) {
                *byte = if form == 1 { *byte ^ change } else { *change };
            }
        }
    }
    let what = || format!("{} damaged at {at}", name.display());
    match open(&MemoryDisk::from_files(files)) {
        Err(error) => assert!(error.is_damage(), "{}: {error}", what()),
        Ok(log) => {
            let found = contents(&log);
            let is_cut = may_cut && found == recorded.before_last;
            assert!(
                found == recorded.contents || is_cut,
                "{}: neither refused nor as recorded",
                what()
            );
        }
    }
}

/// Opens what may be anything. If it opens, it is a log.
fn check_any(files: Files) {
    let disk = MemoryDisk::from_files(files);
    let log = match open(&disk) {
        Ok(log) => log,
        Err(error) => return assert!(error.is_damage(), "{error}"),
    };
    let mut found = contents(&log);
    for (number, entry) in (0..).zip(&found.entries) {
        assert_eq!(
            entry.id.index,
            found.entries[0].id.index + number,
            "entries are consecutive"
        );
        assert!(
            found.purged.is_none_or(|purged| purged.index < entry.id.index),
            "a purged entry"
        );
    }
    if let Some(entry) = found.entries.last() {
        assert_eq!(Some(entry.id.index), found.last.map(|last| last.index));
    }
    drop(log);

    let log = open(&disk).expect("what opened once opens again");
    assert_eq!(contents(&log), found);
    if found.last.is_none_or(|last| last.index < u64::MAX - 1) {
        let next = id(u64::MAX, found.last.map_or(0, |last| last.index + 1));
        append(&log, [next].into_iter(), 10);
        let appended = contents(&log);
        assert_eq!(
            appended.entries.last().map(|entry| entry.id),
            Some(next),
            "appended to {found:?}: {appended:?}"
        );
        found = appended;
        log.close().expect("memory");
        drop(log);
        assert_eq!(contents(&open(&disk).expect("what was closed opens again")), found);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::format::{header, optional_ids, slot_file, write_record};
    use super::*;

    /// The formats written here are those that the log reads: a log of them opens and holds what it should.
    #[test]
    fn what_is_laid_here_is_a_log() {
        let mut records = Vec::new();
        write_record(&mut records, 1, 3, 1, id(1, 0), b"hello");
        let mut body = [1_u64.to_le_bytes(), (112 + records.len() as u64).to_le_bytes()].concat();
        body.extend_from_slice(&optional_ids(&[None, Some(id(1, 0))]));
        let mut segment = header(1, 2 * PAGE as u64, 0, 1, [None; 3]);
        segment.resize(PAGE, 0);
        write_record(&mut segment, 1, 1, 1, id(0, 0), &body);
        segment.extend_from_slice(&records);
        segment.resize(2 * PAGE, 0);
        let file = |name: &str, bytes| (Path::new(DIR).join(name), bytes);
        let files = [
            file("vote", slot_file(b"BNYvote", [(1, [1, 5]), (1, [1, 5])])),
            file("mark", slot_file(b"BNYmark", [(1, [1, 4096]), (1, [1, 4096])])),
            file("0000000000000001.log", segment),
        ];
        let log = open(&MemoryDisk::from_files(files.into())).unwrap();
        let found = contents(&log);
        assert_eq!(
            (found.last, found.vote.map(|vote| vote.term)),
            (Some(id(1, 0)), Some(5))
        );
        assert_eq!(found.entries[0].payload, Bytes::from_static(b"hello"));
        assert_eq!(log.committed().unwrap(), Some(id(1, 0)));
    }
}
