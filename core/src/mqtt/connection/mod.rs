//! The server's side of a connection as a state machine without a socket: bytes and answers in, [`Effect`]s out.
//!
//! A driver owns the socket and everything the connection cannot decide alone. It feeds what arrives to
//! [`Connection::on_bytes`], carries out the effects in order, answers those that ask, and encodes messages for the client
//! with [`Connection::deliver`]:
//!
//! ```text
//!            bytes ──► on_bytes ──► Send, Close                    ──► socket
//!                                   Authenticated ──► on_registered
//!                                   Propose       ──► on_outcome
//!                                   Subscribe     ──► on_subscribed
//!                                   Unsubscribe   ──► on_unsubscribed
//!                                   Acknowledged  ──► release
//!                                   PublishEvent                   ──► broker
//!  messages for the client ───────► deliver                        ──► socket
//! ```
//!
//! After every answer, and while [`Connection::wants_read`], the driver calls `on_bytes` again with what is left in its
//! buffer: a connection that has enough to do stops decoding, and that is its back-pressure. Everything a connection holds is
//! bounded by its [`ConnectionSettings`]. No input can make it panic.
//!
//! A connection holds what belongs to one network connection: windows, aliases, acknowledgements on their way. A session
//! that outlives it is the cluster's. Such a *replicated* session has its packet identifiers in the cluster before anybody sees
//! them: the driver reserves them ([`Connection::reserve`]), commits, and then sends ([`Connection::deliver_reserved`]); a
//! PUBREC or PUBREL of the client is committed before it is answered. So the session goes on, on any node, where the client
//! saw it last ([`Resumed`]). Every command carries the fence of the connection, by which the cluster refuses those of a former
//! one.
//!
//! | module | responsibility |
//! |---|---|
//! | [`effect`] | effects and answers |
//! | [`settings`], [`counters`] | limits; what is counted |
//! | `connect`, `will` | CONNECT to CONNACK, and on with a session that exists |
//! | `publish`, `properties`, [`timestamp`] | PUBLISH of the client: checks, user properties, the command to propose |
//! | `outcome`, `acks`, `inbound` | outcomes as reason codes, PUBACK, PUBREC and PUBCOMP in order, QoS 2 identifiers |
//! | [`subscribe`], `pending` | SUBSCRIBE, UNSUBSCRIBE and the subscriptions held |
//! | [`deliver`], `inflight`, `aliases` | messages to the client |
//! | `acknowledge` | what the client acknowledges and releases |
//! | `answer` | packets on their way out, and the ways a connection ends |
//! | `timers`, `pace` | time to finish CONNECT, keep alive; how fast a client may publish |

pub mod counters;
pub mod deliver;
pub mod effect;
pub mod settings;
pub mod subscribe;
pub mod timestamp;

mod acknowledge;
mod acks;
mod aliases;
mod answer;
mod connect;
mod inbound;
mod inflight;
mod outcome;
mod pace;
mod pending;
mod properties;
mod publish;
mod timers;
mod will;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::BytesMut;

use self::acks::AckQueue;
use self::aliases::{InboundAliases, OutboundAliases};
use self::connect::{ClientTerms, Pending, SessionTerms};
use self::inbound::Inbound;
use self::inflight::Inflight;
use self::pace::Pace;
use self::pending::Subscriptions;
use self::timers::{Elapsed, Timers};
use super::codec::{DecodeError, DecodeLimits, decode};
use super::packet::{Disconnect, Packet, ProtocolVersion};
use super::reason::ReasonCode;
use crate::command;

pub use counters::Counters;
pub use deliver::{Annotations, DeliverResult, MessageTemplates, OutgoingMessage};
pub use effect::{
    AckKind, Authenticated, Effect, HandOver, InFlight, ProposeResult, RegisterResult, Registered, Resumed,
    SubscribeRequest, SubscribeResult, Token, UnsubscribeResult,
};
pub use settings::ConnectionSettings;
pub use subscribe::{NewSubscription, Subscription, SubscriptionOptions};

/// Where a connection is between accept and close.
#[derive(Debug)]
enum Phase {
    /// Nothing but CONNECT is legal [MQTT-3.1.0-1].
    AwaitConnect,
    /// CONNECT is accepted, the driver registers the client identifier; what the client sends meanwhile waits.
    Registering(Box<Pending>),
    /// CONNACK 0x00 is sent.
    Connected,
    /// `Effect::Close` is out; nothing has an effect any more.
    Closed,
}

