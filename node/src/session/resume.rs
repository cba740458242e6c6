//! From a session's row to a connection that goes on where the former one ended, wherever that was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::SessionSubscription;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::effect::{InFlight, Resumed};
use banyan_core::mqtt::connection::subscribe::{Subscription, SubscriptionOptions as Options};
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::{Session, StateView};
use banyan_core::store::StoreError;
use banyan_core::topic::SubscriptionFilter;
use bytes::Bytes;

use super::Driver;
use super::pace::ReplayPace;
use super::registry::shared_delivery;
use super::retained::{Retained, RetainedFilter};
use crate::broker::{Broker, Message, Outbox, SubscriptionOptions, qos_of};

/// A message that the former connection had in flight.
pub struct Resend {
    /// The packet identifier that the client knows it by.
    pub packet_id: u16,
    /// Which message it is.
    pub position: MessagePosition,
    /// Its QoS.
    pub qos: QoS,
    /// The shared subscription it came by.
    shared: Option<Bytes>,
    subscriptions: Arc<[Held]>,
}

/// A subscription of the session.
struct Held {
    filter: SubscriptionFilter,
    retain_as_published: bool,
    subscription_id: Option<u32>,
    since: u64,
}

impl Resend {
    /// RETAIN and subscription identifiers of `message`, which this one is about: as it was sent, unless the client has
    /// subscribed otherwise meanwhile.
    #[must_use]
    pub fn options_for(&self, message: &Message) -> (bool, Vec<u32>) {
        let matching: Vec<&Held> = self
            .subscriptions
            .iter()
            .filter(|held| match (&held.filter, &self.shared) {
                (SubscriptionFilter::Shared(_), Some(text)) => held.filter.as_str().as_bytes() == &**text,
                (SubscriptionFilter::Plain(filter), None) => filter.matches(message.topic()),
                _ => false,
            })
            .collect();
        let is_live = |held: &&Held| self.shared.is_some() || held.since < self.position.revision;
        if matching.iter().any(&is_live) {
            let live = matching.into_iter().filter(is_live);
            let (retain, ids): (Vec<bool>, Vec<Option<u32>>) = live
                .map(|held| (held.retain_as_published, held.subscription_id))
                .unzip();
            let retain = message.retain() && retain.contains(&true);
            return (retain, ids.into_iter().flatten().collect());
        }
        // It was there before the client subscribed: a retained message.
        let first = matching.into_iter().find_map(|held| held.subscription_id);
        (message.retain(), first.into_iter().collect())
    }
}

/// Whether `session` is that of the connection `fence`.
#[must_use]
pub fn is_of(session: &Session, fence: u64) -> bool {
    session.connection.is_some_and(|connection| connection.fence == fence)
}

/// Hands `outbox` what shared subscriptions have given to the session's connection, as `view` shows it, except what it is
/// sending already.
///
/// # Errors
/// The state could not be read.
pub fn begin_assigned(
    session: &Session,
    outbox: &Outbox,
    view: &StateView,
    sending: &BTreeSet<MessagePosition>,
) -> Result<(), StoreError> {
    let mut deliveries = Vec::new();
    let waiting = session.assigned.iter();
    for ((position, text), qos) in waiting.filter(|((position, _), _)| !sending.contains(position)) {
        let (Some(change), Some(row)) = (view.message_at(*position)?, session.subscriptions.get(text)) else {
            continue;
        };
        let message = Message::of_change(&change, view.log_time_us);
        let SessionSubscription {
            options,
            subscription_id,
            ..
        } = &row.subscription;
        let ids = subscription_id.iter().copied().collect();
        deliveries.push(shared_delivery(message, *qos, options.retain_as_published, ids));
    }
    outbox.begin_assigned(deliveries, view.applied.map_or(0, |applied| applied.index));
    Ok(())
}

/// Lets `outbox`, just registered for `session`, go on where the session stands.
#[must_use]
pub fn resume(
    session: &Session,
    outbox: &Arc<Outbox>,
    broker: &Broker,
    view_lease: Duration,
    pace: ReplayPace,
) -> Driver {
    let mut plain = Vec::new();
    let mut replays = Vec::new();
    for row in session.subscriptions.values() {
        let SubscriptionFilter::Plain(filter) = &row.subscription.filter else {
            continue;
        };
        let options = &row.subscription.options;
        plain.push((
            filter,
            SubscriptionOptions {
                qos: qos_of(options.qos),
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                subscription_id: row.subscription.subscription_id,
                latest: row.subscription.latest,
            },
            row.since,
        ));
        if let Some(from) = &row.subscription.replay {
            let retained = RetainedFilter {
                filter: filter.clone(),
                qos: qos_of(options.qos),
                no_local: options.no_local,
                subscription_id: row.subscription.subscription_id,
                from: from.clone(),
            };
            replays.push((moment(session.cursor, row.since), retained));
        }
    }
    let first = plain.iter().map(|(.., since)| MessagePosition::end_of(*since)).min();
    outbox.skip_through(session.cursor.max(first.unwrap_or_default()));
    replays.sort_by_key(|(moment, _)| *moment);
    let replays: BTreeMap<u64, Retained> = (1..)
        .zip(replays)
        .map(|(replay, (moment, filter))| (replay, Retained::new(vec![filter], moment, None, view_lease)))
        .collect();
    let places: Vec<_> = replays
        .iter()
        .map(|(replay, retained)| (*replay, retained.moment()))
        .collect();
    broker.attach(outbox, plain, places);
    Driver::new(Arc::clone(outbox), resends(session), replays, pace)
}

/// The moment of a replay: no earlier than the subscription, and everything later is behind the cursor.
fn moment(cursor: MessagePosition, since: u64) -> MessagePosition {
    cursor.max(MessagePosition::end_of(since))
}

fn resends(session: &Session) -> VecDeque<Resend> {
    let subscriptions: Arc<[Held]> = session
        .subscriptions
        .values()
        .map(|row| Held {
            filter: row.subscription.filter.clone(),
            retain_as_published: row.subscription.options.retain_as_published,
            subscription_id: row.subscription.subscription_id,
            since: row.since,
        })
        .collect();
    let unanswered = session.in_flight.iter().filter(|in_flight| !in_flight.received);
    unanswered
        .map(|in_flight| Resend {
            packet_id: in_flight.packet_id,
            position: in_flight.position,
            qos: qos_of(in_flight.qos),
            shared: in_flight.shared.clone(),
            subscriptions: Arc::clone(&subscriptions),
        })
        .collect()
}

/// What the connection itself has to know of `session`.
#[must_use]
pub fn resumed(session: &Session) -> Resumed {
    let subscriptions = session.subscriptions.values().map(|row| {
        let options = &row.subscription.options;
        let subscription = Subscription {
            options: Options {
                qos: qos_of(options.qos),
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
            },
            subscription_id: row.subscription.subscription_id,
            latest: row.subscription.latest,
        };
        (row.subscription.filter.clone(), subscription)
    });
    let in_flight = session.in_flight.iter().map(|in_flight| InFlight {
        packet_id: in_flight.packet_id,
        qos: qos_of(in_flight.qos),
        received: in_flight.received,
    });
    Resumed {
        subscriptions: subscriptions.collect(),
        inbound: session.inbound.clone(),
        in_flight: in_flight.collect(),
    }
}
