//! CONNECT to CONNACK (§3.1, §3.2).

use std::borrow::Cow;

use bytes::Bytes;

use super::effect::{Authenticated, Effect, RegisterResult, Registered, Resumed};
use super::{Connection, Inflight, OutboundAliases, Phase, properties, will};
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::mqtt::packet::{ConnAck, Connect, Packet, ProtocolVersion};
use crate::mqtt::reason::ReasonCode;

/// What CONNECT fixed for the life of the connection.
#[derive(Debug)]
pub(super) struct ClientTerms {
    pub(super) version: ProtocolVersion,
    /// Of exact size; empty before CONNECT.
    pub(super) client_id: Bytes,
    /// `annotate=on`
    pub(super) annotate: bool,
    /// Request Problem Information.
    pub(super) problem_information: bool,
    /// Maximum Packet Size of the client, bytes.
    pub(super) packet_bytes_max: u32,
}

impl ClientTerms {
    /// Of a client that has not said anything.
    pub(super) fn unknown() -> Self {
        Self {
            version: ProtocolVersion::V3,
            client_id: Bytes::new(),
            annotate: false,
            problem_information: true,
            packet_bytes_max: u32::MAX,
        }
    }
}

/// The session of the connection.
#[derive(Debug, Default)]
pub(super) struct SessionTerms {
    /// Session Expiry Interval that CONNECT asks for, seconds.
    pub(super) asked_expiry_s: u32,
    /// Goes into every command.
    pub(super) fence: u64,
    /// Packet identifiers are the cluster's business.
    pub(super) replicated: bool,
}

/// What happens once the session is this connection's.
#[derive(Debug, Default)]
pub(super) struct Pending {
    connack: ConnAck,
    /// The Keep Alive that holds, seconds.
    keep_alive_s: u16,
}

