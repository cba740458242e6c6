//! Sessions on this node: which connections are live, and what persistent ones are owed.
//!
//! What a session is stands in the replicated state ([`banyan_core::state`]); any node can take it up from there. This module
//! holds what a node adds to it while the client is connected here.
//!
//! | module | responsibility |
//! |---|---|
//! | [`registry`] | connections by fence: closes what the state has ended, tells the state what has ended here |
//! | [`resume`] | from a session's row to a connection that goes on |
//! | [`driver`] | one connection of a persistent session: reserves, sends, acknowledges |
//! | [`retained`], [`rows`] | retained messages that are yet to be sent |
//! | [`pace`] | how fast they are sent |
//! | [`backlog`] | keeps filling those that are behind |
//! | [`housekeeping`] | moves the cursors of sessions that wait for nothing |
//! | [`observer`] | what applied entries mean to this node |

pub mod backlog;
pub mod driver;
pub mod housekeeping;
pub mod observer;
pub mod pace;
pub mod registry;
pub mod resume;
pub mod retained;
pub mod rows;

pub use driver::Driver;
pub use registry::{Connecting, Registry, TakeView};
