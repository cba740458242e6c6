//! What a publisher says about a payload: format, content type, response topic, correlation data, user properties.
//!
//! [`Metadata`] is kept in one canonical encoding, the MQTT 5 property encoding (§2.2.2) in a fixed order, so that a
//! delivery copies it as it is and equal metadata are equal bytes:
//!
//! | order | identifier | property | present |
//! |---|---|---|---|
//! | 1 | 0x01 | Payload Format Indicator, one byte | only if it is 1 |
//! | 2 | 0x03 | Content Type, u16 length and UTF-8 | at most once |
//! | 3 | 0x08 | Response Topic, u16 length and UTF-8 | at most once |
//! | 4 | 0x09 | Correlation Data, u16 length and bytes | at most once |
//! | 5 | 0x26 | User Property, two times u16 length and UTF-8 | any number, order kept [MQTT-3.3.2-18] |
//!
//! There is no length before it. Message expiry, topic alias and subscription identifiers belong to one packet, not to the
//! payload, and never occur here.

use bytes::Bytes;

use crate::limits::{METADATA_BYTES_MAX, USER_PROPERTIES_COUNT_MAX};

const PAYLOAD_FORMAT: u8 = 0x01;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const USER_PROPERTY: u8 = 0x26;

/// Canonical metadata of a payload; see the [module](self) for the encoding. Cheap to clone.
///
/// The order of two values is the order of their bytes. It has no meaning but is the same everywhere, and breaks ties
/// between writes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata(Bytes);

/// Why metadata are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Over [`METADATA_BYTES_MAX`].
    #[error(
        "metadata of {bytes} bytes; shorten content type, correlation data or user properties to {METADATA_BYTES_MAX} bytes in all"
    )]
    TooLong {
        /// Encoded length, bytes.
        bytes: usize,
    },
    /// Over [`USER_PROPERTIES_COUNT_MAX`].
    #[error("more than {USER_PROPERTIES_COUNT_MAX} user properties")]
    TooManyUserProperties,
    /// A string or binary field is longer than its two-byte length can say.
    #[error("a property longer than 65,535 bytes")]
    PropertyTooLong,
    /// A payload format other than 0 and 1 [MQTT-3.3.2-4].
    #[error("payload format indicator {0}; it is 0 (bytes) or 1 (UTF-8)")]
    PayloadFormat(u8),
    /// A response topic that is empty or has a wildcard [MQTT-3.3.2-14].
    #[error("the response topic must be a topic name: not empty, without wildcards")]
    ResponseTopic,
    /// A string that is not UTF-8 or holds U+0000 [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    #[error("a string property is not UTF-8 without U+0000")]
    Text,
    /// The bytes end within a property.
    #[error("metadata end within a property")]
    Truncated,
    /// A property that is unknown here, repeated, or not at its place in the canonical order.
    #[error("property 0x{0:02x} is unknown here, repeated or out of order")]
    Property(u8),
}

