//! What one connection has yet to send: filled by the dispatcher, emptied by the connection's task, bounded.
//!
//! The outbox of a session that ends with its connection closes when it is over its bound. That of a persistent session falls
//! *behind* instead: it takes nothing from the dispatcher any more, and is filled from the stored messages, in order, as it
//! empties ([`super::backlog`]). What it holds is in order either way, and complete up to [`Outbox::through`].

use std::collections::VecDeque;
use std::sync::Arc;

use banyan_core::keyspace::MessagePosition;
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
    /// It comes from a shared subscription, which counts on this connection for it.
    pub shared: bool,
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
    /// Wakes who fills it while it is behind; `None`: its session ends with the connection.
    backlog: Option<Arc<Notify>>,
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
    /// The outbox was full and is behind now, or still.
    pub is_behind: bool,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    close: Option<ReasonCode>,
    /// The client is to go elsewhere, once what it has sent is answered.
    handed_over: bool,
    /// Of a persistent session: it takes nothing from the dispatcher.
    behind: bool,
    /// Bytes of the next message, if there was no room for it.
    blocked: usize,
    /// Of a persistent session: everything for it up to here was put in.
    through: MessagePosition,
    /// Replays whose place has not come, since the outbox is behind: (behind what, replay), in order.
    places: VecDeque<(MessagePosition, u64)>,
    /// Shared messages that entries up to this log index have given to the connection were read from the state.
    assigned_through: Option<u64>,
    /// Those that later entries may have given, until it is known which are later.
    assigned: Vec<(u64, Delivery)>,
    /// The connection has taken something that is not settled yet.
    busy: bool,
    /// The state knows that its session has everything through this revision.
    told: u64,
}

impl Queue {
    fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= bytes_max
    }

    fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.message.bytes();
        self.items.push_back(Item::Message(delivery));
    }

    /// Gives replays their place that are awaited up to `position`.
    fn place_replays(&mut self, position: MessagePosition) {
        while let Some((_, replay)) = self.places.pop_front_if(|(awaited, _)| *awaited <= position) {
            self.items.push_back(Item::Replay(replay));
        }
    }
}

impl Outbox {
    /// An empty outbox that holds messages of at most `bytes_max` bytes, of a session that ends with its connection.
    #[must_use]
    pub fn new(id: ConnectionId, client_id: Bytes, bytes_max: usize) -> Arc<Self> {
        Self::with_queue(id, client_id, bytes_max, None, Queue::default())
    }

    /// As [`new`](Self::new), of a persistent session. It is behind.
    #[must_use]
    pub fn persistent(id: ConnectionId, client_id: Bytes, bytes_max: usize, backlog: Arc<Notify>) -> Arc<Self> {
        let queue = Queue {
            behind: true,
            busy: true,
            ..Queue::default()
        };
        Self::with_queue(id, client_id, bytes_max, Some(backlog), queue)
    }

