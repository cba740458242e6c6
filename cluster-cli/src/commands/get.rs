//! `banyanctl get`: one topic.

use std::io::IsTerminal;

use banyan_api::record::Record;
use clap::Args;

use super::ReadOptions;
use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::Output;

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The topic
    topic: String,
    #[command(flatten)]
    read: ReadOptions,
}

impl Get {
    /// Prints the payload as it is, or the record as JSON.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let mut call = Call {
            path: "/v1/topics",
            query: vec![
                ("topic", Some(self.topic.clone())),
                ("consistency", self.read.consistency.clone()),
            ],
            ..Call::default()
        };
        if output.is_json() {
            call.query.push(("view", Some("record".to_owned())));
            return output.json(&client.fetch::<Record>(&call)?);
        }
        call.query.push(("view", Some("payload".to_owned())));
        let payload = client.send(&call)?.into_bytes()?;
        output.bytes(&payload)?;
        // A terminal's prompt should stand on a line of its own; a file gets the payload and nothing else.
        if std::io::stdout().is_terminal() && !payload.ends_with(b"\n") {
            output.bytes(b"\n")?;
        }
        Ok(())
    }
}
