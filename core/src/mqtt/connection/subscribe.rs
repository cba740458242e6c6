//! SUBSCRIBE and UNSUBSCRIBE (§3.8–3.11).

use bytes::Bytes;

use super::Connection;
use super::effect::{Effect, SubscribeRequest, SubscribeResult, Token, UnsubscribeResult};
use super::pending::PendingPacket;
use super::properties::{self, SubscribeProperties};
use super::publish::annotation;
use crate::mqtt::packet::{
    Packet, ProtocolVersion, QoS, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe,
    UserProperties,
};
use crate::mqtt::reason::ReasonCode;
use crate::topic::{SubscriptionFilter, TopicFilterError};

/// Options of a subscription for as long as it is held (§3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The QoS granted: the one asked for.
    pub qos: QoS,
    /// No Local: not what this client identifier published [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
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
    /// `deliver=latest`: after an absence each topic once. Means nothing in a session that ends with its connection.
    pub latest: bool,
}

/// A subscription to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its place among the filters of the SUBSCRIBE, from 0.
    pub index: usize,
    /// The filter, alone or shared. Its bytes are its own.
    pub filter: SubscriptionFilter,
    /// Options and identifier. They replace those of an existing subscription of the filter [MQTT-3.8.4-3].
    pub subscription: Subscription,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
    /// The session has no subscription of this filter yet.
    pub is_new: bool,
}

impl NewSubscription {
    /// Whether retained messages are to be sent for it [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]. Never for a shared
    /// one (§4.8.2).
    #[must_use]
    pub fn sends_retained(&self) -> bool {
        match (&self.filter, self.retain_handling) {
            (SubscriptionFilter::Shared(_), _) | (_, RetainHandling::DoNotSend) => false,
            (_, RetainHandling::Send) => true,
            (_, RetainHandling::SendIfNew) => self.is_new,
        }
    }
}

