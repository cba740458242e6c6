//! PUBLISH of the client (§3.3): from the packet to the command that is proposed, and from its outcome to PUBACK or PUBREC.

use bytes::Bytes;

use super::Connection;
use super::acks::Answer;
use super::effect::{Effect, ProposeResult, Token};
use super::inbound::Stage;
use super::outcome::Verdict;
use super::properties::{self, WriteProperties};
use crate::command::{Command, Delete, Event, Operation, Put, Sender};
use crate::mqtt::packet::{Ack, Packet, ProtocolVersion, Publish, QoS, UserProperties};
use crate::mqtt::reason::ReasonCode;
use crate::topic::{TopicName, TopicNameError};

/// Why a PUBLISH becomes no operation.
enum Refusal {
    /// The standard ends the connection for it.
    Close(ReasonCode, &'static str),
    /// PUBACK or PUBREC with this code and reason string, when its turn comes; QoS 0 is counted.
    Answer(ReasonCode, String),
}

impl Connection {
    pub(super) fn on_publish(&mut self, publish: &Publish, out: &mut Vec<Effect>) {
        self.counters.publishes_received += 1;
        let operation = match self.operation(publish) {
            Ok(operation) => Ok(operation),
            Err(Refusal::Answer(reason, detail)) => Err((reason, detail)),
            Err(Refusal::Close(reason, detail)) => return self.disconnect(reason, detail, out),
        };
        let answer = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => Answer::PubAck(packet_id),
            (QoS::ExactlyOnce, Some(packet_id)) => match self.inbound.stage(packet_id) {
                None => Answer::PubRec(packet_id),
                Some(stage) => return self.on_repeated_publish(packet_id, stage, out),
            },
            _ => Answer::None,
        };
        match operation {
            Ok(Operation::Event(event)) if answer == Answer::None => out.push(Effect::PublishEvent(event)),
            Ok(operation) => {
                if let Answer::PubRec(packet_id) = answer {
                    self.inbound.insert(packet_id, Stage::Deciding);
                }
                self.propose(answer, operation, out);
            }
            Err((reason, detail)) => {
                let Some(packet_id) = answer.packet_id() else {
                    self.counters.qos0_refused += 1;
                    return;
                };
                self.counters.publishes_refused += 1;
                if let Answer::PubRec(packet_id) = answer {
                    self.inbound.insert(packet_id, self.stage_of_refusal());
                }
                let ack = self.refusal(packet_id, reason, detail);
                self.acks.decided(answer, ack);
                self.send_acks(out);
            }
        }
    }

    /// A QoS 2 PUBLISH whose identifier is known is no second message [MQTT-4.3.3-10].
    fn on_repeated_publish(&mut self, packet_id: u16, stage: Stage, out: &mut Vec<Effect>) {
        self.counters.publishes_repeated += 1;
        match stage {
            Stage::Deciding => {} // PUBREC is to come.
            Stage::Received { .. } => {
                let ack = self.success(packet_id, None, None);
                self.acks.decided(Answer::PubRec(packet_id), ack);
                self.send_acks(out);
            }
            Stage::Releasing => {
                // [MQTT-4.3.3-6]
                let detail = "PUBLISH of a packet identifier between its PUBREL and PUBCOMP";
                self.disconnect(ReasonCode::ProtocolError, detail, out);
            }
        }
    }

    /// Asks the driver to replicate an operation of the client, which is answered in its turn.
    pub(super) fn propose(&mut self, answer: Answer, operation: Operation, out: &mut Vec<Effect>) {
        let token = self.acks.wait(answer, bytes_of(&operation));
        let packet_id = match answer {
            Answer::PubRec(packet_id) if self.session.replicated => Some(packet_id),
            _ => None,
        };
        let fence = self.session.fence;
        let sender = Some(Sender { fence, packet_id });
        let command = Command { sender, operation };
        out.push(Effect::Propose { token, command });
    }

