//! What the leader puts into the log of its own accord, as time passes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{EntryBuilder, Item};
use banyan_core::limits::{
    ASSIGN_CHUNK_MESSAGES_MAX, COMPACTION_CHUNK_TOMBSTONES_MAX, EXPIRY_CHUNK_TOPICS_MAX, SESSION_CHUNK_MAX,
    TRIM_CHUNK_MESSAGES_MAX,
};
use banyan_core::state::{Retention, State};
use banyan_core::store::StoreError;
use openraft::Raft;
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use super::state_machine::{SharedState, StateMachine};
use super::types::{NodeId, TypeConfig};

/// The leader's housekeeping.
pub struct House {
    shared: Arc<SharedState>,
    raft: Raft<TypeConfig, StateMachine>,
    retention: Retention,
    node_lost: Duration,
}

impl House {
    /// Keeps what `retention` says, and gives up nodes that are out of touch for `node_lost`.
    pub fn new(
        shared: Arc<SharedState>,
        raft: Raft<TypeConfig, StateMachine>,
        retention: Retention,
        node_lost: Duration,
    ) -> Self {
        Self {
            shared,
            raft,
            retention,
            node_lost,
        }
    }

    /// What is due at log time `now_us`, by a leader that leads since `led_since`; empty if nothing is.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn due(&self, now_us: u64, led_since: Instant) -> Result<EntryBuilder, StoreError> {
        let mut entry = EntryBuilder::new();
        let state = self.shared.state.lock();
        if state.next_expiry_us()?.is_some_and(|at| at <= now_us) {
            entry.push_item(&Item::Expire {
                limit: EXPIRY_CHUNK_TOPICS_MAX,
            });
        }
        if state.compaction_due()? {
            entry.push_item(&Item::Compact {
                limit: COMPACTION_CHUNK_TOMBSTONES_MAX,
            });
        }
        if state.next_due_us().is_some_and(|at| at <= now_us) {
            entry.push_item(&Item::EndDue {
                limit: SESSION_CHUNK_MAX,
            });
        }
        if state.trim_due(self.retention)? {
            entry.push_item(&Item::Trim {
                limit: TRIM_CHUNK_MESSAGES_MAX,
                keep_bytes: self.retention.keep_bytes,
                keep_us: self.retention.keep_us,
            });
        }
        if state.assign_due() {
            entry.push_item(&Item::Assign {
                limit: ASSIGN_CHUNK_MESSAGES_MAX,
            });
        }
        self.lose_nodes(&state, led_since, &mut entry);
        Ok(entry)
    }

    /// Ends the connections of nodes that are out of touch, or are no members any more.
    fn lose_nodes(&self, state: &State, led_since: Instant, entry: &mut EntryBuilder) {
        let holders = state.holders();
        if holders.is_empty() {
            return;
        }
        let heard = self.heard();
        for (node_id, through_fence) in holders {
            // A member that has not answered since this node leads may have answered the leader before.
            let silent = match heard.get(&node_id) {
                None => led_since.elapsed(),
                Some(None) => Duration::ZERO,
                Some(Some(silent)) => led_since.elapsed().min(*silent),
            };
            if silent >= self.node_lost {
                tracing::warn!(node = node_id, "out of touch: its connections are ended");
                entry.push_item(&Item::LoseNode {
                    node_id,
                    through_fence,
                    limit: SESSION_CHUNK_MAX,
                });
            }
        }
    }

    /// How long members have been silent: `None` of this node itself; those are left out that have not answered in this term.
    fn heard(&self) -> BTreeMap<NodeId, Option<Duration>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let answered = metrics.heartbeat.iter().flatten();
        let members: Vec<_> = metrics.membership_config.nodes().map(|(node_id, _)| *node_id).collect();
        let mut heard: BTreeMap<_, _> = answered
            .filter(|(node_id, _)| members.contains(node_id))
            .filter_map(|(node_id, at)| Some((*node_id, Some(at.as_ref()?.elapsed()))))
            .collect();
        heard.insert(metrics.id, None);
        heard
    }
}
