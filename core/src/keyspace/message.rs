//! A message that is kept for those who have not had it (kind 0x24).
//!
//! The key is the position of the message: revision u64, ordinal u32.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | 1 put, 2 delete, 3 event |
//! | 2 | 1 | flags: bits 0-1 QoS, bit 2 a delete expired or an event expires, the rest 0; of a put all 0 |
//! | 3 | 8 | kept at: log time at which the row was written, microseconds since the Unix epoch |
//! | 11 | 8 | timestamp of a delete, microseconds since the Unix epoch; seconds after which an event expires; else 0 |
//! | 19 | 2 | length of the topic |
//! | 21 | 2 | length of the publisher; 0 of a put |
//! | 23 | 2 | length of the metadata; 0 of a put |
//! | 25 | | topic, UTF-8 |
//! | | | publisher, UTF-8 |
//! | | | metadata in their [canonical encoding](crate::metadata) |
//! | | | put: the [record](super::record) as it was; event: the payload, to the end; delete: nothing |
//!
//! What is read from a row are slices of it.

use bytes::{BufMut, Bytes};

use super::change::{position_key, position_of_key};
use super::record::FormatError;
use super::{KeyKind, MessagePosition, TopicRecord};
use crate::limits::TOPIC_BYTES_MAX;
use crate::metadata::Metadata;
use crate::topic::TopicName;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 25;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const EVENT: u8 = 3;

const QOS: u8 = 0b011;
/// A delete for expiry, or an event with an expiry.
const EXPIRY: u8 = 0b100;

const _: () = assert!(TOPIC_BYTES_MAX <= u16::MAX as usize);

/// A kept message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Log time at which it was kept, microseconds since the Unix epoch. Of a delete or an event its commit; of a put the
    /// moment it was superseded.
    pub kept_at_us: u64,
    /// The topic.
    pub topic: TopicName,
    /// What happened.
    pub content: MessageContent,
}

/// What a kept message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    /// The topic was written.
    Put(TopicRecord),
    /// The topic was deleted.
    Delete {
        /// When the value ceased to be true, microseconds since the Unix epoch.
        timestamp_us: u64,
        /// Who deleted it; empty if it expired.
        publisher: Bytes,
        /// What the publisher said with it.
        metadata: Metadata,
        /// QoS of the delete, 0 to 2.
        qos: u8,
        /// Its time had come.
        expired: bool,
    },
    /// A PUBLISH without retain.
    Event {
        /// The payload, maybe empty.
        payload: Bytes,
        /// Who published it.
        publisher: Bytes,
        /// What the publisher says about the payload.
        metadata: Metadata,
        /// QoS of the PUBLISH, 0 to 2.
        qos: u8,
        /// Message Expiry Interval, seconds from `kept_at_us`.
        expiry_s: Option<u32>,
    },
}

/// The parts of a row, in their order.
struct Parts<'a> {
    kind: u8,
    flags: u8,
    number: u64,
    publisher: &'a [u8],
    metadata: &'a [u8],
    rest: &'a [u8],
}

