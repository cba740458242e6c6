//! A client that keeps a session: it publishes and receives with QoS 1 or 2, loses its connection now and then, takes it over
//! itself, and resumes at any node with its own tables of packet identifiers (§4.3, §4.4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use banyan_core::metadata::Metadata;
use banyan_core::mqtt::QoS;
use banyan_core::mqtt::packet::{Ack, Packet, Publish};
use banyan_core::mqtt::reason::ReasonCode;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::plan::{Device, around};
use super::session::{Connector, DEVICE_FILTER, JOB_FILTER, ack, acknowledgement, subscribe};
use super::subscriber::SILENCE_MAX;
use super::{Context, NodeAddresses, witness};
use crate::client::mqtt::{Incoming, KEEP_ALIVE_S, MqttClient, MqttError, answer_of, number_property};
use crate::history::{Answer, Call, Connection, KILLED, OpId, Operation, ProtocolError, Serial, Transport};

/// Session Expiry Interval: longer than any run, though clocks jump by days.
const SESSION_EXPIRY_S: u32 = 100 * 24 * 3600;
/// How long a device waits for what it has not received, when nothing fails any more.
pub(super) const END: Duration = Duration::from_secs(20);
/// Between two PINGREQs.
const PING_EVERY: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 3);
/// How long a storm of takeovers lasts (L3).
const STORM: Duration = Duration::from_secs(2);
/// How many of a hundred messages are for the members of the shared subscription.
const JOBS_PERCENT: f64 = 0.3;

pub(super) async fn run(client: u32, behaviour: Device, context: Context, rng: StdRng) {
    context.ending.begin(client);
    let mut device = DeviceClient {
        connector: Connector::new(client, context),
        behaviour,
        rng,
        counter: 0,
        last_packet_id: 0,
        is_subscribed: false,
        outgoing: VecDeque::new(),
        incoming: BTreeMap::new(),
        received: BTreeSet::new(),
        last: None,
        has_session: false,
        storm_until: None,
        end_at: None,
    };
    let mut former = None;
    while !device.is_over() {
        match device.live_once(former.take()).await {
            Ended::Drained => {
                device.context().recorder.drained(client);
                break;
            }
            Ended::TakeOver(mqtt, connection) => former = Some((mqtt, connection)),
            Ended::Gone => {
                let away = around(device.behaviour.away, &mut device.rng);
                tokio::time::sleep(if device.end_at.is_some() { away / 8 } else { away }).await;
            }
        }
    }
    device.context().ending.gone(client);
    device.forget();
}

/// How a connection came to its end.
enum Ended {
    /// The client is about to open another one without closing it.
    TakeOver(MqttClient, Connection),
    /// It is gone.
    Gone,
    /// The run is over, and nothing is left to come.
    Drained,
}

/// Why the client ends its connection.
enum Why {
    Over,
    Drained,
    Kill,
    TakeOver,
}

struct DeviceClient {
    connector: Connector,
    behaviour: Device,
    rng: StdRng,
    counter: u32,
    last_packet_id: u16,
    is_subscribed: bool,
    /// Messages that are not complete, in the order in which they were sent.
    outgoing: VecDeque<Outgoing>,
    /// Identifiers that were not released, with what came under them.
    incoming: BTreeMap<u16, Option<Serial>>,
    /// Everything that it has received.
    received: BTreeSet<Serial>,
    /// The last message, once it is sent.
    last: Option<Serial>,
    /// It was told of a session, or has begun one.
    has_session: bool,
    /// While it takes its own connection over, again and again.
    storm_until: Option<Instant>,
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
    fn context(&self) -> &Context {
        &self.connector.context
    }

    /// Whether the time to come to an end has passed.
    fn is_over(&mut self) -> bool {
        if self.context().stop.subscriptions.is_cancelled() {
            let end_at = *self.end_at.get_or_insert_with(|| Instant::now() + END);
            return end_at <= Instant::now();
        }
        false
    }

