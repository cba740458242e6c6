//! Ordinary use, on one thread and on two, and failures of the disk.

use std::sync::mpsc;

use bytes::Bytes;

use super::model_test::{DIR, Driver, Model, Numbers, open, open_with, small_settings};
use super::*;
use crate::storage::disk::{MemoryDisk, SystemDisk};

fn entry(term: u64, index: u64, payload: &'static [u8]) -> LogEntry {
    LogEntry {
        id: EntryId {
            term,
            node_id: 1,
            index,
        },
        kind: EntryKind::Normal,
        payload: Bytes::from_static(payload),
    }
}

fn ignore() -> Completion {
    Box::new(|_| {})
}

/// Random appends, truncations, purges and votes, with restarts, against the model.
#[test]
fn behaves_like_the_model_over_restarts() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let mut numbers = Numbers::new(seed);
        for restart in 0..6 {
            let log = open(&disk).unwrap();
            let mut driver = Driver::new(log);
            for _ in 0..8 {
                driver.run(&mut numbers, 3).unwrap();
                assert_eq!(&Model::of(&driver.log), driver.model(), "seed {seed}");
                check_reads(&driver.log, driver.model(), &mut numbers);
            }
            let last = driver.model().clone();
            match restart % 3 {
                0 => driver.log.close().unwrap(),
                1 => drop(driver),
                _ => disk.crash(&mut |_| 0),
            }
            assert_eq!(Model::of(&open(&disk).unwrap()), last, "seed {seed}, restart {restart}");
        }
    }
}

fn check_reads(log: &Log, model: &Model, numbers: &mut Numbers) {
    let (from, to) = (numbers.below(80), numbers.below(80));
    let expected: Vec<_> = model
        .entries
        .iter()
        .filter(|entry| (from..to).contains(&entry.id.index))
        .cloned()
        .collect();
    assert_eq!(log.read(from..to, usize::MAX).unwrap(), expected);
    let bytes_max = numbers.below(2000) as usize;
    let limited = log.read(from..to, bytes_max).unwrap();
    assert_eq!(limited, expected[..limited.len()]);
    assert_eq!(limited.is_empty(), expected.is_empty());
    let bytes: usize = limited.iter().map(|entry| entry.payload.len()).sum();
    assert!(limited.len() == 1 || bytes <= bytes_max);
}

#[test]
fn an_append_is_readable_at_once_and_completed_after_its_sync() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let syncs_before = disk.syncs();
    let (sender, receiver) = mpsc::channel();
    let held = log.writer.lock();
    let at_completion = disk.clone();
    log.append(
        vec![entry(1, 0, b"zero"), entry(1, 1, b"one")],
        Box::new(move |result| sender.send((result.is_ok(), at_completion.syncs())).unwrap()),
    )
    .unwrap();
    assert_eq!(log.read(0..2, usize::MAX).unwrap().len(), 2);
    assert_eq!(log.flushed_index(), None);
    assert!(receiver.try_recv().is_err());
    drop(held);
    log.wake();
    let (succeeded, syncs) = receiver.recv().unwrap();
    assert!(succeeded && syncs > syncs_before);
    assert_eq!(log.flushed_index(), Some(1));
}

#[test]
fn appends_queued_together_share_one_sync() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    let before = log.counters();
    let held = log.writer.lock();
    for index in 0..10 {
        log.append(vec![entry(1, index, b"x")], ignore()).unwrap();
    }
    drop(held);
    log.wake();
    let after = log.counters();
    assert_eq!(
        (after.appends - before.appends, after.batches - before.batches),
        (10, 1)
    );
    assert_eq!((after.fsyncs - before.fsyncs, after.entries - before.entries), (1, 10));
}

#[test]
fn the_flushed_index_never_speaks_of_replaced_entries() {
    let log = open(&MemoryDisk::new()).unwrap();
    log.append((1..=5).map(|index| entry(1, index, b"old")).collect(), ignore())
        .unwrap();
    assert_eq!(log.flushed_index(), Some(5));
    let held = log.writer.lock();
    log.truncate_after(Some(entry(1, 2, b"").id)).unwrap();
    assert_eq!(log.flushed_index(), Some(2));
    log.append((3..=5).map(|index| entry(2, index, b"new")).collect(), ignore())
        .unwrap();
    assert_eq!(log.flushed_index(), Some(2));
    assert_eq!(log.read(3..4, usize::MAX).unwrap(), [entry(2, 3, b"new")]);
    drop(held);
    log.wake();
    assert_eq!(log.flushed_index(), Some(5));
}

#[test]
fn a_hole_is_refused_and_changes_nothing() {
    let log = open(&MemoryDisk::new()).unwrap();
    log.append(vec![entry(1, 3, b"first")], ignore()).unwrap();
    let refused = log.append(vec![entry(1, 4, b"second"), entry(1, 6, b"hole")], ignore());
    assert!(matches!(refused, Err(LogError::OutOfOrder { expected: 5, found: 6 })));
    assert_eq!(log.read(0..10, usize::MAX).unwrap(), [entry(1, 3, b"first")]);
    log.append(vec![entry(1, 4, b"second")], ignore()).unwrap();
}

