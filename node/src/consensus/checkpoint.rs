//! Checkpoints: the state is written to the store behind apply, and the log is purged behind the checkpoints.
//!
//! A checkpoint freezes the layer of changes at an applied index, waits until the local log is fsynced up to it, and writes
//! it as one atomic, synced batch. Only then may the log lose what the checkpoint covers. What the store holds after a
//! checkpoint also is the snapshot for nodes that have fallen behind the purged log, at no further cost.
//!
//! Purging waits, within a bound, for a follower that is there and behind: otherwise, under a load that fills the kept log
//! faster than a snapshot is installed, it would need the next snapshot as soon as it has one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banyan_core::keyspace::meta::POSITION_KEY;
use banyan_core::planted::{Bug, planted};
use banyan_core::state::FrozenState;
use banyan_core::store::Store;
use openraft::Raft;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::SerdeInstant;
use openraft::type_config::alias::SnapshotMetaOf;
use tokio::time::Instant;

use super::log_store::LogHandle;
use super::state_machine::{CurrentSnapshot, SharedState, StateMachine, log_id_of};
use super::types::{StoredMembership, TypeConfig};
use super::wire;
use crate::fatal::FatalError;

/// A checkpoint is written at least this often while there is something to write.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// The log may always grow by this much between two checkpoints, bytes.
const LOG_BYTES_MIN: u64 = 1024 * 1024;
/// How often the growth of the log is looked at.
const LOG_INTERVAL: Duration = Duration::from_millis(200);

/// A store that takes longer to write a checkpoint will never finish: its own workers may have ended with an error that it does
/// not tell whoever waits for them.
const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// A follower that has not answered for this long is not waited for.
const CONTACT_TIMEOUT: Duration = Duration::from_secs(5);
/// Log kept for followers that are there and behind: this many times what is kept anyway, or this many bytes if that is more.
const HOLD_FACTOR: u64 = 8;
const HOLD_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Writes checkpoints until the node stops.
///
/// `log_keep_bytes` is how much of the log stays for followers that lag.
///
/// It runs before Raft does, which applies committed entries again while it starts and may need room for them. `raft` is told
/// of checkpoints once it is there.
pub async fn run(
    shared: Arc<SharedState>,
    raft: Arc<OnceLock<Raft<TypeConfig, StateMachine>>>,
    log: LogHandle,
    log_keep_bytes: u64,
) {
    let mut written_at = Instant::now();
    let mut written_bytes = log.counters().bytes;
    loop {
        tokio::select! {
            () = shared.checkpoint_due.notified() => {}
            () = tokio::time::sleep(LOG_INTERVAL) => {
                // A few topics written again and again fill the log, not the layer: what a restart replays is bounded too.
                let grown = log.counters().bytes - written_bytes >= (log_keep_bytes / 2).max(LOG_BYTES_MIN);
                if !grown && written_at.elapsed() < INTERVAL_MAX && !shared.fatal.is_stopping() {
                    continue;
                }
            }
        }
        (written_at, written_bytes) = (Instant::now(), log.counters().bytes);
        if shared.fatal.is_stopping() {
            shared.layer_room.notify_one(); // who waits for room need not any more
            return;
        }
        match write(&shared, &log).await {
            Ok(None) => {}
            Ok(Some(index)) => {
                let Some(raft) = raft.get() else {
                    continue;
                };
                // openraft takes the snapshot later and purges up to the one before: the log stays a checkpoint longer.
                let purge_index = log.index_keeping_bytes(log_keep_bytes).min(index);
                let purge_index = match slowest_follower(raft) {
                    Some(held) if held < purge_index => {
                        let hold_bytes = log_keep_bytes.saturating_mul(HOLD_FACTOR).max(HOLD_BYTES_MIN);
                        log.index_keeping_bytes(hold_bytes).max(held).min(purge_index)
                    }
                    _ => purge_index,
                };
                let told = async {
                    raft.trigger().snapshot().await?;
                    if purge_index > 0 {
                        raft.trigger().purge_log(purge_index).await?;
                    }
                    Ok::<_, openraft::errors::Fatal<TypeConfig>>(())
                };
                if told.await.is_err() {
                    return;
                }
            }
            Err(error) => {
                shared.fatal.stop(FatalError::Storage(error));
                shared.layer_room.notify_one();
                return;
            }
        }
    }
}

