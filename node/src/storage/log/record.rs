//! Records: what a segment consists of after its header.
//!
//! All numbers are little-endian. A record begins at a multiple of 8 and is padded with zeros to one.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the body, bytes, padding not counted |
//! | 4 | 4 | CRC-32C over the segment's salt and number, bytes 0..4 and 8..40 of the header, and the body |
//! | 8 | 1 | kind |
//! | 9 | 3 | tag: a cheap filter, derived from the segment's salt and number |
//! | 12 | 4 | number of the batch, its low 32 bits |
//! | 16 | 8 | term of the leader |
//! | 24 | 8 | node id of the leader |
//! | 32 | 8 | log index |
//! | 40 | … | body |
//!
//! | kind | record | log id | body |
//! |---|---|---|---|
//! | 1 | batch | 0 | [`BatchHeader`] |
//! | 2 | blank entry | its own | empty |
//! | 3 | normal entry | its own | the entry's bytes |
//! | 4 | membership entry | its own | the encoded membership |
//! | 5 | truncate | of the last entry that stays | empty |
//! | 6 | truncate all | 0 | empty |
//!
//! The salt and number of the segment go into every checksum, so bytes that a recycled file still holds from its former
//! life never look like records of its present one: two numbers below 2^32 differ in a burst of at most 32 bits, which
//! CRC-32C always detects.

use bytes::Bytes;

/// Length of a record without body, bytes.
pub(super) const HEADER_BYTES: usize = 40;

/// Length of the body of a batch record, bytes.
const BATCH_BODY_BYTES: usize = 72;

/// Length of a batch record, bytes.
pub(super) const BATCH_BYTES: usize = HEADER_BYTES + BATCH_BODY_BYTES;

/// Greatest log index, batch number, segment number and slot sequence that is read: nothing counts as far, and what is read
/// can be counted on from without a thought of overflow.
pub(super) const COUNT_MAX: u64 = u64::MAX / 2;

/// What every record's offset and padded length is a multiple of.
pub(super) const ALIGNMENT: usize = 8;

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT) && BATCH_BYTES.is_multiple_of(ALIGNMENT));

/// Identity of a log entry: who proposed it, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// Term of the leader that proposed it.
    pub term: u64,
    /// Node id of that leader.
    pub node_id: u64,
    /// Log index.
    pub index: u64,
}

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry.
    Blank = 2,
    /// The application's.
    Normal = 3,
    /// A membership change.
    Membership = 4,
}

/// An entry of the log. Clones share the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its identity.
    pub id: EntryId,
    /// What the payload is.
    pub kind: EntryKind,
    /// The payload; empty for [`EntryKind::Blank`].
    pub payload: Bytes,
}

/// `len` rounded up to the alignment.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// What a segment mixes into its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentKey {
    crc: u32,
    tag: [u8; 3],
}

impl SegmentKey {
    /// The key of segment `sequence` of a log with `salt`.
    pub(super) fn new(salt: u32, sequence: u64) -> Self {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &sequence.to_le_bytes());
        // Multiplied, so that the tag's bytes do not simply repeat what the CRC starts from.
        let [first, second, third, _] = crc.wrapping_mul(0x9E37_79B1).to_be_bytes();
        Self {
            crc,
            tag: [first, second, third],
        }
    }

    fn checksum(&self, header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
        let (length, rest) = header.split_at(4);
        let crc = crc32c::crc32c_append(self.crc, length);
        let crc = crc32c::crc32c_append(crc, &rest[4..]);
        crc32c::crc32c_append(crc, body)
    }
}

/// Whether `bytes` begin with a valid record of segment `number` of a log with `salt`: for tools and fuzzing.
pub fn is_record(bytes: &[u8], salt: u32, number: u64) -> bool {
    Record::parse(bytes, &SegmentKey::new(salt, number))
        .is_some_and(|record| record.kind != RecordKind::Batch || BatchHeader::from_record(&record).is_some())
}

/// A record's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Batch,
    Entry(EntryKind),
    Truncate,
    TruncateAll,
}