#[test]
fn committed_is_written_with_the_next_append_and_at_a_clean_stop() {
    let disk = MemoryDisk::new();
    let id = |index| EntryId {
        term: 1,
        node_id: 1,
        index,
    };
    let log = open(&disk).unwrap();
    log.append((0..5).map(|index| entry(1, index, b"x")).collect(), ignore())
        .unwrap();
    log.save_committed(id(2)).unwrap();
    log.append(vec![entry(1, 5, b"x")], ignore()).unwrap();
    log.save_committed(id(4)).unwrap();
    assert_eq!(log.committed().unwrap(), Some(id(4)));
    disk.crash(&mut |_| 0);
    let log = open(&disk).unwrap();
    assert_eq!(log.committed().unwrap(), Some(id(2)));
    log.save_committed(id(5)).unwrap();
    log.close().unwrap();
    assert_eq!(open(&disk).unwrap().committed().unwrap(), Some(id(5)));
}

#[test]
fn committed_beyond_the_end_is_forgotten() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    log.append(vec![entry(1, 0, b"x")], ignore()).unwrap();
    log.save_committed(EntryId {
        term: 2,
        node_id: 1,
        index: 7,
    })
    .unwrap();
    log.close().unwrap();
    assert_eq!(open(&disk).unwrap().committed().unwrap(), None);
}

#[test]
fn purging_keeps_what_was_asked_and_recycles_files() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    for index in 0..200 {
        log.append(vec![entry(1, index, &[7; 200])], ignore()).unwrap();
    }
    let bytes = log.bytes();
    let keep = bytes / 2;
    let purge_index = log.purge_index_keeping(keep).unwrap();
    log.purge(EntryId {
        term: 1,
        node_id: 1,
        index: purge_index,
    })
    .unwrap();
    assert!(log.bytes() >= keep && log.bytes() < bytes * 3 / 4);
    assert_eq!(log.read(0..200, usize::MAX).unwrap().len() as u64, 199 - purge_index);
    let spares = disk
        .files()
        .keys()
        .filter(|path| path.to_str().unwrap().contains("spare-"))
        .count();
    assert_eq!(spares, small_settings().spare_count_max);
    for index in 200..400 {
        log.append(vec![entry(2, index, &[8; 200])], ignore()).unwrap();
    }
    let model = Model::of(&log);
    drop(log);
    assert_eq!(Model::of(&open(&disk).unwrap()), model);
}

#[test]
fn a_directory_is_opened_once() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(LogError::InUse { .. })));
    log.close().unwrap();
    assert!(matches!(log.read(0..1, 1), Err(LogError::Closed)));
    assert!(matches!(log.close(), Err(LogError::Closed)));
    open(&disk).unwrap();
}

#[test]
fn a_missing_file_is_damage() {
    for purges in [false, true] {
        let disk = MemoryDisk::new();
        let log = open_with(
            &disk,
            &LogSettings {
                mark_bytes: u64::MAX,
                ..small_settings()
            },
        )
        .unwrap();
        for index in 0..100 {
            log.append(vec![entry(1, index, &[7; 200])], ignore()).unwrap();
        }
        if purges {
            log.purge(EntryId {
                term: 1,
                node_id: 1,
                index: 50,
            })
            .unwrap();
        }
        drop(log);
        let files = disk.files();
        let needed = files.keys().filter(|path| !path.to_str().unwrap().contains("spare-"));
        for path in needed {
            let mut left = files.clone();
            left.remove(path);
            let error = open(&MemoryDisk::from_files(left)).err();
            assert!(error.is_some_and(|error| error.is_damage()), "{}", path.display());
        }
    }
}

/// After the first failure nothing succeeds, and it is told once.
#[test]
fn a_failing_disk_poisons_the_log() {
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded] {
        for call in 0..2 {
            let disk = MemoryDisk::new();
            let told = Arc::new(Mutex::new(Vec::new()));
            let on_fatal: OnFatal = {
                let told = Arc::clone(&told);
                Arc::new(move |reason: &str| told.lock().push(reason.to_owned()))
            };
            let log = Log::open(
                Arc::new(disk.clone()),
                Path::new(DIR),
                &small_settings(),
                Some(on_fatal),
            )
            .unwrap();
            disk.fail_once_at(disk.calls() + call, kind);
            let (sender, receiver) = mpsc::channel();
            log.append(
                vec![entry(1, 0, b"x")],
                Box::new(move |result| sender.send(result.is_err()).unwrap()),
            )
            .unwrap();
            assert!(receiver.recv().unwrap(), "the completion tells of the failure");
            assert_eq!(told.lock().len(), 1);
            assert!(matches!(
                log.append(vec![entry(1, 1, b"y")], ignore()),
                Err(LogError::Poisoned { .. })
            ));
            assert!(matches!(log.save_vote(VOTE, ignore()), Err(LogError::Poisoned { .. })));
            assert!(matches!(log.read(0..1, 1), Err(LogError::Poisoned { .. })));
            assert!(matches!(log.close(), Err(LogError::Poisoned { .. })));
            assert_eq!(told.lock().len(), 1);
        }
    }
}

