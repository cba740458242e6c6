//! A client that follows a filter at one node after the other, resumes where it was, and may read slowly.

use std::sync::Arc;
use std::time::Duration;

use banyan_core::mqtt::packet::Publish;
use banyan_core::mqtt::reason::ReasonCode;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, timeout};

use super::calls::percent;
use super::plan::{Subscriber, around};
use super::topics::Topics;
use super::{Context, NodeAddresses};
use crate::client::mqtt::{Incoming, KEEP_ALIVE_S, MqttClient, MqttError, SubscribeOptions, delivery, number_property};
use crate::history::{ProtocolError, SubId, Subscription};

/// Time for a connection to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Mean pause before another node is tried.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Between two PINGREQs.
const PING_EVERY: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 3);
/// A connection of which nothing was heard for this long is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(KEEP_ALIVE_S as u64);
/// Mean time without reading.
const STOP_READING: Duration = Duration::from_secs(3);
/// Topic of the marker that ends the retained messages.
const MARKER_TOPIC: &[u8] = b"$SYS/marker";

pub(super) async fn run(client: u32, behaviour: Subscriber, topics: Topics, context: Context, mut rng: StdRng) {
    let filter = topics.filter(&mut rng);
    let mut subscriber = SubscriberClient {
        client,
        behaviour,
        filter,
        context,
        rng,
        complete_to: None,
    };
    while !subscriber.context.stop.subscriptions.is_cancelled() {
        subscriber.live_once().await;
        let pause = around(RECONNECT_PAUSE, &mut subscriber.rng);
        tokio::time::sleep(pause).await;
    }
}

struct SubscriberClient {
    client: u32,
    behaviour: Subscriber,
    filter: String,
    context: Context,
    rng: StdRng,
    /// The client has everything up to this revision.
    complete_to: Option<u64>,
}

impl SubscriberClient {
    /// One connection.
    async fn live_once(&mut self) {
        let Some(node) = self.context.nodes.choose(&mut self.rng).cloned() else {
            return;
        };
        let client_id = format!("c{}", self.client);
        let net = Arc::clone(&self.context.net);
        let receive_maximum = Some(self.behaviour.receive_maximum);
        let connected = MqttClient::connect(&*net, &node.mqtt, &client_id, receive_maximum, CONNECT_TIMEOUT).await;
        let mut mqtt = match connected {
            Ok(mqtt) => mqtt,
            Err(error) => return self.note(&node, &error),
        };
        let resume = percent(&mut self.rng, self.behaviour.resume_percent);
        let options = SubscribeOptions {
            since: self.complete_to.filter(|_| resume),
            local: percent(&mut self.rng, self.behaviour.local_percent),
        };
        let id = self.context.recorder.subscribe(Subscription {
            since: options.since,
            local: options.local,
            ..Subscription::new(self.client, node.node, &self.filter, (self.context.now)())
        });
        let ended = self.follow(&mut mqtt, options, id).await;
        match &ended {
            Ok(()) => mqtt.disconnect().await,
            Err(error) => self.note(&node, error),
        }
        self.context.recorder.end(id, (self.context.now)());
    }

