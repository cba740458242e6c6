//! The first exchange on every connection: who opens it, for what, and whether it is welcome.
//!
//! The opener sends a hello, the other side answers with a welcome or a refusal, and a refused connection is closed. Both
//! frames are small and bounded, so nothing is buffered for a program that is not a peer.
//!
//! Hello (33 bytes): magic `BNYN`, lowest protocol version u16, cluster id u64, own node id u64, node id wanted u64 (0 = any),
//! purpose u8 (a lane, 254 to join, 255 to ask who is there), highest protocol version u16. Welcome: node id u64, version u16 that the connection has. Refusal: kind = [`Refusal`],
//! body = text. The kind of a
//! hello or a welcome is 1 if its sender holds nothing yet, otherwise 0 ([`Standing`](super::Standing)).
//!
//! Both sides speak a range of versions, and a connection has the highest that both know. The programs that knew version 1 alone
//! wrote 0 for the highest, and take a welcome of 8 bytes only: they get one. So nodes of two versions that follow each other
//! always talk. What may change within a version, and what needs a new one, is in ADR 11.

use std::io;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Lane;
use super::frame::{FRAME_HEADER_BYTES, Frame, FrameError, FrameType};
use super::standing::Standing;
use crate::net::BoxStream;

/// Versions of everything that travels between nodes, of which this program speaks all.
const PROTOCOL_VERSIONS: RangeInclusive<u16> = 1..=1;

const MAGIC: u32 = u32::from_be_bytes(*b"BNYN");
const HELLO_BYTES: usize = 33;
/// Largest frame of the handshake.
const HANDSHAKE_FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + 256;

/// [`Purpose::Identify`] on the wire.
const IDENTIFY: u8 = 255;
/// [`Purpose::Join`] on the wire.
const JOIN: u8 = 254;

/// What a connection is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A conversation between members.
    Lane(Lane),
    /// To ask to be let in; the connection is closed after the answer.
    Join,
    /// To ask who is there; the connection is closed after the welcome.
    Identify,
}

impl Purpose {
    const fn to_u8(self) -> u8 {
        match self {
            Self::Lane(lane) => lane as u8,
            Self::Join => JOIN,
            Self::Identify => IDENTIFY,
        }
    }

    fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            IDENTIFY => Some(Self::Identify),
            JOIN => Some(Self::Join),
            lane => Lane::from_u8(lane).map(Self::Lane),
        }
    }
}

/// The kind of a hello or welcome of a node that holds nothing yet.
const BLANK: u8 = 1;

/// Why a node refuses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a hello.
    #[error("the connection does not begin with a hello of this protocol")]
    NotAHello,
    /// Another version of the protocol.
    #[error("the nodes have no version of the peer protocol in common: upgrade one version at a time")]
    Version,
    /// The nodes belong to different clusters.
    #[error("the node belongs to another cluster")]
    Cluster,
    /// Another node than the one wanted listens here.
    #[error("another node listens at this address")]
    Node,
    /// The opener claims to be this very node.
    #[error("a node cannot be its own peer")]
    Oneself,
    /// Too many connections.
    #[error("the node has too many peer connections")]
    TooMany,
    /// The opener was removed from the cluster.
    #[error("the node was removed from the cluster")]
    Removed,
    /// The opener holds nothing, and has taken part in the cluster.
    #[error("the cluster knows this node, and its data is gone; it must join again under a new id")]
    DataGone,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::NotAHello,
        Self::Version,
        Self::Cluster,
        Self::Node,
        Self::Oneself,
        Self::TooMany,
        Self::Removed,
        Self::DataGone,
    ];

    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|refusal| *refusal == self)
            .map_or(0, |at| at as u8)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Why a connection was not established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(Refusal),
    /// The other side holds nothing, and has taken part in the cluster.
    #[error(
        "the data of node {0} is gone; it must not take part under its id: remove it, and let it join under a new one"
    )]
    DataGone(u64),
    #[error("the other side does not speak the peer protocol")]
    Unexpected,
}

/// What the opener of a connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster_id: u64,
    pub(crate) from: u64,
    /// 0 = any node.
    pub(crate) to: u64,
    /// What for.
    pub(crate) purpose: Purpose,
}