impl RecordKind {
    fn to_u8(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Entry(kind) => kind as u8,
            Self::Truncate => 5,
            Self::TruncateAll => 6,
        }
    }

    fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::Entry(EntryKind::Blank),
            3 => Self::Entry(EntryKind::Normal),
            4 => Self::Entry(EntryKind::Membership),
            5 => Self::Truncate,
            6 => Self::TruncateAll,
            _ => return None,
        })
    }
}

/// A valid record, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: RecordKind,
    /// Low 32 bits of the batch's number.
    pub(super) batch: u32,
    pub(super) id: EntryId,
    pub(super) body: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`; `None` unless it is whole and valid.
    pub(super) fn parse(bytes: &'a [u8], key: &SegmentKey) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let kind = RecordKind::from_u8(header[8])?;
        if header[9..12] != key.tag {
            return None;
        }
        let body = rest.get(..u32_at(header, 0) as usize)?;
        if u32_at(header, 4) != key.checksum(header, body) {
            return None;
        }
        let id = EntryId {
            term: u64_at(header, 16),
            node_id: u64_at(header, 24),
            index: u64_at(header, 32),
        };
        if id.index > COUNT_MAX {
            return None;
        }
        Some(Self {
            kind,
            batch: u32_at(header, 12),
            id,
            body,
        })
    }

    /// Bytes that it takes, padding included.
    pub(super) fn bytes(&self) -> usize {
        padded(HEADER_BYTES + self.body.len())
    }
}

/// Appends a record to `out`.
pub(super) fn write(out: &mut Vec<u8>, key: &SegmentKey, kind: RecordKind, batch: u64, id: EntryId, body: &[u8]) {
    let start = out.len();
    let header = header(key, kind, batch, id, body);
    out.reserve(padded(HEADER_BYTES + body.len()));
    out.extend_from_slice(&header);
    out.extend_from_slice(body);
    out.resize(start + padded(HEADER_BYTES + body.len()), 0);
}

fn header(key: &SegmentKey, kind: RecordKind, batch: u64, id: EntryId, body: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[8] = kind.to_u8();
    header[9..12].copy_from_slice(&key.tag);
    header[12..16].copy_from_slice(&(batch as u32).to_le_bytes());
    header[16..24].copy_from_slice(&id.term.to_le_bytes());
    header[24..32].copy_from_slice(&id.node_id.to_le_bytes());
    header[32..40].copy_from_slice(&id.index.to_le_bytes());
    let crc = key.checksum(&header, body);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Log id of records that have none.
pub(super) const NO_ID: EntryId = EntryId {
    term: 0,
    node_id: 0,
    index: 0,
};

/// The first record of every batch, which is what one write call wrote and one sync covered.
///
/// Body: number u64, bytes u64, then twice (purged, committed) an optional log id. The flags of both share one u64: bit
/// 0 = purged is there, bit 1 = committed is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Counts the batches of a log, from 1.
    pub(super) number: u64,
    /// Length of the batch, this record included.
    pub(super) bytes: u64,
    /// The last purged entry, as of this batch.
    pub(super) purged: Option<EntryId>,
    /// The committed entry last saved, as of this batch.
    pub(super) committed: Option<EntryId>,
}

impl BatchHeader {
    /// Writes it over the first [`BATCH_BYTES`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub(super) fn write_to(&self, out: &mut [u8], key: &SegmentKey) {
        let mut body = [0; BATCH_BODY_BYTES];
        body[0..8].copy_from_slice(&self.number.to_le_bytes());
        body[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        write_optional_ids(&mut body[16..], [self.purged, self.committed]);
        let (head, tail) = out.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header(key, RecordKind::Batch, self.number, NO_ID, &body));
        tail[..BATCH_BODY_BYTES].copy_from_slice(&body);
    }

    /// Reads it from a record; `None` if it is another kind of record.
    pub(super) fn from_record(record: &Record<'_>) -> Option<Self> {
        let body: &[u8; BATCH_BODY_BYTES] = record.body.try_into().ok()?;
        if record.kind != RecordKind::Batch || u64_at(body, 0) > COUNT_MAX {
            return None;
        }
        let [purged, committed] = read_optional_ids(&body[16..])?;
        Some(Self {
            number: u64_at(body, 0),
            bytes: u64_at(body, 8),
            purged,
            committed,
        })
    }
}

/// Length of [`write_optional_ids`] of `N` log ids, bytes.
pub(super) const fn optional_ids_bytes(count: usize) -> usize {
    8 + 24 * count
}

const _: () = assert!(BATCH_BODY_BYTES == 16 + optional_ids_bytes(2));

/// Writes a u64 with one bit for each present id, then each as term, node id, index (zeros if absent).
pub(super) fn write_optional_ids<const N: usize>(out: &mut [u8], ids: [Option<EntryId>; N]) {
    let mut present = 0u64;
    for (number, id) in ids.iter().enumerate() {
        let Some(id) = id else { continue };
        present |= 1 << number;
        let at = 8 + 24 * number;
        out[at..at + 8].copy_from_slice(&id.term.to_le_bytes());
        out[at + 8..at + 16].copy_from_slice(&id.node_id.to_le_bytes());
        out[at + 16..at + 24].copy_from_slice(&id.index.to_le_bytes());
    }
    out[..8].copy_from_slice(&present.to_le_bytes());
}

/// Reads what [`write_optional_ids`] wrote; `None` if `bytes` are too short, or an index is above [`COUNT_MAX`].
pub(super) fn read_optional_ids<const N: usize>(bytes: &[u8]) -> Option<[Option<EntryId>; N]> {
    let bytes = bytes.get(..optional_ids_bytes(N))?;
    let present = u64_at(bytes, 0);
    let ids = std::array::from_fn(|number| {
        let at = 8 + 24 * number;
        let id = EntryId {
            term: u64_at(bytes, at),
            node_id: u64_at(bytes, at + 8),
            index: u64_at(bytes, at + 16),
        };
        (present & (1 << number) != 0).then_some(id)
    });
    ids.iter().flatten().all(|id| id.index <= COUNT_MAX).then_some(ids)
}

/// The u32 at `at`.
///
/// # Panics
/// If `bytes` end before: callers have checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The u64 at `at`.
///
/// # Panics
/// If `bytes` end before: callers have checked the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: EntryId = EntryId {
        term: 7,
        node_id: 3,
        index: 42,
    };

    fn written(key: &SegmentKey, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, key, RecordKind::Entry(EntryKind::Normal), 9, ID, body);
        out
    }

    #[test]
    fn every_flipped_bit_but_padding_is_found() {
        let key = SegmentKey::new(1, 2);
        let bytes = written(&key, b"thirteen bytes");
        let record = Record::parse(&bytes, &key).unwrap();
        assert_eq!((record.id, record.batch, record.body), (ID, 9, &b"thirteen bytes"[..]));
        for bit in 0..(HEADER_BYTES + 14) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(&flipped, &key), None, "bit {bit}");
        }
        for len in 0..HEADER_BYTES + 14 {
            assert_eq!(Record::parse(&bytes[..len], &key), None, "cut at {len}");
        }
    }

    #[test]
    fn a_record_of_another_segment_is_none() {
        let bytes = written(&SegmentKey::new(1, 2), b"x");
        assert_eq!(Record::parse(&bytes, &SegmentKey::new(1, 3)), None);
        assert_eq!(Record::parse(&bytes, &SegmentKey::new(2, 2)), None);
    }

    #[test]
    fn a_batch_header_reads_back() {
        let key = SegmentKey::new(5, 6);
        for (purged, committed) in [(None, None), (Some(ID), None), (None, Some(ID)), (Some(ID), Some(ID))] {
            let batch = BatchHeader {
                number: 1 << 40,
                bytes: 112,
                purged,
                committed,
            };
            let mut out = vec![0xFF; BATCH_BYTES];
            batch.write_to(&mut out, &key);
            let record = Record::parse(&out, &key).unwrap();
            assert_eq!(record.bytes(), BATCH_BYTES);
            assert_eq!(BatchHeader::from_record(&record), Some(batch));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Record::parse(&bytes, &SegmentKey::new(0, 0)), None);
        }
    }
}