impl Message {
    /// The stored form, in a buffer of its own.
    ///
    /// # Panics
    /// If a QoS is above 2, or a publisher longer than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Parts {
            kind,
            flags,
            number,
            publisher,
            metadata,
            rest,
        } = self.content.parts();
        let length = |field: &[u8]| u16::try_from(field.len()).expect("topic, publisher and metadata are limited");
        let topic = self.topic.as_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + topic.len() + publisher.len() + metadata.len() + rest.len());
        bytes.put_slice(&[VERSION, kind, flags]);
        bytes.put_u64(self.kept_at_us);
        bytes.put_u64(number);
        for field in [topic, publisher, metadata] {
            bytes.put_u16(length(field));
        }
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        for field in [topic, publisher, metadata, rest] {
            bytes.put_slice(field);
        }
        Bytes::from(bytes)
    }

    /// When the message in the row `bytes` was kept, without reading the rest.
    ///
    /// # Errors
    /// The bytes are no message.
    pub fn kept_at_us(bytes: &[u8]) -> Result<u64, FormatError> {
        match bytes {
            [VERSION, _, _, rest @ ..] => match rest.first_chunk() {
                Some(time) => Ok(u64::from_be_bytes(*time)),
                None => Err(malformed("is cut short")),
            },
            _ => Err(malformed("has an unknown version")),
        }
    }

    /// Reads the stored form. Does not copy.
    ///
    /// # Errors
    /// The bytes are no message: storage is damaged, or a newer version wrote them.
    pub fn parse(bytes: &Bytes) -> Result<Self, FormatError> {
        let header: [u8; HEADER_BYTES] = match bytes.first_chunk() {
            Some(header) => *header,
            None => return Err(malformed("is cut short")),
        };
        let [version, kind, flags, ..] = header;
        if version != VERSION {
            return Err(malformed("has an unknown version"));
        }
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| header[at + i]));
        let length_at = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let (kept_at_us, number) = (u64_at(3), u64_at(11));
        let publisher_at = HEADER_BYTES + length_at(19);
        let metadata_at = publisher_at + length_at(21);
        let rest_at = metadata_at + length_at(23);
        if rest_at > bytes.len() {
            return Err(malformed("ends within its fields"));
        }
        let slice = |from: usize, to: usize| {
            if from == to {
                Bytes::new()
            } else {
                bytes.slice(from..to)
            }
        };
        let topic =
            TopicName::from_utf8(slice(HEADER_BYTES, publisher_at)).map_err(|_| malformed("names what is no topic"))?;
        let publisher = slice(publisher_at, metadata_at);
        if std::str::from_utf8(&publisher).is_err() {
            return Err(malformed("has a publisher that is not UTF-8"));
        }
        let metadata = Metadata::from_stored(slice(metadata_at, rest_at));
        let rest = slice(rest_at, bytes.len());
        let (qos, expiry) = (flags & QOS, flags & EXPIRY != 0);
        let is_bare = publisher.is_empty() && metadata.is_empty() && number == 0;
        let content = match kind {
            _ if flags > QOS | EXPIRY || qos > 2 => return Err(malformed("has unknown flags")),
            PUT if is_bare && flags == 0 => MessageContent::Put(TopicRecord::parse(rest)?),
            DELETE if rest.is_empty() => MessageContent::Delete {
                timestamp_us: number,
                publisher,
                metadata,
                qos,
                expired: expiry,
            },
            EVENT if expiry || number == 0 => MessageContent::Event {
                payload: rest,
                publisher,
                metadata,
                qos,
                expiry_s: match u32::try_from(number) {
                    Ok(expiry_s) => expiry.then_some(expiry_s),
                    Err(_) => return Err(malformed("has an expiry out of range")),
                },
            },
            PUT | DELETE | EVENT => return Err(malformed("has fields that its kind has not")),
            _ => return Err(malformed("is of an unknown kind")),
        };
        Ok(Self {
            kept_at_us,
            topic,
            content,
        })
    }
}

impl MessageContent {
    fn parts(&self) -> Parts<'_> {
        let flags = |qos: u8, expiry: bool| {
            assert!(qos <= 2, "QoS {qos} does not exist");
            qos | if expiry { EXPIRY } else { 0 }
        };
        match self {
            Self::Put(record) => Parts {
                kind: PUT,
                flags: 0,
                number: 0,
                publisher: &[],
                metadata: &[],
                rest: record.as_bytes(),
            },
            Self::Delete {
                timestamp_us,
                publisher,
                metadata,
                qos,
                expired,
            } => Parts {
                kind: DELETE,
                flags: flags(*qos, *expired),
                number: *timestamp_us,
                publisher,
                metadata: metadata.as_bytes(),
                rest: &[],
            },
            Self::Event {
                payload,
                publisher,
                metadata,
                qos,
                expiry_s,
            } => Parts {
                kind: EVENT,
                flags: flags(*qos, expiry_s.is_some()),
                number: u64::from(expiry_s.unwrap_or(0)),
                publisher,
                metadata: metadata.as_bytes(),
                rest: payload,
            },
        }
    }
}

const fn malformed(why: &'static str) -> FormatError {
    FormatError::new("message", why)
}

/// Key of the message at `position`.
#[must_use]
pub fn message_key(position: MessagePosition) -> Bytes {
    position_key(KeyKind::Message, position.revision, position.ordinal)
}