impl Hello {
    pub(crate) fn encode(&self) -> Frame {
        let mut body = BytesMut::with_capacity(HELLO_BYTES);
        body.put_u32(MAGIC);
        body.put_u16(*PROTOCOL_VERSIONS.start());
        body.put_u64(self.cluster_id);
        body.put_u64(self.from);
        body.put_u64(self.to);
        body.put_u8(self.purpose.to_u8());
        body.put_u16(*PROTOCOL_VERSIONS.end());
        Frame::new(FrameType::Hello, body.freeze())
    }

    /// Reads a hello, and settles on a version: `None` for an opener that speaks version 1 and knows of no other.
    fn decode(frame: &Frame) -> Result<(Self, Option<u16>), Refusal> {
        let mut body = &frame.body[..];
        if frame.frame_type != FrameType::Hello || body.len() < 6 || body.get_u32() != MAGIC {
            return Err(Refusal::NotAHello);
        }
        let lowest = body.get_u16();
        if body.len() != HELLO_BYTES - 6 {
            // What comes behind the magic and the version may be otherwise in another one.
            let is_known = PROTOCOL_VERSIONS.contains(&lowest);
            return Err(if is_known { Refusal::NotAHello } else { Refusal::Version });
        }
        let (cluster_id, from, to, purpose) = (body.get_u64(), body.get_u64(), body.get_u64(), body.get_u8());
        let purpose = Purpose::from_u8(purpose).ok_or(Refusal::NotAHello)?;
        let version = match body.get_u16() {
            0 => None,
            highest => Some(highest),
        };
        let settled = settle(lowest..=version.unwrap_or(lowest), &PROTOCOL_VERSIONS).ok_or(Refusal::Version)?;
        let hello = Self {
            cluster_id,
            from,
            to,
            purpose,
        };
        Ok((hello, version.map(|_| settled)))
    }
}

/// The highest version that is in both ranges.
fn settle(theirs: RangeInclusive<u16>, ours: &RangeInclusive<u16>) -> Option<u16> {
    let highest = *theirs.end().min(ours.end());
    (theirs.contains(&highest) && ours.contains(&highest)).then_some(highest)
}

/// Opens a connection: says `hello` and returns the id of the node that welcomes it.
///
/// # Errors
/// The connection broke, or is refused. The caller sets the deadline.
pub(crate) async fn open(
    stream: &mut BoxStream,
    buffer: &mut BytesMut,
    hello: &Hello,
    standing: &dyn Standing,
) -> Result<u64, HandshakeError> {
    let mut said = hello.encode();
    said.kind = u8::from(standing.is_blank());
    write(stream, &said).await?;
    let frame = read(stream, buffer).await?;
    match frame.frame_type {
        FrameType::Welcome => {
            let node_id = welcomed(&frame.body).ok_or(HandshakeError::Unexpected)?;
            match frame.kind == BLANK && standing.has_taken_part(node_id) {
                true => Err(HandshakeError::DataGone(node_id)),
                false => Ok(node_id),
            }
        }
        FrameType::Refusal => {
            let refusal = Refusal::from_code(frame.kind);
            if refusal == Some(Refusal::DataGone) {
                standing.on_data_gone();
            }
            Err(refusal.map_or(HandshakeError::Unexpected, HandshakeError::Refused))
        }
        _ => Err(HandshakeError::Unexpected),
    }
}

/// The node that welcomes, if the version that it has settled on is one of ours.
fn welcomed(mut body: &[u8]) -> Option<u64> {
    let node_id = body.try_get_u64().ok()?;
    let version = match body.len() {
        0 => 1,
        _ => body.try_get_u16().ok()?,
    };
    (body.is_empty() && PROTOCOL_VERSIONS.contains(&version)).then_some(node_id)
}

