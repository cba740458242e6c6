//! The one way a node stops because of itself: the first fatal error wins and ends the process.

use std::sync::Arc;

use banyan_core::feature::UnknownLevel;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What is to be done with a node whose state has diverged.
pub const NEVER_AGAIN: &str = "it must not serve again: put a new node with an empty directory and a new id in its place \
                               (banyanctl member add --replace ID), and keep this directory to find out why";

/// Why a node must stop at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatalError {
    /// Log or state could not be read or written, or hold what cannot be true.
    #[error("storage failed: {}{}", .0, hint(.0))]
    Storage(String),
    /// The state differs from that of a majority of the voters.
    #[error("{0}; {NEVER_AGAIN}")]
    Diverged(String),
    /// The cluster has gone on to what this node does not know.
    #[error("{0}")]
    Level(#[from] UnknownLevel),
    /// The cluster knows this node with data, and it has none.
    #[error(
        "the data of node {0} is gone: it has been a member, and has forgotten what it acknowledged. Bring the data back; or \
         remove the member (`banyanctl member remove {0}`) and let this machine enter with an empty data directory, a join \
         token and without `node_id`"
    )]
    DataGone(u64),
    /// Consensus stopped.
    #[error("consensus stopped: {0}")]
    Consensus(String),
}

/// What to do about a failure of storage, as far as that is clear.
fn hint(reason: &str) -> &'static str {
    // By the words of the operating system, or of the store, which are all that is left of the error.
    match reason.contains("os error 28") || reason.contains("StorageFull") {
        true => "; the disk is full: make room and start the node again, nothing that was acknowledged is lost",
        false => "",
    }
}

/// Shared by everything that may find out that the node must stop.
#[derive(Clone, Default)]
pub struct Fatal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    error: Mutex<Option<FatalError>>,
    token: CancellationToken,
}

impl Fatal {
    /// Stops the node for `error`, unless it is stopping for an earlier one.
    pub fn stop(&self, error: FatalError) {
        let mut first = self.0.error.lock();
        if first.is_none() {
            tracing::error!(%error, "the node stops");
            *first = Some(error);
        }
        drop(first);
        self.0.token.cancel();
    }

    /// Returns the error once there is one.
    pub async fn wait(&self) -> FatalError {
        self.0.token.cancelled().await;
        self.0
            .error
            .lock()
            .clone()
            .unwrap_or_else(|| FatalError::Consensus("stopped".to_owned()))
    }

    /// The error, if there is one.
    #[must_use]
    pub fn error(&self) -> Option<FatalError> {
        self.0.error.lock().clone()
    }

    /// Whether the node is stopping because of itself.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.token.is_cancelled()
    }
}
