//! Raft: the log, the replicated state, and agreement between the nodes. The only place that names openraft.
//!
//! | module | responsibility |
//! |---|---|
//! | [`types`] | our choice of openraft's types |
//! | [`log_store`] | openraft's log storage on our segment files |
//! | [`state_machine`] | openraft's state machine on `banyan_core::state` |
//! | [`checkpoint`], [`checkpoint_mark`] | writing the state to the store, and purging the log behind it |
//! | [`digests`] | what nodes compare to see that they hold the same |
//! | [`snapshot`], [`unfinished`], [`network`] | what travels between nodes, on [`crate::peer`] |
//! | [`founding`] | the membership of a cluster that begins with a state |
//! | [`intake`] | the leader's end of the origin streams: from batches to log entries |
//! | [`housekeeping`] | what the leader does as time passes |
//! | [`members`] | who may enter and leave, and the leader's steps towards that |
//! | [`observe`] | what a replica counts, and tells when it is asked |
//! | `standing` | whether nodes have what they once had |
//! | [`read_index`] | linearizable reads on any node |
//! | [`replica`] | all of it together: this node's copy of the shard |
//! | [`runtime`] | the tasks, time and chance that openraft is given |
//! | [`wire`] | the one place that names bincode |

pub mod checkpoint;
pub mod checkpoint_mark;
pub mod digests;
pub mod founding;
pub mod housekeeping;
pub mod intake;
pub mod log_store;
pub mod members;
pub mod network;
pub mod observe;
pub mod read_index;
pub mod replica;
pub mod runtime;
pub mod snapshot;
mod standing;
pub mod state_machine;
pub mod types;
pub mod unfinished;
pub mod wire;

pub use replica::{Leadership, Replica, ReplicaSettings};
pub use state_machine::{Applied, ApplyObserver};