/// One client's connection. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<ConnectionSettings>,
    /// Makes the identifier of a client that has none.
    nonce: u64,
    phase: Phase,
    client: ClientTerms,
    session: SessionTerms,
    timers: Timers,
    pace: Pace,
    acks: AckQueue,
    inbound: Inbound,
    inbound_aliases: InboundAliases,
    subscriptions: Subscriptions,
    /// A SUBSCRIBE or UNSUBSCRIBE that depends on one still under way.
    held: Option<Packet>,
    inflight: Inflight,
    outbound_aliases: OutboundAliases,
    unknown_acks: u64,
    counters: Counters,
}

impl Connection {
    /// A connection just accepted, at `now_ms` of a monotonic clock; time never decreases between calls.
    ///
    /// `nonce` is random: with it a client that has no identifier gets one that no other has.
    #[must_use]
    pub fn new(settings: Arc<ConnectionSettings>, nonce: u64, now_ms: u64) -> Self {
        Self {
            nonce,
            phase: Phase::AwaitConnect,
            client: ClientTerms::unknown(),
            session: SessionTerms::default(),
            timers: Timers::new(now_ms, settings.connect_timeout_ms),
            pace: Pace::new(settings.publish_rate_max),
            acks: AckQueue::default(),
            inbound: Inbound::default(),
            inbound_aliases: InboundAliases::default(),
            subscriptions: Subscriptions::default(),
            held: None,
            inflight: Inflight::new(1),
            outbound_aliases: OutboundAliases::new(0),
            unknown_acks: 0,
            counters: Counters::default(),
            settings,
        }
    }

