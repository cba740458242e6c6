//! The parts of a backup, byte by byte. See [`super`].

use banyan_core::keyspace::meta::Position;
use bytes::{Buf, BufMut, Bytes};

pub(super) const MAGIC: [u8; 8] = *b"banyan\0S";
pub(super) const VERSION: u16 = 1;
/// Bytes of a section besides its body: kind and length before it, checksum behind it.
pub(super) const SECTION_HEAD_BYTES: usize = 5;
pub(super) const SECTION_CRC_BYTES: usize = 4;
/// Longest body that is read: far more than a chunk with the largest row.
pub(super) const SECTION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Rows that go into one section, bytes.
pub(super) const ROWS_BYTES: usize = 128 * 1024;

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SectionKind {
    Header = 1,
    Rows = 2,
    Trailer = 3,
}

impl SectionKind {
    pub(super) fn from_u8(byte: u8) -> Option<Self> {
        [Self::Header, Self::Rows, Self::Trailer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The checksum of section `number`; `head` is its kind and length.
pub(super) fn section_crc(number: u32, head: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, head);
    crc32c::crc32c_append(crc, body)
}

/// A section as it is written.
pub(super) fn section(number: u32, kind: SectionKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SECTION_HEAD_BYTES + body.len() + SECTION_CRC_BYTES);
    bytes.put_u8(kind as u8);
    bytes.put_u32(body.len() as u32);
    let crc = section_crc(number, &bytes, body);
    bytes.extend_from_slice(body);
    bytes.put_u32(crc);
    bytes
}

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The cluster that it is of.
    pub cluster_id: u64,
    /// The node that wrote it.
    pub node_id: u64,
    /// When, microseconds since the Unix epoch, by the clock of that node.
    pub taken_at_us: u64,
    /// Where the state stood.
    pub position: Position,
    /// Version of the program that wrote it.
    pub program: String,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let position = self.position.encode();
        let program = self.program.as_bytes();
        let mut bytes = Vec::new();
        bytes.put_u16(VERSION);
        bytes.put_u64(self.cluster_id);
        bytes.put_u64(self.node_id);
        bytes.put_u64(self.taken_at_us);
        bytes.put_u16(position.len() as u16);
        bytes.extend_from_slice(&position);
        bytes.put_u8(program.len() as u8);
        bytes.extend_from_slice(program);
        bytes
    }

    /// `Err(Some(version))`: of a version that is not known.
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, Option<u16>> {
        let cut = |_| None;
        let version = body.try_get_u16().map_err(cut)?;
        if version != VERSION {
            return Err(Some(version));
        }
        let cluster_id = body.try_get_u64().map_err(cut)?;
        let node_id = body.try_get_u64().map_err(cut)?;
        let taken_at_us = body.try_get_u64().map_err(cut)?;
        let length = body.try_get_u16().map_err(cut)?;
        let (position, mut body) = body.split_at_checked(length.into()).ok_or(None)?;
        let length = body.try_get_u8().map_err(cut)?;
        if body.len() != usize::from(length) {
            return Err(None);
        }
        Ok(Self {
            cluster_id,
            node_id,
            taken_at_us,
            position: Position::parse(position).map_err(|_| None)?,
            program: String::from_utf8(body.to_vec()).map_err(|_| None)?,
        })
    }
}

/// What comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) rows: u64,
    pub(super) sections: u32,
    pub(super) bytes: u64,
    pub(super) data_digest: u128,
    pub(super) hash: u128,
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u64(self.rows);
        bytes.put_u32(self.sections);
        bytes.put_u64(self.bytes);
        bytes.put_u128(self.data_digest);
        bytes.put_u128(self.hash);
        bytes
    }

    pub(super) fn parse(mut body: &[u8]) -> Option<Self> {
        let trailer = Self {
            rows: body.try_get_u64().ok()?,
            sections: body.try_get_u32().ok()?,
            bytes: body.try_get_u64().ok()?,
            data_digest: body.try_get_u128().ok()?,
            hash: body.try_get_u128().ok()?,
        };
        body.is_empty().then_some(trailer)
    }
}

pub(super) fn put_row(key: &[u8], value: &[u8], body: &mut Vec<u8>) {
    body.put_u32(key.len() as u32);
    body.put_u32(value.len() as u32);
    body.extend_from_slice(key);
    body.extend_from_slice(value);
}

/// The next row of `body`; `None` if it is malformed.
pub(super) fn take_row(body: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let key = body.try_get_u32().ok()? as usize;
    let value = body.try_get_u32().ok()? as usize;
    if key.checked_add(value)? > body.len() {
        return None;
    }
    Some((body.split_to(key), body.split_to(value)))
}
