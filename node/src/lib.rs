//! A Banyan node: MQTT and HTTP at the edge, Raft and storage beneath, one service between them.
//!
//! Dependencies point one way (`tests/tidy.rs` checks it):
//!
//! ```text
//! mqtt, http → service → broker, origin, alarms → banyan_core        origin, alarms → consensus → storage, changes → banyan_core
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | [`settings`] | validated values |
//! | [`components`], [`net`] | clock, randomness, network, disk, store: what the simulator replaces |
//! | [`simulation`] | what the simulator says where no component reaches |
//! | [`storage`] | the log's segment files; the checkpointed state |
//! | [`peer`] | frames, links and requests between nodes |
//! | [`consensus`] | Raft: log store, state machine, network, read index, checkpoints |
//! | [`alarms`] | what is wrong: disks, clocks, states, the quorum |
//! | [`metrics`] | measuring, and telling it to Prometheus |
//! | [`trace`] | what is told of single operations |
//! | [`changes`] | the bounded ring of recent changes |
//! | [`origin`] | this node's stream of command batches |
//! | [`broker`] | connected clients, subscription index, fan-out |
//! | [`session`] | live connections, and what persistent sessions are owed |
//! | [`service`] | the one door for both transports |
//! | [`backup`] | the state at one revision as a file |
//! | [`offline`] | new data directories out of backups and of old ones |
//! | [`mqtt`], [`http`] | listeners, tasks, routes |
//! | [`server`] | wiring, ordered start and stop |
//! | [`playground`] | a cluster of child processes on this machine |

pub mod alarms;
pub mod backup;
pub mod blocking;
pub mod broker;
pub mod changes;
pub mod components;
pub mod consensus;
pub mod fatal;
pub mod http;
mod log_limit;
pub mod logging;
pub mod metrics;
pub mod mqtt;
pub mod net;
pub mod offline;
pub mod origin;
pub mod peer;
pub mod playground;
pub mod server;
pub mod service;
pub mod session;
pub mod settings;
pub mod simulation;
pub mod storage;
pub mod trace;
