//! Messages of QoS 1 and 2 on their way to the client: which packet identifiers are taken, how far each message has come,
//! and whether there is room for more.
//!
//! ```text
//!        reserve               sent                PUBREC               PUBREL sent
//!  free ─────────► Reserved ───────► Published ───────────► Received ───────────────► Released
//!   ▲    of a former connection:        │ PUBACK, or                                     │
//!   │              Restored             │ PUBREC with a failure                          │ PUBCOMP
//!   └───────────────────────────────────┴────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;

use super::effect::InFlight;
use crate::mqtt::packet::QoS;

/// How far a message has come (§4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not sent yet.
    Reserved,
    /// Sent on a former connection of the session, not on this one yet.
    Restored,
    /// Sent; PUBACK or PUBREC has yet to come.
    Published,
    /// PUBREC has come; PUBREL waits until that is replicated.
    Received,
    /// PUBREL is sent; PUBCOMP has yet to come.
    Released,
}

#[derive(Debug, Clone, Copy)]
struct Outgoing {
    /// 1 or 2.
    qos: QoS,
    stage: Stage,
}

/// A message that may be sent under the identifier that was taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// 1 or 2.
    pub(super) qos: QoS,
    /// It was sent on a former connection.
    pub(super) dup: bool,
}

/// Why a message cannot be sent under an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotDue {
    /// No identifier that was taken for a message still to be sent.
    Unknown,
    /// As much is under way as the client takes at a time.
    WindowFull,
}

/// What a PUBREC means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PubRec {
    /// The client has got the message.
    First,
    /// It has said so before, and PUBREL will follow.
    Repeated,
    /// It has said so before, and PUBREL has been sent.
    AfterPubRel,
}

/// Why an acknowledgement acknowledges nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckError {
    /// Nothing is in flight under the identifier.
    Unknown,
    /// It is not the acknowledgement that the message waits for (§4.3).
    Unexpected,
}

/// How many messages a client is sent before its first acknowledgement: one that never acknowledges costs no more than these.
const WINDOW_AT_FIRST: u16 = 64;

/// The send quota and the packet identifiers of §4.9 and §2.2.1. The window opens as the client acknowledges, by one message for
/// each, which doubles it every round trip (slow start, RFC 5681 §3.1).
#[derive(Debug)]
pub(super) struct Inflight {
    messages: BTreeMap<u16, Outgoing>,
    /// How many of them are under way on this connection: `Published` and later.
    sent_count: usize,
    /// Send quota: Receive Maximum of the client or our own bound, 1 to 65,535 [MQTT-4.9.0-1].
    count_max: u16,
    /// How much of the quota the client has shown that it keeps up with.
    window: u16,
    /// Last packet identifier given.
    last_packet_id: u16,
}

impl Inflight {
    /// Room for `count_max` messages; 0 counts as 1.
    pub(super) fn new(count_max: u16) -> Self {
        let count_max = count_max.max(1);
        Self {
            messages: BTreeMap::new(),
            sent_count: 0,
            count_max,
            window: count_max.min(WINDOW_AT_FIRST),
            last_packet_id: 0,
        }
    }

    /// Takes up what was in flight when the session's former connection ended, maybe more than there is room for now.
    /// Entries with an identifier or QoS of 0 are none.
    pub(super) fn restore(&mut self, in_flight: &[InFlight]) {
        for message in in_flight {
            let is_known = self.messages.contains_key(&message.packet_id);
            if message.packet_id == 0 || message.qos == QoS::AtMostOnce || is_known {
                continue;
            }
            let stage = match message.received && message.qos == QoS::ExactlyOnce {
                true => Stage::Released,
                false => Stage::Restored,
            };
            let qos = message.qos;
            self.messages.insert(message.packet_id, Outgoing { qos, stage });
            self.sent_count += usize::from(stage == Stage::Released);
            self.last_packet_id = message.packet_id;
        }
    }

