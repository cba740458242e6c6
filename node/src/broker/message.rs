//! A message on its way to subscribers: made once, encoded once for all that agree in version, QoS and RETAIN.

use banyan_core::command::Event;
use banyan_core::keyspace::{MessagePosition, TopicRecord};
use banyan_core::metadata::Metadata;
use banyan_core::mqtt::connection::deliver::{Annotations, MessageTemplates, OutgoingMessage};
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::{Change, ChangeKind};
use banyan_core::topic::TopicName;
use bytes::Bytes;

/// Where the marker is published.
const MARKER_TOPIC: &str = "$SYS/marker";

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The state of its topic: a record was written or deleted.
    State,
    /// Something that happened and is not kept.
    Event,
}

/// A message that one or more subscribers get.
#[derive(Debug)]
pub struct Message {
    kind: Kind,
    topic: TopicName,
    payload: Bytes,
    metadata: Metadata,
    publisher: Bytes,
    qos: QoS,
    retain: bool,
    position: Option<MessagePosition>,
    timestamp_us: Option<u64>,
    expires_at_us: Option<u64>,
    /// Log time for which the templates are encoded.
    made_at_us: u64,
    templates: MessageTemplates,
}

/// Where a change stands among all messages.
#[must_use]
pub fn position_of(change: &Change) -> MessagePosition {
    MessagePosition {
        revision: change.revision,
        ordinal: change.ordinal,
    }
}

