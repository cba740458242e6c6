//! A client that writes over MQTT, with several messages in flight.
//!
//! It is killed now and then between PUBLISH and PUBACK, comes back at any node, and sends again what it does not know the
//! fate of. A message that is sent again is an operation of its own with the same serial, and the same to the byte: on a new
//! connection with a clean session it is a new message for the node, and both may take effect, unless a timestamp makes them
//! one write.

use std::collections::VecDeque;
use std::time::Duration;

use banyan_core::mqtt::packet::Ack;
use banyan_core::mqtt::reason::ReasonCode;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::calls::{Calls, percent};
use super::plan::{Publisher, around};
use super::topics::Topics;
use super::{Context, NodeAddresses};
use crate::client::mqtt::{Incoming, KEEP_ALIVE_S, MqttClient, MqttError, answer_of, message_of};
use crate::history::{Answer, Call, KILLED, OpId, Operation, ProtocolError, Transport};

/// Time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Mean pause before another node is tried.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How long a burst lasts, and how much faster it is.
const BURST: (Duration, u32) = (Duration::from_secs(2), 10);

pub(super) async fn run(client: u32, behaviour: Publisher, topics: Topics, context: Context, rng: StdRng) {
    let calls = Calls::new(client, topics, behaviour.writes.clone());
    let mut publisher = PublisherClient {
        client,
        behaviour,
        calls,
        context,
        rng,
        again: VecDeque::new(),
        burst_until: None,
    };
    while !publisher.context.stop.requests.is_cancelled() {
        publisher.live_once().await;
        let pause = around(RECONNECT_PAUSE, &mut publisher.rng);
        tokio::time::sleep(pause).await;
    }
}

struct PublisherClient {
    client: u32,
    behaviour: Publisher,
    calls: Calls,
    context: Context,
    rng: StdRng,
    /// Messages of unknown fate that are to be sent again.
    again: VecDeque<Wanted>,
    burst_until: Option<Instant>,
}

/// All that makes a message. With another payload and the same timestamp it would be another write, of which the greater
/// payload wins.
struct Wanted {
    call: Call,
    payload_bytes: usize,
}

/// A message without an answer.
struct Pending {
    packet_id: u16,
    id: OpId,
    wanted: Wanted,
    deadline: Instant,
}

impl PublisherClient {
    /// One connection.
    async fn live_once(&mut self) {
        let Some(node) = self.context.nodes.choose(&mut self.rng).cloned() else {
            return;
        };
        let client_id = format!("c{}", self.client);
        let net = std::sync::Arc::clone(&self.context.net);
        let connected = MqttClient::connect(&*net, &node.mqtt, &client_id, None, CONNECT_TIMEOUT).await;
        let mut mqtt = match connected {
            Ok(mqtt) => mqtt,
            Err(error) => return self.note(&node, &error),
        };
        let mut pending = VecDeque::new();
        let ended = self.serve(&node, &mut mqtt, &mut pending).await;
        match &ended {
            Ok(End::Stopped) => mqtt.disconnect().await,
            Ok(End::Killed) => drop(mqtt),
            Err(error) => self.note(&node, error),
        }
        let reason = match ended {
            Ok(_) => KILLED.to_owned(),
            Err(error) => error.to_string(),
        };
        for Pending { id, wanted, .. } in pending {
            let at = (self.context.now)();
            self.context.recorder.finish(id, at, Answer::Unknown(reason.clone()));
            if percent(&mut self.rng, self.behaviour.resend_percent) {
                self.again.push_back(wanted);
            }
        }
    }