/// Why a CONNECT is refused: code and reason string of CONNACK.
pub(super) struct Refusal(ReasonCode, Cow<'static, str>);

impl Refusal {
    pub(super) fn new(reason: ReasonCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(reason, detail.into())
    }
}

impl Connection {
    pub(super) fn on_connect(&mut self, connect: &Connect, out: &mut Vec<Effect>) {
        self.timers.connect_received();
        self.client = ClientTerms {
            version: connect.version,
            client_id: Bytes::copy_from_slice(&connect.client_id),
            annotate: connect.version == ProtocolVersion::V5
                && properties::asks_for_annotations(&connect.user_properties),
            problem_information: connect.request_problem_information,
            packet_bytes_max: connect.maximum_packet_size.unwrap_or(u32::MAX),
        };
        let checked = match self.settings.refuse_all {
            Some((reason, detail)) => Err(Refusal::new(reason, detail)),
            None => check(connect, self.settings.allow_anonymous),
        };
        let will = match checked.and_then(|()| connect.will.as_ref().map(will::check).transpose()) {
            Ok(will) => will,
            Err(Refusal(reason, detail)) => return self.refuse_connect(reason, &detail, out),
        };
        self.session.asked_expiry_s = asked_expiry_s(connect);
        let session_expiry_s = self.session.asked_expiry_s.min(self.settings.session_expiry_max_s);

        let assigned = self.client.client_id.is_empty();
        if assigned {
            // [MQTT-3.1.3-6]
            let client_id = format!("{}{:016x}", self.settings.assigned_client_id_prefix, self.nonce);
            self.client.client_id = Bytes::from(client_id);
        }
        let inflight_max = connect
            .receive_maximum
            .unwrap_or(u16::MAX)
            .min(self.settings.inflight_count_max);
        self.inflight = Inflight::new(inflight_max);
        let aliases_max = connect
            .topic_alias_maximum
            .unwrap_or(0)
            .min(self.settings.topic_alias_maximum);
        self.outbound_aliases = OutboundAliases::new(aliases_max);

        let server_keep_alive_s = self.server_keep_alive_s(connect);
        let keep_alive_s = server_keep_alive_s.unwrap_or(connect.keep_alive_s);
        let connack = match connect.version {
            ProtocolVersion::V5 => ConnAck {
                response_information: self.response_information(connect),
                ..self.connack_5(assigned, session_expiry_s, server_keep_alive_s)
            },
            ProtocolVersion::V3 => ConnAck::default(),
        };
        self.phase = Phase::Registering(Box::new(Pending { connack, keep_alive_s }));
        out.push(Effect::Authenticated(Box::new(Authenticated {
            client_id: self.client.client_id.clone(),
            assigned,
            version: connect.version,
            clean_start: connect.clean_start,
            session_expiry_s,
            will,
            annotate: self.client.annotate,
        })));
    }

    /// The answer to [`Effect::Authenticated`]: CONNACK, and what the client sent meanwhile can be decoded.
    pub fn on_registered(&mut self, result: RegisterResult, now_ms: u64, out: &mut Vec<Effect>) {
        let Phase::Registering(pending) = &mut self.phase else {
            return;
        };
        match result {
            RegisterResult::Registered(registered) => {
                let pending = std::mem::take(&mut **pending);
                self.phase = Phase::Connected;
                self.timers.connected(pending.keep_alive_s, now_ms);
                self.begin_session(pending.connack, registered, out);
            }
            RegisterResult::Unavailable(detail) => self.refuse_connect(ReasonCode::ServerUnavailable, &detail, out),
            RegisterResult::Refused(reason, detail) => self.refuse_connect(reason, &detail, out),
            RegisterResult::Elsewhere(hand_over) => self.refuse_to(hand_over, out),
        }
    }

    /// CONNACK, and on with what the session brings along: PUBREL for each message that the client has received, in the order
    /// of its PUBRECs [MQTT-4.4.0-1], [MQTT-4.6.0-4].
    fn begin_session(&mut self, mut connack: ConnAck, registered: Registered, out: &mut Vec<Effect>) {
        let Registered {
            fence,
            replicated,
            resumed,
        } = registered;
        self.session.fence = fence;
        self.session.replicated = replicated;
        connack.session_present = resumed.is_some(); // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
        self.send(Packet::ConnAck(Box::new(connack)), out); // [MQTT-3.1.4-5], [MQTT-3.2.0-1]
        let Some(Resumed {
            subscriptions,
            inbound,
            in_flight,
        }) = resumed
        else {
            return;
        };
        self.subscriptions.restore(subscriptions);
        self.inbound.restore(&inbound);
        self.inflight.restore(&in_flight);
        for message in in_flight.iter().filter(|message| message.received) {
            self.send_pubrel(message.packet_id, ReasonCode::Success, out);
        }
    }

    /// Server Keep Alive, if the client's own shall not hold [MQTT-3.2.2-22]. 3.1.1 has no way to say so.
    fn server_keep_alive_s(&self, connect: &Connect) -> Option<u16> {
        let max_s = self.settings.keep_alive_max_s;
        let too_long = connect.keep_alive_s == 0 || connect.keep_alive_s > max_s;
        (connect.version == ProtocolVersion::V5 && max_s < u16::MAX && too_long).then_some(max_s)
    }

    /// Response Information, for who asks [MQTT-3.1.2-28].
    fn response_information(&self, connect: &Connect) -> Option<String> {
        let asked = connect.request_response_information;
        self.settings.response_information.clone().filter(|_| asked)
    }

    /// CONNACK of an accepted 5.0 client: what is limited or missing here, and nothing that holds anyway.
    fn connack_5(&self, assigned: bool, session_expiry_s: u32, server_keep_alive_s: Option<u16>) -> ConnAck {
        let settings = &self.settings;
        ConnAck {
            reason: ReasonCode::Success,
            session_expiry_s: (session_expiry_s != self.session.asked_expiry_s).then_some(session_expiry_s),
            receive_maximum: Some(settings.receive_maximum.max(1)),
            maximum_packet_size: Some(settings.packet_bytes_max),
            assigned_client_id: assigned.then(|| self.client.client_id.clone()), // [MQTT-3.1.3-7], [MQTT-3.2.2-16]
            topic_alias_maximum: (settings.topic_alias_maximum > 0).then_some(settings.topic_alias_maximum),
            server_keep_alive_s,
            wildcard_subscription_available: settings.refuse_wildcards.then_some(false),
            shared_subscription_available: settings.refuse_shared.then_some(false),
            ..ConnAck::default()
        }
    }
}

/// Session Expiry Interval that a CONNECT asks for, seconds. Clean Session of 3.1.1 is all or nothing (3.1.1 §3.1.2.4).
fn asked_expiry_s(connect: &Connect) -> u32 {
    match (connect.version, connect.clean_start) {
        (ProtocolVersion::V5, _) => connect.session_expiry_s.unwrap_or(0),
        (ProtocolVersion::V3, true) => 0,
        (ProtocolVersion::V3, false) => u32::MAX,
    }
}

/// Everything about a CONNECT that needs no other node, its will apart [MQTT-3.1.4-2].
fn check(connect: &Connect, allow_anonymous: bool) -> Result<(), Refusal> {
    if connect.receive_maximum == Some(0) || connect.maximum_packet_size == Some(0) {
        return Err(Refusal::new(
            ReasonCode::ProtocolError,
            "receive maximum and maximum packet size must not be 0",
        ));
    }
    if connect.authentication_method.is_some() {
        // [MQTT-4.12.0-1]
        return Err(Refusal::new(
            ReasonCode::BadAuthenticationMethod,
            "no authentication method is supported; leave it out",
        ));
    }
    check_client_id(connect)?;
    match (allow_anonymous, &connect.user_name) {
        (true, _) => Ok(()),
        (false, Some(_)) => Err(Refusal::new(
            ReasonCode::BadUserNameOrPassword,
            "unknown user name or wrong password",
        )),
        (false, None) => Err(Refusal::new(
            ReasonCode::NotAuthorized,
            "user name and password are required",
        )),
    }
}

fn check_client_id(connect: &Connect) -> Result<(), Refusal> {
    let refused = |detail: &'static str| Err(Refusal::new(ReasonCode::ClientIdentifierNotValid, detail)); // [MQTT-3.1.3-8]
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return refused("the client identifier is longer than 256 bytes; shorten it");
    }
    if connect.client_id.is_empty() && connect.version == ProtocolVersion::V3 && !connect.clean_start {
        // 3.1.1 §3.1.3.1, [MQTT-3.1.3-8] there.
        return refused("a session without a client identifier");
    }
    match std::str::from_utf8(&connect.client_id) {
        Ok(client_id) if !client_id.chars().any(is_refused) => Ok(()),
        _ => refused("the client identifier has control characters or non-characters; remove them"),
    }
}

/// C0 and C1 control characters and the 66 non-characters (§1.5.4).
fn is_refused(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

const _: () = assert!(CLIENT_ID_BYTES_MAX == 256, "the text of check_client_id names it");
