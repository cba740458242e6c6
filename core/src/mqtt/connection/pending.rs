//! The subscriptions of the session, and the SUBSCRIBEs and UNSUBSCRIBEs that the driver has not answered.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Token;
use super::subscribe::{NewSubscription, Subscription};
use crate::mqtt::reason::ReasonCode;
use crate::topic::SubscriptionFilter;

/// Packets that wait for the driver at a time; the next one holds up reading.
const PENDING_MAX: usize = 64;

/// A SUBSCRIBE or UNSUBSCRIBE that the driver has not answered.
#[derive(Debug)]
pub(super) struct PendingPacket<T> {
    pub(super) packet_id: u16,
    /// One for each filter of the packet, as if the driver says yes.
    pub(super) reasons: Vec<ReasonCode>,
    /// What was wrong with the first filter that is refused.
    pub(super) detail: Option<String>,
    /// What the driver was asked to change: [`NewSubscription`]s, or filters that go.
    pub(super) changes: Vec<T>,
}

/// At most one pending packet is about a filter: it is the last word about the filter that was not answered.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    held: BTreeMap<SubscriptionFilter, Subscription>,
    subscribing: BTreeMap<Token, PendingPacket<NewSubscription>>,
    unsubscribing: BTreeMap<Token, PendingPacket<SubscriptionFilter>>,
    /// Filters of both.
    pending_filters: BTreeSet<SubscriptionFilter>,
    /// How many filters of `subscribing` are not in `held`.
    pending_new: usize,
    next_token: Token,
}

impl Subscriptions {
    /// Takes up those of the session's former connections.
    pub(super) fn restore(&mut self, subscriptions: Vec<(SubscriptionFilter, Subscription)>) {
        self.held.extend(subscriptions);
    }

    /// All that are held, by filter.
    pub(super) fn held(&self) -> impl Iterator<Item = (&SubscriptionFilter, &Subscription)> {
        self.held.iter()
    }

    /// Whether the filter is held.
    pub(super) fn is_held(&self, filter: &SubscriptionFilter) -> bool {
        self.held.contains_key(filter)
    }

    /// Those that are held, and those on their way to be.
    pub(super) fn count(&self) -> usize {
        self.held.len() + self.pending_new
    }

    /// Those of them whose filters have wildcards. Looks at each.
    pub(super) fn wildcard_count(&self) -> usize {
        let pending = self
            .pending_filters
            .iter()
            .filter(|filter| !self.held.contains_key(*filter));
        let all = self.held.keys().chain(pending);
        all.filter(|filter| !filter.filter().is_exact()).count()
    }

    /// Whether a packet about these filters has to wait for another.
    pub(super) fn must_wait<'a>(&self, mut filters: impl Iterator<Item = &'a SubscriptionFilter>) -> bool {
        self.subscribing.len() + self.unsubscribing.len() >= PENDING_MAX
            || filters.any(|filter| self.pending_filters.contains(filter))
    }

    /// Whether no subscription of the filter is held or on its way.
    pub(super) fn is_new(&self, filter: &SubscriptionFilter) -> bool {
        !self.held.contains_key(filter) && !self.pending_filters.contains(filter)
    }

    /// A filter of a packet that is about to be [`Self::subscribing`].
    pub(super) fn expect(&mut self, filter: &SubscriptionFilter) {
        self.pending_new += usize::from(self.is_new(filter));
        self.pending_filters.insert(filter.clone());
    }

    /// A SUBSCRIBE whose filters are all expected.
    pub(super) fn subscribing(&mut self, packet: PendingPacket<NewSubscription>) -> Token {
        let token = self.next_token();
        self.subscribing.insert(token, packet);
        token
    }

    /// An UNSUBSCRIBE of filters that are held.
    pub(super) fn unsubscribing(&mut self, packet: PendingPacket<SubscriptionFilter>) -> Token {
        let token = self.next_token();
        self.pending_filters.extend(packet.changes.iter().cloned());
        self.unsubscribing.insert(token, packet);
        token
    }

    fn next_token(&mut self) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    /// A SUBSCRIBE is answered: with `hold` its subscriptions are held. `None` if none waits under this token.
    pub(super) fn subscribed(&mut self, token: Token, hold: bool) -> Option<PendingPacket<NewSubscription>> {
        let packet = self.subscribing.remove(&token)?;
        for new in &packet.changes {
            self.pending_filters.remove(&new.filter);
            self.pending_new -= usize::from(new.is_new);
        }
        if hold {
            let subscriptions = packet.changes.iter().map(|new| (new.filter.clone(), new.subscription));
            self.held.extend(subscriptions);
        }
        Some(packet)
    }

    /// An UNSUBSCRIBE is answered: with `remove` its subscriptions are gone. `None` if none waits under this token.
    pub(super) fn unsubscribed(&mut self, token: Token, remove: bool) -> Option<PendingPacket<SubscriptionFilter>> {
        let packet = self.unsubscribing.remove(&token)?;
        for filter in &packet.changes {
            self.pending_filters.remove(filter);
            if remove {
                self.held.remove(filter);
            }
        }
        Some(packet)
    }

    /// Whether nothing is on its way, nor counted as such.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        self.subscribing.is_empty()
            && self.unsubscribing.is_empty()
            && self.pending_filters.is_empty()
            && self.pending_new == 0
    }
}
