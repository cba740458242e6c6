//! Data that earlier versions wrote, and clusters of several versions.
//!
//! | module | about |
//! |---|---|
//! | [`contents`] | what the kept data directories hold |
//! | [`kept`] | they are opened, and everything is found |
//! | [`make`] | how they are made |
//! | [`mixed`] | clusters in which one node knows less |
#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../mqtt/support.rs"]
#[allow(dead_code, reason = "these tests need less of it than those of MQTT itself")]
mod support;

mod contents;
mod kept;
mod make;
mod mixed;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Settings of the nodes on kept data: small files, and sessions that never expire.
const SETTINGS: &[(&str, &str)] = &[
    ("log_segment_bytes", "1 MiB"),
    ("log_keep_bytes", "1 MiB"),
    ("checkpoint_bytes", "1 MiB"),
    ("session_expiry_max_s", "4294967295"),
    ("message_keep_s", "315360000"),
];

/// Each test has nodes, and the machine few cores.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The archive named `name`.
fn archive(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.tar.gz"))
}
