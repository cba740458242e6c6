//! `banyanctl list`: topics by filter, prefix or range, of one moment.

use banyan_api::list::{LIMIT_DEFAULT, ListPage};
use banyan_api::record::Record;
use banyan_api::timestamp::format_utc;
use clap::Args;

use super::{ReadOptions, payload_text};
use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash, shorten};

/// Characters of a payload that a table shows.
const VALUE_CHARACTERS: usize = 80;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// A topic filter; all topics if nothing is given
    #[arg(conflicts_with_all = ["prefix", "start", "end"])]
    filter: Option<String>,
    /// Only this topic and those beneath it
    #[arg(long, value_name = "TOPIC")]
    prefix: Option<String>,
    /// Only from this topic on
    #[arg(long, value_name = "TOPIC")]
    start: Option<String>,
    /// Only before this topic
    #[arg(long, value_name = "TOPIC")]
    end: Option<String>,
    /// At most so many
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Payloads too
    #[arg(long)]
    values: bool,
    /// Last topic first
    #[arg(long)]
    reverse: bool,
    /// Only count
    #[arg(long, conflicts_with_all = ["limit", "values", "reverse"])]
    count: bool,
    #[command(flatten)]
    read: ReadOptions,
}

impl List {
    /// Follows the pages of one moment and prints them as one.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let mut remaining = self.limit.unwrap_or(u64::MAX);
        let mut whole: ListPage = client.fetch(&self.first(remaining))?;
        remaining = remaining.saturating_sub(whole.items.len() as u64);
        while remaining > 0
            && let Some(cursor) = whole.next.take()
        {
            let query = vec![("cursor", Some(cursor)), ("limit", Some(page_limit(remaining)))];
            let page: ListPage = client.fetch(&Call {
                path: "/v1/topics",
                query,
                ..Call::default()
            })?;
            remaining = remaining.saturating_sub(page.items.len() as u64);
            whole.items.extend(page.items);
            whole.next = page.next;
        }
        self.print(&whole, output)
    }

    fn first(&self, remaining: u64) -> Call<'static> {
        let query = vec![
            ("filter", self.filter.clone()),
            ("prefix", self.prefix.clone()),
            ("start", self.start.clone()),
            ("end", self.end.clone()),
            ("order", self.reverse.then(|| "desc".to_owned())),
            ("values", (!self.values && !self.count).then(|| "false".to_owned())),
            ("count", self.count.then(|| "true".to_owned())),
            ("limit", (!self.count).then(|| page_limit(remaining))),
            ("consistency", self.read.consistency.clone()),
        ];
        Call {
            path: "/v1/topics",
            query,
            ..Call::default()
        }
    }

    fn print(&self, page: &ListPage, output: &mut Output<'_>) -> Result<(), CliError> {
        if output.is_json() {
            return output.json(page);
        }
        if let Some(count) = page.count {
            return output.line(&count.to_string());
        }
        let time = |record: &Record| format_utc(record.timestamp);
        if self.values {
            let row = |record: &Record| {
                let value = shorten(&payload_text(&record.payload), VALUE_CHARACTERS);
                [record.topic.clone(), record.revision.to_string(), time(record), value]
            };
            output.table(
                ["TOPIC", "REVISION", "TIMESTAMP", "VALUE"],
                page.items.iter().map(row).collect(),
            )
        } else {
            let row = |record: &Record| {
                let expires = or_dash(record.expires_at.map(format_utc));
                let content_type = or_dash(record.content_type.as_deref());
                [
                    record.topic.clone(),
                    record.revision.to_string(),
                    time(record),
                    expires,
                    content_type,
                ]
            };
            let header = ["TOPIC", "REVISION", "TIMESTAMP", "EXPIRES", "CONTENT TYPE"];
            output.table(header, page.items.iter().map(row).collect())
        }
    }
}

/// How many to ask for at a time.
fn page_limit(remaining: u64) -> String {
    remaining.min(LIMIT_DEFAULT as u64).to_string()
}

#[cfg(test)]
mod tests {
    use banyan_api::record::Payload;

    use super::*;
    use crate::output::{Format, printed};

    fn list(values: bool) -> List {
        List {
            filter: Some("a/#".into()),
            prefix: None,
            start: None,
            end: None,
            limit: None,
            values,
            reverse: false,
            count: false,
            read: ReadOptions { consistency: None },
        }
    }

    fn page() -> ListPage {
        let record = |topic: &str, bytes: &[u8]| Record {
            topic: topic.into(),
            revision: 7,
            timestamp: 1_490_347_944_893_743,
            payload: Payload::of(bytes, None),
            ..Record::default()
        };
        ListPage {
            revision: 9,
            items: vec![record("a/b", b"21.5"), record("a/c", b"\xff")],
            ..ListPage::default()
        }
    }

    #[test]
    fn rows_with_and_without_values() {
        let text = printed(Format::Table, |output| list(true).print(&page(), output));
        assert_eq!(
            text,
            "TOPIC  REVISION  TIMESTAMP                    VALUE\n\
             a/b    7         2017-03-24T09:32:24.893743Z  21.5\n\
             a/c    7         2017-03-24T09:32:24.893743Z  base64:/w==\n"
        );
        let text = printed(Format::Table, |output| list(false).print(&page(), output));
        assert!(text.lines().nth(1).unwrap().ends_with("-        -"), "{text}");
        let json = printed(Format::Json, |output| list(true).print(&page(), output));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&value["revision"], &value["items"][0]["payload"]),
            (&9.into(), &"21.5".into())
        );
    }

    #[test]
    fn pages_are_as_large_as_needed() {
        let call = list(false).first(5);
        let given: Vec<_> = call
            .query
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        assert_eq!(
            given,
            [
                ("filter", "a/#".into()),
                ("values", "false".into()),
                ("limit", "5".to_owned())
            ]
        );
        assert_eq!(page_limit(u64::MAX), "1000");
    }
}