impl Metadata {
    /// No metadata.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// Takes bytes that came from a log, a store or a peer, after checking that they are canonical. Does not copy.
    ///
    /// # Errors
    /// Any deviation from the canonical encoding, and the limits of size and count.
    pub fn from_canonical(bytes: Bytes) -> Result<Self, MetadataError> {
        if bytes.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::TooLong { bytes: bytes.len() });
        }
        let mut rest = bytes.as_ref();
        let mut previous = 0;
        let mut user_properties = 0;
        while let Some((property, following)) = Property::read(rest)? {
            let identifier = property.identifier();
            if identifier < previous || (identifier == previous && identifier != USER_PROPERTY) {
                return Err(MetadataError::Property(identifier));
            }
            if identifier == USER_PROPERTY {
                user_properties += 1;
            }
            property.check()?;
            previous = identifier;
            rest = following;
        }
        if user_properties > USER_PROPERTIES_COUNT_MAX {
            return Err(MetadataError::TooManyUserProperties);
        }
        Ok(Self(bytes))
    }

    /// Takes bytes that were canonical when they were stored, without checking again.
    ///
    /// Accessors of bytes that are not canonical after all see fewer properties; they never panic.
    pub(crate) const fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The canonical encoding.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether the publisher said nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Payload Format Indicator (§3.3.2.3.2): 1 if the payload is UTF-8, otherwise 0.
    #[must_use]
    pub fn payload_format(&self) -> u8 {
        self.properties()
            .find_map(|property| match property {
                Property::PayloadFormat(value) => Some(value),
                _ => None,
            })
            .unwrap_or(0)
    }

    /// Content Type (§3.3.2.3.9).
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.properties().find_map(|property| match property {
            Property::ContentType(text) => Some(text),
            _ => None,
        })
    }

    /// Response Topic (§3.3.2.3.5).
    #[must_use]
    pub fn response_topic(&self) -> Option<&str> {
        self.properties().find_map(|property| match property {
            Property::ResponseTopic(text) => Some(text),
            _ => None,
        })
    }

    /// Correlation Data (§3.3.2.3.6).
    #[must_use]
    pub fn correlation_data(&self) -> Option<&[u8]> {
        self.properties().find_map(|property| match property {
            Property::CorrelationData(data) => Some(data),
            _ => None,
        })
    }

    /// User properties, name and value, in the publisher's order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties().filter_map(|property| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Value of the first user property called `name`.
    #[must_use]
    pub fn user_property(&self, name: &str) -> Option<&str> {
        self.user_properties()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// A copy of exact size that does not pin the buffer it was read from.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    fn properties(&self) -> impl Iterator<Item = Property<'_>> {
        let mut rest = self.0.as_ref();
        std::iter::from_fn(move || {
            let (property, following) = Property::read(rest).ok()??;
            rest = following;
            Some(property)
        })
    }
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.properties()).finish()
    }
}

/// Builds [`Metadata`]. Setters may come in any order; the last one of a kind counts, user properties add up.
#[derive(Debug, Clone, Default)]
pub struct MetadataBuilder {
    payload_format: u8,
    content_type: Vec<u8>,
    response_topic: Vec<u8>,
    correlation_data: Vec<u8>,
    user_properties: Vec<u8>,
    user_properties_count: usize,
    error: Option<MetadataError>,
}

impl MetadataBuilder {
    /// Without any property.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the Payload Format Indicator, 0 or 1.
    pub fn payload_format(&mut self, value: u8) -> &mut Self {
        self.payload_format = value;
        self
    }

    /// Sets the Content Type.
    pub fn content_type(&mut self, text: &str) -> &mut Self {
        let (field, outcome) = encoded(CONTENT_TYPE, text.as_bytes());
        self.content_type = field;
        self.note(outcome.and_then(|()| check_text(text)))
    }

    /// Sets the Response Topic.
    pub fn response_topic(&mut self, text: &str) -> &mut Self {
        let (field, outcome) = encoded(RESPONSE_TOPIC, text.as_bytes());
        self.response_topic = field;
        self.note(outcome.and_then(|()| check_response_topic(text)))
    }

    /// Sets the Correlation Data.
    pub fn correlation_data(&mut self, data: &[u8]) -> &mut Self {
        let (field, outcome) = encoded(CORRELATION_DATA, data);
        self.correlation_data = field;
        self.note(outcome)
    }

    /// Adds a user property after those already there.
    pub fn user_property(&mut self, name: &str, value: &str) -> &mut Self {
        self.user_properties_count += 1;
        self.user_properties.push(USER_PROPERTY);
        let outcome = append_field(&mut self.user_properties, name.as_bytes())
            .and_then(|()| append_field(&mut self.user_properties, value.as_bytes()))
            .and_then(|()| check_text(name))
            .and_then(|()| check_text(value));
        self.note(outcome)
    }