/// Answers a connection that somebody opened; refuses it where it is not for `local` of `cluster_id`.
///
/// # Errors
/// The connection broke, or was refused (the opener has been told). The caller sets the deadline.
pub(crate) async fn answer(
    stream: &mut BoxStream,
    buffer: &mut BytesMut,
    local: u64,
    cluster_id: u64,
    full: bool,
    is_removed: impl FnOnce(u64) -> bool,
    standing: &dyn Standing,
) -> Result<Hello, HandshakeError> {
    let mut is_blank = false;
    let hello = match read(stream, buffer).await {
        Ok(frame) => {
            is_blank = frame.kind == BLANK;
            Hello::decode(&frame)
        }
        Err(HandshakeError::Frame(_)) => Err(Refusal::NotAHello),
        Err(error) => return Err(error),
    };
    let checked = hello.and_then(|(hello, version)| match hello {
        hello if hello.cluster_id != cluster_id => Err(Refusal::Cluster),
        hello if hello.to != 0 && hello.to != local => Err(Refusal::Node),
        hello if hello.from == local && hello.purpose != Purpose::Identify => Err(Refusal::Oneself),
        hello if is_removed(hello.from) => Err(Refusal::Removed),
        hello if is_blank && standing.has_taken_part(hello.from) => Err(Refusal::DataGone),
        _ if full => Err(Refusal::TooMany),
        hello => Ok((hello, version)),
    });
    match checked {
        Ok((hello, version)) => {
            let mut body = BytesMut::new();
            body.put_u64(local);
            if let Some(version) = version {
                body.put_u16(version);
            }
            let mut welcome = Frame::new(FrameType::Welcome, body.freeze());
            welcome.kind = u8::from(standing.is_blank());
            write(stream, &welcome).await?;
            Ok(hello)
        }
        Err(refusal) => {
            let text = Bytes::from(refusal.to_string());
            write(stream, &Frame::of(FrameType::Refusal, refusal.code(), 0, text)).await?;
            Err(HandshakeError::Refused(refusal))
        }
    }
}

