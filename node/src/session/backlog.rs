//! The task that keeps filling those that are behind.

use std::sync::Arc;

use crate::broker::{Broker, Turns};
use crate::fatal::{Fatal, FatalError};
use crate::session::TakeView;

/// Fills the outboxes of `broker` that are behind, from views of what is stored, for as long as the process lives.
pub async fn run(broker: Arc<Broker>, take_view: TakeView, fatal: Fatal) {
    let mut turns = Turns::default();
    loop {
        match broker.feed_lagging(&mut turns, &*take_view) {
            // Reading must not keep its thread from those who are to take what was read.
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => broker.backlog().notified().await,
            Err(error) => {
                fatal.stop(FatalError::Storage(error.to_string()));
                return;
            }
        }
    }
}
