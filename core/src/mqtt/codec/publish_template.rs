//! One message for many subscribers: encoded once, then copied with the few bytes that differ.

use bytes::{BufMut, Bytes, BytesMut};

use super::fixed_header::{DUP, publish_first_byte};
use super::properties::Property;
use super::sink::{Length, Sink};
use super::varint;
use crate::metadata::Metadata;
use crate::mqtt::packet::{ProtocolVersion, QoS};
use crate::topic::TopicName;

/// How a PUBLISH names its topic by a Topic Alias (§3.3.2.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicAlias {
    /// Sends the topic name, and lets this alias stand for it from now on.
    Define(u16),
    /// Sends this alias alone: the receiver knows what it stands for.
    Use(u16),
}

/// A PUBLISH to send to any number of subscribers that agree in version, QoS and RETAIN.
///
/// A whole packet is kept, without subscription identifiers and alias and with packet identifier 0:
///
/// ```text
/// head: first byte, remaining length, topic name, packet identifier (QoS > 0), property length (5.0)
/// tail: message expiry interval, metadata, further user properties (all 5.0), payload
/// ```
///
/// A subscriber without identifiers and alias gets a copy in which at most the packet identifier and DUP are changed;
/// for any other the head is written anew and the tail is copied.
#[derive(Debug, Clone)]
pub struct PublishTemplate {
    version: ProtocolVersion,
    qos: QoS,
    packet: Bytes,
    /// Where the topic name's length stands.
    topic_start: usize,
    /// Where the topic name ends, and the packet identifier stands if there is one.
    topic_end: usize,
    /// Where the tail starts.
    tail_start: usize,
    /// Bytes of the properties in the tail.
    tail_properties_len: usize,
}

impl PublishTemplate {
    /// Encodes a message.
    ///
    /// `user_properties` are added behind those of `metadata`; one with a name that occurs there replaces it. They and
    /// `message_expiry_s` are left out for 3.1.1, as all properties.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one PUBLISH; a struct would only repeat their names"
    )]
    pub fn new(
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        topic: &TopicName,
        metadata: &Metadata,
        user_properties: &[(&str, &str)],
        message_expiry_s: Option<u32>,
        payload: &Bytes,
    ) -> Self {
        let write_properties = |out: &mut dyn Sink| {
            if version == ProtocolVersion::V5 {
                out.u32_property(Property::MessageExpiryInterval, message_expiry_s);
                write_metadata(metadata, user_properties, out);
            }
        };
        let mut tail_properties_len = Length::default();
        write_properties(&mut tail_properties_len);
        let tail_properties_len = tail_properties_len.0;

        let head = Head {
            version,
            qos,
            topic: topic.as_bytes(),
            properties_len: tail_properties_len,
        };
        let remaining = head.len() + tail_properties_len + payload.len();
        let mut packet = BytesMut::with_capacity(1 + varint::len(remaining as u32) + remaining);
        packet.put_u8(publish_first_byte(false, qos, retain));
        Sink::varint(&mut packet, remaining as u32);
        let topic_start = packet.len();
        let topic_end = topic_start + 2 + topic.len();
        head.write(Some(0), |_| {}, &mut packet);
        let tail_start = packet.len();
        write_properties(&mut packet);
        packet.put_slice(payload);

        let packet = packet.freeze();
        Self {
            version,
            qos,
            packet,
            topic_start,
            topic_end,
            tail_start,
            tail_properties_len,
        }
    }

    /// Bytes of the packet that [`write`](Self::write) appends without a topic alias, for comparison with the
    /// receiver's Maximum Packet Size [MQTT-3.1.2-24]. With [`TopicAlias::Define`] three more, unless a length grows a
    /// byte.
    #[must_use]
    pub fn packet_len(&self, subscription_ids: &[u32]) -> usize {
        self.packet_len_with(subscription_ids, None)
    }

    /// Bytes of the packet that [`write`](Self::write) appends with these arguments.
    #[must_use]
    pub fn packet_len_with(&self, subscription_ids: &[u32], topic_alias: Option<TopicAlias>) -> usize {
        if self.is_plain(subscription_ids, topic_alias) {
            return self.packet.len();
        }
        let remaining = self.remaining(&self.head(subscription_ids, topic_alias));
        1 + varint::len(remaining as u32) + remaining
    }

    /// The packet for QoS 0 without subscription identifiers, alias and DUP, to be shared by all who get just that.
    /// With QoS above 0 its packet identifier is 0, which must not be sent.
    #[must_use]
    pub fn plain_packet(&self) -> &Bytes {
        &self.packet
    }

    /// Appends the packet for one subscriber.
    ///
    /// `packet_id` is `Some` exactly when the QoS is above 0 [MQTT-2.2.1-2], [MQTT-2.2.1-4]; `dup` only on
    /// retransmission [MQTT-3.3.1-1]. `subscription_ids` (1 to 268,435,455 each) and `topic_alias` are left out for
    /// 3.1.1.
    ///
    /// # Panics
    /// If there is a packet identifier with QoS 0 or none, or 0, above it.
    pub fn write(
        &self,
        packet_id: Option<u16>,
        dup: bool,
        subscription_ids: &[u32],
        topic_alias: Option<TopicAlias>,
        out: &mut BytesMut,
    ) {
        assert!(
            packet_id.is_some_and(|id| id != 0) == (self.qos != QoS::AtMostOnce),
            "packet identifier {packet_id:?} with {:?}",
            self.qos
        );
        if self.is_plain(subscription_ids, topic_alias) {
            self.write_plain(packet_id, dup, out);
        } else {
            self.write_with_new_head(packet_id, dup, subscription_ids, topic_alias, out);
        }
    }

    fn write_plain(&self, packet_id: Option<u16>, dup: bool, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&self.packet);
        if let (true, Some(first)) = (dup, out.get_mut(start)) {
            *first |= DUP;
        }
        let at = start + self.topic_end;
        if let (Some(packet_id), Some(bytes)) = (packet_id, out.get_mut(at..at + 2)) {
            bytes.copy_from_slice(&packet_id.to_be_bytes());
        }
    }

    fn write_with_new_head(
        &self,
        packet_id: Option<u16>,
        dup: bool,
        subscription_ids: &[u32],
        topic_alias: Option<TopicAlias>,
        out: &mut BytesMut,
    ) {
        let head = self.head(subscription_ids, topic_alias);
        let remaining = self.remaining(&head);
        out.reserve(1 + varint::len(remaining as u32) + remaining);
        let first = self.packet.first().copied().unwrap_or_default();
        out.put_u8(if dup { first | DUP } else { first });
        Sink::varint(out, remaining as u32);
        head.write(
            packet_id,
            |out| write_subscriber_properties(subscription_ids, topic_alias, out),
            out,
        );
        out.put_slice(self.tail());
    }

    fn is_plain(&self, subscription_ids: &[u32], topic_alias: Option<TopicAlias>) -> bool {
        self.version == ProtocolVersion::V3 || (subscription_ids.is_empty() && topic_alias.is_none())
    }

    fn head(&self, subscription_ids: &[u32], topic_alias: Option<TopicAlias>) -> Head<'_> {
        let mut added = Length::default();
        write_subscriber_properties(subscription_ids, topic_alias, &mut added);
        let topic = match topic_alias {
            Some(TopicAlias::Use(_)) => &[],
            Some(TopicAlias::Define(_)) | None => self
                .packet
                .get(self.topic_start + 2..self.topic_end)
                .unwrap_or_default(),
        };
        Head {
            version: self.version,
            qos: self.qos,
            topic,
            properties_len: added.0 + self.tail_properties_len,
        }
    }

    /// Remaining Length with this head: what stands in it before the properties, the properties, the payload.
    fn remaining(&self, head: &Head<'_>) -> usize {
        head.len() + head.properties_len + self.tail().len() - self.tail_properties_len
    }

    fn tail(&self) -> &[u8] {
        self.packet.get(self.tail_start..).unwrap_or_default()
    }
}

