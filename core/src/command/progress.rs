//! A session gets on with its messages.

use super::subscribe::{decode_replay, encode_replay, replay_kind};
use super::wire::{Reader, put_count, put_field, put_position};
use super::{DecodeError, ReplayFrom};
use crate::keyspace::MessagePosition;
use crate::topic::SubscriptionFilter;

const CURSOR: u8 = 0b1;
const SENT_QOS: u8 = 0b011;
const SENT_SHARED: u8 = 0b100;

/// What the sender's connection has done with messages, and is about to do: packet identifiers are replicated before they
/// are sent, so that a client meets the same ones after a failover.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Every waiting message up to here is in flight, done, or not for this session. It never goes back.
    pub cursor: Option<MessagePosition>,
    /// Outgoing identifiers that are free again: by PUBACK, PUBCOMP, or PUBREC with a failure. Taken first.
    pub done: Vec<u16>,
    /// Outgoing identifiers of QoS 2 for which PUBREC came.
    pub received: Vec<u16>,
    /// Shared messages that are finished without being in flight here: QoS 0, expired, too large; of a session that ends
    /// with its connection, acknowledged.
    pub settled: Vec<MessagePosition>,
    /// Messages that will be sent once this is committed, in this order.
    pub sent: Vec<Sent>,
    /// Where the replays of these subscriptions stand; `None`: finished.
    pub replayed: Vec<(SubscriptionFilter, Option<ReplayFrom>)>,
}

/// A message under a packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Which message.
    pub position: MessagePosition,
    /// The identifier, not 0.
    pub packet_id: u16,
    /// QoS with which it is sent, 1 or 2.
    pub qos: u8,
    /// Whether it was assigned to the session by a shared subscription.
    pub shared: bool,
}

impl Progress {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.cursor.is_some() { CURSOR } else { 0 });
        if let Some(cursor) = self.cursor {
            put_position(out, cursor);
        }
        for packet_ids in [&self.done, &self.received] {
            put_count(out, packet_ids.len());
            for packet_id in packet_ids {
                put_packet_id(out, *packet_id);
            }
        }
        put_count(out, self.settled.len());
        self.settled.iter().for_each(|position| put_position(out, *position));
        put_count(out, self.sent.len());
        self.sent.iter().for_each(|sent| sent.encode(out));
        put_count(out, self.replayed.len());
        for (filter, replay) in &self.replayed {
            put_field(out, filter.as_str().as_bytes());
            out.push(replay_kind(replay.as_ref()));
            encode_replay(replay.as_ref(), out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.flags(CURSOR)?;
        let cursor = if flags & CURSOR != 0 {
            Some(reader.position()?)
        } else {
            None
        };
        let progress = Self {
            cursor,
            done: reader.list(Reader::packet_id)?,
            received: reader.list(Reader::packet_id)?,
            settled: reader.list(Reader::position)?,
            sent: reader.list(Sent::decode)?,
            replayed: reader.list(|reader| {
                let filter = reader.subscription_filter()?;
                let kind = reader.u8()?;
                Ok((filter, decode_replay(kind, reader)?))
            })?,
        };
        reader.finish()?;
        Ok(progress)
    }
}

impl Sent {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!((1..=2).contains(&self.qos), "QoS {} has no packet identifier", self.qos);
        put_position(out, self.position);
        put_packet_id(out, self.packet_id);
        out.push(self.qos | if self.shared { SENT_SHARED } else { 0 });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = reader.position()?;
        let packet_id = reader.packet_id()?;
        let flags = reader.flags(SENT_QOS | SENT_SHARED)?;
        let qos = flags & SENT_QOS;
        if !(1..=2).contains(&qos) {
            return Err(DecodeError::Flags(flags));
        }
        Ok(Self {
            position,
            packet_id,
            qos,
            shared: flags & SENT_SHARED != 0,
        })
    }
}

fn put_packet_id(out: &mut Vec<u8>, packet_id: u16) {
    assert!(packet_id != 0, "packet identifiers begin at 1 [MQTT-2.2.1-3]");
    out.extend_from_slice(&packet_id.to_be_bytes());
}
