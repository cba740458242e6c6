//! Whether a node may speak for its id.
//!
//! A node that has lost its data has forgotten what it voted for and what it acknowledged. Under its old id it would be counted
//! as if it had not: two of three could then agree to something that the three had decided otherwise. So a node says in the
//! handshake whether it holds nothing yet, and one that knows its id from the replicated state has nothing to do with it.

/// What the replica tells the handshake.
pub trait Standing: Send + Sync {
    /// Whether this node holds nothing, but for the members that it was started with.
    fn is_blank(&self) -> bool;

    /// Whether node `node_id` has taken part in this cluster, as far as this node knows.
    fn has_taken_part(&self, node_id: u64) -> bool;

    /// Another node said that this one, which is blank, has taken part.
    fn on_data_gone(&self);
}

/// Of a node that knows nothing of others, and that others know nothing of.
pub(crate) struct Unproven;

impl Standing for Unproven {
    fn is_blank(&self) -> bool {
        false
    }

    fn has_taken_part(&self, _node_id: u64) -> bool {
        false
    }

    fn on_data_gone(&self) {}
}
