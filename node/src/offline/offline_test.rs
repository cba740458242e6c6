//! Directories are there whole or not at all, and nothing that is there is overwritten.

use std::fs;
use std::path::Path;

use super::new_dir::{Founding, NewDir};
use super::recover::Recovery;
use super::restore::{Restore, Restored};
use super::*;
use crate::backup::backup_test::{file_of, view_of};
use crate::settings::Member;
use banyan_core::state::StateView;
use banyan_core::topic::TopicName;

fn members(texts: &[&str]) -> Vec<Member> {
    texts.iter().map(|text| Member::parse(text).unwrap()).collect()
}

fn restore(file: &Path, data_dir: &Path, node_id: u64, members: &[Member]) -> Result<Restored, OfflineError> {
    let restore = Restore {
        file,
        data_dir,
        node_id,
        members,
        prefix: None,
        dry_run: false,
    };
    restore.run(&mut |_, _| {})
}

fn backup_in(dir: &Path, view: &StateView) -> PathBuf {
    let file = dir.join("backup");
    fs::write(&file, file_of(view)).unwrap();
    file
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn members_that_restore_the_same_are_one_cluster_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(50, 100);
    let file = backup_in(dir.path(), &view);
    let two = members(&["1@a:7400", "2@b:7400"]);
    let one = restore(&file, &dir.path().join("one"), 1, &two).unwrap();
    let other = restore(&file, &dir.path().join("two"), 2, &two).unwrap();
    assert_eq!((one.cluster_id, one.digest), (other.cluster_id, view.digest));
    assert_eq!(one.sum.topic_count, 50);
    let elsewhere = members(&["1@a:7400", "2@c:7400"]);
    let third = restore(&file, &dir.path().join("three"), 1, &elsewhere).unwrap();
    assert_ne!(third.cluster_id, one.cluster_id);
    assert_ne!(third.cluster_id, 11, "the id of the cluster that was saved");
    // What was restored can be looked at, and become a cluster of one.
    let recovery = Recovery::open(&dir.path().join("one")).unwrap();
    let holdings = recovery.holdings();
    assert_eq!((holdings.node_id, holdings.cluster_id), (1, one.cluster_id));
    assert_eq!((holdings.revision, holdings.topic_count), (view.revision, 50));
    assert_eq!(holdings.members.len(), 2);
    let address = recovery.peer_address(None).unwrap();
    let recovered = recovery.run(&address, 77_000_000, &mut |_, _| {}).unwrap();
    assert_eq!((recovered.digest, address.as_str()), (view.digest, "a:7400"));
    assert_eq!(recovered.old_data_dir, dir.path().join("one.before-recovery-77"));
    let recovery = Recovery::open(&dir.path().join("one")).unwrap();
    assert_eq!(recovery.holdings().cluster_id, recovered.cluster_id);
    assert_eq!(recovery.holdings().members.len(), 1);
    assert_eq!(
        names(dir.path()),
        ["backup", "one", "one.before-recovery-77", "three", "two"],
        "nothing else is left"
    );
}

#[test]
fn what_is_there_is_not_touched_and_what_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = backup_in(dir.path(), &view_of(5, 100));
    let one = members(&["1@a:7400"]);
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(restore(&file, &taken, 1, &one), Err(OfflineError::Exists(_))));
    fs::write(taken.join("precious"), "x").unwrap();
    assert!(matches!(restore(&file, &taken, 1, &one), Err(OfflineError::Exists(_))));
    assert_eq!(names(&taken), ["precious"]);
    fs::remove_dir_all(&taken).unwrap();

    let bytes = fs::read(&file).unwrap();
    for cut in [0, 20, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..cut]).unwrap();
        let error = restore(&file, &dir.path().join("new"), 1, &one).unwrap_err();
        assert!(matches!(error, OfflineError::Backup(_)), "{error}");
    }
    let refused = [
        restore(&file, &dir.path().join("new"), 2, &one),
        restore(&file, &dir.path().join("new"), 1, &members(&["1@a:7400", "1@b:7400"])),
    ];
    assert!(
        refused
            .iter()
            .all(|result| matches!(result, Err(OfflineError::Refused(_))))
    );
    assert_eq!(names(dir.path()), ["backup"]);
    assert!(Recovery::open(dir.path()).is_err(), "no data directory");
}

#[test]
fn rows_that_are_not_those_of_the_position_are_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(5, 100);
    let founding = Founding {
        node_id: 1,
        cluster_id: 2,
        members: [(1, "a:1".to_owned())].into(),
    };
    let mut new_dir = NewDir::create(&dir.path().join("new")).unwrap();
    let mut rows = view.image_after(None, usize::MAX).unwrap();
    rows.pop();
    for (key, value) in rows {
        new_dir.push(key, value).unwrap();
    }
    let error = new_dir.finish(view.position(), &founding).unwrap_err();
    assert!(matches!(error, OfflineError::Damaged(_)), "{error}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_subtree_alone_and_a_rehearsal() {
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(30, 10);
    let file = backup_in(dir.path(), &view);
    let prefix = TopicName::parse("t/7").unwrap();
    let one = members(&["1@a:7400"]);
    let mut restore = Restore {
        file: &file,
        data_dir: &dir.path().join("new"),
        node_id: 1,
        members: &one,
        prefix: Some(&prefix),
        dry_run: true,
    };
    let rehearsed = restore.run(&mut |_, _| {}).unwrap();
    assert_eq!(names(dir.path()), ["backup"]);
    restore.dry_run = false;
    let restored = restore.run(&mut |_, _| {}).unwrap();
    assert_eq!(restored.sum.topic_count, 1);
    assert_eq!(
        (restored.cluster_id, restored.digest),
        (rehearsed.cluster_id, rehearsed.digest)
    );
    let recovery = Recovery::open(&dir.path().join("new")).unwrap();
    assert_eq!(
        (recovery.holdings().topic_count, recovery.holdings().revision),
        (1, view.revision)
    );
}
