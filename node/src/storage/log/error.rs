//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;

/// Why an operation on the log failed.
///
/// Everything but [`LogError::OutOfOrder`] and [`LogError::InUse`] is final: the log answers nothing else from then on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Stored bytes are not what was written and synced. The node must not start from them: restore nothing by hand,
    /// let it rejoin empty under a new id.
    #[error("{} is damaged at byte {offset}: {detail}; remove this node and let it rejoin with an empty directory", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damage begins, bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// The file was written by another version of Banyan.
    #[error("{} has format version {found}, this version of Banyan reads {supported}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Version found.
        found: u32,
        /// Version that is read.
        supported: u32,
    },
    /// Another process has the directory open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An earlier operation failed; after that the files are not trusted.
    #[error("the log has failed earlier: {reason}")]
    Poisoned {
        /// The earlier failure.
        reason: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// An entry that does not follow the last one: it would leave a hole.
    #[error("entry {found} does not follow the last entry, expected {expected}")]
    OutOfOrder {
        /// Index that would follow.
        expected: u64,
        /// Index given.
        found: u64,
    },
}

impl LogError {
    /// Whether stored bytes are wrong, so that starting again cannot help (exit code 3).
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Version { .. })
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { source, .. } if source.raw_os_error().is_some() => source,
            LogError::OutOfOrder { .. } => Self::new(io::ErrorKind::InvalidInput, error),
            LogError::Damaged { .. } => Self::new(io::ErrorKind::InvalidData, error),
            other => Self::other(other),
        }
    }
}

/// Names what was tried when an I/O call fails.
pub(super) trait IoContext<T> {
    /// Adds `operation` and `path` to the error.
    fn context(self, operation: &'static str, path: &std::path::Path) -> Result<T, LogError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &std::path::Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        })
    }
}
