//! Messages to the client (§3.3, §4.3): encoded straight into what the driver will write.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use super::aliases::AliasUse;
use super::inflight::{Due, NotDue};
use super::timestamp::format_timestamp_us;
use super::{Connection, properties};
use crate::metadata::Metadata;
use crate::mqtt::codec::{PublishTemplate, TopicAlias};
use crate::mqtt::packet::{ProtocolVersion, QoS};
use crate::topic::TopicName;

/// What a client with `annotate=on` is told about a delivered value or deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotations {
    /// Its revision.
    pub revision: u64,
    /// Its timestamp, microseconds since the Unix epoch.
    pub timestamp_us: u64,
}

/// A message for one subscriber.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingMessage<'a> {
    /// Topic.
    pub topic: &'a TopicName,
    /// Payload; empty for a deletion.
    pub payload: &'a Bytes,
    /// Metadata as published.
    pub metadata: &'a Metadata,
    /// The lesser of the message's QoS and the one granted [MQTT-3.8.4-8].
    pub qos: QoS,
    /// RETAIN: set for what was retained before the subscription, otherwise see
    /// [`SubscriptionOptions::retain`](super::SubscriptionOptions::retain).
    pub retain: bool,
    /// Identifiers of all subscriptions that match and have one, 1 to 268,435,455 each [MQTT-3.3.4-4].
    pub subscription_ids: &'a [u32],
    /// What is left of the Message Expiry Interval, seconds [MQTT-3.3.2-6].
    pub message_expiry_s: Option<u32>,
    /// Of a value or deletion; `None` for an event. Sent only to a client that asked for annotations, where `revision` and
    /// `timestamp` replace user properties of these names.
    pub annotations: Option<Annotations>,
    /// Further user properties, for this subscriber alone (`reset=on`, the `revision` of a marker); they replace those of
    /// the same name.
    pub user_properties: &'a [(&'a str, &'a str)],
    /// Encodings shared with the other subscribers of this very message; `None` if there are none.
    pub templates: Option<&'a MessageTemplates>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverResult {
    /// It is in the buffer, with this packet identifier if its QoS is above 0. The buffer must be sent: packet identifier and
    /// topic alias count as known to the client.
    Sent {
        /// Packet identifier.
        packet_id: Option<u16>,
    },
    /// It is larger than the client's Maximum Packet Size: counted, and to be treated as sent [MQTT-3.1.2-25].
    TooLarge,
    /// No place in the window: ask again after the client's next acknowledgement. Nothing was written.
    WindowFull,
    /// Nothing is to be sent under this packet identifier: it was not reserved, it is cancelled, sent on this connection
    /// already, or acknowledged. Nothing was written.
    NotReserved,
    /// The connection is not open (yet, or any more). Nothing was written.
    NotConnected,
}

/// The encodings of one message, each made when the first subscriber needs it. All subscribers share the message's expiry and
/// annotations; they differ in version, QoS, RETAIN and whether they are annotated.
#[derive(Debug, Default)]
pub struct MessageTemplates([OnceLock<Box<PublishTemplate>>; 18]);

impl MessageTemplates {
    /// None made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn get_or_make(&self, variant: Variant, make: impl FnOnce() -> PublishTemplate) -> Option<&PublishTemplate> {
        let place = self.0.get(variant.index())?;
        Some(place.get_or_init(|| Box::new(make())))
    }
}

/// What tells the encodings of one message apart.
#[derive(Debug, Clone, Copy)]
struct Variant {
    version: ProtocolVersion,
    qos: QoS,
    retain: bool,
    annotated: bool,
}

impl Variant {
    /// 0 to 17: only 5.0 can be annotated.
    fn index(self) -> usize {
        let kind = match (self.version, self.annotated) {
            (ProtocolVersion::V3, _) => 0,
            (ProtocolVersion::V5, false) => 1,
            (ProtocolVersion::V5, true) => 2,
        };
        kind * 6 + self.qos as usize * 2 + usize::from(self.retain)
    }
}

impl Connection {
    /// Whether a message of this QoS can be sent now: QoS 0 while connected, else while there is room in the window
    /// [MQTT-3.3.4-9].
    #[must_use]
    pub fn can_deliver(&self, qos: QoS) -> bool {
        self.is_connected() && (qos == QoS::AtMostOnce || self.inflight.has_room())
    }

    /// QoS 1 and 2 messages that the client has not acknowledged, and packet identifiers reserved for such.
    #[must_use]
    pub fn inflight_count(&self) -> usize {
        self.inflight.len()
    }

    /// Takes a packet identifier and a place in the window for a message of QoS 1 or 2 that is sent later, with
    /// [`Self::deliver_reserved`], once the cluster knows it. `None` without room, before CONNACK, and for QoS 0.
    pub fn reserve(&mut self, qos: QoS) -> Option<u16> {
        if self.is_connected() && qos != QoS::AtMostOnce {
            self.inflight.reserve(qos)
        } else {
            None
        }
    }

