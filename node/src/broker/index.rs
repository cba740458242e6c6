//! Who subscribes to what on this node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::packet::QoS;
use banyan_core::topic::{FilterTrie, TopicFilter};

use super::{ConnectionId, Delivery, Message, Outbox};

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
    /// `deliver=latest`: of what was missed, each topic's latest alone.
    pub latest: bool,
}

/// A filter of a connection.
#[derive(Debug, Clone)]
pub struct Subscription {
    outbox: Arc<Outbox>,
    options: SubscriptionOptions,
    /// What happened up to this revision is not delivered: it is in the view with which the filter was first subscribed, or
    /// was over.
    after: u64,
}

/// A connection with subscriptions, or one that may have some.
#[derive(Debug)]
struct Member {
    outbox: Arc<Outbox>,
    /// Its filters, and the revision after which each delivers.
    filters: BTreeMap<TopicFilter, u64>,
    behind: bool,
}

/// What the dispatcher, the backlog and subscribing connections share.
pub(super) struct Index {
    members: BTreeMap<ConnectionId, Member>,
    /// Subscriptions of those that the dispatcher fills.
    live: FilterTrie<ConnectionId, Subscription>,
    /// Subscriptions of those that are behind.
    behind: FilterTrie<ConnectionId, Subscription>,
    /// Everything up to this revision is in the outboxes it belongs to, or they are behind.
    pub(super) dispatched_revision: u64,
    /// Replays whose view is ahead of the dispatcher: (revision of the view, outbox, replay).
    waiting_replays: Vec<(u64, Arc<Outbox>, u64)>,
}

/// What each connection gets of some messages.
pub(super) type Shares = BTreeMap<ConnectionId, (Arc<Outbox>, Vec<Delivery>)>;

