//! PUBLISH of the client (§3.3): from the packet to the operation that is proposed, and from its outcome to PUBACK.

use bytes::Bytes;

use super::Connection;
use super::effect::{Effect, ProposeResult, Token};
use super::outcome::Verdict;
use super::properties::{self, WriteProperties};
use crate::command::{Delete, Event, Operation, Put};
use crate::mqtt::packet::{Ack, Packet, Publish, QoS, UserProperties};
use crate::mqtt::reason::ReasonCode;
use crate::topic::{TopicName, TopicNameError};

/// Why a PUBLISH becomes no operation.
enum Refusal {
    /// The standard ends the connection for it.
    Close(ReasonCode, &'static str),
    /// PUBACK with this code and reason string, when its turn comes; QoS 0 is counted.
    Answer(ReasonCode, String),
}

impl Connection {
    pub(super) fn on_publish(&mut self, publish: &Publish, out: &mut Vec<Effect>) {
        self.counters.publishes_received += 1;
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        match self.operation(publish) {
            Ok(Operation::Event(event)) if qos == QoS::AtMostOnce => out.push(Effect::PublishEvent(event)),
            Ok(operation) => {
                let token = self.acks.wait(packet_id, bytes_of(&operation));
                out.push(Effect::Propose { token, operation });
            }
            Err(Refusal::Close(reason, detail)) => self.disconnect(reason, detail, out),
            Err(Refusal::Answer(reason, detail)) => match packet_id {
                None => self.counters.qos0_refused += 1,
                Some(packet_id) => {
                    self.counters.publishes_refused += 1;
                    let ack = self.refusal(packet_id, reason, detail);
                    self.acks.decided(ack);
                    self.send_acks(out);
                }
            },
        }
    }

    /// The answer to [`Effect::Propose`]: PUBACK in its turn, or the end of the connection if nothing is known to have
    /// been applied. An answer to a token that is not open has no effect.
    pub fn on_outcome(&mut self, token: Token, result: ProposeResult, out: &mut Vec<Effect>) {
        if !self.is_connected() {
            return;
        }
        let Some(packet_id) = self.acks.waiting(token) else {
            return;
        };
        let ack = match (Verdict::from(result), packet_id) {
            (Verdict::Done { revision, superseded }, packet_id) => {
                self.counters.publishes_superseded += u64::from(superseded.is_some());
                packet_id.map(|packet_id| self.success(packet_id, revision, superseded))
            }
            (Verdict::Refused(reason, detail), Some(packet_id)) => {
                self.counters.publishes_refused += 1;
                Some(self.refusal(packet_id, reason, detail))
            }
            // Nothing is acknowledged, neither this PUBLISH nor what waits with it.
            (Verdict::Unavailable(detail), Some(_)) => return self.disconnect(ReasonCode::ServerBusy, &detail, out),
            (Verdict::Refused(..) | Verdict::Unavailable(_), None) => {
                self.counters.qos0_failed += 1;
                None
            }
        };
        self.acks.decide(token, ack);
        self.send_acks(out);
    }

    fn send_acks(&mut self, out: &mut Vec<Effect>) {
        while let Some(ack) = self.acks.pop() {
            self.send(Packet::PubAck(ack), out);
        }
    }

    /// Checks a PUBLISH in the order in which the standard would have it refused, and says what to do about it.
    fn operation(&mut self, publish: &Publish) -> Result<Operation, Refusal> {
        if publish.qos == QoS::ExactlyOnce {
            // §3.2.2.3.4
            return Err(Refusal::Close(ReasonCode::QoSNotSupported, "maximum QoS is 1"));
        }
        if publish.qos == QoS::AtLeastOnce && self.acks.unacknowledged() >= self.receive_maximum() {
            // [MQTT-3.3.4-7]
            return Err(Refusal::Close(
                ReasonCode::ReceiveMaximumExceeded,
                "more unacknowledged messages than receive maximum",
            ));
        }
        if !publish.subscription_ids.is_empty() {
            // [MQTT-3.3.4-6]
            return Err(Refusal::Close(
                ReasonCode::ProtocolError,
                "subscription identifier in a PUBLISH of a client",
            ));
        }
        let topic = self.topic(publish)?;
        if topic.is_reserved() {
            let detail = "topics that begin with $ are written by the server alone".to_owned();
            return Err(Refusal::Answer(ReasonCode::NotAuthorized, detail));
        }
        if publish
            .metadata
            .response_topic()
            .is_some_and(|topic| topic.contains(['+', '#']))
        {
            // [MQTT-3.3.2-14]
            return Err(Refusal::Close(
                ReasonCode::ProtocolError,
                "wildcard in the response topic",
            ));
        }
        if publish.metadata.payload_format() == 1 && std::str::from_utf8(&publish.payload).is_err() {
            // §3.3.2.3.2
            let detail = "payload format indicator 1, but the payload is not UTF-8".to_owned();
            return Err(Refusal::Answer(ReasonCode::PayloadFormatInvalid, detail));
        }
        let publisher = self.client.client_id.clone();
        if publish.retain {
            write(topic, publish, publisher)
        } else {
            Ok(event(topic, publish, publisher))
        }
    }