const VOTE: Vote = Vote {
    term: 9,
    node_id: 2,
    committed: true,
};

#[test]
fn damage_found_while_reading_poisons_the_log() {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    for index in 0..30 {
        log.append(vec![entry(1, index, &[7; 200])], ignore()).unwrap();
    }
    let path = segment::path(Path::new(DIR), 1);
    disk.open(&path, false)
        .unwrap()
        .write_at(segment::DATA_START + 160, b"!")
        .unwrap();
    assert!(matches!(log.read(0..30, usize::MAX), Err(LogError::Damaged { .. })));
    assert!(matches!(log.read(29..30, usize::MAX), Err(LogError::Poisoned { .. })));
}

/// The writer on its own thread, on the operating system's files.
#[test]
fn the_thread_completes_in_order_and_groups_syncs() {
    let root = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        thread: true,
        segment_bytes: 64 * 1024,
        cache_bytes: 4096,
        ..small_settings()
    };
    let open = || Log::open(Arc::new(SystemDisk), &root.path().join("log"), &settings, None);
    let log = open().unwrap();
    assert!(matches!(open(), Err(LogError::InUse { .. })));
    let (sender, receiver) = mpsc::channel();
    let count = 2000;
    for index in 0..count {
        let done: Completion = {
            let sender = sender.clone();
            Box::new(move |result| sender.send((index, result.is_ok())).unwrap())
        };
        log.append(vec![entry(1, index, &[5; 100])], done).unwrap();
        assert_eq!(log.read(index..index + 1, 1).unwrap().len(), 1);
        if index == count / 2 {
            let sender = sender.clone();
            log.save_vote(
                VOTE,
                Box::new(move |result| sender.send((u64::MAX, result.is_ok())).unwrap()),
            )
            .unwrap();
        }
    }
    let completed: Vec<_> = receiver.iter().take(count as usize + 1).collect();
    let in_order = (0..count).map(|index| (index, true));
    assert!(
        completed
            .iter()
            .copied()
            .filter(|(index, _)| *index != u64::MAX)
            .eq(in_order)
    );
    assert_eq!(
        completed[count as usize / 2 + 1],
        (u64::MAX, true),
        "a vote takes its turn"
    );
    assert_eq!(log.flushed_index(), Some(count - 1));
    let counters = log.counters();
    assert!(counters.batches <= counters.appends && counters.entries == count);
    log.purge(EntryId {
        term: 1,
        node_id: 1,
        index: 1500,
    })
    .unwrap();
    let model = Model::of(&log);
    log.close().unwrap();
    let log = open().unwrap();
    assert_eq!(
        Model {
            vote: Some(VOTE),
            ..model
        },
        Model::of(&log)
    );
}

/// Readers meet segments that are purged, recycled and written again under them.
#[test]
fn reading_while_segments_are_recycled() {
    let settings = LogSettings {
        thread: true,
        cache_bytes: 2000,
        ..small_settings()
    };
    let log = open_with(&MemoryDisk::new(), &settings).unwrap();
    let payload = |index: u64| Bytes::from(index.to_le_bytes().repeat(20));
    let count = 5000;
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let log = &log;
            scope.spawn(move || {
                let mut numbers = Numbers::new(seed);
                loop {
                    let (purged, last) = log.ends().unwrap();
                    let (first, last) = (purged.map_or(0, |id| id.index), last.map_or(0, |id| id.index));
                    let from = first + numbers.below(last - first + 1);
                    let entries = log.read(from..from + 1 + numbers.below(100), 3000).unwrap();
                    for (entry, next) in entries.iter().zip(entries.iter().skip(1)) {
                        assert_eq!(entry.id.index + 1, next.id.index);
                    }
                    assert!(entries.iter().all(|entry| entry.payload == payload(entry.id.index)));
                    if last + 1 == count {
                        return;
                    }
                }
            });
        }
        for index in 0..count {
            let id = EntryId {
                term: 1,
                node_id: 1,
                index,
            };
            let appended = LogEntry {
                id,
                kind: EntryKind::Normal,
                payload: payload(index),
            };
            log.append(vec![appended], ignore()).unwrap();
            if index % 100 == 99 {
                log.purge(EntryId {
                    index: index - 90,
                    ..id
                })
                .unwrap();
            }
        }
    });
}

#[tokio::test]
async fn waiting_for_a_flush_ends_with_it_or_with_the_log() {
    let disk = MemoryDisk::new();
    let log = open_with(
        &disk,
        &LogSettings {
            thread: true,
            ..small_settings()
        },
    )
    .unwrap();
    log.append(vec![entry(1, 0, b"x"), entry(1, 1, b"y")], ignore())
        .unwrap();
    log.wait_flushed(1).await.unwrap();
    disk.lose_power_at(0);
    log.append(vec![entry(1, 2, b"z")], ignore()).unwrap();
    assert!(matches!(log.wait_flushed(2).await, Err(LogError::Poisoned { .. })));
    log.wait_flushed(1).await.unwrap();
}
