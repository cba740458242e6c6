//! Frames: the unit of the peer protocol, length-delimited and checked.
//!
//! Numbers are big-endian.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | body length | bytes after the header, so that header and body fit into `PEER_FRAME_BYTES_MAX` |
//! | 4 | type | [`FrameType`] |
//! | 5 | kind | request, message, stream: what the body is; response, stream close: [`Status`]; otherwise 0 |
//! | 6..14 | id | request or stream it belongs to; otherwise 0 |
//! | 14..18 | timeout | request: milliseconds its sender still waits; otherwise 0 |
//! | 18..22 | body check | CRC-32C of the body |
//! | 22..26 | header check | CRC-32C of bytes 0..22 |
//! | 26.. | body | |
//!
//! The header has its own check so that a damaged length is noticed before anything is allocated or waited for.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame before its body.
pub(crate) const FRAME_HEADER_BYTES: usize = 26;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameType {
    /// First frame of a connection: who opens it, and to whom.
    Hello = 1,
    /// Answer to a hello: the connection is open.
    Welcome = 2,
    /// Answer to a hello: the connection is refused; the body says why.
    Refusal = 3,
    /// Wants a response.
    Request = 4,
    /// Answers a request.
    Response = 5,
    /// Wants no answer.
    Message = 6,
    /// Opens a stream.
    StreamOpen = 7,
    /// One message of a stream.
    StreamData = 8,
    /// The sender sends no more on a stream.
    StreamClose = 9,
    /// Wants a pong.
    Ping = 10,
    /// Shows that the peer is alive.
    Pong = 11,
}

impl FrameType {
    fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Refusal,
            4 => Self::Request,
            5 => Self::Response,
            6 => Self::Message,
            7 => Self::StreamOpen,
            8 => Self::StreamData,
            9 => Self::StreamClose,
            10 => Self::Ping,
            11 => Self::Pong,
            _ => return None,
        })
    }
}

/// How a request or a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// As it should; the body is the answer.
    Ok = 0,
    /// The peer's handler failed; the body says why.
    Failed = 1,
    /// The peer has too many requests in hand and did not look at this one.
    Busy = 2,
}

impl Status {
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Ok),
            1 => Some(Self::Failed),
            2 => Some(Self::Busy),
            _ => None,
        }
    }
}

/// Why bytes are not frames. The connection is closed; nothing of the frame was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Header check failed.
    #[error("a frame header is damaged")]
    HeaderDamaged,
    /// Body check failed.
    #[error("a frame body is damaged")]
    BodyDamaged,
    /// Larger than allowed here.
    #[error("a frame of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Header and body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A type that this version does not know.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) frame_type: FrameType,
    pub(crate) kind: u8,
    pub(crate) id: u64,
    pub(crate) timeout_ms: u32,
    pub(crate) body: Bytes,
}

impl Frame {
    /// A frame with the given type and body, and zeros elsewhere.
    pub(crate) fn new(frame_type: FrameType, body: Bytes) -> Self {
        Self {
            frame_type,
            kind: 0,
            id: 0,
            timeout_ms: 0,
            body,
        }
    }

    /// A frame that belongs to a request or a stream.
    pub(crate) fn of(frame_type: FrameType, kind: u8, id: u64, body: Bytes) -> Self {
        Self {
            frame_type,
            kind,
            id,
            timeout_ms: 0,
            body,
        }
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }

    /// Appends the header to `out`; the body must follow on the wire.
    ///
    /// # Panics
    /// If the body is longer than a frame can be: senders check against `PEER_FRAME_BYTES_MAX`.
    pub(crate) fn encode_header(&self, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(FRAME_HEADER_BYTES);
        out.put_u32(u32::try_from(self.body.len()).expect("a frame body is bounded by PEER_FRAME_BYTES_MAX"));
        out.put_u8(self.frame_type as u8);
        out.put_u8(self.kind);
        out.put_u64(self.id);
        out.put_u32(self.timeout_ms);
        out.put_u32(crc32c::crc32c(&self.body));
        let check = crc32c::crc32c(&out[start..]);
        out.put_u32(check);
        debug_assert_eq!(out.len() - start, FRAME_HEADER_BYTES);
    }

