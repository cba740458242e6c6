//! The value of a topic (kind 0x10).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | flags: bit 0 expires, bits 1-2 QoS of the PUBLISH, the rest 0 |
//! | 2 | 8 | revision of the write |
//! | 10 | 4 | ordinal of the topic within its revision |
//! | 14 | 8 | revision of the write that created the topic after its last deletion |
//! | 22 | 8 | timestamp, microseconds since the Unix epoch |
//! | 30 | 8 | time of expiry, microseconds since the Unix epoch; 0 if it does not expire |
//! | 38 | 2 | length of the publisher |
//! | 40 | 2 | length of the metadata |
//! | 42 | | publisher, UTF-8 |
//! | | | metadata in their [canonical encoding](crate::metadata) |
//! | | | payload, to the end, at least one byte |

use bytes::{BufMut, Bytes};

use super::buffer::shared_buffer;
use crate::limits::METADATA_BYTES_MAX;
use crate::metadata::Metadata;

const VERSION: u8 = 1;

const FLAGS_AT: usize = 1;
const REVISION_AT: usize = 2;
const ORDINAL_AT: usize = 10;
const CREATED_REVISION_AT: usize = 14;
const TIMESTAMP_AT: usize = 22;
const EXPIRES_AT: usize = 30;
const PUBLISHER_LENGTH_AT: usize = 38;
const METADATA_LENGTH_AT: usize = 40;
const HEADER_BYTES: usize = 42;

const EXPIRES: u8 = 0b001;
const QOS_SHIFT: u8 = 1;

const _: () = assert!(METADATA_BYTES_MAX <= u16::MAX as usize);

/// Stored bytes are not what their key promises: storage is damaged, or a newer version wrote them. The node must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored {what} {why}; the storage is damaged or of a newer version")]
pub struct FormatError {
    what: &'static str,
    why: &'static str,
}

impl FormatError {
    pub(crate) const fn new(what: &'static str, why: &'static str) -> Self {
        Self { what, why }
    }
}

/// What `apply` wants to know of a record again and again, apart from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// Revision of the write.
    pub revision: u64,
    /// Place of the topic among the topics that the revision changed.
    pub ordinal: u32,
    /// Revision of the write that created the topic after its last deletion.
    pub created_revision: u64,
    /// When the value was true, microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// When the value is deleted, microseconds since the Unix epoch.
    pub expires_at_us: Option<u64>,
    /// QoS of the PUBLISH, 0 to 2.
    pub qos: u8,
}

/// A stored value, read where it lies. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct TopicRecord(Bytes);

