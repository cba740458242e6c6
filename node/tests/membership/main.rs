//! Nodes enter, move, lose their data, are replaced and leave, as an operator does it with `banyanctl`.
//!
//! ```text
//! cargo test -p banyan-node --test membership session -- --nocapture
//! ```
//!
//! prints a session as it looks, while writers write through every node. With `BANYAN_WRITES=100000` more is written between
//! two changes.

#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

#[path = "../listeners/certificates.rs"]
#[allow(dead_code, reason = "written for the tests of listeners, which also use the rest")]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod entering;
mod leaving;
mod session;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use banyan_api::cluster::Member;
use banyan_core::command::MemberChange;
use common::cluster::{Cluster, READY_TIMEOUT};
use common::wait;

/// Longest time without any acknowledged write.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code of a node that the cluster refused or removed.
const REFUSED: i32 = 4;
/// Files so small that who enters late gets a snapshot.
const SMALL_FILES: &[(&str, &str)] = &[
    ("log_segment_bytes", "1 MiB"),
    ("log_keep_bytes", "1 MiB"),
    ("checkpoint_bytes", "1 MiB"),
];

/// Each test has a whole cluster and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings with which a node enters, from what `member add` printed.
fn entry(printed: &str) -> Vec<(String, String)> {
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
        let text = line.unwrap_or_else(|| panic!("no {name} in {printed}"));
        text.replace(['[', ']', '"', ' '], "")
            .trim_start_matches('=')
            .to_owned()
    };
    vec![
        ("join".to_owned(), value("join =")),
        ("join_token".to_owned(), value("join_token =")),
    ]
}

/// Starts node `index` with the settings that `member add` printed.
fn start_new(cluster: &Cluster, index: usize, printed: &str) {
    let settings = entry(printed);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    cluster.spawn_with(index, &settings);
}

fn members(cluster: &Cluster, asked: usize) -> Vec<Member> {
    cluster.status(asked).map(|status| status.members).unwrap_or_default()
}

/// Waits until members can be changed: a request that comes too early after the cluster's begin waits only shortly.
fn wait_for_feature_level(cluster: &Cluster) {
    wait::until("feature level of goals", READY_TIMEOUT, || {
        let levels = members(cluster, 0).into_iter().map(|member| member.feature_level);
        levels
            .min()?
            .is_some_and(|level| level >= MemberChange::FEATURE_LEVEL.number())
            .then_some(())
    });
}

/// Waits until node `index` has `role`, as node `asked` sees it.
fn wait_for_role(cluster: &Cluster, asked: usize, index: usize, role: &str) {
    wait::until(&format!("{role} {}", cluster.id(index)), READY_TIMEOUT, || {
        cluster.assert_running(index);
        let members = members(cluster, asked);
        members
            .iter()
            .any(|member| member.id == cluster.id(index) && member.role == role)
            .then_some(())
    });
}

fn leader(cluster: &Cluster, asked: usize) -> usize {
    let leader = wait::until("leader", READY_TIMEOUT, || cluster.status(asked)?.leader);
    usize::try_from(leader - 1).expect("an index")
}

/// Waits for the end of a node that was removed.
fn assert_removed(cluster: &Cluster, index: usize) {
    let ended = cluster.wait_for_end(index);
    let log = std::fs::read_to_string(cluster.log_file(index)).expect("a log");
    assert_eq!(ended.code(), Some(REFUSED), "{log}");
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("removed from the cluster; the node stops"))
        .collect();
    assert_eq!(said.len(), 1, "{log}");
    println!("# node {} has ended with exit code {REFUSED}", cluster.id(index));
}

/// A program's end: exit code, and what it said last.
fn end_of(cluster: &Cluster, index: usize) -> (Option<i32>, String) {
    let ended = cluster.wait_for_end(index);
    let log = std::fs::read_to_string(cluster.log_file(index)).unwrap_or_default();
    (ended.code(), log.lines().last().unwrap_or_default().to_owned())
}
