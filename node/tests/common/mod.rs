//! Whole clusters for tests: nodes as child processes, and a client that sees every packet.
//!
//! | module | responsibility |
//! |---|---|
//! | [`cluster`] | nodes that can be started, stopped, killed and asked |
//! | [`ports`] | ports that stay free while their node is down |
//! | [`banyanctl`] | the program, run as a user does |
//! | [`client`] | one MQTT connection, packet by packet |
//! | [`device`] | a client with a persistent session, which moves from node to node |
//! | [`publisher`] | many QoS 1 publishes in flight on one connection |
//! | [`wait`] | waiting for a condition, with a deadline |
//! | [`load`] | writers that never stop, each payload a [`serial`] |
//! | [`observer`] | subscribers that write down every change |
//! | [`evidence`] | what all of them and the final states say, checked together |
//!
//! A test file begins with `mod common;`. Whatever a test waits for has a deadline and a text that says what was awaited.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::disallowed_methods,
    reason = "the nodes are other processes: their time is the real one"
)]

pub mod banyanctl;
pub mod client;
pub mod cluster;
pub mod device;
pub mod evidence;
pub mod load;
pub mod observer;
pub mod ports;
pub mod publisher;
pub mod serial;
pub mod wait;

/// Calls this when it is dropped, also if the test fails: what runs beside a test is told to end, or the test would wait for it.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The number in the environment variable `name`, or `default`: how long forms of a test are asked for.
///
/// # Panics
/// If the variable holds anything else.
pub fn number_from_environment(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text}: write a whole number")),
        Err(_) => default,
    }
}