impl TopicRecord {
    /// Takes stored bytes after checking their shape. Does not copy.
    ///
    /// # Errors
    /// The bytes are no record: storage is damaged, or a newer version wrote it.
    pub fn parse(bytes: Bytes) -> Result<Self, FormatError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FormatError::new("topic record", "is cut short"));
        }
        if bytes[0] != VERSION {
            return Err(FormatError::new("topic record", "has an unknown version"));
        }
        let flags = bytes[FLAGS_AT];
        if flags >> QOS_SHIFT > 2 {
            return Err(FormatError::new("topic record", "has unknown flags"));
        }
        let record = Self(bytes);
        if record.payload_at() >= record.0.len() {
            return Err(FormatError::new("topic record", "ends before its payload"));
        }
        if flags & EXPIRES == 0 && record.u64_at(EXPIRES_AT) != 0 {
            return Err(FormatError::new("topic record", "has an expiry that its flags deny"));
        }
        if std::str::from_utf8(&record.0[HEADER_BYTES..record.metadata_at()]).is_err() {
            return Err(FormatError::new("topic record", "has a publisher that is not UTF-8"));
        }
        Ok(record)
    }

    /// The fields of fixed size.
    #[must_use]
    pub fn head(&self) -> RecordHead {
        RecordHead {
            revision: self.revision(),
            ordinal: self.ordinal(),
            created_revision: self.created_revision(),
            timestamp_us: self.timestamp_us(),
            expires_at_us: self.expires_at_us(),
            qos: self.qos(),
        }
    }

    /// Revision of the write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.u64_at(REVISION_AT)
    }

    /// Place of the topic among the topics that its revision changed.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        u32::from_be_bytes(self.array_at(ORDINAL_AT))
    }

    /// Revision of the write that created the topic after its last deletion.
    #[must_use]
    pub fn created_revision(&self) -> u64 {
        self.u64_at(CREATED_REVISION_AT)
    }

    /// When the value was true, microseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_us(&self) -> u64 {
        self.u64_at(TIMESTAMP_AT)
    }

    /// When the value is deleted, microseconds since the Unix epoch.
    #[must_use]
    pub fn expires_at_us(&self) -> Option<u64> {
        (self.0[FLAGS_AT] & EXPIRES != 0).then(|| self.u64_at(EXPIRES_AT))
    }

    /// QoS of the PUBLISH, 0 to 2: the most with which the value is delivered [MQTT-3.3.1-5].
    #[must_use]
    pub fn qos(&self) -> u8 {
        self.0[FLAGS_AT] >> QOS_SHIFT
    }

    /// Client identifier or principal of the writer.
    #[must_use]
    pub fn publisher(&self) -> &str {
        // Checked by `parse`.
        std::str::from_utf8(&self.0[HEADER_BYTES..self.metadata_at()]).unwrap_or_default()
    }

    /// As [`publisher`](Self::publisher), a slice of the record.
    #[must_use]
    pub fn publisher_bytes(&self) -> Bytes {
        self.slice(HEADER_BYTES..self.metadata_at())
    }

    /// What the publisher says about the payload; a slice of the record.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        Metadata::from_stored(self.slice(self.metadata_at()..self.payload_at()))
    }

    /// The encoding of [`metadata`](Self::metadata).
    #[must_use]
    pub fn metadata_bytes(&self) -> &[u8] {
        &self.0[self.metadata_at()..self.payload_at()]
    }

    /// The value; a slice of the record, never empty.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.slice(self.payload_at()..self.0.len())
    }

    /// The bytes of the value, never empty.
    #[must_use]
    pub fn payload_bytes(&self) -> &[u8] {
        &self.0[self.payload_at()..]
    }

    /// The stored form.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    fn metadata_at(&self) -> usize {
        HEADER_BYTES + usize::from(u16::from_be_bytes(self.array_at(PUBLISHER_LENGTH_AT)))
    }

    fn payload_at(&self) -> usize {
        self.metadata_at() + usize::from(u16::from_be_bytes(self.array_at(METADATA_LENGTH_AT)))
    }

    fn slice(&self, range: std::ops::Range<usize>) -> Bytes {
        if range.is_empty() {
            Bytes::new()
        } else {
            self.0.slice(range)
        }
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array_at(at))
    }

    /// A field of the header, which `parse` found to be whole.
    fn array_at<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}

impl std::fmt::Debug for TopicRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicRecord")
            .field("revision", &self.revision())
            .field("ordinal", &self.ordinal())
            .field("created_revision", &self.created_revision())
            .field("timestamp_us", &self.timestamp_us())
            .field("expires_at_us", &self.expires_at_us())
            .field("qos", &self.qos())
            .field("publisher", &self.publisher())
            .field("metadata", &self.metadata())
            .field("payload_bytes", &self.payload_bytes().len())
            .finish()
    }
}

/// What a [`TopicRecord`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct RecordFields<'a> {
    /// Revision of the write.
    pub revision: u64,
    /// Place of the topic among the topics that the revision changed.
    pub ordinal: u32,
    /// Revision of the write that created the topic after its last deletion.
    pub created_revision: u64,
    /// When the value was true, microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// When the value is deleted, microseconds since the Unix epoch.
    pub expires_at_us: Option<u64>,
    /// QoS of the PUBLISH, 0 to 2.
    pub qos: u8,
    /// Client identifier or principal of the writer, UTF-8, at most 65,535 bytes.
    pub publisher: &'a [u8],
    /// What the publisher says about the payload.
    pub metadata: &'a Metadata,
    /// The value, not empty.
    pub payload: &'a [u8],
}

