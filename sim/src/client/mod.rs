//! Clients that do exactly what they are told: nothing is resent, reconnected or reordered behind the workload's back.
//!
//! They speak over a stream that a [`Net`](banyan_node::net::Net) opens, so that the same code runs on simulated links and
//! against real processes. Everything that waits has a deadline.

pub mod http;
pub mod mqtt;

mod http_message;
