//! Where our codec and another may differ, and what the standard says.
//!
//! A rule that explains a refusal of ours looks for the fault in what the other codec has read, or in the bytes: it does not
//! take our word for it. A rule that explains a refusal of theirs says which legal thing of the packet they refuse.

use banyan_core::limits::{METADATA_BYTES_MAX, USER_PROPERTIES_COUNT_MAX};
use banyan_core::mqtt::{DecodeError, ProtocolVersion};

use super::layout::Layout;
use super::reading::{Field, Reading, Value};
use super::{CONNECT, Case, Library, Side};

/// A difference with its explanation.
#[derive(Debug)]
pub struct Difference {
    /// What the packet is like.
    pub about: &'static str,
    /// Where the standard says who is right: statements of 5.0, then of 3.1.1.
    pub statement: &'static str,
    between: Between,
    holds: fn(&Case<'_>) -> bool,
}

/// How the two differ.
#[derive(Debug)]
enum Between {
    /// We refuse the packet, with this detail; the other accepts it.
    WeRefuse(&'static str),
    /// We accept the packet; this codec refuses it, with this error.
    TheyRefuse(Library, &'static str),
    /// Both accept the packet and read these fields differently.
    Fields(&'static [Field]),
}

impl Difference {
    /// Which side is stricter.
    pub fn who_refuses(&self) -> &'static str {
        match self.between {
            Between::WeRefuse(_) => "Banyan",
            Between::TheyRefuse(..) => "the other",
            Between::Fields(_) => "neither",
        }
    }
}

/// The rule for a packet that we refuse with `error`.
pub fn of_our_refusal(case: &Case<'_>, error: &DecodeError) -> Option<&'static Difference> {
    find(
        case,
        |between| matches!(between, Between::WeRefuse(detail) if *detail == error.detail),
    )
}

/// The rule for a packet that the other refuses with `error`.
pub fn of_their_refusal(case: &Case<'_>, error: &str) -> Option<&'static Difference> {
    find(
        case,
        |between| matches!(between, Between::TheyRefuse(library, name) if *library == case.library && *name == error),
    )
}

/// The rule for a field that is read differently.
pub fn of_field(case: &Case<'_>, field: Field) -> Option<&'static Difference> {
    find(
        case,
        |between| matches!(between, Between::Fields(fields) if fields.contains(&field)),
    )
}

fn find(case: &Case<'_>, is_of: impl Fn(&Between) -> bool) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|difference| is_of(&difference.between) && (difference.holds)(case))
}

/// Every rule.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        about: "PUBLISH with DUP at QoS 0",
        statement: "[MQTT-3.3.1-2]; 3.1.1 [MQTT-3.3.1-2]",
        between: Between::WeRefuse("PUBLISH with DUP at QoS 0"),
        holds: |case| number(case, "DUP") == Some(1) && number(case, "QoS") == Some(0),
    },
    Difference {
        about: "reserved flags in the fixed header",
        statement: "[MQTT-2.1.3-1]; 3.1.1 [MQTT-2.2.2-1], [MQTT-2.2.2-2]",
        between: Between::WeRefuse("reserved flags in the fixed header"),
        holds: |case| match case.frame.packet_type() {
            3 => false,
            6 | 8 | 10 => case.frame.first() & 0x0F != 2,
            _ => case.frame.first() & 0x0F != 0,
        },
    },
    Difference {
        about: "a Variable Byte Integer with more bytes than it needs",
        statement: "[MQTT-1.5.5-1]",
        between: Between::WeRefuse("variable byte integer is longer than its value needs"),
        holds: has_padded_varint,
    },
    Difference {
        about: "a packet identifier of 0",
        statement: "[MQTT-2.2.1-3], [MQTT-2.2.1-4]; 3.1.1 [MQTT-2.3.1-1]",
        between: Between::WeRefuse("packet identifier is 0"),
        holds: |case| number(case, "packet identifier") == Some(0),
    },
    Difference {
        about: "U+0000 in a text",
        statement: "[MQTT-1.5.4-2]; 3.1.1 [MQTT-1.5.3-2]",
        between: Between::WeRefuse("text contains U+0000"),
        holds: |case| {
            let mut values = theirs(case).fields().flat_map(|(_, values)| values);
            values.any(|value| match value {
                Value::Text(text) => text.contains(&0),
                Value::Pair(name, value) => name.contains(&0) || value.contains(&0),
                _ => false,
            })
        },
    },
    Difference {
        about: "bytes behind the last field",
        statement: "§2.1.4 with §1.2 (Malformed Packet); 3.1.1 §2.2.3",
        between: Between::WeRefuse("bytes after the end of the packet"),
        holds: |case| Layout::of(case.frame).is_some_and(|layout| layout.end < case.frame.body().len()),
    },
    Difference {
        about: "PUBLISH without a property length",
        statement: "[MQTT-2.2.2-1]",
        between: Between::WeRefuse("packet ends within a field"),
        holds: |case| {
            let body = case.frame.body();
            let ids = if case.frame.first() & 0b110 == 0 { 0 } else { 2 };
            let topic_len = body.iter().take(2).fold(0, |len, &byte| len << 8 | usize::from(byte));
            case.frame.packet_type() == 3 && is_v5(case) && body.len() == 2 + topic_len + ids
        },
    },
    Difference {
        about: "AUTH with a reason code and nothing else",
        statement: "§3.15.2.1: both may be left out together",
        between: Between::WeRefuse("packet ends within a field"),
        holds: |case| case.frame.packet_type() == 15 && case.frame.body().len() == 1,
    },
    Difference {
        about: "more user properties than Banyan takes",
        statement: "§4.13 with §2.4, 0x97: an implementation's limit",
        between: Between::WeRefuse("too many user properties"),
        holds: |case| {
            [Field::Property(0x26), Field::WillProperty(0x26)]
                .iter()
                .any(|&field| theirs(case).values(field).len() > USER_PROPERTIES_COUNT_MAX)
        },
    },
    Difference {
        about: "more metadata than Banyan takes",
        statement: "§4.13 with §2.4, 0x97: an implementation's limit",
        between: Between::WeRefuse("too much metadata"),
        holds: |case| {
            let layout = Layout::of(case.frame);
            layout.is_some_and(|layout| layout.sections.iter().any(|section| section.len() > METADATA_BYTES_MAX))
        },
    },
    Difference {
        about: "SUBSCRIBE with two Subscription Identifiers",
        statement: "§3.8.2.1.2",
        between: Between::WeRefuse("property occurs more than once"),
        holds: |case| case.frame.packet_type() == 8 && theirs(case).values(Field::Property(0x0B)).len() > 1,
    },
    Difference {
        about: "CONNACK with a Maximum Packet Size of 0",
        statement: "§3.2.2.3.6",
        between: Between::WeRefuse("property value is 0"),
        holds: |case| has(case, Field::Property(0x27), |value| *value == Value::Number(0)),
    },
    Difference {
        about: "CONNACK with a Maximum QoS of 2",
        statement: "§3.2.2.3.4",
        between: Between::WeRefuse("property value is neither 0 nor 1"),
        holds: |case| {
            // Read as its absence, so only the bytes show it.
            let body = case.frame.body();
            case.frame.packet_type() == 2
                && Layout::of(case.frame).is_some_and(|layout| {
                    let mut pairs = layout.sections.into_iter().flat_map(|section| body[section].windows(2));
                    pairs.any(|pair| pair == [0x24, 2])
                })
        },
    },
    Difference {
        about: "a Response Topic with wildcards, or empty",
        statement: "[MQTT-3.3.2-14]; [MQTT-4.7.3-1]",
        between: Between::WeRefuse("response topic is empty or contains wildcards"),
        holds: |case| {
            [Field::Property(0x08), Field::WillProperty(0x08)].iter().any(|&field| {
                has(case, field, |value| {
                    matches!(value, Value::Text(text) if text.is_empty() || text.contains(&b'+') || text.contains(&b'#'))
                })
            })
        },
    },
    Difference {
        about: "CONNECT with a protocol name and level that do not belong together",
        statement: "[MQTT-3.1.2-1], [MQTT-3.1.2-2]; 3.1.1 the same",
        between: Between::WeRefuse("protocol version is not 3 (MQTT 3.1), 4 (MQTT 3.1.1) or 5 (MQTT 5.0)"),
        holds: |case| {
            let layout = Layout::of(case.frame);
            layout
                .and_then(|layout| layout.protocol)
                .is_some_and(|(name, level, _)| !matches!((&name[..], level), (b"MQTT", 4 | 5) | (b"MQIsdp", 3)))
        },
    },
    Difference {
        about: "CONNECT of MQTT 3.1 without a client identifier",
        statement: "3.1 §3.1, return code 2",
        between: Between::WeRefuse("MQTT 3.1 without a client identifier"),
        holds: |case| {
            let layout = Layout::of(case.frame);
            let is_3_1 = layout
                .and_then(|layout| layout.protocol)
                .is_some_and(|(name, level, _)| name == b"MQIsdp" && level == 3);
            is_3_1 && theirs(case).texts("client identifier").eq([b""])
        },
    },
    Difference {
        about: "CONNECT with the reserved flag",
        statement: "[MQTT-3.1.2-3]; 3.1.1 the same",
        between: Between::WeRefuse("reserved CONNECT flag is set"),
        holds: |case| connect_flags(case) & 1 != 0,
    },
    Difference {
        about: "CONNECT with a Will QoS of 3",
        statement: "[MQTT-3.1.2-12]; 3.1.1 [MQTT-3.1.2-14]",
        between: Between::WeRefuse("will QoS is 3"),
        holds: |case| connect_flags(case) >> 3 & 0b11 == 3,
    },
    Difference {
        about: "CONNECT with Will QoS or Will Retain, but no will",
        statement: "[MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1.1 [MQTT-3.1.2-13], [MQTT-3.1.2-15]",
        between: Between::WeRefuse("will QoS or will retain without a will"),
        holds: |case| connect_flags(case) & 0b100 == 0 && connect_flags(case) & 0b0011_1000 != 0,
    },
    Difference {
        about: "CONNECT of 3.1.1 with a password, but no user name",
        statement: "3.1.1 [MQTT-3.1.2-22]",
        between: Between::WeRefuse("password without a user name"),
        holds: |case| number(case, "version") == Some(4) && connect_flags(case) & 0xC0 == 0x40,
    },
    Difference {
        about: "CONNECT with Authentication Data, but no Authentication Method",
        statement: "§3.1.2.11.10",
        between: Between::WeRefuse("authentication data without an authentication method"),
        holds: |case| theirs(case).has(Field::Property(0x16)) && !theirs(case).has(Field::Property(0x15)),
    },
    Difference {
        about: "CONNACK with reserved flags",
        statement: "[MQTT-3.2.2-1]; 3.1.1 §3.2.2.1",
        between: Between::WeRefuse("reserved CONNACK flags"),
        holds: |case| case.frame.packet_type() == 2 && case.frame.body()[0] > 1,
    },
    Difference {
        about: "CONNACK of 3.1.1 with a reserved return code",
        statement: "3.1.1 §3.2.2.3",
        between: Between::WeRefuse("reason code is not one of CONNACK"),
        holds: |case| case.frame.packet_type() == 2 && !is_v5(case) && number(case, "reason code") > Some(5),
    },
    Difference {
        about: "CONNACK that refuses, with Session Present",
        statement: "[MQTT-3.2.2-6]; 3.1.1 [MQTT-3.2.2-4]",
        between: Between::WeRefuse("session present in a refusal"),
        holds: |case| number(case, "session present") == Some(1) && number(case, "reason code") > Some(0),
    },
    Difference {
        about: "PUBLISH without a topic name and without an alias",
        statement: "§3.3.2.1; 3.1.1 [MQTT-4.7.3-1]",
        between: Between::WeRefuse("topic name is empty and there is no topic alias"),
        holds: |case| theirs(case).texts("topic").eq([b""]) && !theirs(case).has(Field::Property(0x23)),
    },
    Difference {
        about: "PUBLISH of a client with a Subscription Identifier",
        statement: "[MQTT-3.3.4-6]",
        between: Between::WeRefuse("PUBLISH of a client with a subscription identifier"),
        holds: |case| case.frame.side == Side::Server && theirs(case).has(Field::Property(0x0B)),
    },
    Difference {
        about: "SUBSCRIBE of 3.1.1 with more than a QoS behind a filter",
        statement: "3.1.1 [MQTT-3-8.3-4]",
        between: Between::WeRefuse("requested QoS is not 0, 1 or 2"),
        holds: |case| {
            let layout = Layout::of(case.frame);
            !is_v5(case) && layout.is_some_and(|layout| layout.options.iter().any(|&options| options > 2))
        },
    },
    Difference {
        about: "No Local on a shared subscription",
        statement: "[MQTT-3.8.3-4]",
        between: Between::WeRefuse("no local on a shared subscription"),
        holds: |case| {
            let no_local = theirs(case).values(Field::Named("no local")).iter();
            let mut filters = theirs(case).texts("filter").zip(no_local);
            filters.any(|(filter, no_local)| filter.starts_with(b"$share/") && *no_local == Value::Number(1))
        },
    },
    Difference {
        about: "SUBACK without a reason code",
        statement: "[MQTT-3.8.4-6]; 3.1.1 [MQTT-3.8.4-5]",
        between: Between::WeRefuse("SUBACK without a reason code"),
        holds: |case| !theirs(case).has(Field::Named("reason code")),
    },
    Difference {
        about: "UNSUBACK without a reason code",
        statement: "[MQTT-3.11.3-1]",
        between: Between::WeRefuse("UNSUBACK without a reason code"),
        holds: |case| !theirs(case).has(Field::Named("reason code")),
    },
    Difference {
        about: "DISCONNECT with a reason code that is not the sender's",
        statement: "[MQTT-3.14.2-1], table 3-10",
        between: Between::WeRefuse("reason code is not one of DISCONNECT from this side"),
        holds: |case| match (case.frame.side, number(case, "reason code")) {
            // The table has no 0x8C.
            (_, Some(0x8C)) => true,
            (Side::Server, Some(code)) => matches!(code, 0x87 | 0x89 | 0x8B | 0x8D..=0x8F | 0x9A..=0xA2),
            (Side::Client, code) => code == Some(0x04),
            _ => false,
        },
    },
    Difference {
        about: "DISCONNECT with a property of the other side",
        statement: "[MQTT-3.14.2-2]; §3.14.2.2.5",
        between: Between::WeRefuse("DISCONNECT with a property of the other side"),
        holds: |case| match case.frame.side {
            Side::Server => theirs(case).has(Field::Property(0x1C)),
            Side::Client => theirs(case).has(Field::Property(0x11)),
        },
    },
    Difference {
        about: "AUTH with a reason code that is not the sender's",
        statement: "[MQTT-3.15.2-1], table 3-11",
        between: Between::WeRefuse("reason code is not one of AUTH from this side"),
        holds: |case| match case.frame.side {
            Side::Server => number(case, "reason code") == Some(0x00),
            Side::Client => number(case, "reason code") == Some(0x19),
        },
    },
    Difference {
        about: "AUTH without an Authentication Method",
        statement: "§3.15.2.2.2",
        between: Between::WeRefuse("AUTH without an authentication method"),
        holds: |case| !theirs(case).has(Field::Property(0x15)),
    },
    Difference {
        about: "CONNECT of 5.0 with a password, but no user name",
        statement: "§3.1.2.9 allows it, other than 3.1.1",
        between: Between::TheyRefuse(Library::ProtocolCore, "ProtocolError"),
        holds: |case| {
            let has = |name| ours(case).has(Field::Named(name));
            is_connect_of_5(case) && has("password") && !has("user name")
        },
    },
    Difference {
        about: "CONNECT of MQTT 3.1",
        statement: "not of 3.1.1, which leaves it to the server; Banyan takes it",
        between: Between::TheyRefuse(Library::ProtocolCore, "UnsupportedProtocolVersion"),
        holds: is_3_1,
    },
    Difference {
        about: "a share name or filter of a shared subscription that is not legal",
        statement: "[MQTT-4.8.2-1], [MQTT-4.8.2-2]: filters are judged by the connection, SUBACK answers 0x8F",
        between: Between::TheyRefuse(Library::ProtocolCore, "MalformedPacket"),
        holds: |case| {
            is_v5(case)
                && ours(case).texts("filter").any(|filter| {
                    filter.strip_prefix(b"$share/").is_some_and(|rest| {
                        let name_len = rest.iter().position(|&byte| byte == b'/');
                        name_len.is_none_or(|len| len == 0 || rest[..len].iter().any(|byte| b"+#".contains(byte)))
                    })
                })
        },
    },
    Difference {
        about: "a Message Expiry Interval of 0",
        statement: "§3.3.2.3.3: any Four Byte Integer",
        between: Between::TheyRefuse(Library::Rmqtt, "MalformedPacket"),
        holds: |case| {
            [Field::Property(0x02), Field::WillProperty(0x02)]
                .iter()
                .any(|&field| ours(case).values(field).contains(&Value::Number(0)))
        },
    },
    Difference {
        about: "CONNECT of 5.0 without client identifier and Clean Start",
        statement: "[MQTT-3.1.3-6] and [MQTT-3.1.3-7]: the server assigns one, whatever Clean Start says",
        between: Between::TheyRefuse(Library::Rmqtt, "InvalidClientId"),
        holds: |case| is_connect_of_5(case) && has_no_client_id(case),
    },
    Difference {
        about: "CONNECT of 3.1.1 without client identifier and Clean Session",
        statement: "3.1.1 [MQTT-3.1.3-8]: answered with return code 2, by the connection",
        between: Between::TheyRefuse(Library::Rmqtt, "InvalidClientId"),
        holds: |case| !is_connect_of_5(case) && has_no_client_id(case),
    },
    Difference {
        about: "an empty filter in 3.1.1",
        statement: "3.1.1 [MQTT-4.7.3-1]: filters are judged by the connection",
        between: Between::TheyRefuse(Library::Rmqtt, "InvalidTopicFilter"),
        holds: |case| !is_v5(case) && ours(case).texts("filter").any(<[u8]>::is_empty),
    },
    Difference {
        about: "Authentication Method and Data of a CONNACK",
        statement: "§3.2.2.3.17, §3.2.2.3.18: checked, not kept, since Banyan's clients authenticate by nothing that uses them",
        between: Between::Fields(&[Field::Property(0x15), Field::Property(0x16)]),
        holds: |case| {
            let is_kept = [0x15, 0x16].iter().any(|&id| ours(case).has(Field::Property(id)));
            case.frame.packet_type() == 2 && !is_kept
        },
    },
];

fn theirs<'a>(case: &'a Case<'_>) -> &'a Reading {
    case.theirs.as_ref().expect("asked of packets that they accept")
}

fn ours<'a>(case: &'a Case<'_>) -> &'a Reading {
    case.ours.as_ref().expect("asked of packets that we accept")
}

/// A number that they read.
fn number(case: &Case<'_>, name: &'static str) -> Option<u32> {
    theirs(case).first(name)
}

/// Whether they read such a value.
fn has(case: &Case<'_>, field: Field, is_such: impl Fn(&Value) -> bool) -> bool {
    theirs(case).values(field).iter().any(is_such)
}

fn is_v5(case: &Case<'_>) -> bool {
    case.frame.version == ProtocolVersion::V5
}

fn is_connect_of_5(case: &Case<'_>) -> bool {
    ours(case).packet_type() == CONNECT && ours(case).first("version") == Some(5)
}

fn is_3_1(case: &Case<'_>) -> bool {
    case.frame.packet_type() == CONNECT && case.frame.body().starts_with(b"\0\x06MQIsdp\x03")
}

fn has_no_client_id(case: &Case<'_>) -> bool {
    ours(case).texts("client identifier").eq([b""]) && ours(case).first("clean start") == Some(0)
}

/// The flags of a CONNECT, 0 of other packets.
fn connect_flags(case: &Case<'_>) -> u8 {
    let layout = Layout::of(case.frame);
    layout
        .and_then(|layout| layout.protocol)
        .map_or(0, |(_, _, flags)| flags)
}

/// Whether a property length, or a number behind a Subscription Identifier's identifier, ends in a byte that adds nothing.
fn has_padded_varint(case: &Case<'_>) -> bool {
    let body = case.frame.body();
    let is_padded = |at: usize| {
        let more = body[at..].iter().take_while(|byte| **byte & 0x80 != 0).count();
        (1..4).contains(&more) && body.get(at + more) == Some(&0)
    };
    let Some(layout) = Layout::of(case.frame) else {
        return false;
    };
    layout.sections.iter().any(|section| {
        is_padded(section.start)
            || section
                .clone()
                .any(|at| body[at] == 0x0B && at + 1 < section.end && is_padded(at + 1))
    })
}
