//! Which packet takes which property, how often, against table 2-4 of the standard.

use super::{DecodeError, Role, decode_first, framed};
use crate::mqtt::packet::ProtocolVersion;
use crate::mqtt::reason::ReasonCode;

/// A legal value of each property (§2.2.2.2, table 2-4).
fn value(identifier: u8) -> Option<&'static [u8]> {
    Some(match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => &[1],
        0x13 | 0x21 | 0x22 | 0x23 => &[0, 1],
        0x02 | 0x11 | 0x18 | 0x27 => &[0, 0, 0, 1],
        0x0B => &[0xFF, 0x7F],
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => &[0, 1, b'x'],
        0x26 => &[0, 1, b'x', 0, 1, b'y'],
        _ => return None,
    })
}

/// A packet that may carry properties, without them: who receives it, before CONNECT or after, the bytes up to the
/// property length and those behind the properties, and the identifiers that table 2-4 lists for it.
struct Carrier {
    role: Role,
    version: Option<ProtocolVersion>,
    first: u8,
    before: &'static [u8],
    after: &'static [u8],
    takes: &'static [u8],
}

impl Carrier {
    fn decode(&self, properties: &[u8]) -> Result<(), ReasonCode> {
        self.decode_in_detail(properties).map_err(|error| error.reason)
    }

    fn decode_in_detail(&self, properties: &[u8]) -> Result<(), DecodeError> {
        let body = [self.before, &[properties.len() as u8], properties, self.after].concat();
        match decode_first(self.role, self.version, &framed(self.first, &body)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => panic!("a whole packet"),
            Err(error) => Err(error),
        }
    }
}

const V5: Option<ProtocolVersion> = Some(ProtocolVersion::V5);
const NOT_VALID: DecodeError = DecodeError::malformed("property is not valid for this packet");

/// AUTH and the CONNECT with Authentication Data need an Authentication Method; it stands where it is not tested
/// itself.
fn carriers() -> Vec<Carrier> {
    let both = |first, before, after, takes| {
        [Role::Server, Role::Client].map(|role| Carrier {
            role,
            version: V5,
            first,
            before,
            after,
            takes,
        })
    };
    let to = |role, version, first, before, after, takes| Carrier {
        role,
        version,
        first,
        before,
        after,
        takes,
    };
    const ACK: &[u8] = &[0x1F, 0x26];
    let mut carriers = vec![
        to(
            Role::Server,
            None,
            0x10,
            &[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0],
            &[0, 0],
            &[0x11, 0x15, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
        ),
        to(
            Role::Server,
            None,
            0x10,
            &[0, 4, b'M', b'Q', b'T', b'T', 5, 6, 0, 0, 0, 0, 0],
            &[0, 1, b'w', 0, 0],
            &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
        ),
        to(
            Role::Client,
            V5,
            0x20,
            &[0, 0],
            &[],
            &[
                0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
            ],
        ),
        to(
            Role::Client,
            V5,
            0x30,
            &[0, 1, b't'],
            &[],
            &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
        ),
        to(Role::Server, V5, 0x82, &[0, 1], &[0, 1, b'f', 0], &[0x0B, 0x26]),
        to(Role::Client, V5, 0x90, &[0, 1], &[0], ACK),
        to(Role::Server, V5, 0xA2, &[0, 1], &[0, 1, b'f'], &[0x26]),
        to(Role::Client, V5, 0xB0, &[0, 1], &[0], ACK),
    ];
    for first in [0x40, 0x50, 0x62, 0x70] {
        carriers.extend(both(first, &[0, 1, 0], &[], ACK));
    }
    carriers
}

/// §2.2.2.2: a property that is not one of the packet makes it malformed; one that is, is taken. For all identifiers
/// and packets, but those with a rule of their own (below).
#[test]
fn table_2_4() {
    for carrier in carriers() {
        assert_eq!(carrier.decode(&[]), Ok(()));
        for identifier in 0..=u8::MAX {
            // Authentication Data needs the method, tested with the malformed packets.
            if carrier.first == 0x10 && carrier.takes.contains(&0x15) && identifier == 0x16 {
                continue;
            }
            let property = [&[identifier][..], value(identifier).unwrap_or(&[0, 0, 0, 0])].concat();
            let what = format!("0x{identifier:02X} in {:02X}", carrier.first);
            match carrier.decode_in_detail(&property) {
                Ok(()) => assert!(carrier.takes.contains(&identifier), "{what}"),
                Err(error) => {
                    assert!(!carrier.takes.contains(&identifier), "{what}: {error}");
                    assert_eq!(
                        error,
                        DecodeError {
                            answer_version: V5,
                            ..NOT_VALID
                        },
                        "{what}"
                    );
                }
            }
        }
    }
}

/// "It is a Protocol Error to include … more than once" stands with every property but User Property, and the
/// Subscription Identifier of PUBLISH.
#[test]
fn repetition() {
    for carrier in carriers() {
        for &identifier in carrier.takes {
            let property = [&[identifier][..], value(identifier).unwrap()].concat();
            let may_repeat = identifier == 0x26 || (identifier == 0x0B && carrier.first == 0x30);
            let expected = if may_repeat {
                Ok(())
            } else {
                Err(ReasonCode::ProtocolError)
            };
            assert_eq!(
                carrier.decode(&[&property[..], &property].concat()),
                expected,
                "0x{identifier:02X} in {:02X}",
                carrier.first
            );
        }
    }
}

/// Every packet whose properties end early is malformed, wherever they end.
#[test]
fn truncation() {
    for carrier in carriers() {
        for &identifier in carrier.takes {
            let property = [&[identifier][..], value(identifier).unwrap()].concat();
            for len in 1..property.len() {
                assert_eq!(
                    carrier.decode(&property[..len]),
                    Err(ReasonCode::MalformedPacket),
                    "0x{identifier:02X}"
                );
            }
        }
    }
}

/// §3.14.2.2 and §3.15.2.2: which side may send which property of DISCONNECT and AUTH.
#[test]
fn disconnect_and_auth() {
    let result = |role, first, before: &[u8], identifier: u8| {
        let property = [&[identifier][..], value(identifier).unwrap_or(&[0, 0])].concat();
        let method: &[u8] = if first == 0xF0 && identifier != 0x15 {
            &[0x15, 0, 0]
        } else {
            &[]
        };
        let properties = [method, &property].concat();
        let body = [before, &[properties.len() as u8], &properties].concat();
        decode_first(role, V5, &framed(first, &body))
            .map(|_| ())
            .map_err(|error| error.reason)
    };
    for role in [Role::Server, Role::Client] {
        for identifier in 0..=u8::MAX {
            let expected = match (identifier, role) {
                (0x1F | 0x26, _) | (0x11, Role::Server) | (0x1C, Role::Client) => Ok(()),
                (0x11 | 0x1C, _) => Err(ReasonCode::ProtocolError),
                _ => Err(ReasonCode::MalformedPacket),
            };
            assert_eq!(
                result(role, 0xE0, &[0x81], identifier),
                expected,
                "0x{identifier:02X} in DISCONNECT"
            );
            let expected = match identifier {
                0x15 | 0x16 | 0x1F | 0x26 => Ok(()),
                _ => Err(ReasonCode::MalformedPacket),
            };
            assert_eq!(
                result(role, 0xF0, &[0x18], identifier),
                expected,
                "0x{identifier:02X} in AUTH"
            );
        }
    }
}
