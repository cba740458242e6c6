//! SUBSCRIBE and UNSUBSCRIBE (§3.8–3.11), and the subscriptions of the session.

use std::collections::{BTreeMap, BTreeSet};

use super::Connection;
use super::effect::{Effect, SubscribeRequest, SubscribeResult, Token};
use super::properties::{self, SubscribeProperties};
use super::publish::annotation;
use crate::mqtt::packet::{
    Packet, QoS, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe, UserProperties,
};
use crate::mqtt::reason::ReasonCode;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// SUBSCRIBEs that wait for the driver at a time; the next one holds up reading.
const PENDING_MAX: usize = 64;

/// Options of a subscription as they hold, not as they were asked for (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The QoS granted: at most 1.
    pub qos: QoS,
    /// No Local: not what this client identifier published [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// RETAIN of a message that is delivered as it happens, published with or without RETAIN [MQTT-3.3.1-12],
    /// [MQTT-3.3.1-13]. What was retained before the subscription always has it.
    #[must_use]
    pub fn retain(&self, published_retain: bool) -> bool {
        self.retain_as_published && published_retain
    }
}

/// A subscription held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Its options.
    pub options: SubscriptionOptions,
    /// Its Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
}

/// A subscription to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its place among the filters of the SUBSCRIBE, from 0.
    pub index: usize,
    /// The filter.
    pub filter: TopicFilter,
    /// Options and identifier. They replace those of an existing subscription of the filter [MQTT-3.8.4-3].
    pub subscription: Subscription,
    /// The session has no subscription of this filter yet.
    pub is_new: bool,
}

impl NewSubscription {
    /// Whether retained messages are to be sent for it [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11].
    #[must_use]
    pub fn sends_retained(&self) -> bool {
        match self.subscription.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => self.is_new,
            RetainHandling::DoNotSend => false,
        }
    }
}

/// A SUBSCRIBE that the driver has not answered.
#[derive(Debug)]
struct PendingSubscribe {
    token: Token,
    packet_id: u16,
    /// One for each filter of the packet, as if the driver says yes.
    reasons: Vec<ReasonCode>,
    /// What was wrong with the first filter that is refused.
    detail: Option<String>,
    subscriptions: Vec<NewSubscription>,
}

/// The subscriptions of the session, and those on their way.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    held: BTreeMap<TopicFilter, Subscription>,
    /// At most [`PENDING_MAX`].
    pending: Vec<PendingSubscribe>,
    /// Filters of `pending`. No two packets in it share one.
    pending_filters: BTreeSet<TopicFilter>,
    /// How many of `pending_filters` are not in `held`.
    pending_new: usize,
    next_token: Token,
}

impl Subscriptions {
    fn remove_pending(&mut self, token: Token) -> Option<PendingSubscribe> {
        let index = self.pending.iter().position(|pending| pending.token == token)?;
        let pending = self.pending.remove(index);
        for new in &pending.subscriptions {
            self.pending_filters.remove(&new.filter);
            self.pending_new -= usize::from(new.is_new);
        }
        Some(pending)
    }
}

#[cfg(test)]
impl Subscriptions {
    /// Whether nothing is on its way, nor counted as such.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.pending_filters.is_empty() && self.pending_new == 0
    }
}

