//! A small file with two slots, each a page of its own with number and checksum: the vote and the synced-through mark.
//!
//! | offset in the page | size | field (little-endian) |
//! |---|---|---|
//! | 0 | 8 | magic: which file, which slot |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32C over bytes 0..12 and 16..64 |
//! | 16 | 8 | sequence number, greater with every change |
//! | 24 | 40 | content |
//!
//! The rest of the page is unused. The file is created whole (written beside, synced, renamed), so a shorter one is
//! damaged.

use std::path::{Path, PathBuf};

use banyan_core::planted::{Bug, planted};

use super::error::{IoContext, LogError};
use super::record::{COUNT_MAX, u32_at, u64_at};
use crate::storage::disk::{Disk, DiskFile};

/// Distance of the slots, bytes: a torn write of one never touches the other.
const PAGE_BYTES: usize = 4096;

/// Length of a slot's content, bytes.
pub(super) const CONTENT_BYTES: usize = 40;

const SLOT_BYTES: usize = 24 + CONTENT_BYTES;
const VERSION: u32 = 1;

/// One valid slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) content: [u8; CONTENT_BYTES],
}

/// An open file of two slots.
pub(super) struct SlotFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    magic: [u8; 7],
}

impl SlotFile {
    /// Creates `dir`/`name` with `slot` in both slots, durably but for its name: sync the directory.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        magic: [u8; 7],
        slot: &Slot,
    ) -> Result<Self, LogError> {
        let beside = dir.join(format!("{name}.new"));
        let path = dir.join(name);
        let file = disk.open(&beside, true).context("create", &beside)?;
        let mut bytes = vec![0; 2 * PAGE_BYTES];
        for number in [0, 1] {
            bytes[number * PAGE_BYTES..][..SLOT_BYTES].copy_from_slice(&encode(magic, number, slot));
        }
        file.set_len(0).context("write", &beside)?;
        file.write_at(0, &bytes).context("write", &beside)?;
        file.sync().context("sync", &beside)?;
        disk.rename(&beside, &path).context("rename", &beside)?;
        Ok(Self { file, path, magic })
    }

    /// Opens `dir`/`name` and returns what its two slots hold; `None` for a slot that is not valid.
    ///
    /// # Errors
    /// Damage if the file is too short, a version that is not read.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        magic: [u8; 7],
    ) -> Result<(Self, [Option<Slot>; 2]), LogError> {
        let path = dir.join(name);
        let bytes = disk.read(&path).context("read", &path)?;
        if bytes.len() < 2 * PAGE_BYTES {
            let detail = format!("the file must have {} bytes", 2 * PAGE_BYTES);
            return Err(LogError::Damaged {
                file: path,
                offset: bytes.len() as u64,
                detail,
            });
        }
        let slots = [0, 1].map(|number| decode(&bytes[number * PAGE_BYTES..][..SLOT_BYTES], magic, number));
        for slot in &slots {
            if let Some((version, _)) = slot
                && *version != VERSION
            {
                return Err(LogError::Version {
                    file: path,
                    found: *version,
                    supported: VERSION,
                });
            }
        }
        let file = disk.open(&path, false).context("open", &path)?;
        Ok((Self { file, path, magic }, slots.map(|slot| slot.map(|(_, slot)| slot))))
    }

    /// Writes `slot` into slot `number` (0 or 1) and syncs.
    pub(super) fn write(&self, number: usize, slot: &Slot) -> Result<(), LogError> {
        let bytes = encode(self.magic, number, slot);
        self.file
            .write_at((number * PAGE_BYTES) as u64, &bytes)
            .context("write", &self.path)?;
        if planted(Bug::P02) && self.path.ends_with(super::vote::NAME) {
            return Ok(());
        }
        self.file.sync().context("sync", &self.path)
    }

    /// The error that the whole file is beyond use.
    pub(super) fn damaged(&self, detail: &str) -> LogError {
        LogError::Damaged {
            file: self.path.clone(),
            offset: 0,
            detail: detail.to_owned(),
        }
    }
}

fn encode(magic: [u8; 7], number: usize, slot: &Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[0..7].copy_from_slice(&magic);
    bytes[7] = b'0' + number as u8;
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&slot.sequence.to_le_bytes());
    bytes[24..].copy_from_slice(&slot.content);
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Version and slot, if the checksum is right.
fn decode(bytes: &[u8], magic: [u8; 7], number: usize) -> Option<(u32, Slot)> {
    let bytes: &[u8; SLOT_BYTES] = bytes.try_into().ok()?;
    if bytes[0..7] != magic || bytes[7] != b'0' + number as u8 || u32_at(bytes, 12) != checksum(bytes) {
        return None;
    }
    if u64_at(bytes, 16) > COUNT_MAX {
        return None;
    }
    let mut content = [0; CONTENT_BYTES];
    content.copy_from_slice(&bytes[24..]);
    Some((
        u32_at(bytes, 8),
        Slot {
            sequence: u64_at(bytes, 16),
            content,
        },
    ))
}

fn checksum(bytes: &[u8; SLOT_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}
