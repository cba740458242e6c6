//! Bugs that can be planted, to show that the simulator finds them. Never in a node that is released.
//!
//! Without the feature `planted-bugs` there are none: [`planted`] is `false` where it stands, and the compiler removes what
//! hangs on it. With it, [`plant`] chooses one for the calling thread. What each bug is, and which promise must be seen broken,
//! is told where they are looked for, in the simulator.

/// A bug. Numbers are those of the reliability goals; those without one are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Acknowledged before it is committed.
    P01,
    /// The vote is not synced.
    P02,
    /// Appended entries are not synced.
    P03,
    /// Entries are written before the vote that they came with.
    P04,
    /// A leader tells how far the log is committed without asking a quorum whether it still leads.
    P05,
    /// Reads are served before what was committed is applied again.
    P06,
    /// Two commands of a batch change places on one replica.
    P07,
    /// A checkpoint's rows and its position are written one after the other.
    P08,
    /// What is opened of a checkpoint lacks the packet identifiers of sessions.
    P09,
    /// Tombstones are dropped while older writes may still come.
    P10,
    /// The identifier of a QoS 2 message is not kept with it.
    P11,
    /// A session's cursor passes messages that are not acknowledged.
    P12,
    /// A connection that was taken over goes on.
    P13,
    /// Damage in the middle of the log is taken for its end.
    P15,
    /// A reader that lags loses changes without a word.
    P17,
    /// Entries count for the quorum before they are on disk.
    P19,
    /// A node that has lost its data is let in again under its id.
    P20,
    /// A sync that failed is tried again.
    P21,
    /// A will is published although its client has taken its leave or come back.
    P23,
    /// A follower behind the purged log gets no snapshot.
    P24,
    /// A batch that its origin sends again is applied again.
    P25,
    /// Whoever installs a snapshot counts with the members that it knew before.
    P26,
    /// A request to another node has no deadline.
    P28,
    /// A batch is applied after its deadline.
    Late,
    /// A batch is applied although one before it is missing.
    Gap,
    /// A checkpoint covers half a batch.
    Half,
    /// A change of voters that an earlier leader began is not finished.
    Joint,
}

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!(
    "planted bugs are for tests and the simulator: a release build, which has no debug assertions, cannot have them"
);

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug` for this thread, instead of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether `bug` is planted on this thread.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod chosen {
    use super::Bug;

    /// Nothing: bugs are not built in.
    #[inline(always)]
    pub const fn plant(_: Option<Bug>) {}

    /// No: bugs are not built in.
    #[inline(always)]
    #[must_use]
    pub const fn planted(_: Bug) -> bool {
        false
    }
}

pub use chosen::{plant, planted};