    /// The version to encode [`Effect::Send`] for. 3.1.1 until CONNECT says otherwise.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.client.version
    }

    /// The client identifier, empty before CONNECT.
    #[must_use]
    pub fn client_id(&self) -> &bytes::Bytes {
        &self.client.client_id
    }

    /// Whether the client asked for annotations, and its version can carry them.
    #[must_use]
    pub fn annotates(&self) -> bool {
        self.client.annotate
    }

    /// Whether [`Effect::Close`] is out: drop the connection once it is flushed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether CONNACK 0x00 is sent and the connection open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was counted since the last call; counting starts anew.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Whether the driver still owes the outcome of something the client sent.
    #[must_use]
    pub fn has_pending_writes(&self) -> bool {
        self.acks.is_waiting()
    }

    /// Whether the connection takes more bytes. While false the driver does not read from the socket: the cluster has yet to
    /// register the client, to answer what the client sent before, or to finish a SUBSCRIBE that the next packet depends on; or
    /// the client publishes faster than it may.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::AwaitConnect => true,
            Phase::Registering(_) | Phase::Closed => false,
            Phase::Connected => {
                let receive_maximum = self.receive_maximum();
                // A 5.0 client knows Receive Maximum, so beyond it comes either a packet of another kind or an error.
                let awaits_quota = self.client.version == ProtocolVersion::V3 && self.acks.answers() >= receive_maximum;
                let busy = self.acks.len() >= 2 * receive_maximum
                    || self.acks.waiting_bytes() >= self.settings.pending_bytes_max.max(1);
                self.held.is_none() && !awaits_quota && !busy && !self.pace.is_paused()
            }
        }
    }

    /// Decodes and handles whole packets off the front of `buf`, until it holds none or the connection has enough to do.
    pub fn on_bytes(&mut self, buf: &mut BytesMut, now_ms: u64, out: &mut Vec<Effect>) {
        while self.wants_read() {
            let version = match self.phase {
                Phase::AwaitConnect => None,
                _ => Some(self.client.version),
            };
            match decode(
                buf,
                version,
                &DecodeLimits {
                    packet_bytes_max: self.settings.packet_bytes_max,
                },
            ) {
                Ok(Some(packet)) => self.on_packet(packet, now_ms, out),
                Ok(None) => return,
                Err(error) => return self.on_decode_error(error, out),
            }
        }
        self.timers.stall();
    }

    /// Handles one packet. Like [`Self::on_bytes`], it is called only while [`Self::wants_read`]; a packet that comes
    /// otherwise is dropped.
    pub fn on_packet(&mut self, packet: Packet, now_ms: u64, out: &mut Vec<Effect>) {
        if !self.wants_read() {
            return;
        }
        self.timers.packet_received(now_ms);
        self.counters.packets_received += 1;
        if matches!(packet, Packet::Publish(_)) {
            self.pace.message_received(now_ms);
        }
        match (&self.phase, packet) {
            (Phase::AwaitConnect, Packet::Connect(connect)) => self.on_connect(&connect, out),
            // DISCONNECT must not be sent before CONNACK [MQTT-3.14.0-1].
            (Phase::AwaitConnect, _) => self.close(out), // [MQTT-3.1.0-1]
            (_, packet) => self.dispatch(packet, out),
        }
    }

    /// Handles a packet of a connected client.
    fn dispatch(&mut self, packet: Packet, out: &mut Vec<Effect>) {
        match packet {
            Packet::Publish(publish) => self.on_publish(&publish, out),
            Packet::PubAck(ack) => self.on_puback(&ack, out),
            Packet::PubRec(ack) => self.on_pubrec(&ack, out),
            Packet::PubRel(ack) => self.on_pubrel(&ack, out),
            Packet::PubComp(ack) => self.on_pubcomp(&ack, out),
            Packet::Subscribe(subscribe) => self.on_subscribe(*subscribe, out),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe, out),
            Packet::PingReq => self.send(Packet::PingResp, out), // [MQTT-3.12.4-1]
            Packet::Disconnect(disconnect) => self.on_disconnect(&disconnect, out),
            Packet::Connect(_) => self.disconnect(ReasonCode::ProtocolError, "second CONNECT", out), // [MQTT-3.1.0-2]
            Packet::Auth(_) => {
                // §3.15: only after a CONNECT with an Authentication Method.
                self.disconnect(
                    ReasonCode::ProtocolError,
                    "AUTH without an authentication method in CONNECT",
                    out,
                );
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.disconnect(ReasonCode::ProtocolError, "a packet that only a server sends", out);
            }
        }
    }

    /// The next moment at which [`Self::on_tick`] has something to do.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.is_closed() {
            return None;
        }
        [self.timers.deadline_ms(), self.pace.deadline_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass: a client that was too fast is read again; closes one that did not finish CONNECT in time, or that fell
    /// silent [MQTT-3.1.2-22].
    pub fn on_tick(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if self.is_closed() {
            return;
        }
        self.pace.tick(now_ms);
        match self.timers.elapsed(now_ms, self.wants_read()) {
            None => {}
            Some(Elapsed::Connect) => self.close(out),
            Some(Elapsed::KeepAlive) => {
                self.disconnect(
                    ReasonCode::KeepAliveTimeout,
                    "nothing came for 1.5 times the keep alive",
                    out,
                );
            }
        }
    }

    /// The server ends the connection: DISCONNECT with this code and text (5.0), then close. Before CONNACK the client gets
    /// CONNACK 0x88 instead, since no other answer is legal there.
    pub fn on_shutdown(&mut self, reason: ReasonCode, reason_string: &str, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::AwaitConnect => self.close(out),
            Phase::Registering(_) => self.refuse_connect(ReasonCode::ServerUnavailable, reason_string, out),
            Phase::Connected => self.disconnect(reason, reason_string, out),
            Phase::Closed => {}
        }
    }

    /// The client is sent elsewhere (§4.11): as [`on_shutdown`](Self::on_shutdown), with a Server Reference.
    pub fn on_hand_over(&mut self, hand_over: HandOver, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::AwaitConnect => self.close(out),
            Phase::Registering(_) => self.refuse_to(hand_over, out),
            Phase::Connected => self.disconnect_to(hand_over, out),
            Phase::Closed => {}
        }
    }

    /// The client leaves (§3.14.4). What it wrote before goes on; its acknowledgements do not.
    fn on_disconnect(&mut self, disconnect: &Disconnect, out: &mut Vec<Effect>) {
        if self.session.asked_expiry_s == 0 && disconnect.session_expiry_s.is_some_and(|seconds| seconds > 0) {
            // §3.14.2.2.2
            let detail = "a session expiry interval in DISCONNECT after none in CONNECT";
            return self.disconnect(ReasonCode::ProtocolError, detail, out);
        }
        let expiry_max_s = self.settings.session_expiry_max_s;
        let end = command::Disconnect {
            expiry_s: disconnect.session_expiry_s.map(|seconds| seconds.min(expiry_max_s)),
            publishes_will: disconnect.reason != ReasonCode::Success, // [MQTT-3.14.4-3]
        };
        self.end(end, out);
    }

    fn on_decode_error(&mut self, error: DecodeError, out: &mut Vec<Effect>) {
        match (&self.phase, error.answer_version) {
            (Phase::AwaitConnect, Some(version)) => {
                self.client.version = version;
                // 3.1.1 has no code for a malformed CONNECT: it is closed without CONNACK [MQTT-3.1.4-1].
                let has_return_code = matches!(
                    error.reason,
                    ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
                );
                if version == ProtocolVersion::V5 || has_return_code {
                    self.refuse_connect(error.reason, error.detail, out);
                } else {
                    self.close(out);
                }
            }
            (Phase::AwaitConnect, None) => self.close(out),
            _ => self.disconnect(error.reason, error.detail, out),
        }
    }

    fn receive_maximum(&self) -> usize {
        usize::from(self.settings.receive_maximum.max(1))
    }
}