/// The QoS of a command.
#[must_use]
pub fn qos_of(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

impl Message {
    /// A change out of the log, of an entry with log time `log_time_us`.
    #[must_use]
    pub fn of_change(change: &Change, log_time_us: u64) -> Self {
        match &change.kind {
            ChangeKind::Put { record, .. } => Self::of_record(&change.topic, record, log_time_us),
            ChangeKind::Delete(deletion) => Self {
                kind: Kind::State,
                topic: change.topic.clone(),
                payload: Bytes::new(),
                metadata: deletion.metadata.clone(),
                publisher: deletion.publisher.clone(),
                qos: qos_of(deletion.qos),
                retain: true,
                position: Some(position_of(change)),
                timestamp_us: Some(deletion.timestamp_us),
                expires_at_us: None,
                made_at_us: log_time_us,
                templates: MessageTemplates::new(),
            },
            ChangeKind::Event { event, received_at_us } => Self {
                position: Some(position_of(change)),
                ..Self::of_event(Event::clone(event), *received_at_us)
            },
        }
    }

    /// A stored record, as of log time `log_time_us`.
    #[must_use]
    pub fn of_record(topic: &TopicName, record: &TopicRecord, log_time_us: u64) -> Self {
        Self {
            kind: Kind::State,
            topic: topic.clone(),
            payload: record.payload(),
            metadata: record.metadata(),
            publisher: record.publisher_bytes(),
            qos: qos_of(record.qos()),
            retain: true,
            position: Some(MessagePosition {
                revision: record.revision(),
                ordinal: record.ordinal(),
            }),
            timestamp_us: Some(record.timestamp_us()),
            expires_at_us: record.expires_at_us(),
            made_at_us: log_time_us,
            templates: MessageTemplates::new(),
        }
    }

    /// A deletion that a resuming subscriber has missed, sent as an empty retained message.
    #[must_use]
    pub fn of_tombstone(topic: &TopicName, position: MessagePosition, timestamp_us: u64) -> Self {
        Self {
            kind: Kind::State,
            topic: topic.clone(),
            payload: Bytes::new(),
            metadata: Metadata::default(),
            publisher: Bytes::new(),
            qos: QoS::AtLeastOnce,
            retain: true,
            position: Some(position),
            timestamp_us: Some(timestamp_us),
            expires_at_us: None,
            made_at_us: 0,
            templates: MessageTemplates::new(),
        }
    }

    /// An event that came at log time `received_at_us`, and is not in the log itself.
    #[must_use]
    pub fn of_event(event: Event, received_at_us: u64) -> Self {
        let expires_at_us = event
            .expiry_s
            .map(|expiry_s| received_at_us.saturating_add(u64::from(expiry_s) * 1_000_000));
        Self {
            kind: Kind::Event,
            topic: event.topic,
            payload: event.payload,
            metadata: event.metadata,
            publisher: event.publisher,
            qos: qos_of(event.qos),
            retain: false,
            position: None,
            timestamp_us: None,
            expires_at_us,
            made_at_us: received_at_us,
            templates: MessageTemplates::new(),
        }
    }

    /// The message on its own: what it shares with the log entry it came in is copied, so that one that waits in an outbox
    /// does not keep the whole entry in memory. A record is on its own already.
    #[must_use]
    pub fn detach(self) -> Self {
        let topic = self.topic.detach();
        if self.kind == Kind::State && !self.payload.is_empty() {
            return Self { topic, ..self };
        }
        Self {
            topic,
            payload: Bytes::copy_from_slice(&self.payload),
            metadata: self.metadata.detach(),
            publisher: Bytes::copy_from_slice(&self.publisher),
            ..self
        }
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Client identifier or principal of the publisher.
    #[must_use]
    pub fn publisher(&self) -> &Bytes {
        &self.publisher
    }

    /// QoS of the PUBLISH.
    #[must_use]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// RETAIN of the PUBLISH.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Where it stands among all messages, unless it did not go through the log.
    #[must_use]
    pub fn position(&self) -> Option<MessagePosition> {
        self.position
    }

    /// Its revision, unless it did not go through the log.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.position.map(|position| position.revision)
    }

    /// Memory it holds, bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + self.metadata.as_bytes().len()
    }

    /// The message for one subscriber at log time `now_us`, which is asked for only if it matters. `None`: the message has
    /// expired and must not be sent any more [MQTT-3.3.2-5].
    #[must_use]
    pub fn outgoing<'a>(
        &'a self,
        qos: QoS,
        retain: bool,
        subscription_ids: &'a [u32],
        now_us: impl FnOnce() -> u64,
    ) -> Option<OutgoingMessage<'a>> {
        let mut message_expiry_s = None;
        let mut is_fresh = true;
        if let Some(expires_at_us) = self.expires_at_us {
            let left_s = seconds_left(expires_at_us, now_us());
            if left_s == 0 {
                return None;
            }
            is_fresh = left_s == seconds_left(expires_at_us, self.made_at_us);
            message_expiry_s = Some(left_s);
        }
        let outgoing = self.encoded_with(qos, retain, subscription_ids, message_expiry_s);
        Some(OutgoingMessage {
            templates: is_fresh.then_some(&self.templates),
            ..outgoing
        })
    }

    /// The message once more for a subscriber that it was sent to before: as its delivery has begun, it is completed even if it
    /// has expired since [MQTT-4.4.0-1].
    #[must_use]
    pub fn resent<'a>(
        &'a self,
        qos: QoS,
        retain: bool,
        subscription_ids: &'a [u32],
        now_us: u64,
    ) -> OutgoingMessage<'a> {
        let message_expiry_s = self
            .expires_at_us
            .map(|expires_at_us| seconds_left(expires_at_us, now_us));
        self.encoded_with(qos, retain, subscription_ids, message_expiry_s)
    }

    fn encoded_with<'a>(
        &'a self,
        qos: QoS,
        retain: bool,
        subscription_ids: &'a [u32],
        message_expiry_s: Option<u32>,
    ) -> OutgoingMessage<'a> {
        OutgoingMessage {
            topic: &self.topic,
            payload: &self.payload,
            metadata: &self.metadata,
            qos,
            retain,
            subscription_ids,
            message_expiry_s,
            annotations: match (self.revision(), self.timestamp_us) {
                (Some(revision), Some(timestamp_us)) => Some(Annotations { revision, timestamp_us }),
                _ => None,
            },
            user_properties: &[],
            templates: None,
        }
    }
}

/// Gives `send` the marker behind the retained messages of `revision`: the `marker=on` of a SUBSCRIBE.
pub fn send_marker(revision: u64, subscription_id: Option<u32>, reset: bool, send: impl FnOnce(&OutgoingMessage<'_>)) {
    let Ok(topic) = TopicName::parse(MARKER_TOPIC) else {
        return;
    };
    let revision = revision.to_string();
    let user_properties = [("revision", revision.as_str()), ("reset", "on")];
    send(&OutgoingMessage {
        topic: &topic,
        payload: &Bytes::new(),
        metadata: &Metadata::default(),
        qos: QoS::AtMostOnce,
        retain: false,
        subscription_ids: subscription_id.as_slice(),
        message_expiry_s: None,
        annotations: None,
        user_properties: &user_properties[..if reset { 2 } else { 1 }],
        templates: None,
    });
}

/// What is left of a Message Expiry Interval [MQTT-3.3.2-6], seconds, rounded up; 0: it has passed.
fn seconds_left(expires_at_us: u64, now_us: u64) -> u32 {
    let left_us = expires_at_us.saturating_sub(now_us);
    u32::try_from(left_us.div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