/// Sends a frame.
///
/// # Errors
/// The connection broke. The caller sets the deadline.
pub(crate) async fn write(stream: &mut BoxStream, frame: &Frame) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(frame.len());
    frame.encode_header(&mut bytes);
    bytes.extend_from_slice(&frame.body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read(stream: &mut BoxStream, buffer: &mut BytesMut) -> Result<Frame, HandshakeError> {
    read_bounded(stream, buffer, HANDSHAKE_FRAME_BYTES_MAX).await
}

/// Receives a frame of at most `bytes_max`, header included.
///
/// # Errors
/// The connection broke, or what came is no such frame. The caller sets the deadline.
pub(crate) async fn read_bounded(
    stream: &mut BoxStream,
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Frame, HandshakeError> {
    loop {
        if let Some(frame) = Frame::decode(buffer, bytes_max)? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const HELLO: Hello = Hello {
        cluster_id: 9,
        from: 1,
        to: 2,
        purpose: Purpose::Lane(Lane::Append),
    };

    /// A node that perhaps holds nothing, and knows nodes 1 and 2; and whether it was told that its data is gone.
    #[derive(Default)]
    struct Known {
        is_blank: bool,
        told: AtomicBool,
    }

    impl Standing for Known {
        fn is_blank(&self) -> bool {
            self.is_blank
        }

        fn has_taken_part(&self, node_id: u64) -> bool {
            [1, 2].contains(&node_id)
        }

        fn on_data_gone(&self) {
            self.told.store(true, Ordering::Relaxed);
        }
    }

    /// Runs both sides over a pipe and returns what each of them got.
    async fn shake(hello: Hello) -> (Result<u64, HandshakeError>, Result<Hello, HandshakeError>) {
        shake_as(hello, &Known::default(), &Known::default()).await
    }

    async fn shake_as(
        hello: Hello,
        opener: &Known,
        other: &Known,
    ) -> (Result<u64, HandshakeError>, Result<Hello, HandshakeError>) {
        let (near, far) = tokio::io::duplex(4096);
        let (mut near, mut far): (BoxStream, BoxStream) = (Box::new(near), Box::new(far));
        let (mut near_buffer, mut far_buffer) = (BytesMut::new(), BytesMut::new());
        tokio::join!(
            open(&mut near, &mut near_buffer, &hello, opener),
            answer(&mut far, &mut far_buffer, 2, 9, false, |node| node == 66, other)
        )
    }

    async fn refusal_of(hello: Hello) -> Refusal {
        match shake(hello).await {
            (Err(HandshakeError::Refused(told)), Err(HandshakeError::Refused(meant))) if told == meant => meant,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn welcomes_a_peer_and_says_who_is_there() {
        let (opened, answered) = shake(HELLO).await;
        assert_eq!(opened.unwrap(), 2);
        assert_eq!(answered.unwrap(), HELLO);
        assert_eq!(
            shake(Hello {
                to: 0,
                purpose: Purpose::Identify,
                ..HELLO
            })
            .await
            .0
            .unwrap(),
            2
        );
    }

    #[tokio::test]
    async fn refuses_strangers_with_a_reason() {
        assert_eq!(refusal_of(Hello { cluster_id: 8, ..HELLO }).await, Refusal::Cluster);
        assert_eq!(refusal_of(Hello { to: 3, ..HELLO }).await, Refusal::Node);
        assert_eq!(refusal_of(Hello { from: 2, ..HELLO }).await, Refusal::Oneself);
        for purpose in [Purpose::Lane(Lane::Control), Purpose::Join, Purpose::Identify] {
            let removed = Hello {
                from: 66,
                purpose,
                ..HELLO
            };
            assert_eq!(refusal_of(removed).await, Refusal::Removed);
        }
    }

    #[tokio::test]
    async fn a_node_whose_data_is_gone_gets_no_connection() {
        let blank = || Known {
            is_blank: true,
            ..Known::default()
        };
        // It opens one.
        let gone = blank();
        let (opened, answered) = shake_as(HELLO, &gone, &Known::default()).await;
        assert!(
            matches!(opened, Err(HandshakeError::Refused(Refusal::DataGone))),
            "{opened:?}"
        );
        assert!(
            matches!(answered, Err(HandshakeError::Refused(Refusal::DataGone))),
            "{answered:?}"
        );
        assert!(gone.told.load(Ordering::Relaxed));
        // One is opened to it.
        let (opened, _) = shake_as(HELLO, &Known::default(), &blank()).await;
        assert!(matches!(opened, Err(HandshakeError::DataGone(2))), "{opened:?}");
        // A new one is welcome.
        let new = Hello { from: 3, ..HELLO };
        assert_eq!(shake_as(new, &blank(), &Known::default()).await.0.unwrap(), 2);
    }

    #[test]
    fn a_hello_is_checked_field_by_field() {
        let good = HELLO.encode();
        assert_eq!(Hello::decode(&good), Ok((HELLO, Some(1))));
        let with = |at: usize, byte: u8| {
            let mut body = good.body.to_vec();
            body[at] = byte;
            Hello::decode(&Frame::new(FrameType::Hello, body.into()))
        };
        assert_eq!(with(0, b'X'), Err(Refusal::NotAHello));
        assert_eq!(with(5, 99), Err(Refusal::Version), "later versions alone");
        assert_eq!(with(5, 0), Ok((HELLO, Some(1))), "earlier ones too");
        assert_eq!(with(32, 7), Ok((HELLO, Some(1))), "later ones too");
        assert_eq!(with(32, 0), Ok((HELLO, None)), "the first program");
        assert_eq!(with(30, 77), Err(Refusal::NotAHello));
        for len in 0..good.body.len() {
            assert!(Hello::decode(&Frame::new(FrameType::Hello, good.body.slice(..len))).is_err());
        }
    }

    #[test]
    fn the_highest_version_of_both_is_settled_on() {
        for (theirs, ours, settled) in [
            (1..=1, 1..=1, Some(1)),
            (1..=3, 2..=2, Some(2)),
            (2..=3, 1..=2, Some(2)),
            (1..=2, 1..=4, Some(2)),
            (1..=1, 2..=3, None),
            (3..=4, 1..=2, None),
        ] {
            assert_eq!(settle(theirs.clone(), &ours), settled, "{theirs:?} and {ours:?}");
        }
        assert_eq!(welcomed(&7_u64.to_be_bytes()), Some(7), "of the first program");
        assert_eq!(welcomed(&[&7_u64.to_be_bytes()[..], &[0, 1]].concat()), Some(7));
        assert_eq!(welcomed(&[&7_u64.to_be_bytes()[..], &[0, 9]].concat()), None);
        assert_eq!(welcomed(&[0; 9]), None);
        assert_eq!(welcomed(&[0; 7]), None);
    }

    #[test]
    fn every_refusal_travels() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
    }
}
