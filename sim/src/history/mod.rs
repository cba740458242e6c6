//! What clients did and saw, and what nodes showed: the material of every check.
//!
//! Clients write into a [`Recorder`] as they go. The run collects [`NodeObservation`]s and the [`CommittedLog`]. Nothing
//! here knows whether nodes are simulated or real processes.
//!
//! | file | concept |
//! |---|---|
//! | `serial` | the mark by which a write is told from every other |
//! | `operation` | one request of a client, and its answer |
//! | `subscription` | one subscription, and what was delivered to it |
//! | `recorder` | where clients write both |
//! | `observation` | what nodes and their disks show at one moment |
//! | `invariant` | the form of a check, and what it finds |

mod invariant;
mod observation;
mod operation;
mod recorder;
mod serial;
mod subscription;

pub use invariant::{Finished, Invariant, Violation};
pub use observation::{
    CommittedEntry, CommittedLog, DurableLog, FinalState, LogIdSeen, MembershipSeen, NodeObservation, Observation,
    RunSettings, SnapshotSeen, in_effect_from,
};
pub use operation::{Answer, Call, Condition, Consistency, KILLED, Operation, Seen, Transport};
pub use recorder::{Connection, History, Now, OpId, ProtocolError, Receipt, Recorder, SubId};
pub use serial::Serial;
pub use subscription::{Delivery, Subscription};

/// Microseconds since the run began, on the one clock of the run's observer.
pub type Time = u64;
