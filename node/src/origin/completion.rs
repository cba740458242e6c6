//! How a waiting client is answered.

use std::sync::Arc;

use banyan_core::state::Outcome;
use tokio::sync::{mpsc, oneshot};

use crate::trace::SpanContext;

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing happened and nothing will: to retry is safe. HTTP 503, MQTT DISCONNECT 0x89.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Nothing happened: there is no room for it. To retry is safe, and of use only once there is. HTTP 507, MQTT 0x97.
    #[error("refused: {0}")]
    Full(Arc<str>),
    /// It may have taken effect, or may still. HTTP 504; MQTT closes without an acknowledgement.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// What a client waits for.
pub type Reply = Result<Outcome, ProposeError>;

/// Where the answer goes. Dropped without an answer, it says *unknown*.
#[derive(Debug)]
pub struct Completion {
    target: Option<Target>,
    /// The span of what it is done for.
    span: Option<Box<SpanContext>>,
}

#[derive(Debug)]
enum Target {
    Oneshot(oneshot::Sender<Reply>),
    Channel {
        sender: mpsc::UnboundedSender<(u64, Reply)>,
        token: u64,
    },
}

impl Completion {
    fn new(target: Target) -> Self {
        Self {
            target: Some(target),
            span: None,
        }
    }

    /// As it is, for something that belongs beneath `span`.
    #[must_use]
    pub fn beneath(mut self, span: Option<SpanContext>) -> Self {
        self.span = span.map(Box::new);
        self
    }

    /// The span of what it is done for.
    pub(super) fn span(&self) -> Option<SpanContext> {
        self.span.as_deref().copied()
    }

    /// One answer to one waiter.
    #[must_use]
    pub fn oneshot() -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self::new(Target::Oneshot(sender)), receiver)
    }

    /// An answer, marked with `token`, into a channel that takes many.
    #[must_use]
    pub fn channel(sender: mpsc::UnboundedSender<(u64, Reply)>, token: u64) -> Self {
        Self::new(Target::Channel { sender, token })
    }

    /// Whether it goes into a channel that takes many.
    pub(super) fn is_channel(&self) -> bool {
        matches!(self.target, Some(Target::Channel { .. }))
    }

    /// Answers.
    pub fn complete(mut self, reply: Reply) {
        self.send(reply);
    }

    fn send(&mut self, reply: Reply) {
        // A waiter that is gone needs no answer.
        match self.target.take() {
            Some(Target::Oneshot(sender)) => drop(sender.send(reply)),
            Some(Target::Channel { sender, token }) => drop(sender.send((token, reply))),
            None => {}
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.send(Err(ProposeError::Unknown("the node is stopping".to_owned())));
    }
}
