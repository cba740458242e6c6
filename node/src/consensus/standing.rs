//! Whether nodes, this one and others, have what they once had.

use std::sync::Arc;

use banyan_core::planted::{Bug, planted};

use super::log_store::LogHandle;
use super::state_machine::SharedState;
use super::types::NodeId;
use crate::fatal::{Fatal, FatalError};
use crate::peer::Standing;

/// What the replica knows of it.
pub(super) struct ReplicaStanding {
    pub(super) node_id: NodeId,
    pub(super) shared: Arc<SharedState>,
    pub(super) log: LogHandle,
    pub(super) fatal: Fatal,
}

impl ReplicaStanding {
    /// Whether more is on this node's disk than the members that it was started with. A node opens its origin only then: who
    /// is known by an origin has had something to lose.
    pub(super) fn has_data(&self) -> bool {
        self.log.flushed_index() > 0 || self.shared.snapshot.lock().is_some()
    }
}

impl Standing for ReplicaStanding {
    fn is_blank(&self) -> bool {
        let (_, last) = self.log.ends();
        last.is_none_or(|last| last.index == 0) && self.shared.applied.borrow().index == 0
    }

    fn has_taken_part(&self, node_id: NodeId) -> bool {
        if planted(Bug::P20) {
            return false;
        }
        let origin = self.shared.state.lock().origin(node_id);
        node_id != self.node_id && !matches!(origin, Ok(None))
    }

    fn on_data_gone(&self) {
        // What it lacked when it asked may be there by now.
        if self.is_blank() {
            self.fatal.stop(FatalError::DataGone(self.node_id));
        }
    }
}
