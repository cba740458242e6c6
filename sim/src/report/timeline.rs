//! What a picture of a run shows: spans and marks on one axis of time, in microseconds.

/// A run, ready to be drawn.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Its heading.
    pub title: String,
    /// What was in store.
    pub plan: String,
    /// The command that repeats it.
    pub command: String,
    /// The broken promise, if one was broken.
    pub violation: Option<Mark>,
    /// When all faults ended, and who lives on.
    pub healed: Option<Mark>,
    /// The end.
    pub end: u64,
    /// Nodes.
    pub lanes: Vec<Lane>,
    /// Classes of faults that struck.
    pub faults: Vec<FaultRow>,
    /// The last events that matter: time, place, words.
    pub story: Vec<(u64, String, String)>,
}

/// A moment.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub at: u64,
    pub name: String,
    pub text: String,
}

/// A stretch of time.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub from: u64,
    pub to: u64,
    pub text: String,
}

/// A class of faults.
#[derive(Debug)]
pub(super) struct FaultRow {
    pub name: &'static str,
    pub spans: Vec<Span>,
}

/// How a node is reached by the others, for a stretch of time. Out of `of` links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    pub from: u64,
    pub to: u64,
    pub cut: usize,
    pub one_way: usize,
    pub held: usize,
    pub of: usize,
}

/// Answers of a node to clients, by the time of asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub acknowledged: u32,
    pub refused: u32,
    pub unknown: u32,
}

/// A node.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub name: String,
    /// When it did not run, and why.
    pub down: Vec<Span>,
    /// When it led, with the term.
    pub leads: Vec<(Span, u64)>,
    pub reach: Vec<Reach>,
    /// What struck it by itself, with the short name of the class.
    pub struck: Vec<(Span, &'static str)>,
    /// In slots of [`slot_us`](Timeline::slot_us).
    pub answers: Vec<Answers>,
}

/// How many slots answers are counted in.
pub(super) const SLOTS: u64 = 150;

impl Timeline {
    /// Length of a slot of [`Lane::answers`].
    pub(super) fn slot_us(&self) -> u64 {
        slot_us(self.end)
    }
}

/// Length of a slot in a run that ends at `end`.
pub(super) fn slot_us(end: u64) -> u64 {
    (end / SLOTS).max(1)
}
