//! `banyanctl delete`: one topic, or all that match a filter.

use banyan_api::write::{DeleteAnswer, DeleteFilterAnswer};
use clap::Args;
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::Output;

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The topic
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    topic: Option<String>,
    /// Delete only if the topic is at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "filter")]
    if_revision: Option<u64>,
    /// When the value ceased to be true, Unix seconds with fraction
    #[arg(long, value_name = "SECONDS", conflicts_with = "filter")]
    timestamp: Option<String>,
    /// Delete all topics that match this topic filter, at one revision
    #[arg(long)]
    filter: Option<String>,
    /// With --filter: delete at most so many topics
    #[arg(long, requires = "filter", conflicts_with = "topic")]
    limit: Option<u32>,
    /// With --filter: only count
    #[arg(long, requires = "filter", conflicts_with = "topic")]
    dry_run: bool,
}

impl Delete {
    /// Deletes and prints what became of it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let call = Call {
            method: Method::DELETE,
            path: "/v1/topics",
            query: vec![
                ("topic", self.topic.clone()),
                ("filter", self.filter.clone()),
                ("limit", self.limit.map(|limit| limit.to_string())),
                ("dry_run", self.dry_run.then(|| "true".to_owned())),
            ],
            headers: vec![
                ("If-Match", self.if_revision.map(|revision| format!("\"{revision}\""))),
                ("Banyan-Timestamp", self.timestamp.clone()),
            ],
            body: Vec::new(),
        };
        if self.filter.is_some() {
            print_many(&client.fetch(&call)?, self.dry_run, output)
        } else {
            print_one(&client.fetch(&call)?, output)
        }
    }
}

fn print_one(answer: &DeleteAnswer, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(answer);
    }
    match (answer.revision, answer.superseded_by) {
        (_, Some(winner)) => output.line(&format!("not deleted: revision {winner} has a newer timestamp")),
        (Some(revision), None) => output.line(&format!("deleted at revision {revision}")),
        (None, None) => output.line("done"),
    }
}

fn print_many(answer: &DeleteFilterAnswer, dry_run: bool, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(answer);
    }
    let DeleteFilterAnswer {
        revision,
        deleted,
        more,
    } = answer;
    let what = if dry_run {
        "would be deleted, as of"
    } else {
        "deleted at"
    };
    let more = if *more { "; more topics match, run it again" } else { "" };
    output.line(&format!("{deleted} topics {what} revision {revision}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, printed};

    #[test]
    fn answers_in_words() {
        let many = DeleteFilterAnswer {
            revision: 7,
            deleted: 3,
            more: true,
        };
        let text = printed(Format::Table, |output| print_many(&many, false, output));
        assert_eq!(
            text,
            "3 topics deleted at revision 7; more topics match, run it again\n"
        );
        let one = DeleteAnswer {
            revision: Some(8),
            deleted: true,
            superseded_by: None,
        };
        assert_eq!(
            printed(Format::Table, |output| print_one(&one, output)),
            "deleted at revision 8\n"
        );
    }
}
