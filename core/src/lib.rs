//! The rules of Banyan: everything all nodes must agree on, and every protocol that can be described without a socket.
//!
//! Nothing here is asynchronous, reads a clock, draws a random number or touches a file or a socket: the same inputs give
//! the same outputs on every node and under the simulator. The crate boundary guards this, since what is not in
//! `Cargo.toml` cannot be called.
//!
//! | module | responsibility |
//! |---|---|
//! | [`limits`] | every bound, with its unit, checked against each other |
//! | [`topic`] | topic names and filters, parsed once; matching; the filter trie |
//! | [`metadata`] | what a publisher says about a payload, in one canonical encoding |
//! | [`keyspace`] | key kinds and stored formats, one file each; reading by filter, prefix and range |
//! | [`store`] | the ordered map beneath the state, its in-memory version, and the layer of changes above it |
//! | [`command`] | replicated commands and their encoding |
//! | [`state`] | `apply`, and the queries |
//! | [`feature`] | what all members must understand before any uses it |
//! | [`planted`] | bugs for the simulator to find; none in a release |
//! | [`mqtt`] | packets, codec, and the connection as a state machine |

pub mod command;
pub mod feature;
pub mod keyspace;
pub mod limits;
pub mod metadata;
pub mod mqtt;
pub mod planted;
pub mod state;
pub mod store;
pub mod topic;
