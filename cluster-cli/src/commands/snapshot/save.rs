//! `banyanctl snapshot save`: a backup from a running cluster.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use banyan_node::backup::{BackupError, Reader};
use clap::Args;
use serde::Serialize;

use super::Summary;
use crate::client::{Call, Client};
use crate::commands::ReadOptions;
use crate::error::CliError;
use crate::output::{Output, bytes_text, parse_bytes};
use crate::progress::Progress;

/// Arguments of `snapshot save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The file to write; until it is whole it is called FILE.part
    file: PathBuf,
    /// Bytes per second at most, as in 500K, 32M or 1G; 0 is as fast as it goes [default: what the node thinks best]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    rate: Option<u64>,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    read: ReadOptions,
}

/// What was saved, and how fast.
#[derive(Debug, Serialize)]
struct Saved {
    #[serde(flatten)]
    summary: Summary,
    /// Seconds it took.
    duration_s: f64,
    /// Bytes per second.
    rate: u64,
}

impl Save {
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        if self.file.exists() && !self.overwrite {
            let name = self.file.display();
            return Err(CliError::Usage(format!(
                "{name} exists already: choose another name, or replace it with --overwrite"
            )));
        }
        let call = Call {
            path: "/v1/cluster/snapshot",
            query: vec![
                ("consistency", self.read.consistency.clone()),
                ("rate", self.rate.map(|rate| rate.to_string())),
            ],
            ..Call::default()
        };
        let part = Part::create(&self.file)?;
        let incoming = client.send_for_stream(&call)?;
        let started = Instant::now();
        let tee = Tee {
            from: incoming,
            to: &part.file,
        };
        let reader = receive(tee).map_err(|error| match error {
            BackupError::Io(error) => {
                CliError::Unavailable(format!("the snapshot broke off: {error}; nothing was saved"))
            }
            BackupError::Cut(_) => CliError::Unavailable("the snapshot broke off; nothing was saved".to_owned()),
            error => CliError::Failed(format!("what came {error}; nothing was saved")),
        })?;
        let summary = Summary::of(&self.file, &reader);
        drop(reader);
        part.keep()?;
        let duration = started.elapsed();
        let saved = Saved {
            rate: (summary.bytes as f64 / duration.as_secs_f64()) as u64,
            duration_s: duration.as_secs_f64(),
            summary,
        };
        if output.is_json() {
            return output.json(&saved);
        }
        let (file, rate) = (self.file.display(), bytes_text(saved.rate));
        output.line(&format!("saved to {file} in {:.1} s, {rate}/s", saved.duration_s))?;
        saved.summary.print(output)
    }
}

/// Reads a whole backup, and shows how far it is.
fn receive<R: Read>(source: R) -> Result<Reader<R>, BackupError> {
    let mut reader = Reader::open(source)?;
    let position = reader.header().position;
    let expected = position.topic_count + position.tombstone_count + position.message_count;
    let mut progress = Progress::new("rows");
    while reader.next_rows()?.is_some() {
        progress.show(reader.sum().row_count, Some(expected), reader.bytes());
    }
    Ok(reader)
}

/// Writes down what is read.
struct Tee<'a, R> {
    from: R,
    to: &'a File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to
            .write_all(&buffer[..count])
            .map_err(|error| io::Error::new(error.kind(), format!("cannot write the file: {error}")))?;
        Ok(count)
    }
}

/// A file that is not whole yet. Dropped before [`keep`](Self::keep), it is removed.
struct Part {
    file: File,
    path: PathBuf,
    goal: PathBuf,
    is_kept: bool,
}

impl Part {
    fn create(goal: &Path) -> Result<Self, CliError> {
        let mut name = goal.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = File::create(&path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
        Ok(Self {
            file,
            path,
            goal: goal.to_owned(),
            is_kept: false,
        })
    }

    /// Makes the contents durable, then gives them their name.
    fn keep(mut self) -> Result<(), CliError> {
        let directory = std::path::absolute(&self.goal)?;
        let directory = directory.parent().unwrap_or(Path::new("/"));
        let kept = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.goal))
            .and_then(|()| File::open(directory)?.sync_all());
        kept.map_err(|error| CliError::Failed(format!("{}: {error}", self.goal.display())))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            // It verifies as cut short if it cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}
