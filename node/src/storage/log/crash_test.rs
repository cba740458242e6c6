//! The power goes at every call of the disk, and every call of the disk fails once.

use std::io::ErrorKind;

use super::model_test::{Driver, Model, Numbers, open};
use super::*;
use crate::storage::disk::MemoryDisk;

const GROUPS: usize = 12;

fn script(disk: &MemoryDisk, seed: u64) -> (Option<Driver>, Result<(), LogError>) {
    let log = match open(disk) {
        Ok(log) => log,
        Err(error) => return (None, Err(error)),
    };
    let mut driver = Driver::new(log);
    let result = driver.run(&mut Numbers::new(seed), GROUPS);
    (Some(driver), result)
}

/// Number of the disk's calls in the script.
fn calls(seed: u64) -> u64 {
    let disk = MemoryDisk::new();
    let (driver, result) = script(&disk, seed);
    result.unwrap();
    drop(driver);
    disk.calls()
}

/// How many seeds: more with `BANYAN_LOG_TESTS=full`.
fn seeds() -> u64 {
    if std::env::var("BANYAN_LOG_TESTS").is_ok_and(|value| value == "full") {
        60
    } else {
        4
    }
}

/// Opens and checks what is found, then goes on from there and checks again.
fn check(disk: &MemoryDisk, driver: Option<&Driver>, numbers: &mut Numbers, what: &str) -> Model {
    let log = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = Model::of(&log);
    match driver {
        Some(driver) => assert!(driver.is_possible(&found), "{what}: found {found:?}"),
        None => assert_eq!(found, Model::default(), "{what}"),
    }
    let mut onward = Driver::new(log);
    onward.run(numbers, 2).unwrap();
    let expected = onward.model().clone();
    assert_eq!(Model::of(&onward.log), expected, "{what}");
    drop(onward);
    assert_eq!(
        Model::of(&open(disk).unwrap()),
        expected,
        "{what}: after one more restart"
    );
    found
}

/// After a loss of power at any call the log opens, and holds all that was confirmed and a first part of the rest, also
/// if the power goes again while it recovers.
#[test]
fn survives_a_loss_of_power_at_every_call() {
    for seed in 0..seeds() {
        for call in 0..calls(seed) {
            let what = format!("seed {seed}, power lost at call {call}");
            let mut numbers = Numbers::new(seed << 32 | call);
            let disk = MemoryDisk::new();
            disk.lose_power_at(call);
            let (driver, _) = script(&disk, seed);
            disk.crash(&mut |bound| numbers.below(bound));

            // Once more, while it recovers.
            let again = numbers.below(12);
            disk.lose_power_at(disk.calls() + again);
            let first_try = open(&disk).map(|log| Model::of(&log));
            match &first_try {
                Ok(_) => {}
                Err(LogError::Io { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            disk.crash(&mut |bound| numbers.below(bound));
            let what = format!("{what}, again {again} calls later");
            let found = check(&disk, driver.as_ref(), &mut numbers, &what);
            if let Ok(seen) = first_try {
                assert_eq!(found, seen, "{what}: what was served before was not durable");
            }
        }
    }
}

/// A call that fails ends the log. The next process serves nothing that a loss of power could take back.
#[test]
fn survives_a_failure_of_every_call() {
    for seed in 0..seeds() {
        for call in 0..calls(seed) {
            let what = format!("seed {seed}, failure at call {call}");
            let disk = MemoryDisk::new();
            disk.fail_once_at(call, ErrorKind::StorageFull);
            let (driver, result) = script(&disk, seed);
            if let Some(driver) = &driver {
                // The script may end before the failure shows itself: an unused directory, say.
                assert!(result.is_err() || driver.log.ends().is_ok(), "{what}");
                if result.is_err() {
                    assert!(matches!(driver.log.ends(), Err(LogError::Poisoned { .. })), "{what}");
                    assert!(matches!(driver.log.vote(), Err(LogError::Poisoned { .. })), "{what}");
                }
            }
            // The process ends, the machine stays up: what could not be synced may still be readable.
            let (history, confirmed) = match driver {
                Some(driver) => (
                    driver.history.clone(),
                    driver.confirmed.load(std::sync::atomic::Ordering::Relaxed),
                ),
                None => (vec![Model::default()], 0),
            };
            let log = match open(&disk) {
                Ok(log) => log,
                Err(error) => panic!("{what}: {error}"),
            };
            let served = Model::of(&log);
            assert!(history[confirmed..].contains(&served), "{what}: found {served:?}");
            disk.crash(&mut |_| 0);
            assert_eq!(
                Model::of(&open(&disk).unwrap()),
                served,
                "{what}: served what was not durable"
            );
        }
    }
}
