//! HTTP over a real listener: status codes, headers and bodies as a client sees them.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod cursors;
mod lists;
mod metrics;
mod names;
mod support;
mod topics;
mod tracing;
mod writes;
