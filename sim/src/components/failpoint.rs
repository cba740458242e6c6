//! Named steps of a node's storage, at which its power can go.

use std::fmt;
use std::path::Path;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A vote is written.
    VoteWrite,
    /// A vote is synced.
    VoteSync,
    /// Entries, or other records of the log, are written.
    LogAppend,
    /// The log is synced.
    LogSync,
    /// It is noted how far the log or the checkpoint has come.
    MarkWrite,
    /// That is synced.
    MarkSync,
    /// A segment gets its name, or loses it.
    SegmentRoll,
    /// A purged segment goes.
    Purge,
    /// Names are synced.
    DirectorySync,
    /// A checkpoint is written to the store.
    Checkpoint,
    /// A snapshot takes the place of what the store held.
    SnapshotInstall,
}

/// On which side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It does not happen.
    Before,
    /// It has happened, and nobody hears of it.
    After,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::VoteWrite,
        Self::VoteSync,
        Self::LogAppend,
        Self::LogSync,
        Self::MarkWrite,
        Self::MarkSync,
        Self::SegmentRoll,
        Self::Purge,
        Self::DirectorySync,
        Self::Checkpoint,
        Self::SnapshotInstall,
    ];

    /// The step of writing to `path`.
    pub(super) fn of_write(path: &Path) -> Self {
        match Kind::of(path) {
            Kind::Vote => Self::VoteWrite,
            Kind::Log => Self::LogAppend,
            Kind::Mark => Self::MarkWrite,
        }
    }

    /// The step of syncing `path`.
    pub(super) fn of_sync(path: &Path) -> Self {
        match Kind::of(path) {
            Kind::Vote => Self::VoteSync,
            Kind::Log => Self::LogSync,
            Kind::Mark => Self::MarkSync,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::VoteWrite => "vote write",
            Self::VoteSync => "vote sync",
            Self::LogAppend => "log append",
            Self::LogSync => "log sync",
            Self::MarkWrite => "mark write",
            Self::MarkSync => "mark sync",
            Self::SegmentRoll => "segment roll",
            Self::Purge => "purge",
            Self::DirectorySync => "directory sync",
            Self::Checkpoint => "checkpoint",
            Self::SnapshotInstall => "snapshot install",
        }
    }
}

/// What a file is for.
enum Kind {
    Vote,
    Log,
    Mark,
}

impl Kind {
    fn of(path: &Path) -> Self {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("vote") => Self::Vote,
            Some(name) if name.ends_with(".log") || name.starts_with("spare") => Self::Log,
            _ => Self::Mark,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        for (name, write, sync) in [
            ("log/vote", Point::VoteWrite, Point::VoteSync),
            ("log/00000000000000a1.log", Point::LogAppend, Point::LogSync),
            ("log/mark", Point::MarkWrite, Point::MarkSync),
            ("checkpoint", Point::MarkWrite, Point::MarkSync),
        ] {
            assert_eq!(
                (Point::of_write(Path::new(name)), Point::of_sync(Path::new(name))),
                (write, sync)
            );
        }
    }
}