impl Connection {
    /// The subscriptions of the session, by filter.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        self.subscriptions.held.iter()
    }

    pub(super) fn on_subscribe(&mut self, subscribe: Subscribe, out: &mut Vec<Effect>) {
        let filters: Vec<_> = subscribe.filters.iter().map(parse_filter).collect();
        let no_local_shared = subscribe.filters.iter().zip(&filters).any(|(asked, filter)| {
            asked.no_local
                && matches!(
                    filter,
                    Err(Refused {
                        reason: ReasonCode::SharedSubscriptionsNotSupported,
                        ..
                    })
                )
        });
        if no_local_shared {
            // [MQTT-3.8.3-4]
            return self.disconnect(ReasonCode::ProtocolError, "no local on a shared subscription", out);
        }
        let pending_filters = &self.subscriptions.pending_filters;
        if self.subscriptions.pending.len() >= PENDING_MAX
            || filters.iter().flatten().any(|filter| pending_filters.contains(filter))
        {
            self.held = Some(Packet::Subscribe(Box::new(subscribe)));
            return;
        }
        match properties::of_subscribe(&subscribe.user_properties) {
            Ok(properties) => self.subscribe(&subscribe, filters, properties, out),
            Err(error) => {
                let reasons = vec![ReasonCode::ImplementationSpecificError; subscribe.filters.len()];
                self.send_suback(subscribe.packet_id, reasons, Some(error.to_string()), None, out);
            }
        }
    }

    /// Takes the filters one after the other, as if each came in a packet of its own [MQTT-3.8.4-5].
    fn subscribe(
        &mut self,
        subscribe: &Subscribe,
        filters: Vec<Result<TopicFilter, Refused>>,
        properties: SubscribeProperties,
        out: &mut Vec<Effect>,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut detail = None;
        let mut subscriptions = Vec::new();
        for (index, (asked, filter)) in subscribe.filters.iter().zip(filters).enumerate() {
            match filter.and_then(|filter| self.take_filter(index, asked, filter, subscribe.subscription_id)) {
                Ok(new) => {
                    reasons.push(granted(new.subscription.options.qos)); // [MQTT-3.8.4-7]
                    subscriptions.push(new);
                }
                Err(refused) => {
                    reasons.push(refused.reason);
                    detail.get_or_insert_with(|| format!("filter {}: {}", index + 1, refused.detail));
                }
            }
        }
        if subscriptions.is_empty() {
            return self.send_suback(subscribe.packet_id, reasons, detail, None, out);
        }
        let token = self.subscriptions.next_token;
        self.subscriptions.next_token += 1;
        let pending = PendingSubscribe {
            token,
            packet_id: subscribe.packet_id,
            reasons,
            detail,
            subscriptions: subscriptions.clone(),
        };
        self.subscriptions.pending.push(pending);
        let SubscribeProperties {
            consistency_local,
            since,
            marker,
        } = properties;
        out.push(Effect::Subscribe(SubscribeRequest {
            token,
            subscriptions,
            consistency_local,
            since,
            marker,
        }));
    }

    fn take_filter(
        &mut self,
        index: usize,
        asked: &SubscribeFilter,
        filter: TopicFilter,
        subscription_id: Option<u32>,
    ) -> Result<NewSubscription, Refused> {
        let per_packet_max = self.settings.filters_per_packet_max;
        if index >= per_packet_max {
            return Err(Refused::quota(format!(
                "more than {per_packet_max} filters in one SUBSCRIBE"
            )));
        }
        let subscriptions = &mut self.subscriptions;
        let is_new = !subscriptions.held.contains_key(&filter) && !subscriptions.pending_filters.contains(&filter);
        if is_new && subscriptions.held.len() + subscriptions.pending_new >= self.settings.subscriptions_max {
            return Err(Refused::quota(format!(
                "more than {} subscriptions",
                self.settings.subscriptions_max
            )));
        }
        subscriptions.pending_new += usize::from(is_new);
        subscriptions.pending_filters.insert(filter.clone());
        let options = SubscriptionOptions {
            qos: asked.qos.min(QoS::AtLeastOnce), // [MQTT-3.2.2-10]
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            retain_handling: asked.retain_handling,
        };
        Ok(NewSubscription {
            index,
            filter,
            subscription: Subscription {
                options,
                subscription_id,
            },
            is_new,
        })
    }

    /// The answer to [`Effect::Subscribe`]: SUBACK, and what waited for it is handled. An answer to a token that is not open
    /// has no effect.
    pub fn on_subscribed(&mut self, token: Token, result: SubscribeResult, out: &mut Vec<Effect>) {
        if !self.is_connected() {
            return;
        }
        let Some(mut pending) = self.subscriptions.remove_pending(token) else {
            return;
        };
        match result {
            SubscribeResult::Subscribed { revision } => {
                for new in pending.subscriptions {
                    self.subscriptions.held.insert(new.filter, new.subscription);
                }
                self.send_suback(pending.packet_id, pending.reasons, pending.detail, Some(revision), out);
            }
            SubscribeResult::Unavailable(detail) => {
                for reason in pending.reasons.iter_mut().filter(|reason| !reason.is_failure()) {
                    *reason = ReasonCode::ImplementationSpecificError;
                }
                let detail = format!(
                    "{detail}; subscribe with the user property consistency=local to have what this node knows"
                );
                self.send_suback(pending.packet_id, pending.reasons, Some(detail), None, out);
            }
        }
        if let Some(packet) = self.held.take() {
            self.dispatch(packet, out);
        }
    }

    /// SUBACK with a code for each filter [MQTT-3.8.4-1], [MQTT-3.8.4-6], [MQTT-3.9.3-1].
    fn send_suback(
        &mut self,
        packet_id: u16,
        reasons: Vec<ReasonCode>,
        detail: Option<String>,
        revision: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        self.counters.filters_refused += reasons.iter().filter(|reason| reason.is_failure()).count() as u64;
        let may_explain = self.may_explain();
        let annotated = revision.filter(|_| self.client.annotate && may_explain);
        let user_properties = annotated
            .map(|revision| annotation(properties::REVISION, revision))
            .into_iter()
            .collect();
        let reason_string = detail.filter(|_| may_explain);
        self.send(
            Packet::SubAck(SubAck {
                packet_id,
                reason_string,
                user_properties,
                reasons,
            }),
            out,
        );
    }

    pub(super) fn on_unsubscribe(&mut self, unsubscribe: Unsubscribe, out: &mut Vec<Effect>) {
        if !self.subscriptions.pending.is_empty() {
            // It may be about what is on its way; UNSUBACK must not come before that has arrived.
            self.held = Some(Packet::Unsubscribe(unsubscribe));
            return;
        }
        let mut filters = Vec::new();
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for (index, bytes) in unsubscribe.filters.into_iter().enumerate() {
            // [MQTT-3.10.4-1], [MQTT-3.10.4-6]
            reasons.push(if index >= self.settings.filters_per_packet_max {
                ReasonCode::ImplementationSpecificError
            } else {
                match SubscriptionFilter::from_utf8(bytes) {
                    Ok(SubscriptionFilter::Plain(filter)) => match self.subscriptions.held.remove_entry(&filter) {
                        Some((filter, _)) => {
                            filters.push(filter);
                            ReasonCode::Success
                        }
                        None => ReasonCode::NoSubscriptionExisted,
                    },
                    Ok(SubscriptionFilter::Shared(_)) => ReasonCode::NoSubscriptionExisted,
                    Err(_) => ReasonCode::TopicFilterInvalid,
                }
            });
        }
        if !filters.is_empty() {
            out.push(Effect::Unsubscribe { filters });
        }
        let too_many = reasons.contains(&ReasonCode::ImplementationSpecificError) && self.may_explain();
        let reason_string = too_many.then(|| {
            format!(
                "more than {} filters in one UNSUBSCRIBE",
                self.settings.filters_per_packet_max
            )
        });
        let packet_id = unsubscribe.packet_id; // [MQTT-3.10.4-4], [MQTT-3.10.4-5]
        let user_properties = UserProperties::new();
        self.send(
            Packet::UnsubAck(UnsubAck {
                packet_id,
                reason_string,
                user_properties,
                reasons,
            }),
            out,
        );
    }
}

/// Why a filter is not subscribed.
#[derive(Debug)]
struct Refused {
    reason: ReasonCode,
    detail: String,
}

impl Refused {
    fn quota(detail: String) -> Self {
        Self {
            reason: ReasonCode::QuotaExceeded,
            detail,
        }
    }
}

/// The filter in a buffer of its own.
fn parse_filter(asked: &SubscribeFilter) -> Result<TopicFilter, Refused> {
    match SubscriptionFilter::from_utf8(asked.filter.clone()) {
        Ok(SubscriptionFilter::Plain(filter)) => Ok(filter.detach()),
        Ok(SubscriptionFilter::Shared(_)) => Err(Refused {
            reason: ReasonCode::SharedSubscriptionsNotSupported,
            detail: "shared subscriptions are not supported yet; subscribe to the filter itself".to_owned(),
        }),
        Err(error) => Err(Refused {
            reason: ReasonCode::TopicFilterInvalid,
            detail: error.to_string(),
        }),
    }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}
