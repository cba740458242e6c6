//! A client that keeps a session: it publishes and receives with QoS 2, loses its connection now and then, and resumes at any
//! node with its own tables of packet identifiers (§4.3.3, §4.4).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::QoS;
use banyan_core::mqtt::packet::{Ack, Packet, Publish, RetainHandling, Subscribe, SubscribeFilter};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::plan::{Device, around};
use super::subscriber::{CONNECT_TIMEOUT, SILENCE_MAX};
use super::{Context, NodeAddresses};
use crate::client::mqtt::{Incoming, KEEP_ALIVE_S, MqttClient, MqttError, answer_of, number_property};
use crate::history::{Answer, Call, KILLED, OpId, Operation, ProtocolError, Receipt, Serial, Transport};

/// What every device subscribes to.
pub const DEVICE_FILTER: &str = "device/#";
/// Session Expiry Interval: longer than any run.
pub const SESSION_EXPIRY_S: u32 = 24 * 3600;
/// A session for which nothing came for so long, while the run ends, has everything.
const QUIET: Duration = Duration::from_secs(3);
/// How long a device tries to come to that.
const END: Duration = Duration::from_secs(12);
/// Between two PINGREQs.
const PING_EVERY: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 3);

pub(super) async fn run(client: u32, behaviour: Device, context: Context, rng: StdRng) {
    let mut device = DeviceClient {
        client,
        behaviour,
        context,
        rng,
        counter: 0,
        last_packet_id: 0,
        is_subscribed: false,
        outgoing: VecDeque::new(),
        incoming: BTreeMap::new(),
        end_at: None,
    };
    while !device.is_over() {
        if device.live_once().await {
            device.context.recorder.drained(client);
            break;
        }
        let away = around(device.behaviour.away, &mut device.rng);
        tokio::time::sleep(if device.end_at.is_some() { away / 8 } else { away }).await;
    }
    for message in device.outgoing.into_iter().filter(|message| !message.is_received) {
        let at = (device.context.now)();
        let unknown = Answer::Unknown(KILLED.to_owned());
        device.context.recorder.finish(message.id, at, unknown);
    }
}

struct DeviceClient {
    client: u32,
    behaviour: Device,
    context: Context,
    rng: StdRng,
    counter: u32,
    last_packet_id: u16,
    is_subscribed: bool,
    /// Messages that are not complete, in the order in which they were sent.
    outgoing: VecDeque<Outgoing>,
    /// Identifiers that were not released, with what came under them.
    incoming: BTreeMap<u16, Option<Serial>>,
    /// When it gives up, since the run ends.
    end_at: Option<Instant>,
}

struct Outgoing {
    packet_id: u16,
    id: OpId,
    call: Call,
    /// PUBREC came: PUBREL is next.
    is_received: bool,
}

impl DeviceClient {
    /// Whether the time to come to an end has passed.
    fn is_over(&mut self) -> bool {
        if self.context.stop.subscriptions.is_cancelled() {
            let end_at = *self.end_at.get_or_insert_with(|| Instant::now() + END);
            return end_at <= Instant::now();
        }
        false
    }

