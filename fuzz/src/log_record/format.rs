//! The formats of the log's files, written again from their documentation.

use banyan_node::storage::log::EntryId;

use super::{PAGE, SALT};

/// A u64 with a bit for each id that is there, then all of them.
pub(super) fn optional_ids(ids: &[Option<EntryId>]) -> Vec<u8> {
    let present = ids
        .iter()
        .rev()
        .fold(0_u64, |bits, id| bits << 1 | u64::from(id.is_some()));
    let mut bytes = present.to_le_bytes().to_vec();
    for id in ids {
        let id = id.map_or([0; 3], |id| [id.term, id.node_id, id.index]);
        bytes.extend(id.into_iter().flat_map(u64::to_le_bytes));
    }
    bytes
}

/// What the salt and the number of a segment add to its checksums.
fn segment_crc(segment: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&SALT.to_le_bytes()), &segment.to_le_bytes())
}

/// Appends a record.
pub(super) fn write_record(out: &mut Vec<u8>, segment: u64, kind: u8, batch: u64, id: EntryId, body: &[u8]) {
    let crc = segment_crc(segment);
    let tag = crc.wrapping_mul(0x9E37_79B1).to_be_bytes();
    let mut rest = vec![kind, tag[0], tag[1], tag[2]];
    rest.extend_from_slice(&(batch as u32).to_le_bytes());
    rest.extend([id.term, id.node_id, id.index].into_iter().flat_map(u64::to_le_bytes));
    rest.extend_from_slice(body);
    let length = (body.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &length), &rest);
    out.extend_from_slice(&length);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&rest);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// The header of a segment; `ids` are last, purged and committed.
pub(super) fn header(
    segment: u64,
    bytes: u64,
    previous_end: u64,
    first_batch: u64,
    ids: [Option<EntryId>; 3],
) -> Vec<u8> {
    let mut header = b"BNYNLOG\0".to_vec();
    header.extend_from_slice(&1_u32.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend(
        [segment, bytes, previous_end, first_batch]
            .into_iter()
            .flat_map(u64::to_le_bytes),
    );
    header.extend_from_slice(&SALT.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&optional_ids(&ids));
    seal(&mut header);
    header
}

/// A file of two slots, each (sequence, content).
pub(super) fn slot_file(magic: &[u8; 7], slots: [(u64, [u64; 2]); 2]) -> Vec<u8> {
    let mut file = Vec::new();
    for (number, (sequence, content)) in (0..).zip(slots) {
        let mut slot = magic.to_vec();
        slot.push(b'0' + number);
        slot.extend_from_slice(&1_u32.to_le_bytes());
        slot.extend_from_slice(&[0; 4]);
        slot.extend(
            [sequence, content[0], content[1], 0, 0, 0]
                .into_iter()
                .flat_map(u64::to_le_bytes),
        );
        seal(&mut slot);
        slot.resize(PAGE, 0);
        file.extend_from_slice(&slot);
    }
    file
}

/// Puts the checksum of everything else at byte 12.
fn seal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}
