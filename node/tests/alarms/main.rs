//! What a cluster says when something is wrong with it, and what it does about it.
//!
//! | module | about |
//! |---|---|
//! | [`disks`] | disks that are full or slow, as far as a node can be told so |
//! | [`divergence`] | a state that differs on one node |
//! | [`quorum`] | a node that has lost the others |
//! | [`real_disks`] | disks that are full or slow indeed: long, needs root and a C compiler |
#![allow(
    clippy::disallowed_methods,
    reason = "the clients are threads with sockets: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../mqtt/support.rs"]
#[allow(dead_code, reason = "these tests need less of it than those of MQTT itself")]
mod support;

mod disks;
mod divergence;
mod quorum;
mod real_disks;

use std::time::Duration;

use banyan_api::cluster::{Alarm, ClusterStatus};

/// Until an alarm is raised or cleared. Generous: debug builds on busy machines.
const ALARM_TIMEOUT: Duration = Duration::from_secs(60);

/// The alarm of this kind about this node.
fn alarm<'a>(status: &'a ClusterStatus, kind: &str, node_id: u64) -> Option<&'a Alarm> {
    let mut alarms = status.alarms.iter();
    alarms.find(|alarm| alarm.kind == kind && alarm.node_id == node_id)
}
