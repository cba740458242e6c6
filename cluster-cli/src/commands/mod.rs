//! The commands, one file per verb.

mod concern;
mod delete;
mod get;
mod health;
mod leader;
mod list;
mod member;
mod node;
mod put;
mod recover;
mod session;
mod snapshot;
mod status;
mod top;
mod waiting;
mod watch;

use clap::{Args, Subcommand};

use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the members of the cluster and how far each has come
    Status,
    /// Show what is wrong and what to do about it; exit code 0 healthy, 1 alarms, 4 unavailable
    Health,
    /// Look at the members of the cluster, and change them
    #[command(subcommand)]
    Member(member::Commands),
    /// Say who leads
    #[command(subcommand)]
    Leader(leader::Leader),
    /// Show the nodes at work, live: q quits, s sorts, r reverses
    Top(top::Top),
    /// Print the payload of a topic; with -o json the whole record
    Get(get::Get),
    /// Write a topic
    Put(put::Put),
    /// Delete a topic, or all topics that match a filter
    Delete(delete::Delete),
    /// List topics, of one moment
    List(list::List),
    /// Save the whole state to a file, check such a file, and make a new cluster out of it
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// After the loss of a majority: go on with what one stopped node holds, as a new cluster
    Recover(recover::Recover),
    /// Empty a node before it is stopped
    #[command(subcommand)]
    Node(node::Node),
    /// Look at MQTT sessions, and end them
    #[command(subcommand)]
    Session(session::Session),
    /// Print changes as they happen; with -o json one object per line
    Watch(watch::Watch),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        match self {
            Self::Status => status::run(client, output),
            Self::Health => health::run(client, output),
            Self::Member(member) => member.run(client, output),
            Self::Leader(leader) => leader.run(client, output),
            Self::Top(top) => top.run(client),
            Self::Get(get) => get.run(client, output),
            Self::Put(put) => put.run(client, output),
            Self::Delete(delete) => delete.run(client, output),
            Self::List(list) => list.run(client, output),
            Self::Snapshot(snapshot) => snapshot.run(client, output),
            Self::Recover(recover) => recover.run(output),
            Self::Node(node) => node.run(client, output),
            Self::Session(session) => session.run(client, output),
            Self::Watch(watch) => watch.run(client, output),
        }
    }
}

/// How fresh a read must be.
#[derive(Debug, Args)]
struct ReadOptions {
    /// linearizable, local (what the node has, quorum or not) or at_least=REVISION
    #[arg(long, value_name = "HOW")]
    consistency: Option<String>,
}

/// A record's payload as text for a table.
fn payload_text(payload: &banyan_api::record::Payload) -> String {
    match (&payload.payload, &payload.json, &payload.payload_base64) {
        (Some(text), ..) => text.clone(),
        (_, Some(json), _) => json.as_str().to_owned(),
        (_, _, Some(base64)) => format!("base64:{base64}"),
        _ => String::new(),
    }
}
