//! Why a command did not do what it was asked, and the exit code that tells a script.

use banyan_api::problem::{Problem, ProblemKind};

/// An error, by what a script should do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// It was refused, failed, or has an unknown outcome.
    #[error("{0}")]
    Failed(String),
    /// The arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// The topic holds no value, or the client has no session.
    #[error("{0}")]
    NotFound(String),
    /// No node could serve it. Nothing has happened.
    #[error("{0}")]
    Unavailable(String),
    /// The output says it all; this exit code goes with it.
    #[error("exit code {0}")]
    Reported(u8),
    /// Whoever read the output is gone: no error to speak of.
    #[error("the output was closed")]
    OutputClosed,
}

impl CliError {
    /// The exit code of the process.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Reported(code) => *code,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Unavailable(_) => 4,
        }
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let text = format!("{}: {}", problem.title, problem.detail);
        match problem.kind() {
            Some(ProblemKind::Unavailable | ProblemKind::TooManyRequests | ProblemKind::InsufficientStorage) => {
                Self::Unavailable(text)
            }
            Some(ProblemKind::TopicNotFound | ProblemKind::SessionNotFound | ProblemKind::MemberNotFound) => {
                Self::NotFound(text)
            }
            Some(
                ProblemKind::InvalidTopic
                | ProblemKind::InvalidFilter
                | ProblemKind::InvalidParameter
                | ProblemKind::InvalidHeader
                | ProblemKind::EmptyPayload,
            ) => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<banyan_node::offline::OfflineError> for CliError {
    fn from(error: banyan_node::offline::OfflineError) -> Self {
        use banyan_node::offline::OfflineError;
        match error {
            OfflineError::Refused(_) | OfflineError::Exists(_) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        if error.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe) {
            Self::OutputClosed
        } else {
            Self::Failed(format!(
                "the node's answer cannot be read: {error}; is it of another version?"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_problem() {
        for (kind, code) in [
            (ProblemKind::TopicNotFound, 3),
            (ProblemKind::RouteNotFound, 1),
            (ProblemKind::Unavailable, 4),
            (ProblemKind::OutcomeUnknown, 1),
            (ProblemKind::ConditionFailed, 1),
            (ProblemKind::InvalidTopic, 2),
        ] {
            assert_eq!(CliError::from(Problem::new(kind, "x")).exit_code(), code, "{kind:?}");
        }
    }
}
