//! The properties that belong to a message rather than to its packet, collected as [`Metadata`]: one slice of the
//! packet if the sender wrote them in canonical order and nothing between them, otherwise a copy in that order.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;
use super::properties::{Property, PropertyReader};
use super::reader::Reader;
use crate::limits::METADATA_BYTES_MAX;
use crate::metadata::Metadata;

/// The properties of [`Metadata`] in its order.
const CANONICAL_ORDER: [Property; 5] = [
    Property::PayloadFormatIndicator,
    Property::ContentType,
    Property::ResponseTopic,
    Property::CorrelationData,
    Property::User,
];

/// What was found so far. [`take`](Self::take) checks all that makes the properties canonical but their order, so that
/// [`finish`](Self::finish) need not read them again.
pub(super) struct MetadataScan {
    /// Start of the property section within the packet.
    section_start: usize,
    /// From the first to the last property taken.
    span: Range<usize>,
    /// The last property taken.
    last: Option<Property>,
    /// Whether they came in canonical order, which is the order of their identifiers.
    is_ordered: bool,
    /// Encoded bytes of all properties taken.
    bytes: usize,
}

impl MetadataScan {
    /// At the start of a property section, before its first property.
    pub(super) fn new(properties: &PropertyReader<'_>) -> Self {
        let start = properties.at();
        Self {
            section_start: start,
            span: start..start,
            last: None,
            is_ordered: true,
            bytes: 0,
        }
    }

    /// Takes the value of `property`, whose identifier was just read.
    ///
    /// # Errors
    /// 0x81 for ill-formed text; 0x82 for a payload format above 1, or a response topic that is empty or has wildcards
    /// [MQTT-3.3.2-14]; also for a property that is not one of a message.
    pub(super) fn take(&mut self, property: Property, properties: &mut PropertyReader<'_>) -> Result<(), DecodeError> {
        let start = properties.at() - 1;
        match property {
            Property::PayloadFormatIndicator => {
                // 0 says the same as its absence (§3.3.2.3.2) and has no place in the canonical form.
                if !properties.bool()? {
                    return Ok(());
                }
            }
            Property::ContentType => {
                properties.value().str()?;
            }
            Property::ResponseTopic => {
                let topic = properties.value().str()?;
                if topic.is_empty() || topic.contains(['+', '#']) {
                    return Err(DecodeError::protocol("response topic is empty or contains wildcards"));
                }
            }
            Property::CorrelationData => {
                properties.value().binary()?;
            }
            Property::User => {
                properties.value().str()?;
                properties.value().str()?;
            }
            _ => return Err(DecodeError::protocol("property is not one of a message")),
        }
        let end = properties.at();
        self.bytes += end - start;
        match self.last.replace(property) {
            None => self.span.start = start,
            Some(last) => self.is_ordered &= last as u8 <= property as u8,
        }
        self.span.end = end;
        Ok(())
    }

    /// The metadata, once the section was read to its end at offset `section_end`.
    ///
    /// # Errors
    /// 0x97 if there is too much of it for a record; `bytes_max` says how much.
    pub(super) fn finish(self, reader: &Reader, section_end: usize, bytes_max: usize) -> Result<Metadata, DecodeError> {
        if self.bytes > bytes_max {
            return Err(DecodeError::quota("too much metadata"));
        }
        let has_nothing_between = self.bytes == self.span.len();
        let bytes = if self.is_ordered && has_nothing_between {
            reader.slice_of(self.span)
        } else {
            in_canonical_order(reader, self.section_start..section_end, self.bytes)?
        };
        Ok(Metadata::from_stored(bytes))
    }
}

/// Largest metadata that a server takes, bytes.
pub(super) const SERVER_BYTES_MAX: usize = METADATA_BYTES_MAX;

/// Copies the message's properties out of a checked section.
fn in_canonical_order(reader: &Reader, section: Range<usize>, bytes: usize) -> Result<Bytes, DecodeError> {
    let mut out = BytesMut::with_capacity(bytes);
    for wanted in CANONICAL_ORDER {
        let mut rest = reader.within(section.clone());
        while rest.remaining() > 0 {
            let start = rest.at();
            let identifier = rest.u8()?;
            let is_absent = skip_value(identifier, &mut rest)?;
            if identifier == wanted as u8 && !is_absent {
                out.put_slice(&reader.slice_of(start..rest.at()));
            }
        }
    }
    Ok(out.freeze())
}

/// Steps over the value of a property of PUBLISH or a will. Returns whether the value means the property's absence.
fn skip_value(identifier: u8, reader: &mut Reader) -> Result<bool, DecodeError> {
    const FORMAT: u8 = Property::PayloadFormatIndicator as u8;
    const USER: u8 = Property::User as u8;
    const TOPIC_ALIAS: u8 = Property::TopicAlias as u8;
    const MESSAGE_EXPIRY: u8 = Property::MessageExpiryInterval as u8;
    const WILL_DELAY: u8 = Property::WillDelayInterval as u8;
    const SUBSCRIPTION_ID: u8 = Property::SubscriptionIdentifier as u8;
    match identifier {
        FORMAT => return Ok(reader.u8()? == 0),
        TOPIC_ALIAS => drop(reader.take(2)?),
        MESSAGE_EXPIRY | WILL_DELAY => drop(reader.take(4)?),
        SUBSCRIPTION_ID => drop(reader.varint()?),
        _ => {
            for _ in 0..if identifier == USER { 2 } else { 1 } {
                let len = usize::from(reader.u16()?);
                reader.take(len)?;
            }
        }
    }
    Ok(false)
}
