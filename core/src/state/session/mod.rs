//! Sessions: who is connected where, subscribed to what, and how far along.
//!
//! | file | concept |
//! |---|---|
//! | `table` | all sessions, and who of them is connected or due |
//! | `replace` | one session takes the place of another: rows, digest, and all that follows from them |
//! | `connect` | a client connects: resume or begin anew, and the older connection is taken over |
//! | `end` | a connection ends, or the session with it |
//! | `will` | wills are published through the same code as any other message |
//! | `subscribe` | subscriptions |
//! | `progress` | messages on their way to the client |
//! | `inbound` | QoS 2 messages on their way from it |
//! | `open` | the sessions of a store that is opened |
//! | `due` | the leader's housekeeping: time has passed, or a node is gone |
//! | `closed` | what nodes must know of it |
//!
//! What holds after each command:
//!
//! - A client identifier has one session at most, and a session one connection at most.
//! - A connection is known by its *fence*, a number that no other one ever has and that is greater than those of all before.
//!   What a connection sends that is not in force any more changes nothing.
//! - Once something that a connection has sent came too late, nothing more is taken from it than its end.
//! - A session is connected, or it will end by time, or it never expires.
//! - A will is published once: when its session ends, or its delay has passed before the client has come back, unless the
//!   client has taken its leave (§3.14.4).

mod closed;
mod connect;
mod due;
mod end;
mod inbound;
mod open;
mod progress;
mod replace;
mod subscribe;
mod table;
mod will;

pub use closed::{Assigned, CloseReason, Closed};
pub(super) use table::Sessions;
