//! Sessions: who is connected where, subscribed to what, and how far along.

mod closed;
mod row;

pub use closed::{Assigned, CloseReason, Closed};
pub use row::{InFlight, LiveConnection, Session, SubscriptionRow};
