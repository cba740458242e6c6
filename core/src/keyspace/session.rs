//! Sessions (kind 0x20): what a client has besides its subscriptions and its will.
//!
//! The key is the client identifier. The value is rewritten whenever anything of it changes:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | format version, 1 |
//! | 1 | flags: bit 0 connected, bit 1 has a will, bit 2 the will is due some time, bit 3 connected, and nothing is taken from the connection any more but its end |
//! | 4 | session expiry interval, seconds |
//! | 8 × 4 | if connected: fence, node id, incarnation of the node, connected since (µs) |
//! | 8 | otherwise: disconnected at (µs) |
//! | 8 | if bit 2, which excludes bit 0: when the will is published (µs) |
//! | 8 + 4 | cursor: revision, ordinal |
//! | 2, 2 × n | identifiers of received QoS 2 messages that are not released, ascending |
//! | 2, (2, text) × n | filters of the shared subscriptions that the following refer to by number |
//! | 2, 17 × n | in flight: position 8 + 4, packet identifier 2, flags 1 (bits 0-1 QoS, bit 2 received), number of the shared subscription 2, or 0xFFFF |
//! | 4, 15 × n | assigned: position 8 + 4, number of the shared subscription 2, QoS 1 |

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use imbl::OrdMap;

use super::record::FormatError;
use super::{KeyKind, MessagePosition, SubscriptionRow};
use crate::command::DecodeError;
use crate::command::wire::{Reader, put_count, put_field, put_position};

const VERSION: u8 = 1;

const CONNECTED: u8 = 0b001;
const HAS_WILL: u8 = 0b010;
const WILL_DUE: u8 = 0b100;
const LATE: u8 = 0b1000;

const QOS: u8 = 0b011;
const RECEIVED: u8 = 0b100;
/// Number of no shared subscription.
const PLAIN: u16 = u16::MAX;

const MICROSECONDS_PER_SECOND: u64 = 1_000_000;

/// A session expiry interval that never passes (§3.1.2.11.2).
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// A session: the state of a client that outlives its connections, or, if it does not, the connection itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Client identifier.
    pub client_id: Bytes,
    /// The connection in force.
    pub connection: Option<LiveConnection>,
    /// How long the session outlives its connection, seconds. 0: it does not; [`NEVER_EXPIRES`]: for ever.
    pub expiry_s: u32,
    /// When the last connection ended, microseconds of log time; none while there is one.
    pub disconnected_at_us: Option<u64>,
    /// Whether a will is to be published, if the connection ends or when it is due.
    pub has_will: bool,
    /// When the will is published, microseconds of log time; none while there is a connection.
    pub will_due_us: Option<u64>,
    /// Subscriptions by the text of their filters. Of a session that has never outlived a connection, only the shared ones.
    pub subscriptions: OrdMap<Bytes, SubscriptionRow>,
    /// Whether messages are kept for it: one of the subscriptions is not shared and has QoS 1 or 2. Follows from these and is
    /// not stored.
    pub waits: bool,
    /// Every message up to here is in flight, done, or not for this session. Means nothing while it does not wait.
    pub cursor: MessagePosition,
    /// Messages under a packet identifier, in the order in which they were sent first. Each identifier occurs once.
    pub in_flight: Vec<InFlight>,
    /// Identifiers of QoS 2 messages that came from the client and are not released.
    pub inbound: BTreeSet<u16>,
    /// Messages of shared subscriptions that this session is to send and has not sent, with the text of the subscription's
    /// filter, and their QoS.
    pub assigned: BTreeMap<(MessagePosition, Bytes), u8>,
}

/// The connection in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConnection {
    /// Tells it from all others of the cluster: greater is later.
    pub fence: u64,
    /// The node that holds it.
    pub node_id: u64,
    /// The life of that node.
    pub incarnation: u64,
    /// When it began, microseconds of log time.
    pub since_us: u64,
    /// Something that it has sent came to the log too late, and what it sends later must not overtake that: all that is taken
    /// from it any more is its end.
    pub is_late: bool,
}

/// A message under a packet identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Which message.
    pub position: MessagePosition,
    /// The identifier.
    pub packet_id: u16,
    /// QoS with which it was sent, 1 or 2.
    pub qos: u8,
    /// The text of the shared subscription that assigned it.
    pub shared: Option<Bytes>,
    /// PUBREC came: the identifier is all that is still needed.
    pub received: bool,
}

impl Session {
    /// A session that has nothing, and nobody connected. No message up to `cursor` is for it.
    #[must_use]
    pub fn new(client_id: Bytes, cursor: MessagePosition) -> Self {
        Self {
            client_id,
            connection: None,
            expiry_s: 0,
            disconnected_at_us: None,
            has_will: false,
            will_due_us: None,
            subscriptions: OrdMap::new(),
            waits: false,
            cursor,
            in_flight: Vec::new(),
            inbound: BTreeSet::new(),
            assigned: BTreeMap::new(),
        }
    }