/// What the slowest of the followers that are there is known to hold: 0 while one waits for a snapshot. `None` without
/// followers, and where this node does not lead.
fn slowest_follower(raft: &Raft<TypeConfig, StateMachine>) -> Option<u64> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let is_there = |node_id| {
        let answered = metrics.heartbeat.as_ref()?.get(node_id)?.as_ref();
        answered.map(|at| SerdeInstant::into_inner(*at).elapsed() < CONTACT_TIMEOUT)
    };
    let followers = metrics.replication.as_ref()?.iter();
    followers
        .filter(|(node_id, _)| **node_id != metrics.id && is_there(node_id) == Some(true))
        .map(|(_, held)| held.as_ref().map_or(0, super::types::LogId::index))
        .min()
}

/// Writes one checkpoint, if there is anything new; returns the log index it covers.
///
/// # Errors
/// The store failed, and the node must stop.
pub async fn write(shared: &Arc<SharedState>, log: &LogHandle) -> Result<Option<u64>, String> {
    let _writer = shared.store_writer.lock().await;
    let (frozen, membership) = {
        let mut state = shared.state.lock();
        // A layer that is still frozen is one whose checkpoint failed: the node is stopping.
        if state.applied() == state.checkpointed() || state.is_frozen() {
            return Ok(None);
        }
        (state.freeze(), state.membership())
    };
    let begun = Instant::now();
    shared.layer_room.notify_one();
    let Some(applied) = frozen.applied else {
        return Ok(None);
    };
    log.wait_flushed(applied.index)
        .await
        .map_err(|error| error.to_string())?;
    let store = Arc::clone(shared.state.lock().base());
    let mark = shared.mark.clone();
    let frozen = match planted(Bug::P08) {
        true => write_rows_alone(Arc::clone(&store), frozen).await?,
        false => frozen,
    };
    let written = crate::blocking::run_in_background(move || {
        store.write(frozen.to_batch()).map_err(|error| error.to_string())?;
        mark.write(applied.index).map_err(|error| error.to_string())?;
        Ok::<_, String>(frozen)
    });
    let frozen = tokio::time::timeout(WRITE_TIMEOUT, written)
        .await
        .map_err(|_| format!("the store has not finished a write in {} s", WRITE_TIMEOUT.as_secs()))??;
    let view = {
        let mut state = shared.state.lock();
        state.thaw();
        state.base().view()
    };
    shared.layer_room.notify_one();
    crate::blocking::run_in_background(move || drop(frozen)).await;
    let last_membership: StoredMembership = match membership {
        Some(encoded) => wire::decode(&encoded).map_err(|error| error.to_string())?,
        None => StoredMembership::default(),
    };
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id: Some(log_id_of(applied)),
        last_membership,
    };
    *shared.snapshot.lock() = Some(CurrentSnapshot { meta, view });
    shared.counts.checkpoint.record(begun.elapsed());
    tracing::debug!(index = applied.index, "checkpoint written");
    Ok(Some(applied.index))
}

/// The planted bug P08: what is to be one batch becomes two, the position last.
async fn write_rows_alone(store: Arc<dyn Store>, frozen: FrozenState) -> Result<FrozenState, String> {
    let written = crate::blocking::run_in_background(move || {
        let mut rows = frozen.to_batch();
        rows.retain(|(key, _)| key[..] != POSITION_KEY);
        store.write(rows).map(|()| frozen)
    });
    written.await.map_err(|error| error.to_string())
}
