//! A data directory made of a backup: the same on every initial member of the new cluster.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use banyan_core::keyspace::{KeyKind, subtree_range};
use banyan_core::state::{Digest, ImageSum};
use banyan_core::topic::TopicName;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::OfflineError;
use super::new_dir::{Founding, NewDir, check_absent};
use crate::backup::{Header, Reader};
use crate::settings::Member;

/// Called now and then with the rows and bytes of the backup read so far.
pub type OnProgress<'a> = &'a mut dyn FnMut(&ImageSum, u64);

/// What to restore, and as what.
#[derive(Debug, Clone)]
pub struct Restore<'a> {
    /// The backup.
    pub file: &'a Path,
    /// The new data directory.
    pub data_dir: &'a Path,
    /// The node that it is for.
    pub node_id: u64,
    /// All initial members of the new cluster, the node among them.
    pub members: &'a [Member],
    /// Only this topic and those beneath it, without sessions.
    pub prefix: Option<&'a TopicName>,
    /// Do everything but write.
    pub dry_run: bool,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup says about itself.
    pub header: Header,
    /// The new cluster.
    pub cluster_id: u64,
    /// What the rows that were taken come to.
    pub sum: ImageSum,
    /// Digest of the new state; with a dry run that of the rows.
    pub digest: Digest,
    /// Bytes of the backup.
    pub bytes: u64,
}

impl Restore<'_> {
    /// Does it. The data directory is there whole afterwards, or not at all.
    ///
    /// # Errors
    /// See [`OfflineError`].
    pub fn run(&self, on_progress: OnProgress<'_>) -> Result<Restored, OfflineError> {
        check_absent(self.data_dir)?;
        let members = self.checked_members()?;
        let file = File::open(self.file).map_err(OfflineError::io(self.file))?;
        let mut reader = Reader::open(BufReader::with_capacity(1 << 20, file))?;
        let mut new_dir = match self.dry_run {
            true => None,
            false => Some(NewDir::create(self.data_dir)?),
        };
        let mut taken = ImageSum::default();
        while let Some(rows) = reader.next_rows()? {
            for (key, value) in rows {
                if !self.takes(&key) {
                    continue;
                }
                // In order, and looked at before.
                taken.add(&key, &value).map_err(crate::backup::BackupError::from)?;
                if let Some(new_dir) = &mut new_dir {
                    new_dir.push(key, value)?;
                }
            }
            on_progress(reader.sum(), reader.bytes());
        }
        let header = reader.header().clone();
        let position = match self.prefix {
            Some(_) => taken.position_of_data(&header.position),
            None => taken.position_of_another_cluster(&header.position),
        };
        let founding = Founding {
            node_id: self.node_id,
            cluster_id: self.cluster_id(&header, &taken),
            members,
        };
        let digest = match new_dir {
            Some(new_dir) => new_dir.finish(&position, &founding)?,
            None => taken.digest(),
        };
        Ok(Restored {
            header,
            cluster_id: founding.cluster_id,
            sum: taken,
            digest,
            bytes: reader.bytes(),
        })
    }

    fn takes(&self, key: &Bytes) -> bool {
        let Some(prefix) = self.prefix else { return true };
        match KeyKind::of_key(key) {
            Some(KeyKind::Topic | KeyKind::Tombstone) => {
                let (lower, upper) = subtree_range(prefix);
                // Keys of topics and tombstones differ in their kind alone.
                key[1..] >= lower[1..] && key[1..] < upper[1..]
            }
            _ => false,
        }
    }

    fn checked_members(&self) -> Result<std::collections::BTreeMap<u64, String>, OfflineError> {
        let mut members = std::collections::BTreeMap::new();
        for member in self.members {
            if members.insert(member.node_id, member.address.to_string()).is_some() {
                let text = format!("node {} is given twice as a member", member.node_id);
                return Err(OfflineError::Refused(text));
            }
        }
        if !members.contains_key(&self.node_id) {
            let text = format!(
                "node {} is not among the members; give it with its peer address too",
                self.node_id
            );
            return Err(OfflineError::Refused(text));
        }
        Ok(members)
    }

    /// The id of the new cluster: the same on all members that restore the same from the same file, and no other's.
    fn cluster_id(&self, header: &Header, taken: &ImageSum) -> u64 {
        let mut members: Vec<_> = self
            .members
            .iter()
            .map(|member| format!("{}@{}", member.node_id, member.address))
            .collect();
        members.sort();
        let mut hash = Xxh3::new();
        hash.update(b"restored");
        for number in [
            header.cluster_id,
            header.node_id,
            header.taken_at_us,
            header.position.revision,
        ] {
            hash.update(&number.to_be_bytes());
        }
        hash.update(&taken.digest().as_u128().to_be_bytes());
        hash.update(members.join(",").as_bytes());
        hash.digest()
    }
}