    /// When the session ends if nobody connects, microseconds of log time; none while somebody is connected, and if it never
    /// expires.
    #[must_use]
    pub fn expires_at_us(&self) -> Option<u64> {
        let disconnected_at_us = self.disconnected_at_us?;
        (self.expiry_s != NEVER_EXPIRES).then(|| seconds_after(disconnected_at_us, self.expiry_s))
    }

    /// When something happens to the session if nobody connects: its will is published, or it ends.
    #[must_use]
    pub fn due_us(&self) -> Option<u64> {
        // `None` is less than any time.
        match (self.will_due_us, self.expires_at_us()) {
            (Some(will_due_us), Some(expires_at_us)) => Some(will_due_us.min(expires_at_us)),
            (one, other) => one.or(other),
        }
    }

    /// The stored form.
    ///
    /// # Panics
    /// If the session is neither connected nor disconnected, or has more than 65,535 of what a packet identifier tells apart.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + 17 * self.in_flight.len());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.connection.is_some(), CONNECTED)
            | flag(self.has_will, HAS_WILL)
            | flag(self.will_due_us.is_some(), WILL_DUE)
            | flag(self.connection.is_some_and(|connection| connection.is_late), LATE);
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&self.expiry_s.to_be_bytes());
        if let Some(connection) = &self.connection {
            connection.encode(&mut out);
        } else {
            let disconnected_at_us = self.disconnected_at_us.expect("connected or disconnected");
            out.extend_from_slice(&disconnected_at_us.to_be_bytes());
        }
        if let Some(will_due_us) = self.will_due_us {
            out.extend_from_slice(&will_due_us.to_be_bytes());
        }
        put_position(&mut out, self.cursor);
        put_count(&mut out, self.inbound.len());
        for packet_id in &self.inbound {
            out.extend_from_slice(&packet_id.to_be_bytes());
        }
        let shared = SharedTexts::of(self);
        shared.encode(&mut out);
        put_count(&mut out, self.in_flight.len());
        for message in &self.in_flight {
            put_position(&mut out, message.position);
            out.extend_from_slice(&message.packet_id.to_be_bytes());
            out.push(message.qos | flag(message.received, RECEIVED));
            let number = message.shared.as_ref().map_or(PLAIN, |text| shared.number(text));
            out.extend_from_slice(&number.to_be_bytes());
        }
        let count = u32::try_from(self.assigned.len()).expect("assigned messages are bounded by subscriptions");
        out.extend_from_slice(&count.to_be_bytes());
        for ((position, text), qos) in &self.assigned {
            put_position(&mut out, *position);
            out.extend_from_slice(&shared.number(text).to_be_bytes());
            out.push(*qos);
        }
        Bytes::from(out)
    }

    /// Reads the stored form. What it holds are slices of it. Subscriptions are rows of their own.
    ///
    /// # Errors
    /// The bytes are no session: storage is damaged, or a newer version wrote it.
    pub fn parse(client_id: Bytes, bytes: &Bytes) -> Result<Self, FormatError> {
        if bytes.first() != Some(&VERSION) {
            return Err(FormatError::new("session", "has an unknown version"));
        }
        let mut reader = Reader::new(bytes, 1..bytes.len());
        Self::read(client_id, &mut reader).map_err(|_| FormatError::new("session", "is malformed"))
    }

    fn read(client_id: Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.flags(CONNECTED | HAS_WILL | WILL_DUE | LATE)?;
        let is_connected = flags & CONNECTED != 0;
        let has_will = flags & HAS_WILL != 0;
        let has_due = flags & WILL_DUE != 0;
        let is_late = flags & LATE != 0;
        if (has_due && (is_connected || !has_will)) || (is_late && !is_connected) {
            return Err(DecodeError::Flags(flags));
        }
        let expiry_s = reader.u32()?;
        let (connection, disconnected_at_us) = if is_connected {
            (Some(LiveConnection::read(reader, is_late)?), None)
        } else {
            (None, Some(reader.u64()?))
        };
        let will_due_us = if has_due { Some(reader.u64()?) } else { None };
        let cursor = reader.position()?;
        let inbound = reader.list(Reader::packet_id)?;
        let shared = reader.list(Reader::field)?;
        let text = |number: u16| shared.get(usize::from(number)).cloned().ok_or(DecodeError::Truncated);
        let in_flight = reader.list(|reader| {
            let position = reader.position()?;
            let packet_id = reader.packet_id()?;
            let flags = reader.flags(QOS | RECEIVED)?;
            let number = reader.u16()?;
            Ok(InFlight {
                position,
                packet_id,
                qos: flags & QOS,
                shared: if number == PLAIN { None } else { Some(text(number)?) },
                received: flags & RECEIVED != 0,
            })
        })?;
        let count = reader.u32()?;
        let mut assigned = BTreeMap::new();
        for _ in 0..count {
            let position = reader.position()?;
            let text = text(reader.u16()?)?;
            assigned.insert((position, text), reader.flags(QOS)?);
        }
        reader.finish()?;
        Ok(Self {
            connection,
            expiry_s,
            disconnected_at_us,
            has_will,
            will_due_us,
            in_flight,
            inbound: inbound.into_iter().collect(),
            assigned,
            ..Self::new(client_id, cursor)
        })
    }
}

