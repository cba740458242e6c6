//! The vote: what this node has promised, which must never go back.
//!
//! A vote is written to slot A and synced, then to slot B and synced, and only then returned. [`VoteFile::open`] writes
//! whatever it found to both slots, in the same way, before anything acts on it. Call a vote *exposed* once a save of
//! it, or an open that found it, has returned. Then at any moment:
//!
//! 1. What B holds was synced in A before B was touched, so no vote in B, torn or whole, is newer than A's last synced one.
//! 2. Every exposed vote was synced in B, so no exposed vote is newer than what B holds synced.
//! 3. At most one slot is being written, so a crash leaves at most one that is not valid.
//!
//! What [`VoteFile::open`] finds, with one fault (a crash, or a damaged slot) and none hidden:
//!
//! | A | B | meaning | taken |
//! |---|---|---|---|
//! | n | n | at rest | n |
//! | m > n | n | crash between the two: m was never exposed, and may stand (m > n+1 after a failed sync and a crash) | m |
//! | bad | n | crash while writing A, or A damaged at rest or in the state above: by (2) nothing newer than n was exposed | n |
//! | n | bad | crash while writing B, or B damaged: by (1) nothing in B was newer than n | n |
//! | bad | bad | by (3) no crash does this | refused |
//! | m < n | n | no crash does this | refused |
//! | n | n, other content | no crash does this | refused |
//!
//! So one damaged byte ends in an identical vote, or in one that no one was ever promised; never in an older one. A
//! failed sync may leave a vote readable that is not on disk: the process ends, and the next open makes it durable in A
//! before B is touched, so the rules hold again.

use std::path::Path;

use super::error::LogError;
use super::record::u64_at;
use super::slots::{CONTENT_BYTES, Slot, SlotFile};
use crate::storage::disk::Disk;

/// Name of the file.
pub(super) const NAME: &str = "vote";
const MAGIC: [u8; 7] = *b"BNYvote";

/// A vote of Raft: the highest leader id this node has promised to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Term.
    pub term: u64,
    /// Node voted for.
    pub node_id: u64,
    /// Whether a quorum granted it: that node leads.
    pub committed: bool,
}

/// The open file of the vote.
pub(super) struct VoteFile {
    slots: SlotFile,
    sequence: u64,
    vote: Option<Vote>,
}

impl VoteFile {
    /// Creates the file, holding no vote. Its name is durable once the directory is synced.
    pub(super) fn create(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let slots = SlotFile::create(
            disk,
            dir,
            NAME,
            MAGIC,
            &Slot {
                sequence: 1,
                content: encode(None),
            },
        )?;
        Ok(Self {
            slots,
            sequence: 1,
            vote: None,
        })
    }

    /// Opens the file, decides what the vote is, and makes it durable in both slots.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let (slots, found) = SlotFile::open(disk, dir, NAME, MAGIC)?;
        let slot = match found {
            [Some(first), Some(second)] if first == second || first.sequence > second.sequence => first,
            [Some(_), Some(_)] => return Err(slots.damaged("the two slots contradict each other")),
            [Some(only), None] | [None, Some(only)] => only,
            [None, None] => return Err(slots.damaged("neither slot is valid")),
        };
        let vote = decode(&slot.content).ok_or_else(|| slots.damaged("the vote is malformed"))?;
        let mut file = Self {
            slots,
            sequence: slot.sequence,
            vote,
        };
        file.write(vote)?;
        Ok(file)
    }

    /// The vote last saved.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    /// Makes `vote` durable.
    pub(super) fn save(&mut self, vote: Vote) -> Result<(), LogError> {
        self.write(Some(vote))
    }

    fn write(&mut self, vote: Option<Vote>) -> Result<(), LogError> {
        let slot = Slot {
            sequence: self.sequence + 1,
            content: encode(vote),
        };
        self.slots.write(0, &slot)?;
        self.slots.write(1, &slot)?;
        self.sequence = slot.sequence;
        self.vote = vote;
        Ok(())
    }
}

