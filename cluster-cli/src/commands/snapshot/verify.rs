//! `banyanctl snapshot verify`: is the file whole, and the state in it the one it says?

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use banyan_node::backup::{BackupError, Reader};
use clap::Args;

use super::Summary;
use crate::error::CliError;
use crate::output::Output;
use crate::progress::Progress;

/// Arguments of `snapshot verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The snapshot
    file: PathBuf,
}

impl Verify {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<(), CliError> {
        let name = self.file.display();
        let file = File::open(&self.file).map_err(|error| CliError::Failed(format!("{name}: {error}")))?;
        let length = file.metadata()?.len();
        let verify = || -> Result<_, BackupError> {
            let mut reader = Reader::open(BufReader::with_capacity(1 << 20, file))?;
            let mut progress = Progress::new("bytes");
            while reader.next_rows()?.is_some() {
                progress.show(reader.bytes(), Some(length), reader.bytes());
            }
            Ok(reader)
        };
        let reader = verify().map_err(|error| CliError::Failed(format!("{name} {error}. Do not rely on it.")))?;
        let summary = Summary::of(&self.file, &reader);
        if output.is_json() {
            return output.json(&summary);
        }
        output.line(&format!("{name} is whole"))?;
        summary.print(output)
    }
}
