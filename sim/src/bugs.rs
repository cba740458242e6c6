//! Bugs that are planted to show that they are found: what each does, who must see it, and within how many seeds.
//!
//! What a bug does stands where it is planted, as `if planted(Bug::P03)`, in the crates of the node and of its rules. It is
//! there only with the feature `planted-bugs`, and does something only on a thread that has planted it.

use banyan_core::planted::Bug;

use crate::faults::plan::{Class, Plan};

/// One planted bug.
#[derive(Debug, Clone, Copy)]
pub struct PlantedBug {
    /// Its number in the table of the reliability goals, or a name for those of our own.
    pub id: &'static str,
    /// Which.
    pub bug: Bug,
    /// What it does, in one sentence.
    pub what: &'static str,
    /// The promises of which one must be the first that is reported as broken.
    pub invariants: &'static [&'static str],
    /// Seeds within which it must be found.
    pub budget: u64,
    /// Faults without which it can hardly show: added to what each seed has in store.
    pub needs: &'static [Class],
}

impl PlantedBug {
    /// Adds what the bug needs to what a seed has in store.
    pub fn turn(&self, plan: &mut Plan) {
        plan.classes.extend(self.needs);
    }
}

/// All planted bugs.
pub const BUGS: &[PlantedBug] = &[
    PlantedBug {
        id: "P01",
        bug: Bug::P01,
        what: "writes are acknowledged before they are committed",
        invariants: &["I-12"],
        budget: 50,
        needs: &[],
    },
    PlantedBug {
        id: "P02",
        bug: Bug::P02,
        what: "the vote is not synced",
        // A disk that tears what was not synced may leave two slots that no crash of a right node leaves.
        invariants: &["I-6", "I-1", "I-45"],
        budget: 500,
        needs: &[Class::Crash],
    },
    PlantedBug {
        id: "P03",
        bug: Bug::P03,
        what: "appended entries are not synced",
        invariants: &["I-5", "I-12"],
        budget: 200,
        needs: &[],
    },
    PlantedBug {
        id: "P04",
        bug: Bug::P04,
        what: "entries are written before the vote that they came with",
        invariants: &["I-42", "I-4"],
        budget: 1_000,
        needs: &[Class::SlowDisk, Class::Partition],
    },
    PlantedBug {
        id: "P05",
        bug: Bug::P05,
        what: "a deposed leader tells how far the log is committed",
        invariants: &["I-11"],
        budget: 100,
        needs: &[Class::Partition],
    },
    PlantedBug {
        id: "P06",
        bug: Bug::P06,
        what: "what is committed is not saved, and reads are served before it is applied again",
        invariants: &["I-11", "I-6"],
        budget: 200,
        needs: &[],
    },
    PlantedBug {
        id: "P07",
        bug: Bug::P07,
        what: "two commands of a batch change places on one replica",
        // The state is as it must be again once both topics are written again: between two looks only a client may see it.
        invariants: &["I-7", "I-13"],
        budget: 20,
        needs: &[],
    },
    PlantedBug {
        id: "P08",
        bug: Bug::P08,
        what: "a checkpoint's rows and its position are written one after the other",
        // Rows without any position are refused at the start.
        invariants: &["I-9", "I-7", "I-14", "I-45"],
        budget: 200,
        needs: &[Class::Crash],
    },
    PlantedBug {
        id: "P09",
        bug: Bug::P09,
        what: "what is opened of a checkpoint lacks the packet identifiers of sessions",
        invariants: &["I-7", "I-9", "I-21", "I-23"],
        budget: 100,
        needs: &[Class::Crash],
    },
    PlantedBug {
        id: "P10",
        bug: Bug::P10,
        what: "tombstones are dropped while older writes may still come",
        // A state without a tombstone that it must hold is not that of the log, before an older write comes that it would have
        // stopped. With one revision more than the log gives, what is in flight by the log is not what nodes had in flight.
        invariants: &["I-19", "I-7", "I-25"],
        budget: 200,
        needs: &[],
    },
    PlantedBug {
        id: "P11",
        bug: Bug::P11,
        what: "the packet identifier of a QoS 2 message is not kept with it",
        // The model keeps the identifier: with one revision too many the nodes have another state than the log gives, and what
        // is in flight by the log is not what they had in flight.
        invariants: &["I-21", "I-7", "I-25"],
        budget: 100,
        needs: &[],
    },
    PlantedBug {
        id: "P12",
        bug: Bug::P12,
        what: "a session's cursor passes messages that are not acknowledged",
        invariants: &["I-23"],
        budget: 50,
        needs: &[],
    },
    PlantedBug {
        id: "P13",
        bug: Bug::P13,
        what: "a connection that was taken over goes on",
        // A node that has started again knows nothing of the replaced connection: what it still sends makes another state there.
        // And when it ends, it may end its successor, whose will then is published.
        invariants: &["I-25", "I-21", "I-7", "I-26"],
        budget: 200,
        needs: &[],
    },
    PlantedBug {
        id: "P15",
        bug: Bug::P15,
        what: "damage in the middle of the log is taken for its end",
        invariants: &["I-45", "I-12"],
        budget: 300,
        needs: &[Class::Damage],
    },
    PlantedBug {
        id: "P17",
        bug: Bug::P17,
        what: "the dispatcher goes on after a gap without a word, and a full outbox drops",
        invariants: &["I-28"],
        budget: 100,
        needs: &[],
    },
    PlantedBug {
        id: "P19",
        bug: Bug::P19,
        what: "entries count for the quorum before they are on disk",
        // A leader stops with a panic of openraft's when a follower has less than it once acknowledged, which can be before the
        // next look at the disks.
        invariants: &["I-5", "panic"],
        budget: 50,
        needs: &[],
    },
    PlantedBug {
        id: "P20",
        bug: Bug::P20,
        what: "a node that has lost its data is let in again under its id",
        // That it takes part is seen before anything comes of it; but openraft's assertion that no follower's log becomes
        // shorter may see it first.
        invariants: &["I-45", "panic"],
        budget: 50,
        needs: &[Class::Lost],
    },
    PlantedBug {
        id: "P21",
        bug: Bug::P21,
        what: "a sync that failed is tried again",
        // Cut off before the error was seen, it starts again on a log with a hole, and refuses.
        invariants: &["I-46", "I-5", "I-45"],
        budget: 100,
        needs: &[Class::SyncError],
    },
    PlantedBug {
        id: "P23",
        bug: Bug::P23,
        what: "a will is published although its client has taken its leave or come back in time",
        invariants: &["I-26"],
        budget: 100,
        needs: &[],
    },
    PlantedBug {
        id: "P24",
        bug: Bug::P24,
        what: "a follower behind the purged log gets no snapshot",
        invariants: &["I-63"],
        budget: 100,
        needs: &[Class::Crash],
    },
    PlantedBug {
        id: "P25",
        bug: Bug::P25,
        what: "a batch that its origin sends again is applied again",
        invariants: &["I-14"],
        budget: 100,
        needs: &[Class::Partition],
    },
    PlantedBug {
        id: "P26",
        bug: Bug::P26,
        what: "whoever installs a snapshot counts with the members that it knew before",
        // Between two looks it may have been elected, or have committed, by a majority of its own.
        invariants: &["membership", "I-4", "I-3", "I-1"],
        budget: 100,
        needs: &[Class::Churn],
    },
    PlantedBug {
        id: "P28",
        bug: Bug::P28,
        what: "requests between nodes have no deadline, and wait for an answer that was lost",
        invariants: &["I-61"],
        budget: 200,
        needs: &[Class::OneWay],
    },
    PlantedBug {
        id: "P-late",
        bug: Bug::Late,
        what: "a batch is applied after its deadline",
        // Its client was told nothing, and has meanwhile sent the same to another node.
        invariants: &["refused", "I-14"],
        budget: 100,
        needs: &[Class::Partition],
    },
    PlantedBug {
        id: "P-gap",
        bug: Bug::Gap,
        what: "a batch is applied although one before it is missing",
        invariants: &["I-14"],
        budget: 200,
        needs: &[Class::Partition],
    },
    PlantedBug {
        id: "P-half",
        bug: Bug::Half,
        what: "a checkpoint covers half a batch",
        // A node that starts again from it before it is looked at has another state than the others.
        invariants: &["I-9", "I-7"],
        budget: 20,
        needs: &[],
    },
    PlantedBug {
        id: "P-joint",
        bug: Bug::Joint,
        what: "a change of voters that an earlier leader began is not finished",
        invariants: &["goals"],
        budget: 100,
        needs: &[Class::Churn],
    },
];

/// The bug with that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static PlantedBug> {
    BUGS.iter().find(|bug| bug.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_bugs_apart() {
        for bug in BUGS {
            assert_eq!(find(bug.id).map(|found| found.bug), Some(bug.bug), "{}", bug.id);
            assert!(bug.budget > 0 && !bug.invariants.is_empty(), "{}", bug.id);
        }
    }
}
