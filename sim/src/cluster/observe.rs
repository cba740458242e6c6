//! What nodes show at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use banyan_core::keyspace::Selection;
use banyan_core::state::{Digest, State};
use banyan_core::store::Direction;
use banyan_node::storage::disk::MemoryDisk;
use banyan_node::storage::log::{Log, LogSettings};
use openraft::async_runtime::watch::WatchReceiver;

use super::Cluster;
use super::log::seen;
use super::members;
use super::node::SimNode;
use crate::history::{DurableLog, FinalState, LogIdSeen, NodeObservation, Seen, Serial, SnapshotSeen, Time};
use crate::invariants::SYNC_ERRORS;

/// The last entry of an empty log.
const NO_ENTRY: LogIdSeen = LogIdSeen {
    term: 0,
    leader: 0,
    index: 0,
};

/// The running nodes, as they are between two steps.
#[must_use]
pub fn nodes(cluster: &Cluster) -> Vec<NodeObservation> {
    let running = cluster.up().iter().map(|id| &cluster.nodes()[id]);
    running.filter_map(|node| observe(node, cluster.now() - 1)).collect()
}

fn observe(node: &SimNode, at: Time) -> Option<NodeObservation> {
    let server = node.server()?;
    let replica = server.replica();
    let ids = replica.log_ids();
    let leadership = replica.leadership();
    let view = replica.view();
    // A snapshot that was installed just now stands for the log before it, until what it covers is purged.
    let installed = (ids.committed > ids.last).then(|| stored_id(node)).flatten();
    let last_log = ids.last.map(seen).max(installed);
    Some(NodeObservation {
        at,
        node: node.id(),
        life: node.life(),
        term: ids.vote.map_or(0, |vote| vote.term),
        vote_for: ids.vote.map(|vote| vote.node_id),
        leader: leadership.leader,
        is_leader: leadership.leader == Some(node.id()),
        last_log: last_log.unwrap_or(NO_ENTRY),
        committed: ids.committed.map(seen),
        applied: ids.applied.map(seen),
        snapshot: ids.snapshot.map(seen),
        purged: ids.purged.map(seen),
        revision: view.revision,
        digest: view.digest.as_u128(),
        topics_digest: Some(view.topics_digest.as_u128()),
        membership: members::seen(&replica.raft().server_metrics().borrow_watched().membership_config),
        gauges: BTreeMap::from([
            ("tasks", node.task_count()),
            (SYNC_ERRORS, node.disk().counters().sync_errors),
        ]),
    })
}

/// Up to where the checkpoint or installed snapshot of a node goes.
fn stored_id(node: &SimNode) -> Option<LogIdSeen> {
    let applied = State::open(Arc::new(node.stores().contents().fork())).ok()?.applied()?;
    Some(LogIdSeen {
        term: applied.term,
        leader: applied.node_id,
        index: applied.index,
    })
}

/// The logs of all nodes as they would be found if the power went now: opened from a copy of the disk.
#[must_use]
pub fn disks(cluster: &Cluster) -> Vec<DurableLog> {
    cluster.nodes().values().filter_map(|node| durable(node)).collect()
}

fn durable(node: &SimNode) -> Option<DurableLog> {
    let copy = MemoryDisk::from_files(node.disk().durable_files());
    // Small, for the disks that hold no log yet: one is begun on each copy of them.
    let settings = LogSettings {
        segment_bytes: 16 * 1024,
        thread: false,
        ..LogSettings::default()
    };
    // A log that does not open holds nothing that counts.
    let log = Log::open(Arc::new(copy), &node.log_directory(), &settings, None).ok()?;
    let (purged, last) = log.ends().ok()?;
    let first = purged.map_or(0, |purged| purged.index + 1);
    let entries = match last {
        Some(last) if last.index >= first => log.read(first..last.index + 1, usize::MAX).ok()?,
        _ => Vec::new(),
    };
    Some(DurableLog {
        node: node.id(),
        purged: purged.map(seen),
        entries: entries.iter().map(|entry| seen(entry.id)).collect(),
    })
}

/// What the checkpoint of a node holds, if it has one.
#[must_use]
pub fn snapshot(node: &SimNode) -> Option<SnapshotSeen> {
    let mut state = State::open(Arc::new(node.stores().contents().fork())).ok()?;
    let view = state.view();
    let applied = view.applied?;
    Some(SnapshotSeen {
        node: node.id(),
        id: LogIdSeen {
            term: applied.term,
            leader: applied.node_id,
            index: applied.index,
        },
        digest: view.full_digest().ok()?.as_u128(),
        topics_digest: view.full_topics_digest().ok()?.as_u128(),
    })
}

/// What a running node holds.
#[must_use]
pub fn final_state(node: &SimNode) -> Option<FinalState> {
    let server = node.server()?;
    let view = server.replica().view();
    let everything = Selection::Range {
        prefix: None,
        start: None,
        end: None,
    };
    let mut rows = Vec::new();
    let mut scan = view.scan(everything, Direction::Ascending);
    while scan.next_chunk(usize::MAX, usize::MAX, &mut rows).ok()? {}
    let topics = rows.iter().map(|(topic, record)| {
        let seen = Seen {
            serial: Serial::of_payload(record.payload_bytes()),
            revision: record.revision(),
        };
        (topic.as_str().to_owned(), seen)
    });
    Some(FinalState {
        node: node.id(),
        applied: server.replica().log_ids().applied.map(seen),
        revision: view.revision,
        digest: view.digest.as_u128(),
        topics_digest: Some(view.topics_digest.as_u128()),
        scanned_digest: view.full_digest().ok().map(Digest::as_u128),
        topics: Some(topics.collect()),
    })
}
