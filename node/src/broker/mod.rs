//! Node-local delivery: connected clients, the subscription index, and fan-out.
//!
//! Every node delivers what it applies to its own subscribers. The dispatcher reads the change ring, matches each change
//! once, and hands every connection one list a log entry. A subscription takes its view of the state while the index is
//! locked, so that every change is either in the view or dispatched to it, and never both.
//!
//! A persistent session begins, and goes on when it reads too slowly, *behind*: the dispatcher passes it over, and its outbox is
//! filled from what is stored, by one scan for all of them ([`Broker::feed_lagging`]). When the scan has come to the end, the
//! session joins those whom the dispatcher fills, under the same lock, so again without a gap or a double.
//!
//! | module | responsibility |
//! |---|---|
//! | `message` | a message on its way to subscribers, encoded once |
//! | `outbox` | what one connection has yet to send, bounded |
//! | `index` | who subscribes to what |
//! | `lagging` | filling those that are behind |
//! | `status`, `traffic` | what the node tells of itself in `$SYS` topics, and what it counts for them |
//! | this one | connections, subscriptions, dispatch |

#[cfg(test)]
mod broker_test;
mod index;
mod lagging;
mod message;
mod outbox;
mod status;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banyan_core::command::Event;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::packet::QoS;
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::planted::{Bug, planted};
use banyan_core::state::StateView;
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use index::SubscriptionOptions;
use index::{Index, Shares};
pub use lagging::Turns;
pub use message::{Message, qos_of, send_marker};
pub use outbox::{Delivery, Item, Outbox};
pub use traffic::{Traffic, TrafficCounts};

use crate::changes::{ChangeBatch, ChangeRing, Read};

/// Batches that the dispatcher takes from the ring at a time.
const DISPATCH_BATCHES_MAX: usize = 64;

/// Names a connection: its fence, which no other connection in the cluster ever has.
pub type ConnectionId = u64;