    /// The answer to [`Effect::Propose`]: PUBACK, PUBREC or PUBCOMP in its turn, or the end of the connection if nothing is
    /// known to have been applied. An answer to a token that is not open has no effect.
    pub fn on_outcome(&mut self, token: Token, result: ProposeResult, out: &mut Vec<Effect>) {
        if !self.is_connected() {
            return;
        }
        let Some(answer) = self.acks.waiting(token) else {
            return;
        };
        let ack = match (Verdict::from(result), answer) {
            (Verdict::Fenced, _) => {
                // The session is another connection's [MQTT-3.1.4-3].
                return self.disconnect(ReasonCode::SessionTakenOver, "", out);
            }
            // Nothing is acknowledged, neither this nor what waits with it.
            (Verdict::Unavailable(detail), Answer::PubAck(_) | Answer::PubRec(_) | Answer::PubComp(_)) => {
                return self.disconnect(ReasonCode::ServerBusy, &detail, out);
            }
            (Verdict::Refused(..) | Verdict::Unavailable(_), Answer::None) => {
                self.counters.qos0_failed += 1;
                Ack::default()
            }
            (Verdict::Done { superseded, .. }, Answer::None) => {
                self.counters.publishes_superseded += u64::from(superseded.is_some());
                Ack::default()
            }
            (Verdict::Done { revision, superseded }, Answer::PubAck(packet_id) | Answer::PubRec(packet_id)) => {
                self.counters.publishes_superseded += u64::from(superseded.is_some());
                if let Answer::PubRec(packet_id) = answer {
                    let replicated = self.session.replicated;
                    self.inbound.advance(packet_id, Stage::Received { replicated });
                }
                self.success(packet_id, revision, superseded)
            }
            (Verdict::Refused(reason, detail), Answer::PubAck(packet_id) | Answer::PubRec(packet_id)) => {
                self.counters.publishes_refused += 1;
                if let Answer::PubRec(packet_id) = answer {
                    self.inbound.advance(packet_id, self.stage_of_refusal());
                }
                self.refusal(packet_id, reason, detail)
            }
            (Verdict::Done { .. } | Verdict::Refused(..), Answer::PubComp(packet_id)) => {
                self.inbound.remove(packet_id);
                self.success(packet_id, None, None)
            }
        };
        self.acks.decide(token, ack);
        self.send_acks(out);
    }

    /// How far a refused QoS 2 message has come: to the end once its PUBREC leaves. A 3.1.1 client is not told, and goes on to
    /// PUBREL.
    fn stage_of_refusal(&self) -> Stage {
        match self.client.version {
            ProtocolVersion::V5 => Stage::Deciding,
            ProtocolVersion::V3 => Stage::Received { replicated: false },
        }
    }

    pub(super) fn send_acks(&mut self, out: &mut Vec<Effect>) {
        while let Some(packet) = self.acks.pop() {
            if let Packet::PubRec(ack) = &packet
                && ack.reason.is_failure()
            {
                self.inbound.remove(ack.packet_id); // [MQTT-4.3.3-9]
            }
            self.send(packet, out);
        }
    }

    /// Checks a PUBLISH in the order in which the standard would have it refused, and says what to do about it.
    fn operation(&mut self, publish: &Publish) -> Result<Operation, Refusal> {
        if self.exceeds_receive_maximum(publish) {
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

    /// Whether a 5.0 client, which knows the limit, sends one more message than it may. A repeated one is no further one.
    fn exceeds_receive_maximum(&self, publish: &Publish) -> bool {
        let is_repeated = publish.qos == QoS::ExactlyOnce
            && publish
                .packet_id
                .is_some_and(|packet_id| self.inbound.stage(packet_id).is_some());
        self.client.version == ProtocolVersion::V5
            && publish.qos != QoS::AtMostOnce
            && !is_repeated
            && self.acks.pubacks() + self.inbound.count() >= self.receive_maximum()
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

    /// Code 0x00, with annotations if the client asked for them.
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

    /// A code and text; towards 3.1.1 nothing but the identifier.
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
        // No PUBLISH makes another, and PUBREL one that is of no size.
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
