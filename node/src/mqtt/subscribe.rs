//! SUBSCRIBE and UNSUBSCRIBE: what the cluster keeps is asked of it first, then this node's index follows.

use banyan_core::command::{
    Operation, ReplayFrom, SessionSubscription, Subscribe, SubscriptionOptions as StoredOptions, Unsubscribe,
};
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::NewSubscription;
use banyan_core::mqtt::connection::effect::{SubscribeRequest, SubscribeResult, Token, UnsubscribeResult};
use banyan_core::state::StateView;
use banyan_core::store::StoreError;
use banyan_core::topic::{SubscriptionFilter, TopicFilter};
use tokio::time::Instant;

use super::ask::Asked;
use super::attached::Attached;
use super::replay::Replay;
use super::task::Task;
use crate::broker::SubscriptionOptions;
use crate::service::{Consistency, ReadError};
use crate::session::resume;
use crate::session::retained::{Marker, Retained, RetainedFilter};
use crate::trace::Told;

impl Task {
    /// Subscriptions of a persistent session, and shared ones, are in the cluster first: then this node has caught up too, as
    /// it has applied what it asked for. Otherwise it asks how far the cluster is.
    pub(super) fn ask_to_subscribe(&mut self, request: SubscribeRequest) {
        let stored: Vec<_> = request
            .subscriptions
            .iter()
            .filter(|new| self.is_stored(&new.filter))
            .map(|new| stored(new, request.since))
            .collect();
        if !stored.is_empty() {
            let subscribe = Subscribe { subscriptions: stored };
            return self.ask(
                Operation::Subscribe(subscribe),
                Asked::Subscribe(request, Instant::now()),
            );
        }
        let service = self.service.clone();
        let consistency = match request.consistency_local {
            true => Consistency::Local,
            false => Consistency::Linearizable,
        };
        self.subscribing.push(Box::pin(async move {
            let received = Instant::now();
            let fresh = service.read(consistency).await.map(|_| received);
            (request, fresh)
        }));
    }

    /// Whether the cluster keeps a subscription of this session to `filter`.
    fn is_stored(&self, filter: &SubscriptionFilter) -> bool {
        let is_persistent = matches!(self.attached, Some(Attached::Persistent(_)));
        is_persistent || is_shared(filter)
    }

    /// This node has caught up, or could not.
    pub(super) fn subscribe_fresh(&mut self, request: SubscribeRequest, fresh: Result<Instant, ReadError>) {
        match fresh {
            Ok(received) => self.subscribed(request, received),
            Err(error) => {
                let result = SubscribeResult::Unavailable(error.to_string());
                self.connection.on_subscribed(request.token, result, &mut self.effects);
            }
        }
    }

    /// The moment R is now: this node has applied everything that was acknowledged before the SUBSCRIBE came.
    pub(super) fn subscribed(&mut self, request: SubscribeRequest, received: Instant) {
        let token = request.token;
        let subject = request.subscriptions.first().map(|first| first.filter.clone());
        let lease = self.settings.view_lease;
        let Some(attached) = &mut self.attached else {
            return;
        };
        if request.since.is_none() {
            // What is subscribed again is replayed once, with its new options; unless the new subscription replays nothing.
            let replayed_anew = request.subscriptions.iter().filter(|new| new.sends_retained());
            let filters: Vec<_> = replayed_anew.map(|new| new.filter.filter().clone()).collect();
            attached.unsubscribe(&filters);
        }
        let replay = attached.next_replay();
        let filters = request.subscriptions.iter().filter_map(plain);
        let take_view = || self.service.local_view();
        let view = self
            .service
            .broker()
            .subscribe(attached.outbox(), replay, filters, take_view);
        let revision = view.revision;
        let status = request.subscriptions.iter().filter(|new| new.sends_retained());
        self.service
            .broker()
            .send_status(attached.outbox(), status.filter_map(plain));
        match attached {
            Attached::Clean(live) => live.replay(replay, Replay::new(request, view, lease)),
            Attached::Persistent(driver) => {
                let annotates = self.connection.annotates();
                driver.replay(replay, retained(&request, view, lease, annotates));
            }
        }
        let result = SubscribeResult::Subscribed { revision };
        self.connection.on_subscribed(token, result, &mut self.effects);
        self.subscribe_took(received, subject);
        self.carry_out();
    }

    /// Counts a SUBSCRIBE that is answered, and tells of it; `first` is the first of its filters.
    fn subscribe_took(&self, received: Instant, first: Option<SubscriptionFilter>) {
        let ended = Instant::now();
        let took = ended.saturating_duration_since(received);
        self.service.broker().traffic().subscribe_times().record(took);
        if let Some(reasons) = self.service.watch().is_told(took, None) {
            let told = Told {
                kind: "mqtt subscribe",
                subject: &first.map(|filter| filter.filter().to_string()).unwrap_or_default(),
                outcome: "subscribed",
                begun: received,
                ended,
                parts: &[],
            };
            self.service.watch().tell(&told, reasons, None);
        }
    }