/// The variable header up to the properties.
struct Head<'a> {
    version: ProtocolVersion,
    qos: QoS,
    topic: &'a [u8],
    /// Bytes of all properties, those in the tail included.
    properties_len: usize,
}

impl Head<'_> {
    /// Bytes from the topic name to the property length, both included.
    fn len(&self) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties_len = match self.version {
            ProtocolVersion::V3 => 0,
            ProtocolVersion::V5 => varint::len(self.properties_len as u32),
        };
        2 + self.topic.len() + packet_id + properties_len
    }

    /// Writes it, and the properties that `write_properties` adds before the tail.
    fn write(&self, packet_id: Option<u16>, write_properties: impl Fn(&mut dyn Sink), out: &mut dyn Sink) {
        out.binary(self.topic);
        if self.qos != QoS::AtMostOnce {
            out.u16(packet_id.unwrap_or_default());
        }
        if self.version == ProtocolVersion::V5 {
            out.varint(self.properties_len as u32);
            write_properties(out);
        }
    }
}

fn write_subscriber_properties(subscription_ids: &[u32], topic_alias: Option<TopicAlias>, out: &mut dyn Sink) {
    for &id in subscription_ids {
        out.varint_property(Property::SubscriptionIdentifier, Some(id));
    }
    if let Some(TopicAlias::Define(alias) | TopicAlias::Use(alias)) = topic_alias {
        out.u16_property(Property::TopicAlias, Some(alias));
    }
}

/// Writes `metadata`, with `added` in place of its user properties of the same names.
fn write_metadata(metadata: &Metadata, added: &[(&str, &str)], out: &mut dyn Sink) {
    let is_replaced = |name: &str| added.iter().any(|(other, _)| *other == name);
    if metadata.user_properties().any(|(name, _)| is_replaced(name)) {
        // User properties are last in canonical order: cut them off and write those that stay.
        let user_len: usize = metadata
            .user_properties()
            .map(|(name, value)| 5 + name.len() + value.len())
            .sum();
        let bytes = metadata.as_bytes();
        out.bytes(bytes.get(..bytes.len().saturating_sub(user_len)).unwrap_or_default());
        for (name, value) in metadata.user_properties().filter(|(name, _)| !is_replaced(name)) {
            write_user_property(name, value, out);
        }
    } else {
        out.bytes(metadata.as_bytes());
    }
    for (name, value) in added {
        write_user_property(name, value, out);
    }
}

fn write_user_property(name: &str, value: &str, out: &mut dyn Sink) {
    out.u8(Property::User as u8);
    out.str(name);
    out.str(value);
}
