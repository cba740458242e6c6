//! `banyan-bench`: how fast an MQTT broker, or a cluster of them, takes retained writes, delivers to many, connects clients, and
//! serves sessions that were away.
//!
//! | module | responsibility |
//! |---|---|
//! | `write` | writes as fast as they are acknowledged: connections, phases, end |
//! | `fanout` | few publish, many subscribe |
//! | `connect` | connections per second, and memory of idle ones |
//! | `offline` | persistent sessions that were away, and how fast they get what they missed |
//! | `client` | one MQTT connection: handshake, packets in and out |
//! | `publisher` | one connection's loop: window, latencies, reconnecting |
//! | `message` | PUBLISH packets, encoded once and stamped |
//! | `record` | what was measured |
//! | `report` | as a table, as JSON |
//!
//! One thread does it all, and each connection writes once a wake-up, so that on a machine shared with the broker most of the
//! processor is the broker's.

#![allow(
    clippy::disallowed_methods,
    reason = "a load generator measures real time, and never runs in the simulator"
)]

mod client;
mod connect;
mod fanout;
mod message;
mod offline;
mod publisher;
mod record;
mod report;
mod write;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load generator for Banyan and other MQTT brokers.
#[derive(Debug, Parser)]
#[command(name = "banyan-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish retained QoS 1 messages as fast as they are acknowledged.
    ///
    /// Each connection keeps a window of messages in flight and sends the next when one is acknowledged, so the rate follows
    /// the broker, and latency is what a client sees at that rate. A connection that fails goes on at the next address;
    /// what it had in flight is counted as unacknowledged and not sent again.
    Write(write::Options),
    /// Deliver what few publish to many subscribers, as fast as all have it.
    Fanout(fanout::Options),
    /// Connect many clients that stay idle.
    Connect(connect::Options),
    /// Let persistent sessions miss messages, then take them back all at once and see how fast they get everything.
    Offline(offline::Options),
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let tasks = tokio::task::LocalSet::new();
        match Arguments::parse().command {
            Command::Write(options) => {
                let as_json = options.json;
                let report = tasks.block_on(&runtime, write::run(options))?;
                let text = if as_json { report.json() } else { report.table() };
                Ok((text, report.acknowledged > 0))
            }
            Command::Fanout(options) => {
                let report = tasks.block_on(&runtime, fanout::run(options))?;
                Ok((pretty(&report)?, report.delivered > 0))
            }
            Command::Connect(options) => {
                let report = tasks.block_on(&runtime, connect::run(options))?;
                Ok((pretty(&report)?, report.connected > 0))
            }
            Command::Offline(options) => {
                let report = tasks.block_on(&runtime, offline::run(options))?;
                Ok((pretty(&report)?, report.missing == 0))
            }
        }
    });
    match result {
        Ok((text, succeeded)) => {
            let _closed = writeln!(std::io::stdout(), "{text}");
            if succeeded {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "banyan-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pretty(report: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(report).map_err(|error| error.to_string())
}
