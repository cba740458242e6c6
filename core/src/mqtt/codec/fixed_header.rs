//! The fixed header (§2.1): which packet, may it come from there, are its flags right. All of it is in the first byte,
//! so it is known before anything else is read.

use super::{DecodeError, Role};
use crate::mqtt::packet::{Packet, ProtocolVersion, QoS};

/// MQTT Control Packet type, the upper four bits of the first byte (§2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// PUBLISH: this is sent again (§3.3.1.1).
pub(super) const DUP: u8 = 0b1000;
/// PUBLISH: retain the message (§3.3.1.3).
pub(super) const RETAIN: u8 = 0b0001;

impl PacketType {
    fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The type that `first` announces to `role`.
    ///
    /// # Errors
    /// 0x81: type 0, or AUTH in 3.1.1, both reserved (§2.1.2); flags other than the fixed ones [MQTT-2.1.3-1]; PUBLISH
    /// with QoS 3 [MQTT-3.3.1-4], or with DUP at QoS 0 [MQTT-3.3.1-2]. 0x82: anything but CONNECT first [MQTT-3.1.0-1];
    /// CONNECT again [MQTT-3.1.0-2]; a packet that only the other end may send (§2.1.2, table 2-1; for 3.1.1 also
    /// DISCONNECT from a server).
    pub(super) fn from_first_byte(
        first: u8,
        role: Role,
        version: Option<ProtocolVersion>,
    ) -> Result<Self, DecodeError> {
        let packet_type = Self::from_nibble(first >> 4).ok_or(DecodeError::malformed("packet type 0 is reserved"))?;
        let Some(version) = version else {
            if packet_type != Self::Connect {
                return Err(DecodeError::protocol("the first packet must be CONNECT"));
            }
            packet_type.check_flags(first)?;
            return Ok(packet_type);
        };
        if packet_type == Self::Auth && version == ProtocolVersion::V3 {
            return Err(DecodeError::malformed("packet type 15 is reserved in MQTT 3.1.1"));
        }
        if packet_type == Self::Connect && role == Role::Server {
            return Err(DecodeError::protocol("second CONNECT"));
        }
        if !packet_type.may_reach(role, version) {
            return Err(DecodeError::protocol("packet type is not sent in this direction"));
        }
        packet_type.check_flags(first)?;
        Ok(packet_type)
    }

    fn may_reach(self, role: Role, version: ProtocolVersion) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => role == Role::Server,
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => role == Role::Client,
            Self::Disconnect => role == Role::Server || version == ProtocolVersion::V5,
            Self::Publish | Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp | Self::Auth => true,
        }
    }

    /// The lower four bits are fixed for every type but PUBLISH (§2.1.3, table 2-2).
    fn check_flags(self, first: u8) -> Result<(), DecodeError> {
        let flags = first & 0x0F;
        if self == Self::Publish {
            return match qos((flags >> 1) & 0b11) {
                None => Err(DecodeError::malformed("PUBLISH with QoS 3")),
                Some(QoS::AtMostOnce) if flags & DUP != 0 => Err(DecodeError::malformed("PUBLISH with DUP at QoS 0")),
                Some(_) => Ok(()),
            };
        }
        if flags == self.fixed_flags() {
            Ok(())
        } else {
            Err(DecodeError::malformed("reserved flags in the fixed header"))
        }
    }

    const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// The QoS of two bits, or `None` for 3.
pub(super) const fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// The first byte of a PUBLISH.
pub(super) const fn publish_first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | if dup { DUP } else { 0 } | (qos as u8) << 1 | if retain { RETAIN } else { 0 }
}

/// The first byte of `packet`, or `None` if `version` has no such packet.
pub(super) fn first_byte(packet: &Packet, version: ProtocolVersion) -> Option<u8> {
    let packet_type = match packet {
        Packet::Connect(_) => PacketType::Connect,
        Packet::ConnAck(_) => PacketType::ConnAck,
        Packet::Publish(publish) => return Some(publish_first_byte(publish.dup, publish.qos, publish.retain)),
        Packet::PubAck(_) => PacketType::PubAck,
        Packet::PubRec(_) => PacketType::PubRec,
        Packet::PubRel(_) => PacketType::PubRel,
        Packet::PubComp(_) => PacketType::PubComp,
        Packet::Subscribe(_) => PacketType::Subscribe,
        Packet::SubAck(_) => PacketType::SubAck,
        Packet::Unsubscribe(_) => PacketType::Unsubscribe,
        Packet::UnsubAck(_) => PacketType::UnsubAck,
        Packet::PingReq => PacketType::PingReq,
        Packet::PingResp => PacketType::PingResp,
        Packet::Disconnect(_) => PacketType::Disconnect,
        Packet::Auth(_) if version == ProtocolVersion::V3 => return None,
        Packet::Auth(_) => PacketType::Auth,
    };
    Some((packet_type as u8) << 4 | packet_type.fixed_flags())
}