    /// One connection. Returns whether the run is over and nothing is left to come.
    async fn live_once(&mut self) -> bool {
        let Some(node) = self.context.nodes.choose(&mut self.rng).cloned() else {
            return false;
        };
        let client_id = format!("c{}", self.client);
        let net = std::sync::Arc::clone(&self.context.net);
        let connected = MqttClient::resume(&*net, &node.mqtt, &client_id, SESSION_EXPIRY_S, CONNECT_TIMEOUT).await;
        let (mut mqtt, session_present) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.note(&node, &error);
                return false;
            }
        };
        if !session_present {
            if self.is_subscribed {
                self.protocol_error(&node, "has lost a session that had not expired (I-24)".to_owned());
            }
            self.incoming.clear();
        }
        match self.serve(&node, &mut mqtt).await {
            Ok(true) => {
                mqtt.disconnect().await;
                true
            }
            Ok(false) => false,
            Err(error) => {
                self.note(&node, &error);
                false
            }
        }
    }

    async fn serve(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient) -> Result<bool, MqttError> {
        let mut subscribe_id = None;
        if !self.is_subscribed {
            let packet_id = self.free_packet_id();
            subscribe_id = Some(packet_id);
            mqtt.send(&subscribe(packet_id));
        }
        for message in &self.outgoing {
            match message.is_received {
                true => mqtt.send(&Packet::PubRel(ack(message.packet_id))),
                false => mqtt.send(&publish(message.packet_id, &message.call, true)),
            }
        }
        let kill_at = Instant::now() + around(self.behaviour.kill_every, &mut self.rng);
        let mut next_at = Instant::now();
        let mut ping_at = Instant::now() + PING_EVERY;
        let (mut heard_at, mut busy_at) = (Instant::now(), Instant::now());
        loop {
            let now = Instant::now();
            let is_ending = self.context.stop.requests.is_cancelled();
            if self.is_over() || (kill_at <= now && !is_ending) {
                return Ok(false);
            }
            if self.end_at.is_some()
                && now.duration_since(busy_at) >= QUIET
                && now.duration_since(heard_at) < QUIET
                && self.is_subscribed
                && self.outgoing.is_empty()
                && self.incoming.is_empty()
            {
                return Ok(true);
            }
            if now.duration_since(heard_at) > SILENCE_MAX {
                return Err(MqttError::Timeout);
            }
            if !is_ending && next_at <= now && self.outgoing.len() < self.behaviour.window {
                self.publish_next(node, mqtt);
                next_at = now + around(self.behaviour.pause, &mut self.rng);
            }
            if self.end_at.is_some() {
                ping_at = ping_at.min(heard_at + QUIET / 3);
            }
            if ping_at <= now {
                mqtt.ping();
                ping_at = now + PING_EVERY;
            }
            let until = (now + Duration::from_millis(100)).min(next_at.max(now + Duration::from_millis(1)));
            let incoming = match mqtt.next(until).await {
                Ok(incoming) => incoming,
                Err(MqttError::Timeout) => continue,
                Err(error) => return Err(error),
            };
            heard_at = Instant::now();
            if !matches!(incoming, Incoming::PingResp) {
                busy_at = heard_at;
            }
            match incoming {
                Incoming::PingResp => {}
                Incoming::SubAck(suback) if Some(suback.packet_id) == subscribe_id => {
                    if suback.reasons.iter().any(|reason| reason.is_failure()) {
                        // No quorum. Another node may do.
                        return Ok(false);
                    }
                    self.is_subscribed = true;
                    let revision = number_property(&suback.user_properties, "revision").unwrap_or(0);
                    self.context.recorder.subscribed(self.client, revision);
                }
                Incoming::Message(publish) => self.take(node, &publish, mqtt)?,
                Incoming::PubRel(Ack { packet_id, .. }) => {
                    self.incoming.remove(&packet_id);
                    mqtt.send(&Packet::PubComp(ack(packet_id)));
                }
                Incoming::PubRec(received) => self.received(node, &received, mqtt),
                Incoming::PubComp(Ack { packet_id, .. }) => {
                    let place = self.outgoing.iter().position(|one| one.packet_id == packet_id);
                    match place {
                        Some(place) if self.outgoing[place].is_received => drop(self.outgoing.remove(place)),
                        _ => self.protocol_error(node, format!("completed {packet_id}, which was not released")),
                    }
                }
                Incoming::SubAck(_) | Incoming::PubAck(_) => {
                    return Err(MqttError::Unexpected("an acknowledgement that was not asked for"));
                }
            }
        }
    }

    fn publish_next(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient) {
        self.counter += 1;
        let call = Call::Event {
            topic: format!("device/{}", self.client),
            serial: Serial {
                client: self.client,
                counter: self.counter,
            },
        };
        let packet_id = self.free_packet_id();
        let id = self.context.recorder.begin(Operation {
            client: self.client,
            node: node.node,
            transport: Transport::Mqtt,
            call: call.clone(),
            invoked_at: (self.context.now)(),
            returned_at: None,
            answer: None,
        });
        mqtt.send(&publish(packet_id, &call, false));
        self.outgoing.push_back(Outgoing {
            packet_id,
            id,
            call,
            is_received: false,
        });
    }

    fn received(&mut self, node: &NodeAddresses, received: &Ack, mqtt: &mut MqttClient) {
        let packet_id = received.packet_id;
        let Some(place) = self.outgoing.iter().position(|one| one.packet_id == packet_id) else {
            return self.protocol_error(node, format!("received {packet_id}, which is not in flight"));
        };
        let message = &mut self.outgoing[place];
        if !message.is_received {
            let answer = answer_of(&message.call, received);
            self.context.recorder.finish(message.id, (self.context.now)(), answer);
            message.is_received = true;
        }
        if received.reason.is_failure() {
            // That ends it [MQTT-4.3.3-4].
            self.outgoing.remove(place);
        } else {
            mqtt.send(&Packet::PubRel(ack(packet_id)));
        }
    }

    fn take(&mut self, node: &NodeAddresses, publish: &Publish, mqtt: &mut MqttClient) -> Result<(), MqttError> {
        let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else {
            return Err(MqttError::Unexpected(
                "a message of another QoS than it was published with",
            ));
        };
        let serial = Serial::of_payload(&publish.payload);
        match self.incoming.get(&packet_id) {
            Some(former) if *former != serial => {
                self.protocol_error(
                    node,
                    format!("sent another message under {packet_id}, which was not released"),
                );
            }
            Some(_) if !publish.dup => {
                self.protocol_error(node, format!("sent {packet_id} again without DUP"));
            }
            Some(_) => {}
            None => {
                self.incoming.insert(packet_id, serial);
                self.context.recorder.receive(Receipt {
                    at: (self.context.now)(),
                    client: self.client,
                    node: node.node,
                    serial,
                });
            }
        }
        mqtt.send(&Packet::PubRec(ack(packet_id)));
        Ok(())
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            // Few, so that they come again soon.
            self.last_packet_id = self.last_packet_id % 40 + 1;
            let packet_id = self.last_packet_id;
            if self.outgoing.iter().all(|one| one.packet_id != packet_id) {
                return packet_id;
            }
        }
    }

    fn note(&self, node: &NodeAddresses, error: &MqttError) {
        if matches!(error, MqttError::Disconnected(ReasonCode::SessionTakenOver)) {
            self.context.recorder.taken_over();
        }
        if matches!(error, MqttError::Decode(_) | MqttError::Unexpected(_)) {
            self.protocol_error(node, error.to_string());
        }
    }

    fn protocol_error(&self, node: &NodeAddresses, what: String) {
        self.context.recorder.protocol_error(ProtocolError {
            at: (self.context.now)(),
            client: self.client,
            node: node.node,
            what,
        });
    }
}

fn ack(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}

fn subscribe(packet_id: u16) -> Packet {
    Packet::Subscribe(Box::new(Subscribe {
        packet_id,
        subscription_id: None,
        user_properties: Vec::new(),
        filters: vec![SubscribeFilter {
            filter: Bytes::from_static(DEVICE_FILTER.as_bytes()),
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        }],
    }))
}

fn publish(packet_id: u16, call: &Call, dup: bool) -> Packet {
    let topic = call.topic().unwrap_or_default();
    let payload = call.serial().map(|serial| serial.payload(0)).unwrap_or_default();
    Packet::Publish(Box::new(Publish {
        dup,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        packet_id: Some(packet_id),
        message_expiry_s: None,
        topic_alias: None,
        subscription_ids: Vec::new(),
        metadata: Metadata::empty(),
        payload: Bytes::from(payload),
    }))
}
