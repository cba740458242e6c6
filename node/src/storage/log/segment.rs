//! Segments: the files of the log, one after the other.
//!
//! A segment is named by its number, 16 hexadecimal digits and `.log`, and has its full size from the start (prefilled
//! with zeros, or recycled from a purged one), so that an append changes no metadata. It begins with a page that holds
//! this header (little-endian):
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `BNYNLOG` 0x00 |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C over bytes 0..12 and 16..136 |
//! | 16 | 8 | number of the segment, from 1 |
//! | 24 | 8 | size of the segment, bytes |
//! | 32 | 8 | where the segment before ends, offset in bytes; 0 in the first |
//! | 40 | 8 | number of the first batch |
//! | 48 | 4 | salt of the log |
//! | 52 | 4 | 0 |
//! | 56 | 80 | present flags (bit 0, 1, 2), then last, purged and committed log id as of the end of the segment before |
//!
//! [Records](super::record) follow from byte 4096. Since each header says where the segment before ends and which batch
//! comes next, only the last segment has an end that must be found out.

use std::path::{Path, PathBuf};

use super::error::LogError;
use super::record::{
    COUNT_MAX, EntryId, SegmentKey, optional_ids_bytes, read_optional_ids, u32_at, u64_at, write_optional_ids,
};

/// Where the records of a segment begin, bytes.
pub(super) const DATA_START: u64 = 4096;

/// Segments are not made larger than this, since offsets in them are kept as u32.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 31;

const MAGIC: [u8; 8] = *b"BNYNLOG\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56 + optional_ids_bytes(3);

/// What a segment says of itself and of what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// End of the records of the segment before; 0 in the first.
    pub(super) previous_end: u64,
    pub(super) first_batch: u64,
    pub(super) salt: u32,
    /// As of the end of the segment before.
    pub(super) last: Option<EntryId>,
    /// As of the end of the segment before.
    pub(super) purged: Option<EntryId>,
    /// As of the end of the segment before.
    pub(super) committed: Option<EntryId>,
}

impl SegmentHeader {
    /// What is mixed into the checksums of this segment's records.
    pub(super) fn key(&self) -> SegmentKey {
        SegmentKey::new(self.salt, self.number)
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.salt.to_le_bytes());
        write_optional_ids(&mut bytes[56..], [self.last, self.purged, self.committed]);
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment file `path` with contents `bytes`.
    ///
    /// # Errors
    /// Damage; a version that is not read.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, LogError> {
        let damaged = |detail: &str| LogError::Damaged {
            file: path.to_path_buf(),
            offset: 0,
            detail: detail.to_owned(),
        };
        let header = bytes
            .get(..HEADER_BYTES)
            .ok_or_else(|| damaged("the header is cut short"))?;
        let is_count = |at| u64_at(header, at) <= COUNT_MAX;
        if header[0..8] != MAGIC || u32_at(header, 12) != checksum(header) || !is_count(16) || !is_count(40) {
            return Err(damaged("the header is not valid"));
        }
        let version = u32_at(header, 8);
        if version != VERSION {
            return Err(LogError::Version {
                file: path.to_path_buf(),
                found: version,
                supported: VERSION,
            });
        }
        let [last, purged, committed] =
            read_optional_ids(&header[56..]).ok_or_else(|| damaged("the header is cut short"))?;
        let decoded = Self {
            number: u64_at(header, 16),
            bytes: u64_at(header, 24),
            previous_end: u64_at(header, 32),
            first_batch: u64_at(header, 40),
            salt: u32_at(header, 48),
            last,
            purged,
            committed,
        };
        if (bytes.len() as u64) < decoded.bytes {
            let detail = format!("the segment must have {} bytes", decoded.bytes);
            return Err(LogError::Damaged {
                file: path.to_path_buf(),
                offset: bytes.len() as u64,
                detail,
            });
        }
        if name_number(path) != Some(decoded.number) {
            return Err(damaged("the header is another segment's"));
        }
        Ok(decoded)
    }
}

fn checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..HEADER_BYTES])
}

/// File of segment `number` in `dir`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

/// Number of the segment called `path`; `None` if that is no segment's name.
pub(super) fn name_number(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if digits.len() != 16 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_every_flipped_byte_is_found() {
        let id = EntryId {
            term: 1,
            node_id: 2,
            index: 3,
        };
        let header = SegmentHeader {
            number: 0xAB,
            bytes: 4096,
            previous_end: 5000,
            first_batch: 17,
            salt: 99,
            last: Some(id),
            purged: None,
            committed: Some(id),
        };
        let file = path(Path::new("d"), 0xAB);
        assert_eq!(name_number(&file), Some(0xAB));
        let mut bytes = header.encode();
        bytes.resize(4096, 0);
        assert_eq!(SegmentHeader::decode(&file, &bytes).unwrap(), header);
        assert!(
            SegmentHeader::decode(&path(Path::new("d"), 1), &bytes)
                .unwrap_err()
                .is_damage()
        );
        assert!(SegmentHeader::decode(&file, &bytes[..4095]).unwrap_err().is_damage());
        for at in 0..HEADER_BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(
                SegmentHeader::decode(&file, &flipped).unwrap_err().is_damage(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "vote",
            "1.log",
            "000000000000000G.log",
            "spare-1",
            "+00000000000000a.log",
        ] {
            assert_eq!(name_number(Path::new(name)), None, "{name}");
        }
    }
}