    fn with_queue(
        id: ConnectionId,
        client_id: Bytes,
        bytes_max: usize,
        backlog: Option<Arc<Notify>>,
        queue: Queue,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            client_id,
            bytes_max,
            backlog,
            queue: Mutex::new(queue),
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

    /// Whether its session outlives the connection.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether it is to be filled from the stored messages now. Only what takes messages out makes it so again, which
    /// [tells](Self::tell_backlog) who fills it.
    fn is_wanting(&self, queue: &Queue) -> bool {
        let has_room = queue.bytes <= self.bytes_max / 2 && queue.has_room(queue.blocked, self.bytes_max);
        queue.behind && queue.close.is_none() && has_room
    }

    /// Tells who fills it, if it is to be filled now and `was_wanting` is false.
    fn tell_backlog(&self, queue: &Queue, was_wanting: bool) {
        if let Some(backlog) = &self.backlog
            && !was_wanting
            && self.is_wanting(queue)
        {
            backlog.notify_one();
        }
    }

    /// Adds `deliveries` of the dispatcher, in order. Over the bound, what is not in the log is dropped and counted; a persistent
    /// session falls behind; otherwise QoS 0 is dropped and counted, and QoS 1 and 2 close the connection with 0x97.
    pub fn push(&self, deliveries: Vec<Delivery>) -> Pushed {
        let mut pushed = Pushed::default();
        let mut queue = self.queue.lock();
        let wake = queue.items.is_empty();
        for delivery in deliveries {
            if queue.close.is_some() {
                break;
            }
            let position = delivery.message.position();
            if self.is_persistent() && position.is_some_and(|position| queue.behind || position <= queue.through) {
                continue;
            }
            if !queue.behind && queue.has_room(delivery.message.bytes(), self.bytes_max) {
                queue.push(delivery);
                pushed.taken += 1;
                continue;
            }
            match position {
                Some(position) if self.is_persistent() => {
                    queue.behind = true;
                    queue.blocked = delivery.message.bytes();
                    queue.through = position.previous();
                }
                _ if delivery.qos == QoS::AtMostOnce || planted(Bug::P17) => pushed.dropped += 1,
                _ => queue.close = Some(ReasonCode::QuotaExceeded),
            }
        }
        pushed.is_behind = queue.behind;
        let wake = wake || queue.close.is_some();
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        pushed
    }

    /// Adds a message that a shared subscription has given to this connection, by the entry at `log_index`. How many there are is
    /// bounded where they are given.
    pub fn push_assigned(&self, delivery: Delivery, log_index: u64) {
        let mut queue = self.queue.lock();
        match queue.assigned_through {
            None => queue.assigned.push((log_index, delivery)),
            Some(through) if log_index > through => queue.push(delivery),
            Some(_) => {}
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Lets go of the messages that shared subscriptions have given: which of them are still the connection's is about to
    /// change. They come again with [`begin_assigned`](Self::begin_assigned).
    pub fn stop_assigned(&self) {
        let mut queue = self.queue.lock();
        let was_wanting = self.is_wanting(&queue);
        queue.assigned_through = None;
        let mut freed = 0;
        queue.items.retain(|item| match item {
            Item::Message(delivery) if delivery.shared && delivery.message.position().is_some() => {
                freed += delivery.message.bytes();
                false
            }
            _ => true,
        });
        queue.bytes -= freed;
        self.tell_backlog(&queue, was_wanting);
    }

    /// Whether [`begin_assigned`](Self::begin_assigned) is to come.
    #[must_use]
    pub fn awaits_assigned(&self) -> bool {
        self.queue.lock().assigned_through.is_none()
    }

    /// What shared subscriptions have given to the connection by the entries up to `log_index`.
    pub fn begin_assigned(&self, deliveries: Vec<Delivery>, log_index: u64) {
        let mut queue = self.queue.lock();
        queue.assigned_through = Some(log_index);
        let later = std::mem::take(&mut queue.assigned);
        let later = later.into_iter().filter(|(index, _)| *index > log_index);
        for delivery in deliveries.into_iter().chain(later.map(|(_, delivery)| delivery)) {
            queue.push(delivery);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Marks the place of a replay, behind everything up to `position`, which was put in or is behind.
    pub fn push_replay(&self, replay: u64, position: MessagePosition) {
        let mut queue = self.queue.lock();
        if queue.behind && queue.through < position {
            queue.places.push_back((position, replay));
        } else {
            queue.items.push_back(Item::Replay(replay));
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Where the stored messages must be read from to fill it; `None` while it is not behind, or has no room.
    #[must_use]
    pub fn wanted_after(&self) -> Option<MessagePosition> {
        let queue = self.queue.lock();
        self.is_wanting(&queue).then_some(queue.through)
    }

    /// Whether it is behind, has room, and stands from `after` on, but not yet at `end`.
    #[must_use]
    pub fn stands_between(&self, after: MessagePosition, end: MessagePosition) -> bool {
        self.wanted_after().is_some_and(|at| after <= at && at < end)
    }

    /// Whether everything up to `end` was put in.
    #[must_use]
    pub fn stands_at(&self, end: MessagePosition) -> bool {
        let queue = self.queue.lock();
        queue.behind && queue.through >= end
    }

    /// Adds stored messages, all that there are for it between [`wanted_after`](Self::wanted_after) and `through`, as far as
    /// there is room. Returns whether all had room.
    pub fn push_backlog(&self, deliveries: Vec<Delivery>, through: MessagePosition) -> bool {
        let mut queue = self.queue.lock();
        let wake = queue.items.is_empty();
        let mut full_at = None;
        queue.blocked = 0;
        for delivery in deliveries {
            let Some(position) = delivery.message.position() else {
                continue;
            };
            if position <= queue.through {
                continue;
            }
            queue.place_replays(position.previous());
            if !queue.has_room(delivery.message.bytes(), self.bytes_max) {
                queue.blocked = delivery.message.bytes();
                full_at = Some(position);
                break;
            }
            queue.push(delivery);
        }
        let through = full_at.map_or(through, MessagePosition::previous);
        if through > queue.through {
            queue.through = through;
            queue.place_replays(through);
        }
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        full_at.is_none()
    }

    /// Puts a message in for which there is always room: what the node itself tells the session.
    pub fn push_notice(&self, delivery: Delivery) {
        self.queue.lock().push(delivery);
        self.wake.notify_one();
    }

    /// From now on the dispatcher fills it: everything up to `revision` is in.
    pub fn go_live(&self, revision: u64) {
        let mut queue = self.queue.lock();
        (queue.behind, queue.blocked) = (false, 0);
        let through = queue.through.max(MessagePosition::end_of(revision));
        queue.through = through;
        queue.place_replays(through);
        debug_assert!(queue.places.is_empty(), "a view cannot be ahead of the state");
        drop(queue);
        self.wake.notify_one();
    }

    /// The dispatcher has skipped what came after `revision`: the stored messages must be read.
    pub fn fall_behind(&self, revision: u64) {
        let mut queue = self.queue.lock();
        if !queue.behind {
            queue.behind = true;
            queue.through = queue.through.max(MessagePosition::end_of(revision));
        }
    }

    /// Moves on without what is stored no more, or was had before.
    pub fn skip_through(&self, position: MessagePosition) {
        let mut queue = self.queue.lock();
        queue.through = queue.through.max(position);
    }

    /// Whether the dispatcher does not fill it.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.queue.lock().behind
    }

    /// Whether everything that was put in is settled and nothing is missing, while the state knows of less than `revision`.
    #[must_use]
    pub fn may_be_told(&self, revision: u64) -> bool {
        let queue = self.queue.lock();
        !queue.behind && !queue.busy && queue.items.is_empty() && queue.told < revision
    }

    /// Notes that the state knows that the session has everything through `revision`.
    pub fn set_told(&self, revision: u64) {
        self.queue.lock().told = revision;
    }

    /// Takes the oldest item, unless it is a message that `may_send` does not allow to go now.
    pub fn pop(&self, may_send: impl FnOnce(&Delivery) -> bool) -> Option<Item> {
        let mut queue = self.queue.lock();
        match queue.items.front()? {
            Item::Message(delivery) if !may_send(delivery) => return None,
            _ => {}
        }
        let was_wanting = self.is_wanting(&queue);
        let item = queue.items.pop_front()?;
        queue.busy = true;
        if let Item::Message(delivery) = &item {
            queue.bytes -= delivery.message.bytes();
            self.tell_backlog(&queue, was_wanting);
        }
        Some(item)
    }

    /// Everything that was taken is settled.
    pub fn settle(&self) {
        self.queue.lock().busy = false;
    }

    /// Asks the connection to close with `reason`, unless it was asked before.
    pub fn close(&self, reason: ReasonCode) {
        self.queue.lock().close.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// Asks the connection to send its client elsewhere, in its own time.
    pub fn hand_over(&self) {
        self.queue.lock().handed_over = true;
        self.wake.notify_one();
    }

    /// Whether [`hand_over`](Self::hand_over) was called.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.queue.lock().handed_over
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