impl LiveConnection {
    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.fence, self.node_id, self.incarnation, self.since_us] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>, is_late: bool) -> Result<Self, DecodeError> {
        Ok(Self {
            fence: reader.u64()?,
            node_id: reader.u64()?,
            incarnation: reader.u64()?,
            since_us: reader.u64()?,
            is_late,
        })
    }
}

/// The filters of shared subscriptions that messages of a session came by, each once, in order.
struct SharedTexts<'a>(BTreeMap<&'a Bytes, u16>);

impl<'a> SharedTexts<'a> {
    fn of(session: &'a Session) -> Self {
        let in_flight = session.in_flight.iter().filter_map(|message| message.shared.as_ref());
        let assigned = session.assigned.keys().map(|(_, text)| text);
        let texts: BTreeSet<&Bytes> = in_flight.chain(assigned).collect();
        Self(texts.into_iter().zip(0..PLAIN).collect())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.0.len());
        self.0.keys().for_each(|text| put_field(out, text));
    }

    fn number(&self, text: &Bytes) -> u16 {
        self.0[text]
    }
}

/// The time `seconds` after `time_us`.
pub(crate) fn seconds_after(time_us: u64, seconds: u32) -> u64 {
    time_us.saturating_add(u64::from(seconds) * MICROSECONDS_PER_SECOND)
}

/// Key of the session of a client.
#[must_use]
pub fn session_key(client_id: &[u8]) -> Bytes {
    Bytes::from([&[KeyKind::Session as u8], client_id].concat())
}

/// Client identifier of a key of kind 0x20: a slice of it.
///
/// # Errors
/// It is none.
pub fn session_of_key(key: &Bytes) -> Result<Bytes, FormatError> {
    match key.split_first() {
        Some((kind, client_id)) if *kind == KeyKind::Session as u8 && !client_id.is_empty() => Ok(key.slice(1..)),
        _ => Err(FormatError::new("session", "has a malformed key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: u64) -> MessagePosition {
        MessagePosition { revision, ordinal: 1 }
    }

    fn sessions() -> [Session; 3] {
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let in_flight = |packet_id, shared| InFlight {
            position: at(u64::from(packet_id)),
            packet_id,
            qos: 2,
            shared,
            received: packet_id == 9,
        };
        let idle = Session {
            disconnected_at_us: Some(5),
            expiry_s: NEVER_EXPIRES,
            ..Session::new(text("idle"), at(7))
        };
        let busy = Session {
            connection: Some(LiveConnection {
                fence: 1,
                node_id: 2,
                incarnation: 3,
                since_us: 4,
                is_late: true,
            }),
            has_will: true,
            in_flight: vec![
                in_flight(9, None),
                in_flight(3, Some(text("$share/g/a"))),
                in_flight(4, Some(text("$share/h/a"))),
            ],
            inbound: [7, 65_535].into(),
            assigned: [
                ((at(1), text("$share/g/a")), 1),
                ((at(1), text("$share/h/a")), 2),
                ((at(2), text("$share/i/+")), 1),
            ]
            .into(),
            ..Session::new(text("busy"), MessagePosition::end_of(6))
        };
        let waiting = Session {
            has_will: true,
            will_due_us: Some(6),
            ..idle.clone()
        };
        [idle, busy, waiting]
    }

    #[test]
    fn sessions_come_back_as_they_went() {
        for session in sessions() {
            let bytes = session.encode();
            assert_eq!(Session::parse(session.client_id.clone(), &bytes), Ok(session));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for session in sessions() {
            let bytes = session.encode();
            for length in 0..bytes.len() {
                assert!(Session::parse(session.client_id.clone(), &bytes.slice(..length)).is_err());
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert!(Session::parse(session.client_id.clone(), &longer).is_err());
            let newer = Bytes::from([&[2], &bytes[1..]].concat());
            assert!(Session::parse(session.client_id.clone(), &newer).is_err());
        }
    }

    #[test]
    fn keys_return_to_their_client() {
        let key = session_key(b"probe");
        assert_eq!(key[..], *b"\x20probe");
        assert_eq!(session_of_key(&key), Ok(Bytes::from_static(b"probe")));
        assert!(session_of_key(&key.slice(..1)).is_err());
        assert!(session_of_key(&key.slice(1..)).is_err());
    }

    #[test]
    fn a_session_is_due_when_the_first_thing_happens() {
        let [idle, busy, waiting] = sessions();
        assert_eq!((idle.expires_at_us(), idle.due_us()), (None, None));
        assert_eq!((busy.expires_at_us(), busy.due_us()), (None, None));
        assert_eq!((waiting.expires_at_us(), waiting.due_us()), (None, Some(6)));
        let expiring = Session { expiry_s: 1, ..waiting };
        assert_eq!(expiring.expires_at_us(), Some(1_000_005));
        assert_eq!(expiring.due_us(), Some(6));
    }
}
