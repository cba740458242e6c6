//! The form of a check, and what it finds.

use super::{CommittedLog, FinalState, History, Observation, RunSettings, Time};
use crate::model::Replay;

/// A promise was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} at {:.3} s: {message}", *at as f64 / 1e6)]
pub struct Violation {
    /// Which, such as `I-12`.
    pub invariant: &'static str,
    /// When it was seen, or as near as can be told.
    pub at: Time,
    /// What happened, in one sentence.
    pub message: String,
}

/// A promise that is checked while the run goes on and when it has ended.
pub trait Invariant: Send {
    /// Such as `I-12`.
    fn id(&self) -> &'static str;

    /// Looks at one moment. Moments come in order.
    ///
    /// # Errors
    /// What is wrong.
    fn observe(&mut self, _observation: &Observation<'_>) -> Result<(), Violation> {
        Ok(())
    }

    /// Looks at the whole run.
    ///
    /// # Errors
    /// What is wrong.
    fn finish(&mut self, _finished: &Finished<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

/// A run that has ended. Clients have stopped, nodes are at rest.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// When.
    pub at: Time,
    /// What clients did and saw.
    pub history: &'a History,
    /// The committed log from index 0; empty if it cannot be had.
    pub committed: &'a CommittedLog,
    /// What the nodes that still run hold.
    pub nodes: &'a [FinalState],
    /// How the run was set up.
    pub settings: &'a RunSettings,
    /// The committed log, replayed through the model; `None` if the log cannot be had, as from real processes.
    pub replay: Option<&'a Replay>,
}

impl<'a> Finished<'a> {
    /// A run whose log is not replayed yet: [`Checker`](crate::invariants::Checker) does that.
    #[must_use]
    pub const fn new(
        at: Time,
        history: &'a History,
        committed: &'a CommittedLog,
        nodes: &'a [FinalState],
        settings: &'a RunSettings,
    ) -> Self {
        Self {
            at,
            history,
            committed,
            nodes,
            settings,
            replay: None,
        }
    }
}