/// Content: flags u64 (bit 0 = there is a vote, bit 1 = committed), term u64, node id u64.
fn encode(vote: Option<Vote>) -> [u8; CONTENT_BYTES] {
    let mut content = [0; CONTENT_BYTES];
    if let Some(vote) = vote {
        content[0..8].copy_from_slice(&(1 | u64::from(vote.committed) << 1).to_le_bytes());
        content[8..16].copy_from_slice(&vote.term.to_le_bytes());
        content[16..24].copy_from_slice(&vote.node_id.to_le_bytes());
    }
    content
}

fn decode(content: &[u8; CONTENT_BYTES]) -> Option<Option<Vote>> {
    let committed = match u64_at(content, 0) {
        0 => return Some(None),
        1 => false,
        3 => true,
        _ => return None,
    };
    Some(Some(Vote {
        term: u64_at(content, 8),
        node_id: u64_at(content, 16),
        committed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::MemoryDisk;

    fn dir() -> &'static Path {
        Path::new("d")
    }

    fn vote(term: u64) -> Vote {
        Vote {
            term,
            node_id: term % 3,
            committed: term.is_multiple_of(2),
        }
    }

    /// Saves votes of terms 1, 2, … until the disk fails; returns the last term that was exposed.
    fn save_votes(disk: &MemoryDisk, count: u64) -> u64 {
        let mut file = VoteFile::open(disk, dir()).unwrap();
        let exposed = (1..=count).take_while(|term| file.save(vote(*term)).is_ok()).count();
        exposed as u64
    }

    fn created() -> MemoryDisk {
        let disk = MemoryDisk::new();
        VoteFile::create(&disk, dir()).unwrap();
        disk.sync_dir(dir()).unwrap();
        disk
    }

    /// The power goes at every call; a sector of what was in flight stays or not; then any one byte is damaged, or the
    /// file cut: the vote found is never older than one that was exposed, or it is refused.
    #[test]
    fn never_goes_back_whatever_single_byte_is_damaged_after_a_crash() {
        let calls = {
            let disk = created();
            save_votes(&disk, 3);
            disk.calls()
        };
        for call in created().calls() + 4..=calls {
            for kept in [0, 1] {
                let disk = created();
                disk.lose_power_at(call);
                let exposed = save_votes(&disk, 3);
                disk.crash(&mut |bound| kept.min(bound - 1));
                let term =
                    |disk: &MemoryDisk| VoteFile::open(disk, dir()).map(|file| file.vote.map_or(0, |vote| vote.term));
                let files = disk.files();
                let (path, bytes) = files.iter().next().unwrap();
                let undamaged = term(&MemoryDisk::from_files(files.clone())).unwrap();
                assert!((exposed..=exposed + 1).contains(&undamaged), "call {call}");
                let used = |at: usize| at % 4096 < 72;
                for at in (0..bytes.len()).filter(|at| used(*at)) {
                    let mut damaged = files.clone();
                    damaged.get_mut(path).unwrap()[at] ^= 1 << (at % 8);
                    match term(&MemoryDisk::from_files(damaged)) {
                        Ok(found) => assert!((exposed..=exposed + 1).contains(&found), "call {call}, byte {at}"),
                        Err(error) => assert!(error.is_damage()),
                    }
                }
                for len in (0..bytes.len()).filter(|len| used(*len)) {
                    let cut = [(path.clone(), bytes[..len].to_vec())].into();
                    assert!(
                        term(&MemoryDisk::from_files(cut)).unwrap_err().is_damage(),
                        "cut to {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_older_first_slot_is_refused() {
        let disk = created();
        save_votes(&disk, 1);
        let (slots, found) = SlotFile::open(&disk, dir(), NAME, MAGIC).unwrap();
        let newer = Slot {
            sequence: found[0].unwrap().sequence + 1,
            content: encode(Some(vote(9))),
        };
        slots.write(1, &newer).unwrap();
        assert!(VoteFile::open(&disk, dir()).is_err_and(|error| error.is_damage()));
    }
}