/// The connections and subscriptions of this node.
pub struct Broker {
    index: Mutex<Index>,
    connections: Mutex<BTreeMap<ConnectionId, Arc<Outbox>>>,
    /// Wakes the scan for those that are behind.
    backlog: Arc<Notify>,
    delivered: AtomicU64,
    dropped: AtomicU64,
    fallen_behind: AtomicU64,
    gaps: AtomicU64,
    traffic: Traffic,
    /// What the node told last of itself, by topic.
    status: Mutex<BTreeMap<TopicName, Bytes>>,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl Broker {
    /// No clients yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            index: Mutex::new(Index::new()),
            connections: Mutex::default(),
            backlog: Arc::default(),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            fallen_behind: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            traffic: Traffic::default(),
            status: Mutex::default(),
        }
    }

    /// The dispatcher will start from the changes after `revision`.
    pub fn start_after(&self, revision: u64) {
        self.index.lock().dispatched(revision);
    }

    /// Takes a connection up: from now on it can be found and closed.
    pub fn register(&self, outbox: &Arc<Outbox>) {
        self.connections.lock().insert(outbox.id(), Arc::clone(outbox));
    }

    /// Forgets a connection and its subscriptions.
    pub fn disconnect(&self, id: ConnectionId) {
        self.connections.lock().remove(&id);
        self.index.lock().remove(id);
    }

    /// The connection `id`, if it is one of this node's.
    #[must_use]
    pub fn connection(&self, id: ConnectionId) -> Option<Arc<Outbox>> {
        self.connections.lock().get(&id).cloned()
    }

    /// All connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Outbox>> {
        self.connections.lock().values().cloned().collect()
    }

    /// Connected clients.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.connections.lock().len()
    }

    /// Subscriptions of connected clients.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.index.lock().subscription_count()
    }

    /// Revision up to which changes were handed to subscribers.
    #[must_use]
    pub fn dispatched_revision(&self) -> u64 {
        self.index.lock().dispatched_revision
    }

    /// What connections have received and sent.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
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

    /// How often a connected session fell behind so far, since it read too slowly.
    #[must_use]
    pub fn fallen_behind_count(&self) -> u64 {
        self.fallen_behind.load(Ordering::Relaxed)
    }

    /// How often a session was told so far that messages are gone that it had not had.
    #[must_use]
    pub fn gap_count(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// What wakes the scan for those that are behind.
    #[must_use]
    pub fn backlog(&self) -> &Arc<Notify> {
        &self.backlog
    }

    /// Closes every connection with `reason`.
    pub fn close_all(&self, reason: ReasonCode) {
        self.connections().iter().for_each(|outbox| outbox.close(reason));
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
            index.subscribe(outbox.id(), filter, options, view.revision);
        }
        index.place_replay(outbox, replay, view.revision);
        view
    }

    /// Lets a connection subscribe, and takes up the subscriptions that its session brings with it: each from behind a revision.
    /// `replays` get their places, each behind everything up to a position, in this order.
    pub fn attach<'a>(
        &self,
        outbox: &Arc<Outbox>,
        filters: impl IntoIterator<Item = (&'a TopicFilter, SubscriptionOptions, u64)>,
        replays: impl IntoIterator<Item = (u64, MessagePosition)>,
    ) {
        let mut index = self.index.lock();
        let mut filters = filters.into_iter().peekable();
        if outbox.is_persistent() && filters.peek().is_none() {
            // Nothing that is stored is for it.
            outbox.go_live(index.dispatched_revision);
        }
        index.insert(outbox);
        for (filter, options, after) in filters {
            index.subscribe(outbox.id(), filter, options, after);
        }
        for (replay, position) in replays {
            outbox.push_replay(replay, position);
        }
        drop(index);
        self.backlog.notify_one();
    }

    /// Persistent sessions that have had everything up to a revision while the state does not know it.
    #[must_use]
    pub fn idle_sessions(&self) -> (u64, Vec<Arc<Outbox>>) {
        let index = self.index.lock();
        let revision = index.dispatched_revision;
        let idle = index
            .outboxes()
            .filter(|outbox| outbox.is_persistent() && outbox.may_be_told(revision));
        (revision, idle.cloned().collect())
    }

    /// Ends subscriptions: nothing further is put into the outbox for them.
    pub fn unsubscribe<'a>(&self, outbox: &Arc<Outbox>, filters: impl IntoIterator<Item = &'a TopicFilter>) {
        let mut index = self.index.lock();
        for filter in filters {
            index.unsubscribe(outbox.id(), filter);
        }
    }

    /// Delivers an event of QoS 0, which is not in the log, received at log time `received_at_us`.
    pub fn dispatch_event(&self, event: Event, received_at_us: u64) {
        let mut shares = Shares::new();
        let message = Message::of_event(event, received_at_us);
        let mut index = self.index.lock();
        let missed = index.count_missed(&message);
        self.dropped.fetch_add(missed, Ordering::Relaxed);
        index.match_live(message, &mut shares);
        self.hand_out(&mut index, shares);
    }

    /// Delivers an event of QoS 0, which is not in the log, to the connection `id`, which a shared subscription has chosen.
    pub fn deliver_event(&self, id: ConnectionId, subscription_id: Option<u32>, event: Event, received_at_us: u64) {
        let Some(outbox) = self.connection(id) else {
            return;
        };
        let pushed = outbox.push(vec![Delivery {
            message: Arc::new(Message::of_event(event, received_at_us).detach()),
            qos: QoS::AtMostOnce,
            retain: false,
            subscription_ids: subscription_id.into_iter().collect(),
            shared: true,
        }]);
        self.delivered.fetch_add(pushed.taken, Ordering::Relaxed);
        self.dropped.fetch_add(pushed.dropped, Ordering::Relaxed);
    }

    /// Delivers everything that `ring` has held since the process began, and will hold, for as long as the process lives.
    pub async fn dispatch(self: Arc<Self>, ring: Arc<ChangeRing>) {
        let mut end = ring.end();
        let mut position = 0;
        loop {
            match ring.read(position, DISPATCH_BATCHES_MAX) {
                Read::Gap { next, revision } => {
                    self.skip_through(revision);
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

    /// Changes up to `revision` cannot be dispatched any more: those who may have missed some are closed, except persistent
    /// sessions, which get them from what is stored.
    fn skip_through(&self, revision: u64) {
        tracing::warn!(
            revision,
            "changes were skipped: connections that may have missed some are closed"
        );
        let mut index = self.index.lock();
        let dispatched_revision = index.dispatched_revision;
        let outboxes: Vec<_> = index.outboxes().cloned().collect();
        for outbox in outboxes {
            if outbox.is_persistent() {
                outbox.fall_behind(dispatched_revision);
                index.set_behind(outbox.id(), true);
            } else if !planted(Bug::P17) {
                outbox.close(ReasonCode::QuotaExceeded);
            }
        }
        index.dispatched(revision);
        drop(index);
        self.backlog.notify_one();
    }

    fn dispatch_batches(&self, batches: &[Arc<ChangeBatch>]) {
        let mut index = self.index.lock();
        let mut shares = Shares::new();
        for batch in batches {
            for change in &batch.changes {
                if index.has_live_subscriptions() {
                    index.match_live(Message::of_change(change, batch.log_time_us), &mut shares);
                }
            }
            let Some(revision) = batch.changes.last().map(|change| change.revision) else {
                continue;
            };
            if index.places_replays(revision) {
                // What comes later than their view must not get in front of them: the client would end with the older value.
                self.hand_out(&mut index, std::mem::take(&mut shares));
            }
            index.dispatched(revision);
        }
        self.hand_out(&mut index, shares);
    }

    fn hand_out(&self, index: &mut Index, shares: Shares) {
        let (mut delivered, mut dropped, mut fallen_behind) = (0, 0, 0);
        for (id, (outbox, deliveries)) in shares {
            let pushed = outbox.push(deliveries);
            delivered += pushed.taken;
            dropped += pushed.dropped;
            if pushed.is_behind {
                fallen_behind += 1;
                index.set_behind(id, true);
            }
        }
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.fallen_behind.fetch_add(fallen_behind, Ordering::Relaxed);
    }
}