impl Connection {
    /// The subscriptions of the session, by filter.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&SubscriptionFilter, &Subscription)> {
        self.subscriptions.held()
    }

    pub(super) fn on_subscribe(&mut self, subscribe: Subscribe, out: &mut Vec<Effect>) {
        let filters: Vec<_> = subscribe
            .filters
            .iter()
            .map(|asked| own_filter(&asked.filter))
            .collect();
        let is_local_shared = |(asked, filter): (&SubscribeFilter, &Result<SubscriptionFilter, _>)| {
            asked.no_local && matches!(filter, Ok(SubscriptionFilter::Shared(_)))
        };
        if subscribe.filters.iter().zip(&filters).any(is_local_shared) {
            // [MQTT-3.8.3-4]
            return self.disconnect(ReasonCode::ProtocolError, "no local on a shared subscription", out);
        }
        if self.subscriptions.must_wait(filters.iter().flatten()) {
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
        filters: Vec<Result<SubscriptionFilter, TopicFilterError>>,
        properties: SubscribeProperties,
        out: &mut Vec<Effect>,
    ) {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut detail = None;
        let mut subscriptions = Vec::new();
        for (index, (asked, filter)) in subscribe.filters.iter().zip(filters).enumerate() {
            let subscription = Subscription {
                options: SubscriptionOptions {
                    qos: asked.qos,
                    no_local: asked.no_local,
                    retain_as_published: asked.retain_as_published,
                },
                subscription_id: subscribe.subscription_id,
                latest: properties.latest,
            };
            match self.take_filter(index, filter, subscription, asked.retain_handling) {
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
        let token = self.subscriptions.subscribing(PendingPacket {
            packet_id: subscribe.packet_id,
            reasons,
            detail,
            changes: subscriptions.clone(),
        });
        let SubscribeProperties {
            consistency_local,
            since,
            marker,
            latest: _,
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
        filter: Result<SubscriptionFilter, TopicFilterError>,
        subscription: Subscription,
        retain_handling: RetainHandling,
    ) -> Result<NewSubscription, Refused> {
        let filter = filter.map_err(|error| Refused::new(ReasonCode::TopicFilterInvalid, error.to_string()))?;
        let quota = |detail| Err(Refused::new(ReasonCode::QuotaExceeded, detail));
        let per_packet_max = self.settings.filters_per_packet_max;
        if index >= per_packet_max {
            return quota(format!("more than {per_packet_max} filters in one SUBSCRIBE"));
        }
        if subscription.latest && matches!(filter, SubscriptionFilter::Shared(_)) {
            let detail = "deliver=latest on a shared subscription, whose members get each message once";
            return Err(Refused::new(ReasonCode::ImplementationSpecificError, detail.to_owned()));
        }
        if self.settings.refuse_shared && matches!(filter, SubscriptionFilter::Shared(_)) {
            let detail = "shared subscriptions are turned off here".to_owned();
            return Err(Refused::new(ReasonCode::SharedSubscriptionsNotSupported, detail));
        }
        if self.settings.refuse_wildcards && !filter.filter().is_exact() {
            let detail = "filters with wildcards are turned off here".to_owned();
            return Err(Refused::new(ReasonCode::WildcardSubscriptionsNotSupported, detail));
        }
        if self.settings.refuse_root_wildcard && filter.filter().as_str() == "#" {
            let detail = "the filter # is turned off here".to_owned();
            return Err(Refused::new(ReasonCode::NotAuthorized, detail));
        }
        let is_new = self.subscriptions.is_new(&filter);
        let wildcards_max = self.settings.wildcards_max;
        let is_limited = wildcards_max > 0 && is_new && !filter.filter().is_exact();
        if is_limited && self.subscriptions.wildcard_count() >= wildcards_max {
            return quota(format!("more than {wildcards_max} subscriptions with wildcards"));
        }
        let subscriptions_max = self.settings.subscriptions_max;
        if is_new && self.subscriptions.count() >= subscriptions_max {
            return quota(format!("more than {subscriptions_max} subscriptions"));
        }
        self.subscriptions.expect(&filter);
        Ok(NewSubscription {
            index,
            filter,
            subscription,
            retain_handling,
            is_new,
        })
    }

    /// The answer to [`Effect::Subscribe`]: SUBACK, and what waited for it is handled. An answer to a token that is not open
    /// has no effect.
    pub fn on_subscribed(&mut self, token: Token, result: SubscribeResult, out: &mut Vec<Effect>) {
        if !self.is_connected() {
            return;
        }
        let hold = matches!(result, SubscribeResult::Subscribed { .. });
        let Some(mut packet) = self.subscriptions.subscribed(token, hold) else {
            return;
        };
        match result {
            SubscribeResult::Subscribed { revision } => {
                self.send_suback(packet.packet_id, packet.reasons, packet.detail, Some(revision), out);
            }
            SubscribeResult::Unavailable(detail) => {
                refuse_all(&mut packet.reasons);
                let detail = format!(
                    "{detail}; subscribe with the user property consistency=local to have what this node knows"
                );
                self.send_suback(packet.packet_id, packet.reasons, Some(detail), None, out);
            }
        }
        self.take_held(out);
    }

    /// Handles what waited for another packet, if it need not wait any longer.
    fn take_held(&mut self, out: &mut Vec<Effect>) {
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
        let filters: Vec<_> = unsubscribe.filters.iter().map(own_filter).collect();
        if self.subscriptions.must_wait(filters.iter().flatten()) {
            // UNSUBACK must not come before what it is about has arrived.
            self.held = Some(Packet::Unsubscribe(unsubscribe));
            return;
        }
        let per_packet_max = self.settings.filters_per_packet_max;
        let mut changes: Vec<SubscriptionFilter> = Vec::new();
        let mut detail = None;
        let mut reasons = Vec::with_capacity(filters.len());
        for (index, filter) in filters.into_iter().enumerate() {
            // [MQTT-3.10.4-1], [MQTT-3.10.4-6]
            reasons.push(match filter {
                _ if index >= per_packet_max => {
                    detail.get_or_insert_with(|| format!("more than {per_packet_max} filters in one UNSUBSCRIBE"));
                    ReasonCode::ImplementationSpecificError
                }
                Ok(filter) if self.subscriptions.is_held(&filter) && !changes.contains(&filter) => {
                    changes.push(filter);
                    ReasonCode::Success
                }
                Ok(_) => ReasonCode::NoSubscriptionExisted,
                Err(_) => ReasonCode::TopicFilterInvalid,
            });
        }
        let packet_id = unsubscribe.packet_id;
        if changes.is_empty() {
            return self.send_unsuback(packet_id, reasons, detail, out);
        }
        let filters = changes.clone();
        let token = self.subscriptions.unsubscribing(PendingPacket {
            packet_id,
            reasons,
            detail,
            changes,
        });
        out.push(Effect::Unsubscribe { token, filters });
    }

    /// The answer to [`Effect::Unsubscribe`]: UNSUBACK, and what waited for it is handled. An answer to a token that is not
    /// open has no effect.
    pub fn on_unsubscribed(&mut self, token: Token, result: UnsubscribeResult, out: &mut Vec<Effect>) {
        if !self.is_connected() {
            return;
        }
        let remove = result == UnsubscribeResult::Unsubscribed;
        let Some(mut packet) = self.subscriptions.unsubscribed(token, remove) else {
            return;
        };
        match result {
            UnsubscribeResult::Unsubscribed => {
                self.send_unsuback(packet.packet_id, packet.reasons, packet.detail, out);
            }
            // 3.1.1 cannot be told.
            UnsubscribeResult::Unavailable(detail) if self.client.version == ProtocolVersion::V3 => {
                self.disconnect(ReasonCode::ServerBusy, &detail, out);
            }
            UnsubscribeResult::Unavailable(detail) => {
                refuse_all(&mut packet.reasons);
                self.send_unsuback(packet.packet_id, packet.reasons, Some(detail), out);
            }
        }
        self.take_held(out);
    }

    /// UNSUBACK with a code for each filter [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.11.3-1].
    fn send_unsuback(
        &mut self,
        packet_id: u16,
        reasons: Vec<ReasonCode>,
        detail: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let unsuback = UnsubAck {
            packet_id,
            reason_string: detail.filter(|_| self.may_explain()),
            user_properties: UserProperties::new(),
            reasons,
        };
        self.send(Packet::UnsubAck(unsuback), out);
    }
}

/// Why a filter is not subscribed.
#[derive(Debug)]
struct Refused {
    reason: ReasonCode,
    detail: String,
}

impl Refused {
    fn new(reason: ReasonCode, detail: String) -> Self {
        Self { reason, detail }
    }
}

/// The filter in a buffer of its own.
fn own_filter(bytes: &Bytes) -> Result<SubscriptionFilter, TopicFilterError> {
    let text = std::str::from_utf8(bytes).map_err(|_| TopicFilterError::Utf8)?;
    SubscriptionFilter::parse(text)
}

/// What would have succeeded has failed.
fn refuse_all(reasons: &mut [ReasonCode]) {
    let succeeded = |reason: &&mut ReasonCode| {
        matches!(
            **reason,
            ReasonCode::Success | ReasonCode::GrantedQoS1 | ReasonCode::GrantedQoS2
        )
    };
    for reason in reasons.iter_mut().filter(succeeded) {
        *reason = ReasonCode::ImplementationSpecificError;
    }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}
