//! What one connection has yet to send: filled by the dispatcher, emptied by the connection's task, bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::planted::{Bug, planted};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{ConnectionId, Message};

/// A message for one connection.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// QoS of this delivery.
    pub qos: QoS,
    /// RETAIN of this delivery.
    pub retain: bool,
    /// Identifiers of the matching subscriptions.
    pub subscription_ids: Vec<u32>,
}

/// One thing in an outbox.
#[derive(Debug)]
pub enum Item {
    /// A message to send.
    Message(Delivery),
    /// The place of a replay: everything that its view holds was put in before, everything later comes after.
    Replay(u64),
}

/// The outbox of a connection. Messages are shared between outboxes, so the bound is on what they would hold alone. An empty
/// outbox takes any one message.
#[derive(Debug)]
pub struct Outbox {
    id: ConnectionId,
    client_id: Bytes,
    bytes_max: usize,
    queue: Mutex<Queue>,
    wake: Notify,
}

/// What became of messages put into an outbox. Those that found it closing are in neither count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Messages that wait to be sent now.
    pub taken: u64,
    /// Messages of QoS 0 that were dropped, since the connection reads too slowly.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    close: Option<ReasonCode>,
}

impl Outbox {
    /// An empty outbox that holds messages of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(id: ConnectionId, client_id: Bytes, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            id,
            client_id,
            bytes_max,
            queue: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// The connection.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client identifier.
    #[must_use]
    pub fn client_id(&self) -> &Bytes {
        &self.client_id
    }

    /// Adds `deliveries` in order. Over the bound, QoS 0 is dropped and counted; QoS 1 closes the connection with 0x97.
    pub fn push(&self, deliveries: Vec<Delivery>) -> Pushed {
        let mut pushed = Pushed::default();
        let mut queue = self.queue.lock();
        let wake = queue.items.is_empty();
        for delivery in deliveries {
            if queue.close.is_some() {
                break;
            }
            let bytes = delivery.message.bytes();
            if queue.bytes > 0 && queue.bytes + bytes > self.bytes_max {
                if delivery.qos == QoS::AtMostOnce || planted(Bug::P17) {
                    pushed.dropped += 1;
                    continue;
                }
                queue.close = Some(ReasonCode::QuotaExceeded);
                break;
            }
            queue.bytes += bytes;
            queue.items.push_back(Item::Message(delivery));
            pushed.taken += 1;
        }
        let wake = wake || queue.close.is_some();
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        pushed
    }

    /// Marks the place of a replay.
    pub fn push_replay(&self, replay: u64) {
        self.queue.lock().items.push_back(Item::Replay(replay));
        self.wake.notify_one();
    }

    /// Takes the oldest item, unless it is a message that `may_send` does not allow to go now.
    pub fn pop(&self, may_send: impl FnOnce(&Delivery) -> bool) -> Option<Item> {
        let mut queue = self.queue.lock();
        match queue.items.front()? {
            Item::Message(delivery) if !may_send(delivery) => return None,
            _ => {}
        }
        let item = queue.items.pop_front()?;
        if let Item::Message(delivery) = &item {
            queue.bytes -= delivery.message.bytes();
        }
        Some(item)
    }

    /// Asks the connection to close with `reason`, unless it was asked before.
    pub fn close(&self, reason: ReasonCode) {
        self.queue.lock().close.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// Why the connection must close, if it must.
    #[must_use]
    pub fn close_reason(&self) -> Option<ReasonCode> {
        self.queue.lock().close
    }

    /// Returns when there is something to do: the outbox was empty and is not, or must close. May return once too often.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }
}
