//! What applied entries mean to this node: outcomes for its origin, ends and shared messages for its connections.

use banyan_core::state::{Assigned, BatchOutcome, Closed, OriginOpened, StateView};

use super::Registry;
use crate::consensus::ApplyObserver;
use crate::origin::Origin;

/// Tells the origin and the registry of a node.
pub struct Observer {
    /// Answers those who proposed something here.
    pub origin: Origin,
    /// Holds the connections.
    pub registry: Registry,
}

impl ApplyObserver for Observer {
    fn on_batch(&self, outcome: BatchOutcome) {
        self.origin.on_batch(outcome);
    }

    fn on_origin_opened(&self, opened: OriginOpened) {
        self.origin.on_origin_opened(opened);
    }

    fn on_closed(&self, closed: &Closed) {
        self.registry.on_closed(closed);
    }

    fn on_assigned(&self, assigned: &Assigned, log_index: u64, log_time_us: u64) {
        self.registry.on_assigned(assigned, log_index, log_time_us);
    }

    fn on_installed(&self, view: &StateView) {
        self.origin.on_installed(view);
        self.registry.on_installed(view);
    }
}
