//! Properties (§2.2.2): which there are, what type each has, which packet takes which, and how often.

use bytes::Bytes;

use super::reader::Reader;
use super::{DecodeError, Role};
use crate::limits::USER_PROPERTIES_COUNT_MAX;
use crate::mqtt::packet::UserProperties;

/// Property identifiers (§2.2.2.2, table 2-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Property {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    User = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

impl Property {
    const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0B => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1A => Self::ResponseInformation,
            0x1C => Self::ServerReference,
            0x1F => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQoS,
            0x25 => Self::RetainAvailable,
            0x26 => Self::User,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2A => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }
}

/// A set of properties: bit `n` is the property with identifier `n`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PropertySet(u64);

impl PropertySet {
    const NONE: Self = Self(0);

    const fn of(properties: &[Property]) -> Self {
        let mut bits = 0;
        let mut rest = properties;
        while let [property, others @ ..] = rest {
            bits |= 1 << *property as u8;
            rest = others;
        }
        Self(bits)
    }

    const fn has(self, property: Property) -> bool {
        self.0 & 1 << property as u8 != 0
    }

    const fn with(self, property: Property) -> Self {
        Self(self.0 | 1 << property as u8)
    }

    /// §3.1.2.11
    pub(super) const CONNECT: Self = Self::of(&[
        Property::SessionExpiryInterval,
        Property::ReceiveMaximum,
        Property::MaximumPacketSize,
        Property::TopicAliasMaximum,
        Property::RequestResponseInformation,
        Property::RequestProblemInformation,
        Property::User,
        Property::AuthenticationMethod,
        Property::AuthenticationData,
    ]);

    /// §3.1.3.2
    pub(super) const WILL: Self = Self::of(&[
        Property::WillDelayInterval,
        Property::PayloadFormatIndicator,
        Property::MessageExpiryInterval,
        Property::ContentType,
        Property::ResponseTopic,
        Property::CorrelationData,
        Property::User,
    ]);

    /// §3.2.2.3
    pub(super) const CONNACK: Self = Self::of(&[
        Property::SessionExpiryInterval,
        Property::ReceiveMaximum,
        Property::MaximumQoS,
        Property::RetainAvailable,
        Property::MaximumPacketSize,
        Property::AssignedClientIdentifier,
        Property::TopicAliasMaximum,
        Property::ReasonString,
        Property::User,
        Property::WildcardSubscriptionAvailable,
        Property::SubscriptionIdentifierAvailable,
        Property::SharedSubscriptionAvailable,
        Property::ServerKeepAlive,
        Property::ResponseInformation,
        Property::ServerReference,
        Property::AuthenticationMethod,
        Property::AuthenticationData,
    ]);

    /// §3.3.2.3
    pub(super) const PUBLISH: Self = Self::of(&[
        Property::PayloadFormatIndicator,
        Property::MessageExpiryInterval,
        Property::TopicAlias,
        Property::ResponseTopic,
        Property::CorrelationData,
        Property::User,
        Property::SubscriptionIdentifier,
        Property::ContentType,
    ]);

    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK: §3.4.2.2 and alike.
    pub(super) const ACK: Self = Self::of(&[Property::ReasonString, Property::User]);

    /// §3.8.2.1
    pub(super) const SUBSCRIBE: Self = Self::of(&[Property::SubscriptionIdentifier, Property::User]);

    /// §3.10.2.1
    pub(super) const UNSUBSCRIBE: Self = Self::of(&[Property::User]);

    /// §3.14.2.2
    pub(super) const DISCONNECT: Self = Self::of(&[
        Property::SessionExpiryInterval,
        Property::ReasonString,
        Property::User,
        Property::ServerReference,
    ]);

    /// §3.15.2.2
    pub(super) const AUTH: Self = Self::of(&[
        Property::AuthenticationMethod,
        Property::AuthenticationData,
        Property::ReasonString,
        Property::User,
    ]);
}

/// Reads one property section. Call [`next`](Self::next) until it returns `None`; take the value of each property it
/// returns before the next call.
pub(super) struct PropertyReader<'r> {
    reader: &'r mut Reader,
    /// End of the packet, to return to behind the section.
    packet_end: usize,
    allowed: PropertySet,
    seen: PropertySet,
    user_properties_count: usize,
    user_properties_count_max: usize,
}