    pub(super) fn ask_to_unsubscribe(&mut self, token: Token, filters: Vec<SubscriptionFilter>) {
        let plain: Vec<TopicFilter> = filters
            .iter()
            .filter_map(|filter| match filter {
                SubscriptionFilter::Plain(filter) => Some(filter.clone()),
                SubscriptionFilter::Shared(_) => None,
            })
            .collect();
        if let Some(attached) = &mut self.attached {
            self.service.broker().unsubscribe(attached.outbox(), &plain);
            attached.unsubscribe(&plain);
        }
        let stored: Vec<_> = filters.into_iter().filter(|filter| self.is_stored(filter)).collect();
        if stored.is_empty() {
            let result = UnsubscribeResult::Unsubscribed;
            return self.connection.on_unsubscribed(token, result, &mut self.effects);
        }
        if stored.iter().any(is_shared)
            && let Some(attached) = &self.attached
        {
            // What waits here of them goes to other members.
            attached.outbox().stop_assigned();
        }
        let unsubscribe = Unsubscribe { filters: stored };
        self.ask(Operation::Unsubscribe(unsubscribe), Asked::Unsubscribe(token));
    }

    /// The cluster has forgotten the subscriptions.
    ///
    /// # Errors
    /// The state could not be read.
    pub(super) fn unsubscribed(&mut self, token: Token) -> Result<(), StoreError> {
        if let Some(attached) = &self.attached {
            let outbox = attached.outbox();
            let view = self.service.local_view();
            if outbox.awaits_assigned()
                && let Some(session) = view.session(outbox.client_id())
                && resume::is_of(&session, outbox.id())
            {
                resume::begin_assigned(&session, outbox, &view, &attached.sending())?;
            }
        }
        let result = UnsubscribeResult::Unsubscribed;
        self.connection.on_unsubscribed(token, result, &mut self.effects);
        Ok(())
    }
}

fn is_shared(filter: &SubscriptionFilter) -> bool {
    matches!(filter, SubscriptionFilter::Shared(_))
}

/// A subscription as the cluster keeps it. Shared subscriptions replay nothing (§4.8.2).
fn stored(new: &NewSubscription, since: Option<u64>) -> SessionSubscription {
    let options = &new.subscription.options;
    let is_plain = matches!(new.filter, SubscriptionFilter::Plain(_));
    let replay = (is_plain && new.sends_retained()).then(|| replay_from(since));
    SessionSubscription {
        filter: new.filter.clone(),
        options: StoredOptions {
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        },
        latest: new.subscription.latest,
        subscription_id: new.subscription.subscription_id,
        replay,
    }
}

fn replay_from(since: Option<u64>) -> ReplayFrom {
    match since {
        Some(since) => ReplayFrom::Changes {
            after: MessagePosition::end_of(since),
        },
        None => ReplayFrom::Topics { after: None },
    }
}

/// A subscription as this node's index has it, unless it is shared.
fn plain(new: &NewSubscription) -> Option<(&TopicFilter, SubscriptionOptions)> {
    let SubscriptionFilter::Plain(filter) = &new.filter else {
        return None;
    };
    let options = &new.subscription.options;
    let options = SubscriptionOptions {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        subscription_id: new.subscription.subscription_id,
        latest: new.subscription.latest,
    };
    Some((filter, options))
}

/// The retained messages that a persistent session is to be sent for `request`, of the moment of `view`.
fn retained(request: &SubscribeRequest, view: StateView, lease: std::time::Duration, annotates: bool) -> Retained {
    let since = request.since;
    let reset = since.is_some_and(|since| since < view.compacted_revision || since > view.revision);
    let filters = request
        .subscriptions
        .iter()
        .filter(|new| new.sends_retained())
        .filter_map(plain);
    let filters = filters.map(|(filter, options)| RetainedFilter {
        filter: filter.clone(),
        qos: options.qos,
        no_local: options.no_local,
        subscription_id: options.subscription_id,
        from: replay_from(since.filter(|_| !reset)),
    });
    let revision = view.revision;
    let mut retained = Retained::new(filters.collect(), MessagePosition::end_of(revision), Some(view), lease);
    retained.reset = reset && (since.is_some() || request.marker || annotates);
    let first = request.subscriptions.first();
    retained.marker = request.marker.then(|| Marker {
        revision,
        subscription_id: first.and_then(|new| new.subscription.subscription_id),
    });
    retained
}
