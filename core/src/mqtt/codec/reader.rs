//! The data types of §1.5, read from the body of one packet.

use std::ops::Range;

use bytes::Bytes;

use super::{DecodeError, varint};

/// A position within one packet. Every read is checked against the end; running out of bytes is a Malformed Packet.
pub(super) struct Reader {
    packet: Bytes,
    at: usize,
    /// End of what may be read: that of the packet, or of its property section while that is read.
    end: usize,
}

impl Reader {
    /// A reader of `packet` (fixed header included) from offset `at` on.
    pub(super) fn new(packet: Bytes, at: usize) -> Self {
        let end = packet.len();
        Self { packet, at, end }
    }

    /// Offset within the packet.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The bytes of `range`, without a copy; empty if the packet has no such range.
    pub(super) fn slice_of(&self, range: Range<usize>) -> Bytes {
        // `Bytes::slice` panics beyond the end; an empty slice shall not pin the buffer.
        if range.is_empty() || range.end > self.packet.len() {
            Bytes::new()
        } else {
            self.packet.slice(range)
        }
    }

    /// Another reader of `range` of the same packet.
    pub(super) fn within(&self, range: Range<usize>) -> Self {
        Self {
            packet: self.packet.clone(),
            at: range.start,
            end: range.end.min(self.packet.len()),
        }
    }

    /// Ends the readable part after `len` more bytes and returns the former end.
    pub(super) fn narrow(&mut self, len: usize) -> Result<usize, DecodeError> {
        if len > self.remaining() {
            return Err(DecodeError::malformed("property length reaches beyond the packet"));
        }
        Ok(std::mem::replace(&mut self.end, self.at + len))
    }

    /// Undoes [`narrow`](Self::narrow).
    pub(super) fn widen(&mut self, end: usize) {
        self.end = end;
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let range = self.advance(len)?;
        self.packet.get(range).ok_or(TRUNCATED)
    }

    fn advance(&mut self, len: usize) -> Result<Range<usize>, DecodeError> {
        if len > self.remaining() {
            return Err(TRUNCATED);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    /// A byte.
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        match *self.take(1)? {
            [byte] => Ok(byte),
            _ => Err(TRUNCATED),
        }
    }

    /// Two Byte Integer (§1.5.2).
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        match *self.take(2)? {
            [a, b] => Ok(u16::from_be_bytes([a, b])),
            _ => Err(TRUNCATED),
        }
    }

    /// Four Byte Integer (§1.5.3).
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        match *self.take(4)? {
            [a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
            _ => Err(TRUNCATED),
        }
    }

    /// Variable Byte Integer (§1.5.5).
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let rest = self.packet.get(self.at..self.end).unwrap_or_default();
        let (value, len) = varint::decode(rest)?.ok_or(TRUNCATED)?;
        self.at += len;
        Ok(value)
    }

    /// UTF-8 Encoded String (§1.5.4), checked, without a copy.
    pub(super) fn string(&mut self) -> Result<Bytes, DecodeError> {
        let range = self.string_range()?;
        Ok(self.slice_of(range))
    }

    /// UTF-8 Encoded String (§1.5.4) as a copy of its own.
    pub(super) fn string_copy(&mut self) -> Result<String, DecodeError> {
        Ok(self.str()?.to_owned())
    }

    /// UTF-8 Encoded String (§1.5.4), borrowed.
    pub(super) fn str(&mut self) -> Result<&str, DecodeError> {
        let len = usize::from(self.u16()?);
        check_utf8(self.take(len)?)
    }

    /// Where the next UTF-8 Encoded String lies, without its length. Checked.
    fn string_range(&mut self) -> Result<Range<usize>, DecodeError> {
        let len = self.str()?.len();
        Ok(self.at - len..self.at)
    }

    /// Binary Data (§1.5.6), without a copy.
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::from(self.u16()?);
        let range = self.advance(len)?;
        Ok(self.slice_of(range))
    }

    /// Packet Identifier (§2.2.1).
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        packet_id(self.u16()?)
    }

    /// Everything up to the end, without a copy.
    pub(super) fn rest(&mut self) -> Bytes {
        let start = std::mem::replace(&mut self.at, self.end);
        self.slice_of(start..self.end)
    }

    /// Nothing may follow the last field.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(DecodeError::malformed("bytes after the end of the packet"))
        }
    }
}

const TRUNCATED: DecodeError = DecodeError::malformed("packet ends within a field");

/// A packet identifier as sent, if it is one: 0 is not (§2.2.1).
pub(super) fn packet_id(value: u16) -> Result<u16, DecodeError> {
    if value == 0 {
        Err(DecodeError::malformed("packet identifier is 0"))
    } else {
        Ok(value)
    }
}

/// Well-formed UTF-8 without surrogates [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2].
fn check_utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(_) if bytes.contains(&0) => Err(DecodeError::malformed("text contains U+0000")),
        Ok(text) => Ok(text),
        Err(_) => Err(DecodeError::malformed("text is not well-formed UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ReasonCode;

    fn read_string(text: &[u8]) -> Result<Bytes, DecodeError> {
        let mut packet = (text.len() as u16).to_be_bytes().to_vec();
        packet.extend_from_slice(text);
        Reader::new(packet.into(), 0).string()
    }

    /// [MQTT-1.5.4-1] and [MQTT-1.5.4-2]: what is not text, or contains U+0000, is malformed.
    #[test]
    fn refuses_ill_formed_text() {
        for bytes in [
            &b"a\x00b"[..],
            b"\x00",
            b"\xED\xA0\x80",     // surrogate U+D800
            b"\xED\xBF\xBF",     // surrogate U+DFFF
            b"\xC0\x80",         // overlong U+0000
            b"\xC1\xBF",         // overlong U+007F
            b"\xE0\x80\x80",     // overlong
            b"\xF4\x90\x80\x80", // above U+10FFFF
            b"\xF8\x88\x80\x80\x80",
            b"\xE2\x82", // cut within a character
            b"\x80",
            b"\xFF",
        ] {
            assert_eq!(
                read_string(bytes).map_err(|e| e.reason),
                Err(ReasonCode::MalformedPacket),
                "{bytes:02X?}"
            );
        }
    }

    /// [MQTT-1.5.4-3]: EF BB BF is U+FEFF wherever it stands and is not stripped. Other characters of every length
    /// pass.
    /// Shows 3.1.1 [MQTT-1.5.3-3].
    #[test]
    fn keeps_text_as_it_is() {
        for text in ["", "\u{FEFF}a", "ä€𝄞", "\u{10FFFD}", "a b"] {
            assert_eq!(read_string(text.as_bytes()).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn every_read_stops_at_the_end() {
        let reader = || Reader::new(Bytes::from_static(&[0x00]), 0);
        assert!(reader().u16().is_err());
        assert!(reader().u32().is_err());
        assert!(reader().string().is_err());
        assert!(reader().binary().is_err());
        assert!(reader().take(2).is_err());
        assert!(reader().take(usize::MAX).is_err());
        assert!(reader().narrow(2).is_err());
        assert_eq!(reader().slice_of(0..2), Bytes::new());
        assert!(Reader::new(Bytes::from_static(&[0x80]), 0).varint().is_err());
    }
}