/// The subscriptions of one connection that match one message, merged.
struct Match {
    outbox: Arc<Outbox>,
    qos: QoS,
    retain: bool,
    subscription_ids: Vec<u32>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            live: FilterTrie::new(),
            behind: FilterTrie::new(),
            dispatched_revision: 0,
            waiting_replays: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, outbox: &Arc<Outbox>) {
        let member = Member {
            outbox: Arc::clone(outbox),
            filters: BTreeMap::new(),
            behind: outbox.is_behind(),
        };
        self.members.insert(outbox.id(), member);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        for filter in member.filters.keys() {
            self.live.remove(filter, &id);
            self.behind.remove(filter, &id);
        }
        self.waiting_replays.retain(|(_, outbox, _)| outbox.id() != id);
    }

    /// Subscriptions of all connections; shared ones are the cluster's.
    pub(super) fn subscription_count(&self) -> usize {
        self.members.values().map(|member| member.filters.len()).sum()
    }

    pub(super) fn outboxes(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.members.values().map(|member| &member.outbox)
    }

    /// The outboxes that are behind.
    pub(super) fn lagging(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.members
            .values()
            .filter(|member| member.behind)
            .map(|member| &member.outbox)
    }

    /// Subscribes to `filter`: what comes after revision `after` is delivered. What was said before about the filter is
    /// replaced, without losing what is on its way. No effect for a connection that has ended.
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        after: u64,
    ) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let trie = if member.behind {
            &mut self.behind
        } else {
            &mut self.live
        };
        let subscription = Subscription {
            outbox: Arc::clone(&member.outbox),
            options,
            after: *member.filters.entry(filter.clone()).or_insert(after),
        };
        trie.insert(filter, id, subscription);
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, filter: &TopicFilter) {
        if let Some(member) = self.members.get_mut(&id) {
            member.filters.remove(filter);
            self.live.remove(filter, &id);
            self.behind.remove(filter, &id);
        }
    }

    /// Whether a subscription of `id` delivers messages of `revision`.
    pub(super) fn reaches_back_to(&self, id: ConnectionId, revision: u64) -> bool {
        let member = self.members.get(&id);
        member.is_some_and(|member| member.filters.values().any(|after| *after < revision))
    }

    /// Gives a replay its place, at once or when the dispatcher has come there.
    pub(super) fn place_replay(&mut self, outbox: &Arc<Outbox>, replay: u64, revision: u64) {
        if outbox.is_behind() || revision <= self.dispatched_revision {
            outbox.push_replay(replay, MessagePosition::end_of(revision));
        } else {
            self.waiting_replays.push((revision, Arc::clone(outbox), replay));
        }
    }

    /// Whether replays have their place behind the changes up to `revision`.
    pub(super) fn places_replays(&self, revision: u64) -> bool {
        self.waiting_replays.iter().any(|(awaited, ..)| *awaited <= revision)
    }

    /// Notes that everything up to `revision` is on its way; what waits for it gets its place.
    pub(super) fn dispatched(&mut self, revision: u64) {
        self.dispatched_revision = self.dispatched_revision.max(revision);
        let dispatched_revision = self.dispatched_revision;
        self.waiting_replays.retain(|(revision, outbox, replay)| {
            let waits = *revision > dispatched_revision;
            if !waits {
                outbox.push_replay(*replay, MessagePosition::end_of(*revision));
            }
            waits
        });
    }

    /// Notes that the outbox of `id` has fallen behind, or is filled by the dispatcher again.
    pub(super) fn set_behind(&mut self, id: ConnectionId, behind: bool) {
        let Some(member) = self.members.get_mut(&id).filter(|member| member.behind != behind) else {
            return;
        };
        member.behind = behind;
        let (from, to) = match behind {
            true => (&mut self.live, &mut self.behind),
            false => (&mut self.behind, &mut self.live),
        };
        for filter in member.filters.keys() {
            if let Some(subscription) = from.remove(filter, &id) {
                to.insert(filter, id, subscription);
            }
        }
        if behind {
            // Their places come with the stored messages now.
            self.waiting_replays.retain(|(revision, outbox, replay)| {
                let stays = outbox.id() != id;
                if !stays {
                    outbox.push_replay(*replay, MessagePosition::end_of(*revision));
                }
                stays
            });
        }
    }

    pub(super) fn has_live_subscriptions(&self) -> bool {
        !self.live.is_empty()
    }

    /// Adds to `shares` what those get whom the dispatcher fills.
    pub(super) fn match_live(&self, message: Message, shares: &mut Shares) {
        match_message(&self.live, message, &|_| true, shares);
    }

    /// As [`match_live`](Self::match_live), for those that are behind. Of a topic that has changed since, those who want the
    /// latest alone get nothing.
    pub(super) fn match_behind(&self, message: Message, is_latest: bool, shares: &mut Shares) {
        // Of a deletion that nobody kept, it is not known who published it.
        let is_nobodys = message.retain() && message.qos() == QoS::AtMostOnce && message.publisher().is_empty();
        let wanted =
            |options: &SubscriptionOptions| (is_latest || !options.latest) && !(is_nobodys && options.no_local);
        match_message(&self.behind, message, &wanted, shares);
    }

    /// How many connections miss an event that is not in the log, since they are behind.
    pub(super) fn count_missed(&self, message: &Message) -> u64 {
        let mut missed = BTreeSet::new();
        self.behind.for_each_match(message.topic(), &mut |id, subscription| {
            if subscription.wants(message) {
                missed.insert(*id);
            }
        });
        missed.len() as u64
    }
}

fn match_message(
    subscriptions: &FilterTrie<ConnectionId, Subscription>,
    message: Message,
    wanted: &dyn Fn(&SubscriptionOptions) -> bool,
    shares: &mut Shares,
) {
    let mut matches: BTreeMap<ConnectionId, Match> = BTreeMap::new();
    subscriptions.for_each_match(message.topic(), &mut |id, subscription| {
        let options = &subscription.options;
        if !subscription.wants(&message) || !wanted(options) {
            return;
        }
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
            shared: false,
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