    async fn serve(
        &mut self,
        node: &NodeAddresses,
        mqtt: &mut MqttClient,
        pending: &mut VecDeque<Pending>,
    ) -> Result<End, MqttError> {
        let window = self.behaviour.window.min(usize::from(mqtt.receive_maximum()));
        let mut kill_at = self.some_time_after(self.behaviour.kill_every);
        let mut burst_at = self.some_time_after(self.behaviour.burst_every);
        let mut next_at = Instant::now();
        let mut ping_at = Instant::now() + Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2);
        loop {
            let now = Instant::now();
            let stopping = self.context.stop.requests.is_cancelled();
            if stopping && pending.is_empty() {
                return Ok(End::Stopped);
            }
            if burst_at.is_some_and(|at| at <= now) {
                self.burst_until = Some(now + BURST.0);
                burst_at = self.some_time_after(self.behaviour.burst_every);
            }
            let may_send = !stopping && pending.len() < window;
            if may_send && next_at <= now {
                let sent = self.send(node, mqtt);
                pending.extend(sent);
                next_at = now + self.pause(now);
                if kill_at.is_some_and(|at| at <= now) {
                    // Some of it reaches the node, maybe all.
                    let _sent_or_not = mqtt.flush(Duration::from_millis(1)).await;
                    return Ok(End::Killed);
                }
                continue;
            }
            if kill_at.is_some_and(|at| at <= now) && !pending.is_empty() {
                return Ok(End::Killed);
            }
            if ping_at <= now {
                mqtt.ping();
                ping_at = now + Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2);
            }
            let given_up = pending.front().map(|oldest| oldest.deadline);
            if given_up.is_some_and(|at| at <= now) {
                return Err(MqttError::Timeout);
            }
            // A short look, so that a stop is seen.
            // A kill that waits for something to be in flight is due already: it is no time to wait for.
            let kill_due_at = kill_at.filter(|at| *at > now);
            let until = [given_up, may_send.then_some(next_at), kill_due_at, Some(ping_at)]
                .into_iter()
                .flatten()
                .fold(now + Duration::from_millis(200), Instant::min);
            kill_at = kill_at.filter(|_| !stopping);
            match mqtt.next(until).await {
                Ok(Incoming::PubAck(ack)) => self.acknowledged(node, &ack, pending),
                Ok(Incoming::PingResp) | Err(MqttError::Timeout) => {}
                Ok(Incoming::SubAck(_)) => return Err(MqttError::Unexpected("a SUBACK that was not asked for")),
                Ok(_) => return Err(MqttError::Unexpected("a packet that was not asked for")),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, node: &NodeAddresses, mqtt: &mut MqttClient) -> Option<Pending> {
        let wanted = match self.again.pop_front() {
            Some(wanted) => wanted,
            None => Wanted {
                call: self.calls.message(self.context.wall.now_us(), &mut self.rng),
                payload_bytes: self.calls.payload_bytes(&mut self.rng),
            },
        };
        let message = message_of(&wanted.call, wanted.payload_bytes)?;
        let id = self.context.recorder.begin(Operation {
            client: self.client,
            node: node.node,
            transport: Transport::Mqtt,
            call: wanted.call.clone(),
            invoked_at: (self.context.now)(),
            returned_at: None,
            answer: None,
        });
        Some(Pending {
            packet_id: mqtt.publish(&message),
            id,
            wanted,
            deadline: Instant::now() + self.context.timeout,
        })
    }

    fn acknowledged(&mut self, node: &NodeAddresses, ack: &Ack, pending: &mut VecDeque<Pending>) {
        let Some(place) = pending.iter().position(|one| one.packet_id == ack.packet_id) else {
            return self.protocol_error(node, format!("acknowledged {}, which is not in flight", ack.packet_id));
        };
        if place > 0 {
            self.protocol_error(node, "acknowledged messages in another order than they came".to_owned());
        }
        if let Some(Pending { id, wanted, .. }) = pending.remove(place) {
            let answer = answer_of(&wanted.call, ack);
            self.calls.learn(&wanted.call, &answer);
            self.context.recorder.finish(id, (self.context.now)(), answer);
        }
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let pause = around(self.behaviour.pause, &mut self.rng);
        match self.burst_until {
            Some(until) if now < until => pause / BURST.1,
            _ => pause,
        }
    }

    /// A time drawn around `mean` from now; `None` if that never comes.
    fn some_time_after(&mut self, mean: Duration) -> Option<Instant> {
        (!mean.is_zero()).then(|| Instant::now() + around(mean, &mut self.rng))
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
            invariant: ProtocolError::ID,
            what,
        });
    }
}

/// Why a connection ended without an error.
enum End {
    /// The run is over.
    Stopped,
    /// The client died.
    Killed,
}