impl<'r> PropertyReader<'r> {
    /// Reads the section's length and stands before its first property.
    pub(super) fn new(reader: &'r mut Reader, allowed: PropertySet, role: Role) -> Result<Self, DecodeError> {
        let len = reader.varint()? as usize;
        let packet_end = reader.narrow(len)?;
        let user_properties_count_max = match role {
            Role::Server => USER_PROPERTIES_COUNT_MAX,
            Role::Client => usize::MAX,
        };
        let seen = PropertySet::NONE;
        Ok(Self {
            reader,
            packet_end,
            allowed,
            seen,
            user_properties_count: 0,
            user_properties_count_max,
        })
    }

    /// The next property's identifier, or `None` at the end of the section.
    ///
    /// # Errors
    /// 0x81 for an identifier that this packet does not take (§2.2.2.2). 0x82 for a repetition of one that may occur
    /// once (said with each property; all but User Property, and Subscription Identifier in PUBLISH). 0x97 for too many
    /// user properties.
    pub(super) fn next(&mut self) -> Result<Option<Property>, DecodeError> {
        if self.reader.remaining() == 0 {
            self.reader.widen(self.packet_end);
            return Ok(None);
        }
        // Identifiers are variable byte integers, but every one that exists is a single byte.
        let property = Property::from_u8(self.reader.u8()?)
            .filter(|&property| self.allowed.has(property))
            .ok_or(DecodeError::malformed("property is not valid for this packet"))?;
        match property {
            Property::User => {
                self.user_properties_count += 1;
                if self.user_properties_count > self.user_properties_count_max {
                    return Err(DecodeError::quota("too many user properties"));
                }
            }
            Property::SubscriptionIdentifier if self.allowed.has(Property::TopicAlias) => {}
            _ if self.seen.has(property) => return Err(DecodeError::protocol("property occurs more than once")),
            _ => self.seen = self.seen.with(property),
        }
        Ok(Some(property))
    }

    /// Whether the single-use `property` has occurred.
    pub(super) fn has(&self, property: Property) -> bool {
        self.seen.has(property)
    }

    /// Offset within the packet.
    pub(super) fn at(&self) -> usize {
        self.reader.at()
    }

    /// The packet's reader, to take values of types that need no rule of their own.
    pub(super) fn value(&mut self) -> &mut Reader {
        self.reader
    }

    /// A byte that is 0 or 1.
    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("property value is neither 0 nor 1")),
        }
    }

    /// A Two Byte Integer that is not 0.
    pub(super) fn positive_u16(&mut self) -> Result<u16, DecodeError> {
        match self.reader.u16()? {
            0 => Err(DecodeError::protocol("property value is 0")),
            value => Ok(value),
        }
    }

    /// A Four Byte Integer that is not 0.
    pub(super) fn positive_u32(&mut self) -> Result<u32, DecodeError> {
        match self.reader.u32()? {
            0 => Err(DecodeError::protocol("property value is 0")),
            value => Ok(value),
        }
    }

    /// A Subscription Identifier, 1 to 268,435,455 (§3.8.2.1.2).
    pub(super) fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.reader.varint()? {
            0 => Err(DecodeError::protocol("subscription identifier is 0")),
            value => Ok(value),
        }
    }

    /// A UTF-8 String Pair (§1.5.7), without a copy.
    pub(super) fn user_property(&mut self) -> Result<(Bytes, Bytes), DecodeError> {
        Ok((self.reader.string()?, self.reader.string()?))
    }
}

/// Reason String and User Property, all that most answers carry.
#[derive(Default)]
pub(super) struct AckProperties {
    pub(super) reason_string: Option<String>,
    pub(super) user_properties: UserProperties,
}

impl AckProperties {
    /// Reads a section that takes [`PropertySet::ACK`].
    pub(super) fn read(reader: &mut Reader, role: Role) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut properties = PropertyReader::new(reader, PropertySet::ACK, role)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::ReasonString => found.reason_string = Some(properties.value().string_copy()?),
                _ => found.user_properties.push(properties.user_property()?),
            }
        }
        Ok(found)
    }
}
