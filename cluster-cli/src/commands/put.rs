//! `banyanctl put`: write a topic.

use std::io::Read;
use std::path::PathBuf;

use banyan_api::write::PutAnswer;
use clap::Args;
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::Output;

/// Arguments of `put`.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The topic
    topic: String,
    /// The payload; - or nothing reads it from standard input
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// Read the payload from a file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the payload is
    #[arg(long, value_name = "MEDIA TYPE")]
    content_type: Option<String>,
    /// Delete the topic by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u32>,
    /// Write only if the topic is at this revision; 0: only if it holds no value
    #[arg(long, value_name = "REVISION", conflicts_with = "if_absent")]
    if_revision: Option<u64>,
    /// Write only if the topic holds no value
    #[arg(long)]
    if_absent: bool,
    /// When the value was true, Unix seconds with fraction; an older one than the stored changes nothing
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<String>,
    /// A user property; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    user_property: Vec<String>,
}

impl Put {
    /// Writes the topic and prints what became of it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let call = self.call(self.payload()?);
        let answer: PutAnswer = client.fetch(&call)?;
        print(&answer, output)
    }

    fn payload(&self) -> Result<Vec<u8>, CliError> {
        match (&self.file, self.value.as_deref()) {
            (Some(path), _) => {
                std::fs::read(path).map_err(|error| CliError::Usage(format!("--file {}: {error}", path.display())))
            }
            (None, None | Some("-")) => {
                let mut payload = Vec::new();
                std::io::stdin().lock().read_to_end(&mut payload)?;
                Ok(payload)
            }
            (None, Some(value)) => Ok(value.as_bytes().to_vec()),
        }
    }

    fn call(&self, body: Vec<u8>) -> Call<'static> {
        let mut headers = vec![
            ("Content-Type", self.content_type.clone()),
            ("Banyan-Expiry", self.expiry.map(|seconds| seconds.to_string())),
            ("Banyan-Timestamp", self.timestamp.clone()),
            ("If-Match", self.if_revision.map(|revision| format!("\"{revision}\""))),
            ("If-None-Match", self.if_absent.then(|| "*".to_owned())),
        ];
        headers.extend(
            self.user_property
                .iter()
                .map(|property| ("Banyan-User-Property", Some(property.clone()))),
        );
        Call {
            method: Method::PUT,
            path: "/v1/topics",
            query: vec![("topic", Some(self.topic.clone()))],
            headers,
            body,
        }
    }
}

fn print(answer: &PutAnswer, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(answer);
    }
    match (answer.revision, answer.superseded_by) {
        (_, Some(winner)) => output.line(&format!("not applied: revision {winner} has a newer timestamp")),
        (Some(revision), None) => output.line(&format!("revision {revision}")),
        (None, None) => output.line("done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, printed};

    #[test]
    fn options_become_headers() {
        let put = Put {
            topic: "a//b".into(),
            value: Some("x".into()),
            file: None,
            content_type: None,
            expiry: Some(60),
            if_revision: Some(7),
            if_absent: false,
            timestamp: Some("1.5".into()),
            user_property: vec!["a=b".into(), "a=c".into()],
        };
        let call = put.call(put.payload().unwrap());
        let headers: Vec<_> = call
            .headers
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value?)))
            .collect();
        assert_eq!(
            headers,
            [
                "Banyan-Expiry: 60",
                "Banyan-Timestamp: 1.5",
                "If-Match: \"7\"",
                "Banyan-User-Property: a=b",
                "Banyan-User-Property: a=c"
            ]
        );
        assert_eq!(call.body, b"x");
    }

    #[test]
    fn a_superseded_write_says_so() {
        let answer = PutAnswer {
            revision: None,
            applied: false,
            superseded_by: Some(9),
        };
        let text = printed(Format::Table, |output| print(&answer, output));
        assert_eq!(text, "not applied: revision 9 has a newer timestamp\n");
        let json = printed(Format::Json, |output| print(&answer, output));
        assert_eq!(serde_json::from_str::<PutAnswer>(&json).unwrap(), answer);
    }
}