    async fn follow(&mut self, mqtt: &mut MqttClient, options: SubscribeOptions, id: SubId) -> Result<(), MqttError> {
        let packet_id = mqtt.subscribe(&self.filter, options);
        let mut leave_at = Instant::now() + around(self.behaviour.stay, &mut self.rng);
        let mut stop_reading_at = self.some_time_after(self.behaviour.stop_reading_every);
        let mut heard_at = Instant::now();
        let mut ping_at = Instant::now();
        // What was received on this connection up to here, without a gap.
        let mut following = Following::default();
        // While the run ends: when a last answer was asked for.
        let mut last_ping: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let stopping = self.context.stop.subscriptions.is_cancelled();
            if leave_at <= now && !stopping {
                return Ok(());
            }
            if stopping && last_ping.is_none() {
                mqtt.ping();
                last_ping = Some(now);
                leave_at = now + SILENCE_MAX;
            }
            if ping_at <= now {
                mqtt.ping();
                ping_at = now + PING_EVERY;
            }
            if now.duration_since(heard_at) > SILENCE_MAX || (stopping && leave_at <= now) {
                return Err(MqttError::Timeout);
            }
            if stop_reading_at.is_some_and(|at| at <= now) && !stopping {
                let pause = around(STOP_READING, &mut self.rng);
                // It ends with the run.
                let _woken = timeout(pause, self.context.stop.subscriptions.cancelled()).await;
                stop_reading_at = self.some_time_after(self.behaviour.stop_reading_every);
                heard_at = Instant::now();
            }
            let until = (Instant::now() + Duration::from_millis(200)).min(ping_at.max(now + Duration::from_millis(1)));
            match mqtt.next(until).await {
                Ok(incoming) => {
                    heard_at = Instant::now();
                    match incoming {
                        Incoming::SubAck(suback) if suback.packet_id == packet_id => {
                            let revision = number_property(&suback.user_properties, "revision");
                            let Some(revision) =
                                revision.filter(|_| suback.reasons.iter().all(|one| !one.is_failure()))
                            else {
                                // Refused: no quorum. Another node may do.
                                return Ok(());
                            };
                            self.context.recorder.granted(id, (self.context.now)(), revision);
                        }
                        Incoming::Message(publish) => {
                            self.take(&publish, id, &mut following);
                            if let Some(packet_id) = publish.packet_id {
                                if !self.behaviour.acknowledge_after.is_zero() && !stopping {
                                    let pause = around(self.behaviour.acknowledge_after, &mut self.rng);
                                    tokio::time::sleep(pause).await;
                                }
                                mqtt.acknowledge(packet_id);
                            }
                        }
                        Incoming::PingResp => {
                            // The answer to the last PINGREQ, or to one shortly before, which does as well.
                            let drained = self.behaviour.acknowledge_after.is_zero();
                            if last_ping.is_some() && drained && following.marker_seen {
                                self.context.recorder.alive_at_end(id);
                                return Ok(());
                            }
                            if last_ping.is_some() && !drained {
                                return Ok(());
                            }
                        }
                        Incoming::SubAck(_) => return Err(MqttError::Unexpected("SUBACK of another packet")),
                        Incoming::PubAck(_) | Incoming::PubRec(_) | Incoming::PubRel(_) | Incoming::PubComp(_) => {
                            return Err(MqttError::Unexpected("an acknowledgement to a subscriber with QoS 1"));
                        }
                    }
                }
                Err(MqttError::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, publish: &Publish, id: SubId, following: &mut Following) {
        let recorder = &self.context.recorder;
        let is_reset = publish.metadata.user_property("reset") == Some("on");
        if is_reset && !following.reset_seen {
            following.reset_seen = true;
            recorder.reset(id, None);
        }
        let delivery = delivery(publish, (self.context.now)());
        if &publish.topic[..] == MARKER_TOPIC {
            let revision = delivery.revision.unwrap_or(0);
            recorder.marker(id, revision);
            following.marker_seen = true;
            self.complete_to = Some(revision);
            return;
        }
        if let (true, Some(revision)) = (following.marker_seen, delivery.revision) {
            // More changes of this very revision may follow.
            let before = revision.saturating_sub(1);
            self.complete_to = Some(self.complete_to.map_or(before, |complete| complete.max(before)));
        }
        recorder.deliver(id, delivery);
    }

    fn some_time_after(&mut self, mean: Duration) -> Option<Instant> {
        (!mean.is_zero()).then(|| Instant::now() + around(mean, &mut self.rng))
    }

    fn note(&self, node: &NodeAddresses, error: &MqttError) {
        if matches!(error, MqttError::Disconnected(ReasonCode::SessionTakenOver)) {
            self.context.recorder.taken_over();
        }
        if matches!(error, MqttError::Decode(_) | MqttError::Unexpected(_)) {
            self.context.recorder.protocol_error(ProtocolError {
                at: (self.context.now)(),
                client: self.client,
                node: node.node,
                invariant: ProtocolError::ID,
                what: error.to_string(),
            });
        }
    }
}

/// How far a connection has come.
#[derive(Debug, Default)]
struct Following {
    marker_seen: bool,
    reset_seen: bool,
}
