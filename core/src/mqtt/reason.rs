//! Reason codes (§2.4): one byte that says how a request ended. Values below 0x80 mean success.

use std::fmt;

/// Defines [`ReasonCode`] from one table: documentation, name, value on the wire, and the name in the standard.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)+) => {
        /// A reason code of §2.4, table 2-6. Which packets may carry it is the business of the codec.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)+
        }

        impl ReasonCode {
            /// Every reason code, by ascending value.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason code with this value on the wire, or `None` if the standard defines none.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name of the standard, such as `Malformed Packet`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

reason_codes! {
    /// Success; also Normal disconnection (DISCONNECT) and Granted QoS 0 (SUBACK).
    #[default]
    Success = 0x00, "Success";
    /// SUBACK: at most QoS 1.
    GrantedQoS1 = 0x01, "Granted QoS 1";
    /// SUBACK: at most QoS 2.
    GrantedQoS2 = 0x02, "Granted QoS 2";
    /// DISCONNECT of a client that wants its will published.
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    /// PUBACK, PUBREC: taken, but nobody subscribes.
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    /// UNSUBACK: there was no such subscription.
    NoSubscriptionExisted = 0x11, "No subscription existed";
    /// AUTH: another round.
    ContinueAuthentication = 0x18, "Continue authentication";
    /// AUTH: the client starts over.
    ReAuthenticate = 0x19, "Re-authenticate";
    /// No other code fits, or none shall be told.
    UnspecifiedError = 0x80, "Unspecified error";
    /// The bytes do not follow the standard.
    MalformedPacket = 0x81, "Malformed Packet";
    /// The packet is well formed but not legal here or now.
    ProtocolError = 0x82, "Protocol Error";
    /// Valid, but this server does not take it.
    ImplementationSpecificError = 0x83, "Implementation specific error";
    /// CONNACK: another version of the protocol, please.
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    /// CONNACK: the client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    /// CONNACK: who you are could not be proved.
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    /// Not allowed to do this.
    NotAuthorized = 0x87, "Not authorized";
    /// CONNACK: not able to serve.
    ServerUnavailable = 0x88, "Server unavailable";
    /// Too busy; try again later.
    ServerBusy = 0x89, "Server busy";
    /// CONNACK: shut out by an administrator.
    Banned = 0x8A, "Banned";
    /// DISCONNECT: the server stops.
    ServerShuttingDown = 0x8B, "Server shutting down";
    /// The authentication method is not supported, or is another than before.
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    /// DISCONNECT: nothing came for 1.5 times the Keep Alive.
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    /// DISCONNECT: another connection uses the client identifier.
    SessionTakenOver = 0x8E, "Session taken over";
    /// The topic filter is well formed but not accepted.
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    /// The topic name is well formed but not accepted.
    TopicNameInvalid = 0x90, "Topic Name invalid";
    /// The packet identifier is in use already.
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    /// DISCONNECT: more in flight than Receive Maximum allows.
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    /// DISCONNECT: a topic alias of 0, or above the maximum.
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    /// The packet is larger than Maximum Packet Size.
    PacketTooLarge = 0x95, "Packet too large";
    /// DISCONNECT: too many messages in too short a time.
    MessageRateTooHigh = 0x96, "Message rate too high";
    /// A limit of the implementation or an administrator is exceeded.
    QuotaExceeded = 0x97, "Quota exceeded";
    /// DISCONNECT: closed by an administrator.
    AdministrativeAction = 0x98, "Administrative action";
    /// The payload is not what its payload format indicator says.
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "Retain not supported";
    /// The QoS is above Maximum QoS.
    QoSNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "Use another server";
    /// Use another server for good.
    ServerMoved = 0x9D, "Server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    /// Too many connections in too short a time.
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    /// DISCONNECT: the longest time of a connection is over.
    MaximumConnectTime = 0xA0, "Maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// Whether the request failed: the value is 0x80 or greater.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// The CONNACK return code of 3.1.1 (§3.2.2.3 there, 0 to 5) that says most of this: what has no counterpart is 3,
    /// Server unavailable, so that a client comes back later.
    #[must_use]
    pub const fn to_connect_return_code(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => 4,
            Self::NotAuthorized | Self::Banned => 5,
            _ if self.is_failure() => 3,
            _ => 0,
        }
    }

    /// The reason code of a 3.1.1 CONNACK return code, or `None` for the reserved values above 5.
    #[must_use]
    pub const fn from_connect_return_code(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// `Malformed Packet (0x81)`.
impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), *self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §2.4: 43 codes are defined, every other byte is none.
    #[test]
    fn every_byte_is_its_own_code_or_none() {
        let defined: Vec<u8> = (0..=u8::MAX)
            .filter(|&byte| ReasonCode::from_u8(byte).is_some())
            .collect();
        assert_eq!(
            defined,
            ReasonCode::ALL.iter().map(|&code| code as u8).collect::<Vec<_>>()
        );
        assert_eq!(defined.len(), 43);
        for byte in defined {
            assert_eq!(ReasonCode::from_u8(byte).map(|code| code as u8), Some(byte));
        }
    }

    #[test]
    fn failures_begin_at_0x80() {
        assert!(!ReasonCode::ReAuthenticate.is_failure());
        assert!(ReasonCode::UnspecifiedError.is_failure());
    }

    #[test]
    fn displays_name_and_value() {
        assert_eq!(ReasonCode::MalformedPacket.to_string(), "Malformed Packet (0x81)");
        assert_eq!(ReasonCode::default().to_string(), "Success (0x00)");
    }

    /// 3.1.1 §3.2.2.3: the six return codes survive the way there and back; no failure becomes "accepted".
    #[test]
    fn connect_return_codes() {
        for value in 0..=5 {
            let code = ReasonCode::from_connect_return_code(value).unwrap();
            assert_eq!(code.to_connect_return_code(), value);
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        for &code in ReasonCode::ALL {
            assert_eq!(code.is_failure(), code.to_connect_return_code() != 0, "{code}");
        }
    }
}