    async fn live_once(&mut self, former: Option<(MqttClient, Connection)>) -> Ended {
        let Some(node) = self.any_node() else {
            return Ended::Gone;
        };
        let connected = self.connector.connect(&node, false, SESSION_EXPIRY_S, &mut self.rng);
        let (mut mqtt, connection) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                // Whether the former one is in force any more cannot be known.
                self.connector.note(node.node, &error);
                return Ended::Gone;
            }
        };
        if let Some((mqtt, former)) = former {
            tokio::spawn(witness::watch(mqtt, former, self.connector.context.clone()));
        }
        if !connection.session_present {
            if self.has_session {
                let what = "has lost a session that had not expired".to_owned();
                self.connector.error(node.node, "I-24", what);
            }
            self.incoming.clear();
        }
        self.has_session = true;
        match self.serve(&node, connection, &mut mqtt).await {
            Ok(Why::Drained) => {
                mqtt.disconnect().await;
                Ended::Drained
            }
            Ok(Why::TakeOver) => Ended::TakeOver(mqtt, connection),
            Ok(Why::Kill) => {
                match self.rng.random_range(0..4) {
                    0 => mqtt.leave(ReasonCode::Success).await,
                    1 => mqtt.leave(ReasonCode::DisconnectWithWill).await,
                    _ => drop(mqtt),
                }
                Ended::Gone
            }
            Ok(Why::Over) => Ended::Gone,
            Err(error) => {
                self.connector.note(node.node, &error);
                Ended::Gone
            }
        }
    }

    async fn serve(
        &mut self,
        node: &NodeAddresses,
        connection: Connection,
        mqtt: &mut MqttClient,
    ) -> Result<Why, MqttError> {
        let mut subscribe_id = None;
        if !self.is_subscribed {
            let packet_id = self.free_packet_id();
            subscribe_id = Some(packet_id);
            mqtt.send(&subscribe(packet_id, &[DEVICE_FILTER, JOB_FILTER], self.behaviour.qos));
        }
        self.send_again(node, mqtt);
        let kill_at = Instant::now() + around(self.behaviour.kill_every, &mut self.rng);
        let take_over_at = self.take_over_at();
        // The same at all nodes: what is to be sent again is not more either.
        let window = self.behaviour.window.min(usize::from(mqtt.receive_maximum()));
        let mut next_at = Instant::now();
        let mut ping_at = Instant::now() + PING_EVERY;
        let mut heard_at = Instant::now();
        loop {
            let now = Instant::now();
            let is_ending = self.context().stop.requests.is_cancelled();
            if self.is_over() || !self.context().ending.is_served_by(node.node) {
                return Ok(Why::Over);
            }
            if !is_ending && kill_at <= now {
                return Ok(Why::Kill);
            }
            if !is_ending && take_over_at.is_some_and(|at| at <= now) {
                return Ok(Why::TakeOver);
            }
            if self.end_at.is_some() && self.is_drained() {
                return Ok(Why::Drained);
            }
            if now.duration_since(heard_at) > SILENCE_MAX {
                return Err(MqttError::Timeout);
            }
            if !is_ending && next_at <= now && self.outgoing.len() < window {
                self.publish_next(node, mqtt);
                next_at = now + around(self.behaviour.pause, &mut self.rng);
            }
            if self.end_at.is_some() && self.last.is_none() && self.outgoing.is_empty() && self.is_subscribed {
                self.last = Some(self.publish_event(node, mqtt, "device"));
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
            match incoming {
                Incoming::PingResp => {}
                Incoming::SubAck(suback) if Some(suback.packet_id) == subscribe_id => {
                    if suback.reasons.iter().any(|reason| reason.is_failure()) {
                        // No quorum. Another node may do.
                        return Ok(Why::Kill);
                    }
                    self.is_subscribed = true;
                    let revision = number_property(&suback.user_properties, "revision").unwrap_or(0);
                    self.context().recorder.subscribed(self.connector.client, revision);
                }
                Incoming::Message(publish) => self.take(connection, &publish, mqtt)?,
                Incoming::PubRel(Ack { packet_id, .. }) => {
                    self.incoming.remove(&packet_id);
                    mqtt.send(&Packet::PubComp(ack(packet_id)));
                }
                Incoming::PubAck(received) | Incoming::PubRec(received) => self.received(node, &received, mqtt),
                Incoming::PubComp(Ack { packet_id, .. }) => {
                    let place = self.outgoing.iter().position(|one| one.packet_id == packet_id);
                    match place {
                        Some(place) if self.outgoing[place].is_received => drop(self.outgoing.remove(place)),
                        _ => self.protocol_error(node, format!("completed {packet_id}, which was not released")),
                    }
                }
                Incoming::SubAck(_) => {
                    return Err(MqttError::Unexpected("an acknowledgement that was not asked for"));
                }
            }
        }
    }

    /// A node by chance: in the end one that is known to serve.
    fn any_node(&mut self) -> Option<NodeAddresses> {
        let Context { nodes, ending, .. } = &self.connector.context;
        let serving: Vec<_> = nodes.iter().filter(|node| ending.is_served_by(node.node)).collect();
        serving.choose(&mut self.rng).map(|node| (*node).clone())
    }

    fn is_drained(&self) -> bool {
        let has_last = self.last.is_some_and(|last| self.received.contains(&last));
        has_last
            && self.incoming.is_empty()
            && self.outgoing.is_empty()
            && self.context().ending.is_over(&self.received)
    }

    /// When it opens another connection beside this one, if it does.
    fn take_over_at(&mut self) -> Option<Instant> {
        if self.behaviour.storm_every.is_zero() {
            return None;
        }
        let now = Instant::now();
        if self.storm_until.is_some_and(|until| until > now) {
            // One to five a second.
            return Some(now + Duration::from_millis(self.rng.random_range(200..=1_000)));
        }
        let begins_at = now + around(self.behaviour.storm_every, &mut self.rng);
        self.storm_until = Some(begins_at + STORM);
        Some(begins_at)
    }

    /// Everything that is not complete, in the order in which it was sent first [MQTT-4.4.0-1].
    fn send_again(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient) {
        for place in 0..self.outgoing.len() {
            if self.behaviour.qos == QoS::AtLeastOnce {
                // It may take effect again, so it counts as another request.
                let call = self.outgoing[place].call.clone();
                let id = self.begin(node, call);
                let former = std::mem::replace(&mut self.outgoing[place].id, id);
                self.unknown(former);
            }
            let message = &self.outgoing[place];
            match message.is_received {
                true => mqtt.send(&Packet::PubRel(ack(message.packet_id))),
                false => mqtt.send(&self.publish(message.packet_id, &message.call, true)),
            }
        }
    }

    fn publish_next(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient) {
        // Not before somebody shares them.
        let is_job = self.rng.random_bool(JOBS_PERCENT) && self.is_subscribed;
        self.publish_event(node, mqtt, if is_job { "job" } else { "device" });
    }

    fn publish_event(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient, level: &str) -> Serial {
        self.counter += 1;
        let serial = Serial {
            client: self.connector.client,
            counter: self.counter,
        };
        let call = Call::Event {
            topic: format!("{level}/{}", self.connector.client),
            serial,
        };
        let packet_id = self.free_packet_id();
        let id = self.begin(node, call.clone());
        mqtt.send(&self.publish(packet_id, &call, false));
        self.outgoing.push_back(Outgoing {
            packet_id,
            id,
            call,
            is_received: false,
        });
        serial
    }

    fn begin(&self, node: &NodeAddresses, call: Call) -> OpId {
        self.context().recorder.begin(Operation {
            client: self.connector.client,
            node: node.node,
            transport: Transport::Mqtt,
            call,
            invoked_at: (self.context().now)(),
            returned_at: None,
            answer: None,
        })
    }

    fn unknown(&self, id: OpId) {
        let unknown = Answer::Unknown(KILLED.to_owned());
        self.context().recorder.finish(id, (self.context().now)(), unknown);
    }

    /// What was not answered never will be.
    fn forget(&mut self) {
        for message in std::mem::take(&mut self.outgoing) {
            if !message.is_received {
                self.unknown(message.id);
            }
        }
    }

    /// PUBACK or PUBREC.
    fn received(&mut self, node: &NodeAddresses, received: &Ack, mqtt: &mut MqttClient) {
        let packet_id = received.packet_id;
        let Some(place) = self.outgoing.iter().position(|one| one.packet_id == packet_id) else {
            return self.protocol_error(node, format!("received {packet_id}, which is not in flight"));
        };
        let message = &mut self.outgoing[place];
        if !message.is_received {
            let answer = answer_of(&message.call, received);
            let (id, serial) = (message.id, message.call.serial());
            message.is_received = true;
            let is_job = message.call.topic().is_some_and(|topic| topic.starts_with("job/"));
            let context = &self.connector.context;
            context.recorder.finish(id, (context.now)(), answer);
            match serial {
                _ if received.reason.is_failure() => self.last = self.last.filter(|last| Some(*last) != serial),
                Some(serial) if self.last == Some(serial) => {
                    context.recorder.last_message(self.connector.client, serial);
                    context.ending.last(self.connector.client, serial);
                }
                Some(serial) if is_job => context.ending.acknowledged(serial),
                _ => {}
            }
        }
        if received.reason.is_failure() || self.behaviour.qos == QoS::AtLeastOnce {
            // That ends it [MQTT-4.3.3-4].
            self.outgoing.remove(place);
        } else {
            mqtt.send(&Packet::PubRel(ack(packet_id)));
        }
    }

    fn take(&mut self, connection: Connection, publish: &Publish, mqtt: &mut MqttClient) -> Result<(), MqttError> {
        let Some(packet_id) = publish.packet_id else {
            return Err(MqttError::Unexpected("a message with QoS 0"));
        };
        if publish.qos > self.behaviour.qos {
            return Err(MqttError::Unexpected("a message with a greater QoS than was granted"));
        }
        let receipt = self.connector.receipt(connection, publish);
        let serial = receipt.serial;
        let error = |what| self.connector.error(connection.node, "I-23", what);
        match self.incoming.get(&packet_id) {
            Some(former) if *former != serial || publish.qos != QoS::ExactlyOnce => {
                error(format!(
                    "sent another message under {packet_id}, which was not released"
                ));
            }
            Some(_) if !publish.dup => error(format!("sent {packet_id} again without DUP")),
            Some(_) => {}
            None => {
                if publish.qos == QoS::ExactlyOnce {
                    self.incoming.insert(packet_id, serial);
                }
                self.received.extend(serial);
                if receipt.shared
                    && let Some(serial) = serial
                {
                    self.context().ending.received(serial);
                }
                self.context().recorder.receive(receipt);
            }
        }
        mqtt.send(&acknowledgement(publish.qos, packet_id));
        Ok(())
    }

    fn publish(&self, packet_id: u16, call: &Call, dup: bool) -> Packet {
        let topic = call.topic().unwrap_or_default();
        let payload = call.serial().map(|serial| serial.payload(0)).unwrap_or_default();
        Packet::Publish(Box::new(Publish {
            dup,
            qos: self.behaviour.qos,
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

    fn protocol_error(&self, node: &NodeAddresses, what: String) {
        self.connector.error(node.node, ProtocolError::ID, what);
    }
}
