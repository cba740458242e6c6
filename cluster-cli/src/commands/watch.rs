//! `banyanctl watch`: changes as they happen.

use std::time::Duration;

use banyan_api::changes::{ChangeItem, FeedLine};
use clap::Args;

use super::payload_text;
use crate::client::{Call, Client};
use crate::complain;
use crate::error::CliError;
use crate::output::{Output, printable};

/// Pause before the nodes are tried again after none could serve.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// A topic filter; all topics if nothing is given
    filter: Option<String>,
    /// Begin after this cursor or revision
    #[arg(long, value_name = "CURSOR", conflicts_with = "from_start")]
    since: Option<String>,
    /// Begin with every topic there is
    #[arg(long)]
    from_start: bool,
    /// Stop after so many changes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl Watch {
    /// Prints changes until stopped. When a node goes, another continues where it ended.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let begin = if self.from_start { "0" } else { "now" };
        let mut since = self.since.clone().unwrap_or_else(|| begin.to_owned());
        let mut remaining = self.limit;
        let mut connected = false;
        loop {
            let query = vec![
                ("feed", Some("continuous".to_owned())),
                ("filter", self.filter.clone()),
                ("since", Some(since.clone())),
                ("limit", remaining.map(|limit| limit.to_string())),
            ];
            match client.send(&Call {
                path: "/v1/changes",
                query,
                ..Call::default()
            }) {
                Ok(answer) => {
                    connected = true;
                    for line in answer.into_lines() {
                        // Ended, broken off, or open for a minute: go on elsewhere, from the last line that was whole.
                        let Ok(line) = line else { break };
                        let Ok(parsed) = serde_json::from_str(&line) else { break };
                        match parsed {
                            FeedLine::Change(change) => {
                                print(&change, output)?;
                                since = change.cursor;
                                remaining = remaining.map(|remaining| remaining.saturating_sub(1));
                            }
                            FeedLine::Progress(progress) => since = progress.cursor,
                        }
                    }
                    if remaining == Some(0) {
                        return Ok(());
                    }
                }
                Err(CliError::Unavailable(reason)) if connected => {
                    complain(&format_args!("{reason}; trying again"));
                    pause();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of one thread with nothing else to do, outside the simulator"
)]
fn pause() {
    std::thread::sleep(RETRY_PAUSE);
}

fn print(change: &ChangeItem, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json_line(change);
    }
    let value = if change.deleted {
        "(deleted)".to_owned()
    } else {
        printable(&payload_text(&change.record.payload))
    };
    output.line(&format!(
        "{}\t{}\t{value}",
        change.record.revision,
        printable(&change.record.topic)
    ))
}

#[cfg(test)]
mod tests {
    use banyan_api::record::{Payload, Record};

    use super::*;
    use crate::output::{Format, printed};

    fn change(deleted: bool) -> ChangeItem {
        let payload = if deleted {
            Payload::default()
        } else {
            Payload::of(b"two\nlines", None)
        };
        let record = Record {
            topic: "a/b".into(),
            revision: 7,
            payload,
            ..Record::default()
        };
        ChangeItem {
            cursor: "0.7.0".into(),
            deleted,
            record,
        }
    }

    #[test]
    fn one_line_per_change() {
        assert_eq!(
            printed(Format::Table, |output| print(&change(false), output)),
            "7\ta/b\ttwo\\nlines\n"
        );
        assert_eq!(
            printed(Format::Table, |output| print(&change(true), output)),
            "7\ta/b\t(deleted)\n"
        );
        let json = printed(Format::Json, |output| print(&change(true), output));
        assert_eq!(json.lines().count(), 1);
        assert!(matches!(serde_json::from_str(&json).unwrap(), FeedLine::Change(item) if item.deleted));
    }
}