    /// Gives the packet identifier of a message back that is not sent after all. No effect on one that is sent.
    pub fn cancel(&mut self, packet_id: u16) {
        self.inflight.cancel(packet_id);
    }

    /// Appends the PUBLISH to `out`, in order with the effects: what was [`Effect::Send`](super::Effect::Send) before comes
    /// before it. Messages of one topic leave in the order of these calls [MQTT-4.6.0-5].
    pub fn deliver(&mut self, message: &OutgoingMessage<'_>, out: &mut BytesMut) -> DeliverResult {
        if !self.can_deliver(message.qos) {
            return match self.is_connected() {
                true => DeliverResult::WindowFull,
                false => DeliverResult::NotConnected,
            };
        }
        match self.reserve(message.qos) {
            Some(packet_id) => self.deliver_reserved(packet_id, message, out),
            None => self.publish(message, QoS::AtMostOnce, None, false, out),
        }
    }

    /// As [`Self::deliver`], under a packet identifier that was reserved, or restored with the session
    /// ([`Resumed`](super::Resumed)): then with DUP [MQTT-3.3.1-1], [MQTT-4.4.0-1]. Its QoS is the one it was reserved for.
    /// What is too large for the client leaves its identifier free.
    pub fn deliver_reserved(
        &mut self,
        packet_id: u16,
        message: &OutgoingMessage<'_>,
        out: &mut BytesMut,
    ) -> DeliverResult {
        if !self.is_connected() {
            return DeliverResult::NotConnected;
        }
        let Due { qos, dup } = match self.inflight.due(packet_id) {
            Ok(due) => due,
            Err(NotDue::Unknown) => return DeliverResult::NotReserved,
            Err(NotDue::WindowFull) => return DeliverResult::WindowFull,
        };
        let result = self.publish(message, qos, Some(packet_id), dup, out);
        match result {
            DeliverResult::Sent { .. } => self.inflight.published(packet_id),
            _ => self.inflight.cancel(packet_id),
        }
        result
    }

    /// `packet_id` is `Some` exactly when the QoS is above 0.
    fn publish(
        &mut self,
        message: &OutgoingMessage<'_>,
        qos: QoS,
        packet_id: Option<u16>,
        dup: bool,
        out: &mut BytesMut,
    ) -> DeliverResult {
        let annotations = message.annotations.filter(|_| self.client.annotate);
        let variant = Variant {
            version: self.client.version,
            qos,
            retain: message.retain,
            annotated: annotations.is_some(),
        };
        let shared = message.templates.filter(|_| message.user_properties.is_empty());
        let shared =
            shared.and_then(|templates| templates.get_or_make(variant, || encode(message, variant, annotations)));
        let own;
        let template = match shared {
            Some(template) => template,
            None => {
                own = encode(message, variant, annotations);
                &own
            }
        };

        let alias = self.outbound_aliases.choose(message.topic);
        let topic_alias = match alias {
            AliasUse::Name => None,
            AliasUse::Assign(alias) => Some(TopicAlias::Define(alias)),
            AliasUse::Known(alias) => Some(TopicAlias::Use(alias)),
        };
        let bytes_max = self.client.packet_bytes_max;
        if bytes_max < u32::MAX && template.packet_len_with(message.subscription_ids, topic_alias) > bytes_max as usize
        {
            self.counters.deliveries_too_large += 1;
            return DeliverResult::TooLarge;
        }
        template.write(packet_id, dup, message.subscription_ids, topic_alias, out);
        self.outbound_aliases.sent(message.topic, alias);
        self.counters.deliveries += 1;
        DeliverResult::Sent { packet_id }
    }
}

fn encode(message: &OutgoingMessage<'_>, variant: Variant, annotations: Option<Annotations>) -> PublishTemplate {
    let make = |user_properties: &[(&str, &str)]| {
        PublishTemplate::new(
            variant.version,
            variant.qos,
            variant.retain,
            message.topic,
            message.metadata,
            user_properties,
            message.message_expiry_s,
            message.payload,
        )
    };
    let Some(Annotations { revision, timestamp_us }) = annotations else {
        return make(message.user_properties);
    };
    let (revision, timestamp) = (revision.to_string(), format_timestamp_us(timestamp_us));
    let annotations = [
        (properties::REVISION, revision.as_str()),
        (properties::TIMESTAMP, timestamp.as_str()),
    ];
    // What is said for this subscriber alone counts more.
    let is_replaced = |name: &str| message.user_properties.iter().any(|(other, _)| *other == name);
    let mut user_properties: Vec<_> = annotations.into_iter().filter(|(name, _)| !is_replaced(name)).collect();
    user_properties.extend_from_slice(message.user_properties);
    make(&user_properties)
}
