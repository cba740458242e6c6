//! What can be wrong, what it means, and what to do about it.

use super::kind::AlarmKind::{
    ClockSkew, DiskSlow, DiskSpace, Divergence, Lagging, NoQuorum, Unreachable, WritesRefused,
};

/// A kind of alarm. The order is that in which they are shown: what hurts most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A node has no contact with a leader that has a quorum.
    NoQuorum,
    /// Client writes are refused, since too few voters have room on their disks.
    WritesRefused,
    /// A node holds another state than the others at the same log index.
    Divergence,
    /// A node's disk is nearly full.
    DiskSpace,
    /// A node's disk takes long to sync the log.
    DiskSlow,
    /// A node's clock differs from those of the others.
    ClockSkew,
    /// A node has not applied what was committed a while ago.
    Lagging,
    /// A member does not answer.
    Unreachable,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        NoQuorum,
        WritesRefused,
        Divergence,
        DiskSpace,
        DiskSlow,
        ClockSkew,
        Lagging,
        Unreachable,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NoQuorum => "no-quorum",
            WritesRefused => "writes-refused",
            Divergence => "divergence",
            DiskSpace => "disk-space",
            DiskSlow => "disk-slow",
            ClockSkew => "clock-skew",
            Lagging => "lagging",
            Unreachable => "unreachable",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it means, in one sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            NoQuorum => {
                "The node has no contact with a leader that a majority of the voters answers: it serves neither writes nor \
                 linearizable reads, only what it has (consistency=local)."
            }
            WritesRefused => {
                "Fewer voters than a quorum have room on their disks: client writes are refused (HTTP 507, MQTT 0x97), \
                 deletes and reads go on."
            }
            Divergence => {
                "The node's state differs from that of the others at the same log index: its storage or memory has failed \
                 without a word, or there is a bug."
            }
            DiskSpace => {
                "Less than the floor is free where the node keeps its data. When nothing is left, the node stops; writes of \
                 the cluster are refused once fewer voters than a quorum have room."
            }
            DiskSlow => {
                "Syncs of the node's log take long. A leader whose disk is slow hands over to a voter whose disk is not."
            }
            ClockSkew => {
                "The node's clock is off by more than 5 s against most of the others: as leader it would stamp and expire by \
                 a wrong time."
            }
            Lagging => {
                "The node has not applied what was committed a while ago: it answers late, and its clients wait."
            }
            Unreachable => "The member does not answer: it is down, or the network between is.",
        }
    }

    /// What ends it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            NoQuorum => {
                "Start the nodes that are down, or repair the network between them; it clears by itself. If a majority of \
                 the disks is lost for good: banyanctl snapshot restore, or recover (docs/operations.md)."
            }
            WritesRefused => {
                "Make room on the disks that are named; it clears by itself. To go below the floor knowingly: \
                 disk_free_min_bytes and disk_free_min_percent."
            }
            Divergence => {
                "Replace the node by one with an empty directory and a new id: banyanctl member add --replace ID. Keep the old \
                 directory to find out why; the node itself refuses to start on it."
            }
            DiskSpace => {
                "Make room, or enlarge the file system; it clears by itself. Deleted topics give their room back when the \
                 state is compacted, not at once. The floor: disk_free_min_bytes, disk_free_min_percent."
            }
            DiskSlow => {
                "Look for what else uses the disk, or for a disk that fails; it clears by itself. Replace the node if it \
                 stays: banyanctl member add --replace ID. The bound: disk_slow_ms."
            }
            ClockSkew => "Set the clock, and keep it by NTP or PTP; it clears by itself.",
            Lagging => {
                "It clears by itself when the node has caught up. If it does not: look for load on its CPU, disk and network."
            }
            Unreachable => {
                "Start the node, or repair the network; it clears by itself. If it is gone for good: banyanctl member add \
                 --replace ID, or banyanctl member remove ID."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        for kind in AlarmKind::ALL {
            assert_eq!(AlarmKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(AlarmKind::from_name("other"), None);
    }
}