    /// Whether one more may be sent [MQTT-3.3.4-9], [MQTT-4.9.0-2].
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < usize::from(self.window)
    }

    /// Takes a packet identifier for a message of this QoS, 1 or 2: ascending, from 65,535 on to 1, skipping those in flight
    /// [MQTT-2.2.1-4]. `None` without room.
    pub(super) fn reserve(&mut self, qos: QoS) -> Option<u16> {
        if !self.has_room() {
            return None;
        }
        let next = self.last_packet_id.checked_add(1).unwrap_or(1);
        let packet_id = (next..=u16::MAX)
            .chain(1..next)
            .find(|packet_id| !self.messages.contains_key(packet_id))?;
        self.last_packet_id = packet_id;
        let stage = Stage::Reserved;
        self.messages.insert(packet_id, Outgoing { qos, stage });
        Some(packet_id)
    }

    /// Whether the message of this identifier may be sent now.
    pub(super) fn due(&self, packet_id: u16) -> Result<Due, NotDue> {
        let message = self.messages.get(&packet_id).ok_or(NotDue::Unknown)?;
        let dup = match message.stage {
            Stage::Reserved => false,
            Stage::Restored => true,
            Stage::Published | Stage::Received | Stage::Released => return Err(NotDue::Unknown),
        };
        if self.sent_count >= usize::from(self.window) {
            return Err(NotDue::WindowFull);
        }
        Ok(Due { qos: message.qos, dup })
    }

    /// A message that is due has been sent.
    pub(super) fn published(&mut self, packet_id: u16) {
        if let Some(message) = self.messages.get_mut(&packet_id) {
            message.stage = Stage::Published;
            self.sent_count += 1;
        }
    }

    /// Gives an identifier back whose message is not sent on this connection. No effect if it is under way.
    pub(super) fn cancel(&mut self, packet_id: u16) {
        if self.due(packet_id) != Err(NotDue::Unknown) {
            self.messages.remove(&packet_id);
        }
    }

    /// PUBACK came: a message of QoS 1 is done.
    pub(super) fn puback(&mut self, packet_id: u16) -> Result<(), AckError> {
        let message = self.messages.get(&packet_id).ok_or(AckError::Unknown)?;
        match (message.qos, message.stage) {
            (QoS::AtLeastOnce, Stage::Published | Stage::Restored) => {
                self.done(packet_id);
                Ok(())
            }
            (_, Stage::Reserved) => Err(AckError::Unknown),
            _ => Err(AckError::Unexpected),
        }
    }

    /// PUBREC came. With a failure a message of QoS 2 is done; otherwise PUBREL is to follow.
    pub(super) fn pubrec(&mut self, packet_id: u16, is_failure: bool) -> Result<PubRec, AckError> {
        let message = self.messages.get_mut(&packet_id).ok_or(AckError::Unknown)?;
        match (message.qos, message.stage) {
            (_, Stage::Reserved) => Err(AckError::Unknown),
            (QoS::ExactlyOnce, Stage::Published | Stage::Restored) if is_failure => {
                self.done(packet_id);
                Ok(PubRec::First)
            }
            (QoS::ExactlyOnce, Stage::Published | Stage::Restored) => {
                self.sent_count += usize::from(message.stage == Stage::Restored);
                message.stage = Stage::Received;
                Ok(PubRec::First)
            }
            (QoS::ExactlyOnce, Stage::Received) => Ok(PubRec::Repeated),
            (QoS::ExactlyOnce, Stage::Released) => Ok(PubRec::AfterPubRel),
            _ => Err(AckError::Unexpected),
        }
    }

    /// PUBREL leaves. False if no message of this identifier waits for it.
    pub(super) fn release(&mut self, packet_id: u16) -> bool {
        match self.messages.get_mut(&packet_id) {
            Some(message) if message.stage == Stage::Received => {
                message.stage = Stage::Released;
                true
            }
            _ => false,
        }
    }

    /// PUBCOMP came: a message of QoS 2 is done.
    pub(super) fn pubcomp(&mut self, packet_id: u16) -> Result<(), AckError> {
        let message = self.messages.get(&packet_id).ok_or(AckError::Unknown)?;
        match message.stage {
            Stage::Released => {
                self.done(packet_id);
                Ok(())
            }
            Stage::Reserved => Err(AckError::Unknown),
            Stage::Restored | Stage::Published | Stage::Received => Err(AckError::Unexpected),
        }
    }

    /// The client has the message, and shows that it keeps up.
    fn done(&mut self, packet_id: u16) {
        self.window = self.window.saturating_add(1).min(self.count_max);
        if let Some(message) = self.messages.remove(&packet_id) {
            let was_sent = matches!(message.stage, Stage::Published | Stage::Received | Stage::Released);
            self.sent_count -= usize::from(was_sent);
        }
    }

    /// Identifiers taken: messages in flight, and those about to be.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}

#[cfg(test)]
#[path = "inflight_test.rs"]
mod tests;
