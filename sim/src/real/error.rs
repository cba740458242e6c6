//! Why a run came to nothing, as opposed to having found something.

use std::io;
use std::path::PathBuf;

/// The run itself failed; nothing is said about Banyan.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// A file or directory of the run.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A program of the system, such as `ip`.
    #[error("`{command}` failed: {reason}")]
    Tool {
        /// The command line.
        command: String,
        /// What it wrote, or why it could not be started.
        reason: String,
    },
    /// The program of the node.
    #[error("{0} is not there; build it (`cargo build -p banyan-node`) or name another with --binary")]
    NoBinary(PathBuf),
    /// Arguments that contradict each other or this machine.
    #[error("{0}")]
    Usage(String),
    /// The cluster did not come up before anything was done to it.
    #[error("the cluster did not start: {0}")]
    Start(String),
    /// Ctrl-C or SIGTERM.
    #[error("stopped by a signal")]
    Interrupted,
}

impl RealError {
    /// For `map_err` on calls that concern `path`.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