impl RecordFields<'_> {
    /// The record, in a buffer of its own.
    ///
    /// # Panics
    /// If the payload is empty, the QoS above 2, or the publisher too long; in debug builds, if it is not UTF-8.
    #[must_use]
    pub fn encode(&self) -> TopicRecord {
        assert!(!self.payload.is_empty(), "a record has a payload");
        assert!(self.qos <= 2, "QoS {} does not exist", self.qos);
        debug_assert!(std::str::from_utf8(self.publisher).is_ok(), "a publisher is text");
        let metadata = self.metadata.as_bytes();
        let publisher_length = u16::try_from(self.publisher.len()).expect("a publisher is limited to 65,535 bytes");
        let metadata_length = u16::try_from(metadata.len()).expect("metadata are limited to 16 KiB");
        let length = HEADER_BYTES + self.publisher.len() + metadata.len() + self.payload.len();
        let bytes = shared_buffer(length, |mut bytes: &mut [u8]| {
            bytes.put_u8(VERSION);
            bytes.put_u8(u8::from(self.expires_at_us.is_some()) | self.qos << QOS_SHIFT);
            bytes.put_u64(self.revision);
            bytes.put_u32(self.ordinal);
            bytes.put_u64(self.created_revision);
            bytes.put_u64(self.timestamp_us);
            bytes.put_u64(self.expires_at_us.unwrap_or(0));
            bytes.put_u16(publisher_length);
            bytes.put_u16(metadata_length);
            bytes.put_slice(self.publisher);
            bytes.put_slice(metadata);
            bytes.put_slice(self.payload);
            debug_assert!(bytes.is_empty());
        });
        TopicRecord(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MetadataBuilder;
    use proptest::prelude::*;

    fn record(expires_at_us: Option<u64>) -> TopicRecord {
        let metadata = MetadataBuilder::new().content_type("a/b").build().unwrap();
        let fields = RecordFields {
            revision: 9,
            ordinal: 3,
            created_revision: 4,
            timestamp_us: 1_490_347_944_893_743,
            expires_at_us,
            qos: 1,
            publisher: b"probe",
            metadata: &metadata,
            payload: b"21.5",
        };
        fields.encode()
    }

    #[test]
    fn fields_come_back_as_they_went() {
        for expires_at_us in [None, Some(0), Some(u64::MAX)] {
            let record = TopicRecord::parse(record(expires_at_us).as_bytes().clone()).unwrap();
            assert_eq!(
                (record.revision(), record.ordinal(), record.created_revision()),
                (9, 3, 4)
            );
            assert_eq!(record.timestamp_us(), 1_490_347_944_893_743);
            assert_eq!(record.expires_at_us(), expires_at_us);
            assert_eq!((record.qos(), record.publisher()), (1, "probe"));
            assert_eq!(record.metadata().content_type(), Some("a/b"));
            assert_eq!(record.metadata().as_bytes(), record.metadata_bytes());
            assert_eq!(record.payload(), "21.5");
            assert_eq!(record.payload_bytes(), b"21.5");
        }
    }

    #[test]
    fn records_of_every_size_come_back() {
        let metadata = Metadata::empty();
        for payload_bytes in 1..600 {
            let payload: Vec<u8> = (0..payload_bytes).map(|at| at as u8).collect();
            let fields = RecordFields {
                revision: 1,
                ordinal: 0,
                created_revision: 1,
                timestamp_us: 2,
                expires_at_us: None,
                qos: 0,
                publisher: b"",
                metadata: &metadata,
                payload: &payload,
            };
            let record = TopicRecord::parse(fields.encode().as_bytes().clone()).unwrap();
            assert_eq!(record.as_bytes().len(), HEADER_BYTES + payload_bytes);
            assert_eq!(record.payload_bytes(), payload);
        }
    }

    #[test]
    fn layout_is_as_documented() {
        let bytes = record(None).as_bytes().to_vec();
        assert_eq!(bytes[..2], [1, 0b010]);
        assert_eq!(bytes[2..14], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3]);
        assert_eq!(bytes[38..47], *b"\x00\x05\x00\x06probe");
        assert_eq!(bytes[47..], *b"\x03\x00\x03a/b21.5");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), version in any::<bool>()) {
            let mut bytes = bytes;
            if let (true, Some(first)) = (version, bytes.first_mut()) {
                *first = VERSION;
            }
            if let Ok(record) = TopicRecord::parse(Bytes::from(bytes)) {
                prop_assert!(!record.payload().is_empty());
                let _ = format!("{record:?}");
            }
        }

        #[test]
        fn every_cut_is_refused_or_shortens_the_payload(length in 0_usize..53) {
            let whole = record(Some(5));
            if let Ok(cut) = TopicRecord::parse(whole.as_bytes().slice(..length)) {
                prop_assert!(whole.payload_bytes().starts_with(cut.payload_bytes()));
            }
        }
    }
}
