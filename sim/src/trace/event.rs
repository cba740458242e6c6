//! What happened, in a form that a picture can be drawn from. The lines of the trace say the same to a reader.

use crate::faults::plan::Class;
use crate::history::Time;

/// Something that happened to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node runs again.
    Up {
        /// Which.
        node: u64,
    },
    /// A node's process is gone.
    Down {
        /// Which.
        node: u64,
        /// How: a crash, or its own words.
        how: String,
    },
    /// A node has begun to lead, or to lead another term.
    Leads {
        /// Which.
        node: u64,
        /// The term.
        term: u64,
    },
    /// A node that led does not any more.
    Leaves {
        /// Which.
        node: u64,
    },
    /// The state of a link has changed.
    Link {
        /// Its two hosts.
        hosts: [String; 2],
        /// What the first sends to the second is lost, and what the second sends to the first.
        cuts: [bool; 2],
        /// What is sent waits.
        held: bool,
    },
    /// A fault strikes.
    Strikes {
        /// Its class.
        class: Class,
        /// Nodes that it strikes by itself; links and crashes have events of their own.
        nodes: Vec<u64>,
        /// What the trace says of it.
        text: String,
    },
    /// The fault of a class is over.
    Over {
        /// The class.
        class: Class,
    },
    /// All faults are over.
    Healed {
        /// The nodes that live on.
        core: Vec<u64>,
    },
}

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// When.
    pub at: Time,
    /// What.
    pub event: Event,
}