    /// Takes the next frame from the front of `buffer`, or returns `None` if more bytes are needed, in which case `buffer`
    /// has room for them. The body is a slice of `buffer`, not a copy.
    ///
    /// # Errors
    /// The bytes are not a frame of at most `bytes_max` bytes.
    pub(crate) fn decode(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Self>, FrameError> {
        let Some((header, _)) = buffer.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let mut fields = &header[..];
        let body_len = fields.get_u32() as usize;
        let type_byte = fields.get_u8();
        let kind = fields.get_u8();
        let id = fields.get_u64();
        let timeout_ms = fields.get_u32();
        let body_check = fields.get_u32();
        if fields.get_u32() != crc32c::crc32c(&header[..FRAME_HEADER_BYTES - 4]) {
            return Err(FrameError::HeaderDamaged);
        }
        let frame_type = FrameType::from_u8(type_byte).ok_or(FrameError::UnknownType(type_byte))?;
        let bytes = FRAME_HEADER_BYTES.saturating_add(body_len);
        if bytes > bytes_max {
            return Err(FrameError::TooLarge {
                bytes,
                limit: bytes_max,
            });
        }
        if buffer.len() < bytes {
            buffer.reserve(bytes - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(bytes);
        frame.advance(FRAME_HEADER_BYTES);
        let body = frame.freeze();
        if crc32c::crc32c(&body) != body_check {
            return Err(FrameError::BodyDamaged);
        }
        Ok(Some(Self {
            frame_type,
            kind,
            id,
            timeout_ms,
            body,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frame: &Frame) -> BytesMut {
        let mut out = BytesMut::new();
        frame.encode_header(&mut out);
        out.extend_from_slice(&frame.body);
        out
    }

    fn sample(body: &'static [u8]) -> Frame {
        Frame {
            frame_type: FrameType::Request,
            kind: 7,
            id: 0x0102_0304_0506_0708,
            timeout_ms: 250,
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn decodes_what_was_encoded_even_byte_by_byte() {
        let frames = [sample(b""), sample(b"hello"), Frame::new(FrameType::Ping, Bytes::new())];
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        let mut buffer = BytesMut::new();
        let mut decoded = Vec::new();
        for byte in bytes {
            buffer.put_u8(byte);
            decoded.extend(Frame::decode(&mut buffer, 1024).unwrap());
        }
        assert_eq!(decoded, frames);
        assert!(buffer.is_empty());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(&sample(b"some body"));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = Frame::decode(&mut bad, 1024).unwrap_err();
            let expected = if bit / 8 < FRAME_HEADER_BYTES {
                FrameError::HeaderDamaged
            } else {
                FrameError::BodyDamaged
            };
            assert_eq!(error, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header_alone() {
        let mut bytes = encode(&sample(b"0123456789"));
        bytes.truncate(FRAME_HEADER_BYTES);
        let limit = FRAME_HEADER_BYTES + 9;
        let error = Frame::decode(&mut bytes.clone(), limit).unwrap_err();
        assert_eq!(
            error,
            FrameError::TooLarge {
                bytes: limit + 1,
                limit
            }
        );
        assert_eq!(Frame::decode(&mut bytes, limit + 1), Ok(None));
    }

    #[test]
    fn an_unknown_type_is_refused() {
        let mut bytes = encode(&sample(b""));
        bytes[4] = 99;
        let check = crc32c::crc32c(&bytes[..22]).to_be_bytes();
        bytes[22..26].copy_from_slice(&check);
        assert_eq!(Frame::decode(&mut bytes, 1024), Err(FrameError::UnknownType(99)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut buffer, 128) {}
        }
    }
}
