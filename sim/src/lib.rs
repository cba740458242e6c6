//! Whole Banyan clusters in one thread, by a seed: the same seed gives the same run, byte for byte.
//!
//! | module | responsibility |
//! |---|---|
//! | [`components`] | what a node is given instead of an operating system |
//! | [`cluster`] | nodes, network and clients, driven step by step |
//! | [`faults`] | what goes wrong, drawn for each seed |
//! | [`client`], [`workload`] | clients, and what they do |
//! | [`history`] | what clients and nodes did and saw |
//! | [`invariants`], [`linearizability`], [`model`] | what must be true of all that |
//! | [`run`] | one seed: safety under faults, then healing and liveness |
//! | [`scenario`] | named runs |
//! | [`trace`] | one line for every event that matters |
//! | [`apart`] | seeds in processes of their own |
//! | [`bugs`] | bugs that are planted to be found |
//! | [`real`] | the same promises, with real processes |
//! | [`report`] | the timeline of one seed as a picture |
//! | [`cli`] | the program `banyan-sim` |

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apart;
pub mod bugs;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod components;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod linearizability;
pub mod model;
pub mod real;
pub mod report;
pub mod run;
pub mod scenario;
pub mod trace;
pub mod workload;
