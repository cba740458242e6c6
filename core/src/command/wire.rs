//! Checked reading and plain writing of the fields that commands consist of.

use std::ops::Range;

use bytes::Bytes;

use super::DecodeError;
use crate::keyspace::MessagePosition;
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::metadata::Metadata;
use crate::topic::{SubscriptionFilter, TopicFilter, TopicName};

/// Reads fields one after the other from a range of `source`. Variable fields are slices of it, not copies.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    source: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// # Panics
    /// If `range` is not within `source`.
    pub(crate) fn new(source: &'a Bytes, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= source.len(),
            "range outside of its source"
        );
        Self {
            source,
            at: range.start,
            end: range.end,
        }
    }

    /// A reader of `range`, which this one gave.
    pub(crate) fn within(&self, range: Range<usize>) -> Self {
        Self::new(self.source, range)
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// Takes the next `length` bytes and gives where they are.
    pub(crate) fn range(&mut self, length: usize) -> Result<Range<usize>, DecodeError> {
        if length > self.end - self.at {
            return Err(DecodeError::Truncated);
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let range = self.range(N)?;
        self.source
            .get(range)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(DecodeError::Truncated)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length of four bytes, and where that many bytes are.
    pub(crate) fn block(&mut self) -> Result<Range<usize>, DecodeError> {
        let length = self.u32()?;
        self.range(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    /// A length of two bytes, and that many bytes.
    pub(crate) fn field(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u16()?;
        let range = self.range(usize::from(length))?;
        Ok(self.slice(range))
    }

    pub(crate) fn topic(&mut self) -> Result<TopicName, DecodeError> {
        Ok(TopicName::from_utf8(self.field()?)?)
    }

    pub(crate) fn filter(&mut self) -> Result<TopicFilter, DecodeError> {
        Ok(TopicFilter::from_utf8(self.field()?)?)
    }

    pub(crate) fn metadata(&mut self) -> Result<Metadata, DecodeError> {
        Ok(Metadata::from_canonical(self.field()?)?)
    }

    pub(crate) fn publisher(&mut self) -> Result<Bytes, DecodeError> {
        let bytes = self.field()?;
        std::str::from_utf8(&bytes).map_err(|_| DecodeError::Publisher)?;
        Ok(bytes)
    }

    pub(crate) fn subscription_filter(&mut self) -> Result<SubscriptionFilter, DecodeError> {
        Ok(SubscriptionFilter::from_utf8(self.field()?)?)
    }

    pub(crate) fn client_id(&mut self) -> Result<Bytes, DecodeError> {
        let bytes = self.field()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::ClientId)?;
        if text.is_empty() || text.len() > CLIENT_ID_BYTES_MAX || text.contains('\0') {
            return Err(DecodeError::ClientId);
        }
        Ok(bytes)
    }

    pub(crate) fn position(&mut self) -> Result<MessagePosition, DecodeError> {
        Ok(MessagePosition {
            revision: self.u64()?,
            ordinal: self.u32()?,
        })
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::PacketId),
            packet_id => Ok(packet_id),
        }
    }

    /// A byte of which only the bits in `defined` may be set.
    pub(crate) fn flags(&mut self, defined: u8) -> Result<u8, DecodeError> {
        let flags = self.u8()?;
        if flags & !defined == 0 {
            Ok(flags)
        } else {
            Err(DecodeError::Flags(flags))
        }
    }

    /// A count of two bytes, and that many of what `read` reads.
    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        // Nothing is reserved ahead: the count is a claim until as much was read.
        let count = self.u16()?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        let range = self.at..self.end;
        self.at = self.end;
        self.slice(range)
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        if range.is_empty() {
            Bytes::new()
        } else {
            self.source.slice(range)
        }
    }

    pub(crate) const fn finish(&self) -> Result<(), DecodeError> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

/// Writes a field with a length of two bytes.
///
/// # Panics
/// If it is longer than 65,535 bytes. MQTT strings, and everything else that gets here, are limited below that.
pub(crate) fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).expect("a field of a command is limited to 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(field);
}

/// Writes revision and ordinal.
pub(crate) fn put_position(out: &mut Vec<u8>, position: MessagePosition) {
    out.extend_from_slice(&position.revision.to_be_bytes());
    out.extend_from_slice(&position.ordinal.to_be_bytes());
}

/// Writes the count of a list in two bytes.
///
/// # Panics
/// If it is above 65,535. Packets of MQTT, and what is gathered from them, are limited far below that.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("a list of a command is limited to 65,535");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Writes a length of four bytes and then what `body` writes.
///
/// # Panics
/// If that is 4 GiB or more.
pub(crate) fn put_block(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start - 4).expect("a command is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