/// Position of a key of kind 0x24.
///
/// # Errors
/// It is none.
pub fn message_of_key(key: &[u8]) -> Result<MessagePosition, FormatError> {
    let (revision, ordinal) = position_of_key(KeyKind::Message, key)?;
    Ok(MessagePosition { revision, ordinal })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keyspace::RecordFields;
    use crate::metadata::MetadataBuilder;

    fn metadata() -> Metadata {
        MetadataBuilder::new().content_type("a/b").build().unwrap()
    }

    fn message(content: MessageContent) -> Message {
        Message {
            kept_at_us: 9,
            topic: TopicName::parse("a/b").unwrap(),
            content,
        }
    }

    fn put() -> Message {
        let fields = RecordFields {
            revision: 9,
            ordinal: 3,
            created_revision: 4,
            timestamp_us: 5,
            expires_at_us: Some(6),
            qos: 1,
            publisher: b"probe",
            metadata: &metadata(),
            payload: b"21.5",
        };
        message(MessageContent::Put(fields.encode()))
    }

    fn delete(expired: bool) -> Message {
        message(MessageContent::Delete {
            timestamp_us: u64::MAX,
            publisher: Bytes::from_static(b"probe"),
            metadata: metadata(),
            qos: 2,
            expired,
        })
    }

    fn event(expiry_s: Option<u32>, payload: &'static str) -> Message {
        message(MessageContent::Event {
            payload: Bytes::from_static(payload.as_bytes()),
            publisher: Bytes::from_static(b"probe"),
            metadata: metadata(),
            qos: 1,
            expiry_s,
        })
    }

    fn messages() -> Vec<Message> {
        vec![
            put(),
            delete(false),
            delete(true),
            event(None, "now"),
            event(None, ""),
            event(Some(0), "now"),
            event(Some(u32::MAX), "now"),
        ]
    }

    #[test]
    fn messages_come_back_as_they_went() {
        for message in messages() {
            assert_eq!(Message::kept_at_us(&message.encode()), Ok(9));
            assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn layout_is_as_documented() {
        let bytes = event(Some(7), "now").encode();
        assert_eq!(bytes[..11], [1, 3, 0b101, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(bytes[11..25], [0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, 5, 0, 6]);
        assert_eq!(bytes[25..], *b"a/bprobe\x03\x00\x03a/bnow");
        let MessageContent::Put(record) = put().content else {
            unreachable!()
        };
        assert_eq!(put().encode()[28..], record.as_bytes()[..]);
        let position = MessagePosition {
            revision: 1,
            ordinal: 2,
        };
        assert_eq!(message_key(position)[..], [0x24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(message_of_key(&message_key(position)), Ok(position));
    }

    #[test]
    fn one_message_has_one_encoding() {
        let changed = |message: &Message, at: usize, byte: u8| {
            let mut bytes = message.encode().to_vec();
            bytes[at] = byte;
            Message::parse(&Bytes::from(bytes))
        };
        for message in messages() {
            for (at, byte) in [(0, 2), (1, 0), (1, 4), (2, 3), (2, 8), (19, 0xFF), (25, b'#')] {
                assert!(changed(&message, at, byte).is_err(), "{message:?} with {byte} at {at}");
            }
        }
        assert!(changed(&put(), 2, 1).is_err(), "flags of a put");
        assert!(changed(&put(), 18, 1).is_err(), "a number of a put");
        assert!(
            changed(&event(None, "now"), 18, 1).is_err(),
            "an expiry that the flags deny"
        );
        assert!(
            changed(&event(Some(7), "now"), 14, 1).is_err(),
            "an expiry out of range"
        );
        let mut longer = delete(true).encode().to_vec();
        longer.push(0);
        assert!(Message::parse(&Bytes::from(longer)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0_u8..5) {
            let mut bytes = bytes;
            if let [version, found, ..] = &mut bytes[..] {
                (*version, *found) = (VERSION, kind);
            }
            let bytes = Bytes::from(bytes);
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(message.encode(), bytes);
            }
        }

        #[test]
        fn every_cut_is_refused_or_shortens_the_payload(which in 0_usize..7, length in 0_usize..120) {
            let message = &messages()[which];
            let whole = message.encode();
            prop_assume!(length < whole.len());
            match (Message::parse(&whole.slice(..length)), &message.content) {
                (Err(_), _) | (Ok(_), MessageContent::Put(_) | MessageContent::Event { .. }) => {}
                (Ok(cut), _) => panic!("{cut:?}"),
            }
        }
    }
}