    /// The topic, of exact size, by name or alias.
    fn topic(&mut self, publish: &Publish) -> Result<TopicName, Refusal> {
        let Some(alias) = publish.topic_alias else {
            return own_topic(publish).map_err(|error| refused_topic(&error));
        };
        if alias == 0 || alias > self.settings.topic_alias_maximum {
            // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
            return Err(Refusal::Close(
                ReasonCode::TopicAliasInvalid,
                "topic alias is 0 or above topic alias maximum",
            ));
        }
        if publish.topic.is_empty() {
            return match self.inbound_aliases.get(alias) {
                Some(topic) => topic.clone().map_err(|error| refused_topic(&error)),
                None => Err(Refusal::Close(
                    ReasonCode::ProtocolError,
                    "topic alias stands for nothing yet",
                )),
            };
        }
        let topic = own_topic(publish);
        self.inbound_aliases.set(alias, topic.clone());
        topic.map_err(|error| refused_topic(&error))
    }

    /// PUBACK 0x00, with annotations if the client asked for them.
    fn success(&self, packet_id: u16, revision: Option<u64>, superseded: Option<u64>) -> Ack {
        let mut user_properties = UserProperties::new();
        if self.client.annotate && self.may_explain() {
            let annotations = [(properties::REVISION, revision), (properties::SUPERSEDED, superseded)];
            user_properties.extend(
                annotations
                    .into_iter()
                    .filter_map(|(name, value)| Some(annotation(name, value?))),
            );
        }
        Ack {
            packet_id,
            user_properties,
            ..Ack::default()
        }
    }

    /// PUBACK with a code and text; towards 3.1.1 a plain one.
    fn refusal(&self, packet_id: u16, reason: ReasonCode, detail: String) -> Ack {
        let reason_string = self.may_explain().then_some(detail);
        Ack {
            packet_id,
            reason: self.for_version_5(reason),
            reason_string,
            ..Ack::default()
        }
    }
}

/// A user property with a revision.
pub(super) fn annotation(name: &'static str, revision: u64) -> (Bytes, Bytes) {
    (Bytes::from_static(name.as_bytes()), Bytes::from(revision.to_string()))
}

/// The operation of a retained PUBLISH [MQTT-3.3.1-5], [MQTT-3.3.1-6].
fn write(topic: TopicName, publish: &Publish, publisher: Bytes) -> Result<Operation, Refusal> {
    let WriteProperties {
        timestamp_us,
        condition,
        metadata,
    } = properties::of_write(&publish.metadata)
        .map_err(|error| Refusal::Answer(ReasonCode::ImplementationSpecificError, error.to_string()))?;
    let qos = publish.qos as u8;
    Ok(if publish.payload.is_empty() {
        Operation::Delete(Delete {
            topic,
            publisher,
            timestamp_us,
            condition,
            metadata,
            qos,
        })
    } else {
        let payload = Bytes::copy_from_slice(&publish.payload);
        let expiry_s = publish.message_expiry_s;
        Operation::Put(Put {
            topic,
            payload,
            metadata,
            publisher,
            timestamp_us,
            expiry_s,
            condition,
            qos,
        })
    })
}

/// The event of a PUBLISH without retain: its user properties are all the publisher's own [MQTT-3.3.1-8].
fn event(topic: TopicName, publish: &Publish, publisher: Bytes) -> Operation {
    Operation::Event(Event {
        topic,
        payload: Bytes::copy_from_slice(&publish.payload),
        metadata: publish.metadata.detach(),
        publisher,
        qos: publish.qos as u8,
        expiry_s: publish.message_expiry_s,
    })
}

/// The topic by name, in a buffer of its own.
fn own_topic(publish: &Publish) -> Result<TopicName, TopicNameError> {
    TopicName::from_utf8(publish.topic.clone()).map(|topic| topic.detach())
}

/// What waits for the driver while this operation does, bytes.
fn bytes_of(operation: &Operation) -> usize {
    match operation {
        Operation::Put(put) => put.topic.len() + put.payload.len() + put.metadata.as_bytes().len(),
        Operation::Delete(delete) => delete.topic.len() + delete.metadata.as_bytes().len(),
        Operation::Event(event) => event.topic.len() + event.payload.len() + event.metadata.as_bytes().len(),
        // No PUBLISH makes one.
        _ => 0,
    }
}

fn refused_topic(error: &TopicNameError) -> Refusal {
    match error {
        // [MQTT-3.3.2-2]
        TopicNameError::Wildcard => {
            Refusal::Close(ReasonCode::TopicNameInvalid, "wildcard in the topic name of a PUBLISH")
        }
        // [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-1.5.4-1]: the codec lets none of them through.
        TopicNameError::Empty => Refusal::Close(ReasonCode::ProtocolError, "empty topic name"),
        TopicNameError::Null | TopicNameError::Utf8 => {
            Refusal::Close(ReasonCode::MalformedPacket, "topic name is not UTF-8 without U+0000")
        }
        TopicNameError::TooLong { .. } | TopicNameError::TooManyLevels { .. } | TopicNameError::ControlCharacter => {
            Refusal::Answer(ReasonCode::TopicNameInvalid, error.to_string())
        }
    }
}