    /// The canonical metadata, in a buffer of exact size.
    ///
    /// # Errors
    /// The first error of any setter, and the limits of size and count.
    pub fn build(&self) -> Result<Metadata, MetadataError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.payload_format > 1 {
            return Err(MetadataError::PayloadFormat(self.payload_format));
        }
        if self.user_properties_count > USER_PROPERTIES_COUNT_MAX {
            return Err(MetadataError::TooManyUserProperties);
        }
        let format: &[u8] = if self.payload_format == 1 {
            &[PAYLOAD_FORMAT, 1]
        } else {
            &[]
        };
        let fields = [
            format,
            &self.content_type,
            &self.response_topic,
            &self.correlation_data,
            &self.user_properties,
        ];
        let bytes = fields.iter().map(|field| field.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(MetadataError::TooLong { bytes });
        }
        Ok(Metadata(if bytes == 0 {
            Bytes::new()
        } else {
            Bytes::from(fields.concat())
        }))
    }

    fn note(&mut self, outcome: Result<(), MetadataError>) -> &mut Self {
        if let Err(error) = outcome {
            self.error.get_or_insert(error);
        }
        self
    }
}

/// One property as it stands in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property<'a> {
    PayloadFormat(u8),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    User(&'a str, &'a str),
}

impl<'a> Property<'a> {
    /// The first property of `bytes` and what follows it; `None` at the end.
    fn read(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, MetadataError> {
        let Some((&identifier, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (property, rest) = match identifier {
            PAYLOAD_FORMAT => {
                let (&value, rest) = rest.split_first().ok_or(MetadataError::Truncated)?;
                (Self::PayloadFormat(value), rest)
            }
            CONTENT_TYPE => {
                let (text, rest) = read_text(rest)?;
                (Self::ContentType(text), rest)
            }
            RESPONSE_TOPIC => {
                let (text, rest) = read_text(rest)?;
                (Self::ResponseTopic(text), rest)
            }
            CORRELATION_DATA => {
                let (data, rest) = read_field(rest)?;
                (Self::CorrelationData(data), rest)
            }
            USER_PROPERTY => {
                let (name, rest) = read_text(rest)?;
                let (value, rest) = read_text(rest)?;
                (Self::User(name, value), rest)
            }
            other => return Err(MetadataError::Property(other)),
        };
        Ok(Some((property, rest)))
    }

    const fn identifier(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => PAYLOAD_FORMAT,
            Self::ContentType(_) => CONTENT_TYPE,
            Self::ResponseTopic(_) => RESPONSE_TOPIC,
            Self::CorrelationData(_) => CORRELATION_DATA,
            Self::User(..) => USER_PROPERTY,
        }
    }

    /// The rules of the value, beyond its shape.
    fn check(&self) -> Result<(), MetadataError> {
        match self {
            Self::PayloadFormat(1) | Self::CorrelationData(_) => Ok(()),
            Self::PayloadFormat(other) => Err(MetadataError::PayloadFormat(*other)),
            Self::ContentType(text) => check_text(text),
            Self::ResponseTopic(text) => check_response_topic(text),
            Self::User(name, value) => check_text(name).and_then(|()| check_text(value)),
        }
    }
}

fn check_text(text: &str) -> Result<(), MetadataError> {
    if text.as_bytes().contains(&0) {
        Err(MetadataError::Text)
    } else {
        Ok(())
    }
}

fn check_response_topic(text: &str) -> Result<(), MetadataError> {
    check_text(text)?;
    if text.is_empty() || text.bytes().any(|byte| byte == b'+' || byte == b'#') {
        return Err(MetadataError::ResponseTopic);
    }
    Ok(())
}

fn read_text(bytes: &[u8]) -> Result<(&str, &[u8]), MetadataError> {
    let (field, rest) = read_field(bytes)?;
    let text = std::str::from_utf8(field).map_err(|_| MetadataError::Text)?;
    Ok((text, rest))
}

fn read_field(bytes: &[u8]) -> Result<(&[u8], &[u8]), MetadataError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(MetadataError::Truncated)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(MetadataError::Truncated)
}

fn encoded(identifier: u8, content: &[u8]) -> (Vec<u8>, Result<(), MetadataError>) {
    let mut field = Vec::with_capacity(3 + content.len());
    field.push(identifier);
    let outcome = append_field(&mut field, content);
    (field, outcome)
}

fn append_field(out: &mut Vec<u8>, content: &[u8]) -> Result<(), MetadataError> {
    let length = u16::try_from(content.len()).map_err(|_| MetadataError::PropertyTooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Metadata {
        MetadataBuilder::new()
            .user_property("b", "2")
            .correlation_data(&[0, 255])
            .user_property("a", "1")
            .response_topic("r/t")
            .payload_format(1)
            .content_type("text/plain")
            .user_property("b", "3")
            .build()
            .unwrap()
    }

    #[test]
    fn order_is_canonical_and_user_properties_keep_theirs() {
        let metadata = full();
        assert_eq!(metadata.as_bytes()[..3], [0x01, 1, 0x03]);
        assert_eq!(metadata.payload_format(), 1);
        assert_eq!(metadata.content_type(), Some("text/plain"));
        assert_eq!(metadata.response_topic(), Some("r/t"));
        assert_eq!(metadata.correlation_data(), Some(&[0, 255][..]));
        let user: Vec<_> = metadata.user_properties().collect();
        assert_eq!(user, [("b", "2"), ("a", "1"), ("b", "3")]);
        assert_eq!(metadata.user_property("b"), Some("2"));
        assert_eq!(metadata.user_property("c"), None);
        assert_eq!(Metadata::from_canonical(metadata.as_bytes().clone()), Ok(metadata));
    }

    #[test]
    fn nothing_said_is_no_bytes() {
        let metadata = MetadataBuilder::new().payload_format(0).build().unwrap();
        assert!(metadata.is_empty());
        assert_eq!(metadata, Metadata::empty());
        assert_eq!(metadata.payload_format(), 0);
        assert_eq!(metadata.content_type(), None);
    }

    #[test]
    fn bad_values_are_refused() {
        let build = |set: &dyn Fn(&mut MetadataBuilder)| {
            let mut builder = MetadataBuilder::new();
            set(&mut builder);
            builder.build()
        };
        assert_eq!(
            build(&|b| _ = b.payload_format(2)),
            Err(MetadataError::PayloadFormat(2))
        );
        assert_eq!(build(&|b| _ = b.content_type("a\0")), Err(MetadataError::Text));
        assert_eq!(
            build(&|b| _ = b.response_topic("a/+")),
            Err(MetadataError::ResponseTopic)
        );
        assert_eq!(build(&|b| _ = b.response_topic("")), Err(MetadataError::ResponseTopic));
        assert_eq!(
            build(&|b| _ = b.correlation_data(&[0; 65_536])),
            Err(MetadataError::PropertyTooLong)
        );
        assert!(matches!(
            build(&|b| _ = b.correlation_data(&[0; 60_000])),
            Err(MetadataError::TooLong { .. })
        ));
        let many = |b: &mut MetadataBuilder| {
            for _ in 0..=USER_PROPERTIES_COUNT_MAX {
                b.user_property("n", "v");
            }
        };
        assert_eq!(build(&many), Err(MetadataError::TooManyUserProperties));
    }

    #[test]
    fn bytes_out_of_canon_are_refused() {
        let check = |bytes: &[u8]| Metadata::from_canonical(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(check(&[0x01, 0]), MetadataError::PayloadFormat(0));
        assert_eq!(check(&[0x01, 1, 0x01, 1]), MetadataError::Property(0x01));
        assert_eq!(check(&[0x03, 0, 0, 0x01, 1]), MetadataError::Property(0x01));
        assert_eq!(check(&[0x02, 0, 0, 0, 1]), MetadataError::Property(0x02));
        assert_eq!(check(&[0x03, 0, 2, b'a']), MetadataError::Truncated);
        assert_eq!(check(&[0x03, 0, 1, 0xff]), MetadataError::Text);
        assert_eq!(check(&[0x26, 0, 1, b'a']), MetadataError::Truncated);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let stored = Metadata::from_stored(Bytes::from(bytes.clone()));
            let _ = (stored.content_type(), stored.user_properties().count(), format!("{stored:?}"));
            if let Ok(metadata) = Metadata::from_canonical(Bytes::from(bytes)) {
                let mut builder = MetadataBuilder::new();
                builder.payload_format(metadata.payload_format());
                metadata.content_type().map(|text| builder.content_type(text));
                metadata.response_topic().map(|text| builder.response_topic(text));
                metadata.correlation_data().map(|data| builder.correlation_data(data));
                for (name, value) in metadata.user_properties() {
                    builder.user_property(name, value);
                }
                prop_assert_eq!(builder.build(), Ok(metadata));
            }
        }
    }
}
