//! Cursors of sessions that wait for nothing: moved now and then, so that no message is kept for them.

use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{CaughtUp, Operation};
use banyan_core::keyspace::MessagePosition;

use crate::broker::Broker;
use crate::origin::{Completion, Origin};

/// How often cursors are moved.
const INTERVAL: Duration = Duration::from_secs(5);
/// Sessions of one command.
const FENCES_MAX: usize = 1_000;

/// Moves the cursors of the idle sessions of `broker`, for as long as the process lives.
pub async fn run(broker: Arc<Broker>, origin: Origin) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (revision, idle) = broker.idle_sessions();
        for outboxes in idle.chunks(FENCES_MAX) {
            let caught_up = CaughtUp {
                cursor: MessagePosition::end_of(revision),
                fences: outboxes.iter().map(|outbox| outbox.id()).collect(),
            };
            let (completion, reply) = Completion::oneshot();
            origin.propose(Operation::CaughtUp(caught_up), completion);
            if let Ok(Ok(_)) = reply.await {
                outboxes.iter().for_each(|outbox| outbox.set_told(revision));
            }
        }
    }
}
