//! Node-local delivery: connected clients, the subscription index, and fan-out.
//!
//! Every node delivers what it applies to its own subscribers. The dispatcher reads the change ring, matches each change
//! once, and hands every connection one list a log entry. A subscription takes its view of the state while the index is
//! locked, so that every change is either in the view or dispatched to it, and never both.
//!
//! | module | responsibility |
//! |---|---|
//! | `message` | a message on its way to subscribers, encoded once |
//! | `outbox` | what one connection has yet to send, bounded |
//! | this one | clients, subscriptions, dispatch |

#[cfg(test)]
mod broker_test;
mod message;
mod outbox;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banyan_core::command::Event;
use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::planted::{Bug, planted};
use banyan_core::state::StateView;
use banyan_core::topic::{FilterTrie, TopicFilter};
use bytes::Bytes;
use parking_lot::Mutex;

pub use message::Message;
pub use outbox::{Delivery, Item, Outbox};

use crate::changes::{ChangeBatch, ChangeRing, Read};

/// Batches that the dispatcher takes from the ring at a time.
const DISPATCH_BATCHES_MAX: usize = 64;

/// Names a connection on this node, never twice in a process.
pub type ConnectionId = u64;

/// How a filter is subscribed (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Most QoS of a delivery.
    pub qos: QoS,
    /// Not what the client published itself.
    pub no_local: bool,
    /// Keep RETAIN as it was published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
}

struct Subscription {
    outbox: Arc<Outbox>,
    options: SubscriptionOptions,
    /// What happened up to here is not delivered: it is in the view with which the filter was first subscribed, or was over.
    after: u64,
}

/// What the dispatcher and subscribing connections share.
struct Index {
    subscriptions: FilterTrie<ConnectionId, Subscription>,
    /// Everything up to this revision is in the outboxes it belongs to.
    dispatched_revision: u64,
    /// Replays whose view is ahead of the dispatcher: (revision of the view, outbox, replay).
    waiting_replays: Vec<(u64, Arc<Outbox>, u64)>,
}

/// The clients and subscriptions of this node.
pub struct Broker {
    index: Mutex<Index>,
    clients: Mutex<BTreeMap<Bytes, Arc<Outbox>>>,
    connections: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// One connection's share of a dispatch.
type Shares = BTreeMap<ConnectionId, (Arc<Outbox>, Vec<Delivery>)>;

/// The subscriptions of one connection that match one message, merged.
struct Match {
    outbox: Arc<Outbox>,
    qos: QoS,
    retain: bool,
    subscription_ids: Vec<u32>,
}

impl Index {
    /// Whether replays have their place behind the changes up to `revision`.
    fn places_replays(&self, revision: u64) -> bool {
        self.waiting_replays.iter().any(|(awaited, ..)| *awaited <= revision)
    }

