//! The codec beside those of other projects, `mqtt-protocol-core` and `rmqtt-codec`, for 5.0 and 3.1.1.
//!
//! Input: see [`frames`].
//!
//! What must hold for each packet and each library:
//!
//! - Both refuse it, or both accept it and read the same, or [`differences`] has a rule that explains the difference by
//!   the standard, and the packet is as the rule says.
//! - What our codec reads and writes again, the library reads as our codec did, by the same rules.

pub mod differences;
pub mod frames;
mod layout;
mod ours;
mod protocol_core;
pub mod reading;
mod rmqtt;

use banyan_core::mqtt::packet::Packet;
use banyan_core::mqtt::{DecodeError, ProtocolVersion, encode};
use bytes::BytesMut;

use crate::choices::Choices;
use differences::Difference;
use reading::Reading;

const CONNECT: u8 = 1;

/// Which end receives a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client has sent it.
    Server,
    /// A server has sent it.
    Client,
}

/// A packet as bytes: its first byte, its Remaining Length, as much body. Nobody has looked at the body.
#[derive(Debug)]
pub struct Frame {
    /// What the connection speaks. CONNECT says it itself.
    version: ProtocolVersion,
    side: Side,
    bytes: Vec<u8>,
    body_at: usize,
}

impl Frame {
    /// Frames `body`. Types that only one end may send are given to the other, since the other codecs have no ends.
    pub fn new(version: ProtocolVersion, side: Side, first: u8, body: &[u8]) -> Self {
        let side = match (first >> 4, version) {
            (CONNECT | 8 | 10 | 12, _) | (14, ProtocolVersion::V3) => Side::Server,
            (2 | 9 | 11 | 13, _) => Side::Client,
            _ => side,
        };
        let mut bytes = vec![first];
        frames::put_varint(&mut bytes, body.len() as u32, 0);
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        Self {
            version,
            side,
            bytes,
            body_at,
        }
    }

    fn first(&self) -> u8 {
        self.bytes[0]
    }

    fn packet_type(&self) -> u8 {
        self.first() >> 4
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// The version that speaks of the packet: a CONNECT's own, where a protocol name of four bytes puts it.
    fn version_of_packet(&self) -> Option<ProtocolVersion> {
        match (self.packet_type(), self.body().get(6)) {
            (CONNECT, Some(4)) => Some(ProtocolVersion::V3),
            (CONNECT, Some(5)) => Some(ProtocolVersion::V5),
            (CONNECT, _) => None,
            _ => Some(self.version),
        }
    }
}

/// A codec to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// `mqtt-protocol-core`
    ProtocolCore,
    /// `rmqtt-codec`
    Rmqtt,
}

/// All of them.
pub const LIBRARIES: [Library; 2] = [Library::ProtocolCore, Library::Rmqtt];

impl Library {
    fn read(self, frame: &Frame) -> Result<Reading, String> {
        match self {
            Self::ProtocolCore => protocol_core::read(frame),
            Self::Rmqtt => rmqtt::read(frame),
        }
    }
}

/// How a library's reading of a packet compares with ours.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// Both accept it and read the same.
    Same,
    /// Both refuse it.
    BothRefuse,
    /// They differ as this rule says.
    Explained(&'static Difference),
}

/// A packet, what we make of it, and what another codec makes of it.
#[derive(Debug)]
pub struct Case<'a> {
    frame: &'a Frame,
    library: Library,
    ours: &'a Result<Reading, DecodeError>,
    theirs: Result<Reading, String>,
}

/// Runs the target.
pub fn run(data: &[u8]) {
    outcomes(data);
}

/// Runs the target and says what was seen.
///
/// # Panics
/// A difference is not explained.
pub fn outcomes(data: &[u8]) -> Vec<(Library, Outcome)> {
    let frame = frames::make(&mut Choices::new(data));
    let packet = ours::read(&frame);
    let ours = packet.as_ref().map_err(|&error| error);
    let ours = ours.map(|packet| ours::reading(packet, version_of(packet, frame.version)));
    let mut outcomes = compare(&frame, &ours);
    if let Ok(packet) = &packet {
        let version = version_of(packet, frame.version);
        let again = written_again(&frame, packet, version);
        assert_eq!(
            ours::read(&again).as_ref(),
            Ok(packet),
            "{frame:?} written again as {again:?}"
        );
        outcomes.extend(compare(&again, &ours));
    }
    outcomes
}

fn version_of(packet: &Packet, of_connection: ProtocolVersion) -> ProtocolVersion {
    match packet {
        Packet::Connect(connect) => connect.version,
        _ => of_connection,
    }
}

/// The packet as our codec writes it.
fn written_again(frame: &Frame, packet: &Packet, version: ProtocolVersion) -> Frame {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes);
    let header = 1
        + bytes[1..]
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .expect("a length ends")
        + 1;
    Frame {
        version,
        side: frame.side,
        bytes: bytes.to_vec(),
        body_at: header,
    }
}

fn compare(frame: &Frame, ours: &Result<Reading, DecodeError>) -> Vec<(Library, Outcome)> {
    let mut outcomes = Vec::new();
    for library in LIBRARIES {
        let theirs = library.read(frame);
        let case = Case {
            frame,
            library,
            ours,
            theirs,
        };
        outcomes.extend(outcomes_of(&case).into_iter().map(|outcome| (library, outcome)));
    }
    outcomes
}

fn outcomes_of(case: &Case<'_>) -> Vec<Outcome> {
    let explained = |difference: Option<&'static Difference>, what: &dyn std::fmt::Debug| {
        Outcome::Explained(difference.unwrap_or_else(|| panic!("{what:?} is not explained: {case:#?}")))
    };
    match (case.ours, &case.theirs) {
        (Err(_), Err(_)) => vec![Outcome::BothRefuse],
        (Ok(ours), Ok(theirs)) => {
            let fields = ours.differing(theirs).into_iter();
            let outcomes: Vec<Outcome> = fields
                .map(|field| explained(differences::of_field(case, field), &field))
                .collect();
            if outcomes.is_empty() {
                vec![Outcome::Same]
            } else {
                outcomes
            }
        }
        (Err(error), Ok(_)) => vec![explained(differences::of_our_refusal(case, error), error)],
        (Ok(_), Err(error)) => vec![explained(differences::of_their_refusal(case, error), error)],
    }
}
