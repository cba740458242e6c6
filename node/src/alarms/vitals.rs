//! What members tell each other every second: of their disks, clocks and states, and of what they have found wrong.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Alarm, AlarmKind};
use crate::consensus::digests::DigestMark;
use crate::consensus::wire::{self, WireError};

/// Kind of the control request that asks a node for its [`Vitals`].
pub const VITALS_REQUEST: u8 = 0x60;
/// Kind of the control request by which a node tells that it stops, since its state differs from the others': its reason.
pub const DIVERGED_REQUEST: u8 = 0x61;

/// First byte of an encoding. A node of another version tells nothing rather than something wrong.
const VERSION: u8 = 1;

/// A node, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// Its wall clock, microseconds since the epoch.
    pub now_us: u64,
    /// Last log index known to be committed.
    pub committed_index: u64,
    /// Last log index applied.
    pub applied_index: u64,
    /// Digests at recent log indexes, by index.
    pub digests: Vec<DigestMark>,
    /// The room where it keeps its data, if it can tell.
    pub disk: Option<DiskSpace>,
    /// What syncs of its log take, if there were any lately.
    pub sync: Option<SyncTime>,
    /// It is being emptied, to be stopped: it should not lead.
    pub is_draining: bool,
    /// The alarms it has raised.
    pub(super) alarms: Vec<AlarmRow>,
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpace {
    /// What may still be taken, bytes.
    pub free_bytes: u64,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// Below this it is low, bytes.
    pub floor_bytes: u64,
    /// It is, or was and is not far above yet.
    pub is_low: bool,
}

/// What syncs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncTime {
    /// How many there were in the last seconds.
    pub count: u64,
    /// Half of them took at least as long, microseconds.
    pub median_us: u64,
}

/// An [`Alarm`] on its way: kinds go by name, so that nodes that do not know one pass over it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AlarmRow {
    kind: String,
    node_id: u64,
    since_us: u64,
    detail: String,
}

impl Vitals {
    /// With these alarms.
    #[must_use]
    pub(super) fn with_alarms<'a>(mut self, alarms: impl Iterator<Item = &'a Alarm>) -> Self {
        let row = |alarm: &Alarm| AlarmRow {
            kind: alarm.kind.name().to_owned(),
            node_id: alarm.node_id,
            since_us: alarm.since_us,
            detail: alarm.detail.clone(),
        };
        self.alarms = alarms.map(row).collect();
        self
    }

    /// The alarms of kinds that this version knows.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter().filter_map(|row| {
            Some(Alarm {
                kind: AlarmKind::from_name(&row.kind)?,
                node_id: row.node_id,
                since_us: row.since_us,
                detail: row.detail.clone(),
            })
        })
    }

    /// As it travels: the version, then what [`wire`] makes of it.
    ///
    /// # Errors
    /// It is larger than what travels between nodes.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let body = wire::encode(self)?;
        let mut bytes = BytesMut::with_capacity(1 + body.len());
        bytes.put_u8(VERSION);
        bytes.put_slice(&body);
        Ok(bytes.freeze())
    }

    /// What [`encode`](Self::encode) has written; `None` for that of another version, or anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&VERSION, body)) => wire::decode(body).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_other_versions_are_not() {
        let alarm = Alarm {
            kind: AlarmKind::DiskSlow,
            node_id: 7,
            since_us: 5,
            detail: "slow".into(),
        };
        let vitals = Vitals {
            now_us: 9,
            digests: vec![(1, 2), (3, u128::MAX)],
            ..Vitals::default()
        }
        .with_alarms([&alarm].into_iter());
        let bytes = vitals.encode().unwrap();
        let decoded = Vitals::decode(&bytes).unwrap();
        assert_eq!(decoded, vitals);
        assert_eq!(decoded.alarms().collect::<Vec<_>>(), [alarm]);
        let mut newer = bytes.to_vec();
        newer[0] += 1;
        assert_eq!(Vitals::decode(&newer), None);
        assert_eq!(Vitals::decode(&[]), None);
    }
}