    /// Notes that everything up to `revision` is on its way; what waits for it gets its place.
    fn dispatched(&mut self, revision: u64) {
        self.dispatched_revision = self.dispatched_revision.max(revision);
        let dispatched_revision = self.dispatched_revision;
        self.waiting_replays.retain(|(revision, outbox, replay)| {
            let waits = *revision > dispatched_revision;
            if !waits {
                outbox.push_replay(*replay);
            }
            waits
        });
    }
}

impl Broker {
    /// No clients yet. The dispatcher will start from the changes after `revision`.
    #[must_use]
    pub fn new(revision: u64) -> Self {
        let index = Index {
            subscriptions: FilterTrie::new(),
            dispatched_revision: revision,
            waiting_replays: Vec::new(),
        };
        Self {
            index: Mutex::new(index),
            clients: Mutex::default(),
            connections: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// A new connection's id.
    pub fn next_connection_id(&self) -> ConnectionId {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes `outbox` the connection of its client identifier; an older connection is closed with 0x8E.
    pub fn register(&self, outbox: &Arc<Outbox>) {
        let older = self
            .clients
            .lock()
            .insert(outbox.client_id().clone(), Arc::clone(outbox));
        if let Some(older) = older {
            older.close(ReasonCode::SessionTakenOver);
        }
    }

    /// Forgets a connection and its subscriptions to `filters`.
    pub fn disconnect<'a>(&self, outbox: &Arc<Outbox>, filters: impl IntoIterator<Item = &'a TopicFilter>) {
        {
            let mut clients = self.clients.lock();
            if clients
                .get(outbox.client_id())
                .is_some_and(|current| current.id() == outbox.id())
            {
                clients.remove(outbox.client_id());
            }
        }
        let subscriptions = &mut self.index.lock().subscriptions;
        for filter in filters {
            subscriptions.remove(filter, &outbox.id());
        }
    }

    /// Connected clients.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients.lock().len()
    }

    /// Messages handed to connections so far.
    #[must_use]
    pub fn delivered_count(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages of QoS 0 dropped so far, since their connections read too slowly.
    #[must_use]
    pub fn dropped_count(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Closes every connection with `reason`.
    pub fn close_all(&self, reason: ReasonCode) {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        clients.iter().for_each(|outbox| outbox.close(reason));
    }

    /// Subscribes `outbox` and takes the view from which its retained messages are sent: what is later than the view is
    /// delivered, what is in it is not. A filter subscribed before is replaced, without losing what is on its way.
    ///
    /// The outbox gets [`Item::Replay`] with `replay` where the retained messages belong, behind everything older that
    /// other subscriptions of the connection bring.
    pub fn subscribe<'a>(
        &self,
        outbox: &Arc<Outbox>,
        replay: u64,
        filters: impl IntoIterator<Item = (&'a TopicFilter, SubscriptionOptions)>,
        take_view: impl FnOnce() -> StateView,
    ) -> StateView {
        let mut index = self.index.lock();
        let view = take_view();
        for (filter, options) in filters {
            let former = index.subscriptions.remove(filter, &outbox.id());
            let subscription = Subscription {
                outbox: Arc::clone(outbox),
                options,
                after: former.map_or(view.revision, |former| former.after),
            };
            index.subscriptions.insert(filter, outbox.id(), subscription);
        }
        if view.revision <= index.dispatched_revision {
            outbox.push_replay(replay);
        } else {
            index.waiting_replays.push((view.revision, Arc::clone(outbox), replay));
        }
        view
    }

    /// Ends subscriptions: nothing further is put into the outbox for them.
    pub fn unsubscribe<'a>(&self, outbox: &Arc<Outbox>, filters: impl IntoIterator<Item = &'a TopicFilter>) {
        let subscriptions = &mut self.index.lock().subscriptions;
        for filter in filters {
            subscriptions.remove(filter, &outbox.id());
        }
    }

    /// Delivers an event of QoS 0, which is not in the log, received at log time `received_at_us`.
    pub fn dispatch_event(&self, event: Event, received_at_us: u64) {
        let mut shares = Shares::new();
        let message = Message::of_event(event, received_at_us);
        let index = self.index.lock();
        match_message(&index.subscriptions, message, &mut shares);
        self.hand_out(shares);
    }

    /// Delivers everything that `ring` has held since the process began, and will hold, for as long as the process lives.
    pub async fn dispatch(self: Arc<Self>, ring: Arc<ChangeRing>) {
        let mut end = ring.end();
        let mut position = 0;
        loop {
            match ring.read(position, DISPATCH_BATCHES_MAX) {
                Read::Gap { next, revision } => {
                    tracing::warn!(
                        revision,
                        "changes were skipped: connections that may have missed some are closed"
                    );
                    if !planted(Bug::P17) {
                        self.close_all(ReasonCode::QuotaExceeded);
                    }
                    self.index.lock().dispatched(revision);
                    position = next;
                }
                Read::Batches(batches, _) if batches.is_empty() => {
                    if end.changed().await.is_err() {
                        return;
                    }
                }
                Read::Batches(batches, next) => {
                    position = next;
                    self.dispatch_batches(&batches);
                    // The dispatcher must not keep its thread from those it has woken.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn dispatch_batches(&self, batches: &[Arc<ChangeBatch>]) {
        let mut index = self.index.lock();
        let mut shares = Shares::new();
        for batch in batches {
            for change in &batch.changes {
                if !index.subscriptions.is_empty() {
                    match_message(
                        &index.subscriptions,
                        Message::of_change(change, batch.log_time_us),
                        &mut shares,
                    );
                }
            }
            let Some(revision) = batch.changes.last().map(|change| change.revision) else {
                continue;
            };
            if index.places_replays(revision) {
                // What comes later than their view must not get in front of them: the client would end with the older value.
                self.hand_out(std::mem::take(&mut shares));
            }
            index.dispatched(revision);
        }
        self.hand_out(shares);
    }

    fn hand_out(&self, shares: Shares) {
        let (mut delivered, mut dropped) = (0, 0);
        for (outbox, deliveries) in shares.into_values() {
            let pushed = outbox.push(deliveries);
            delivered += pushed.taken;
            dropped += pushed.dropped;
        }
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

fn match_message(subscriptions: &FilterTrie<ConnectionId, Subscription>, message: Message, shares: &mut Shares) {
    let mut matches: BTreeMap<ConnectionId, Match> = BTreeMap::new();
    subscriptions.for_each_match(message.topic(), &mut |id, subscription| {
        if !subscription.wants(&message) {
            return;
        }
        let options = &subscription.options;
        let merged = matches.entry(*id).or_insert_with(|| Match {
            outbox: Arc::clone(&subscription.outbox),
            qos: QoS::AtMostOnce,
            retain: false,
            subscription_ids: Vec::new(),
        });
        // Overlapping subscriptions: one delivery with the greatest QoS and all identifiers (§3.3.4).
        merged.qos = merged.qos.max(options.qos.min(message.qos()));
        merged.retain |= options.retain_as_published && message.retain();
        merged.subscription_ids.extend(options.subscription_id);
    });
    if matches.is_empty() {
        return;
    }
    let message = Arc::new(message.detach());
    for (id, merged) in matches {
        let Match {
            outbox,
            qos,
            retain,
            subscription_ids,
        } = merged;
        let delivery = Delivery {
            message: Arc::clone(&message),
            qos,
            retain,
            subscription_ids,
        };
        shares
            .entry(id)
            .or_insert_with(|| (outbox, Vec::new()))
            .1
            .push(delivery);
    }
}

impl Subscription {
    fn wants(&self, message: &Message) -> bool {
        if self.options.no_local && message.publisher() == self.outbox.client_id() {
            return false;
        }
        message.revision().is_none_or(|revision| revision > self.after)
    }
}
