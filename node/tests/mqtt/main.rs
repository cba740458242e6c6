//! MQTT over real sockets: what clients see of a node, and of three.
//!
//! | module | about |
//! |---|---|
//! | [`publish`] | from any node to any node, at every QoS and version |
//! | [`retained`] | the state of a topic: written, read, deleted |
//! | [`subscriptions`] | options, identifiers, overlaps, the end of a subscription |
//! | [`promise`] | one moment R, then every change: under load, with overlaps, slowly |
//! | [`resume`] | `since`, `marker`, `consistency`, views that live too long |
//! | [`conditions`] | `if-*`, timestamps, annotations |
//! | [`expiry`] | Message Expiry Interval |
//! | [`lifecycle`] | how connections end |
//! | [`quorum`] | what is served without a quorum |
//! | [`slow`] | subscribers that do not keep up |
//! | [`memory`] | many retained topics, little memory |
//! | [`independent`] | a client library that is not ours |
#![allow(
    clippy::disallowed_methods,
    reason = "the clients are threads with sockets: their time is the real one"
)]

#[path = "../common/mod.rs"]
mod common;

mod conditions;
mod expiry;
mod independent;
mod lifecycle;
mod memory;
mod promise;
mod publish;
mod quorum;
mod resume;
mod retained;
mod slow;
mod subscriptions;
mod support;
