//! Questions about the past.

use std::collections::BTreeMap;

use super::{BatchId, Change, Decision, Replay, SessionStep, filter};
use crate::history::{Seen, Serial};

impl Replay {
    /// The revision at the end of the log.
    #[must_use]
    pub fn last_revision(&self) -> u64 {
        self.standings.last().map_or(0, |standing| standing.revision)
    }

    /// The log index at the end of the log; `None` if it is empty.
    #[must_use]
    pub fn last_index(&self) -> Option<u64> {
        (self.standings.len() as u64).checked_sub(1)
    }

    /// The revision of the state after the entry at `index`, if there is one.
    #[must_use]
    pub fn revision_at_index(&self, index: u64) -> Option<u64> {
        Some(self.standings.get(usize::try_from(index).ok()?)?.revision)
    }

    /// The digest of topics, tombstones and origins after the entry at `index`, if there is one.
    #[must_use]
    pub fn topics_digest_at_index(&self, index: u64) -> Option<u128> {
        Some(self.standings.get(usize::try_from(index).ok()?)?.digest)
    }

    /// Log time after the entry at `index`, if there is one.
    #[must_use]
    pub fn log_time_at_index(&self, index: u64) -> Option<u64> {
        Some(self.standings.get(usize::try_from(index).ok()?)?.log_time_us)
    }

    /// The log index of the entry that reached `revision`; `None` if none did.
    #[must_use]
    pub fn index_of_revision(&self, revision: u64) -> Option<u64> {
        let place = self.standings.partition_point(|standing| standing.revision < revision);
        (place < self.standings.len()).then_some(place as u64)
    }

    /// Every operation of every batch that was taken, in order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Every operation with this serial, in order.
    pub fn decisions_of(&self, serial: Serial) -> impl Iterator<Item = &Decision> {
        self.decisions
            .iter()
            .filter(move |decision| decision.request.serial() == Some(serial))
    }

    /// Every operation by its serial.
    #[must_use]
    pub fn decisions_by_serial(&self) -> BTreeMap<Serial, Vec<&Decision>> {
        let mut by_serial: BTreeMap<Serial, Vec<&Decision>> = BTreeMap::new();
        for decision in &self.decisions {
            if let Some(serial) = decision.request.serial() {
                by_serial.entry(serial).or_default().push(decision);
            }
        }
        by_serial
    }

    /// Batches in the log that were not taken, with the log index of each.
    #[must_use]
    pub fn skipped(&self) -> &[(u64, BatchId)] {
        &self.skipped
    }

    /// What happened to sessions, in order.
    #[must_use]
    pub fn session_steps(&self) -> &[SessionStep] {
        &self.session_steps
    }

    /// Topics whose delete a compaction forgot, with the log index of each.
    #[must_use]
    pub fn forgotten(&self) -> &[(u64, String)] {
        &self.forgotten
    }

    /// How often an origin was opened.
    #[must_use]
    pub const fn origins_opened(&self) -> u64 {
        self.origins_opened
    }

    /// All changes and events in the order of (revision, ordinal).
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The changes and events of one revision.
    #[must_use]
    pub fn changes_at(&self, revision: u64) -> &[Change] {
        let start = self.changes.partition_point(|change| change.revision < revision);
        let end = self.changes.partition_point(|change| change.revision <= revision);
        &self.changes[start..end]
    }

    /// The changes and events after `revision` that `filter` matches: what a subscriber from that moment on must see.
    pub fn changes_after<'a>(&'a self, revision: u64, filter: &str) -> impl Iterator<Item = &'a Change> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes[start..]
            .iter()
            .filter(move |change| filter::matches(filter, &change.topic))
    }

    /// Each matching topic's latest change of state after `since`, up to `revision`.
    #[must_use]
    pub fn latest_changes<'a>(&'a self, since: u64, revision: u64, filter: &str) -> BTreeMap<&'a str, &'a Change> {
        let mut latest = BTreeMap::new();
        for change in self.changes_after(since, filter) {
            if change.revision > revision {
                break;
            }
            if change.is_state() {
                latest.insert(change.topic.as_str(), change);
            }
        }
        latest
    }

    /// The topics that hold a value at `revision` and match `filter`.
    #[must_use]
    pub fn topics_at<'a>(&'a self, revision: u64, filter: &str) -> BTreeMap<&'a str, Seen> {
        let mut topics = BTreeMap::new();
        for (topic, change) in self.latest_changes(0, revision, filter) {
            if let Some(seen) = seen(change) {
                topics.insert(topic, seen);
            }
        }
        topics
    }

    /// The history of each topic's state.
    #[must_use]
    pub fn topic_histories(&self) -> BTreeMap<&str, Vec<&Change>> {
        let mut histories: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.is_state()) {
            histories.entry(&change.topic).or_default().push(change);
        }
        histories
    }
}

/// Whether a topic with this history held `wanted` at any revision from `floor` to `ceiling`.
#[must_use]
pub fn held_within(history: &[&Change], wanted: Option<Seen>, floor: u64, ceiling: u64) -> bool {
    let starts = std::iter::once((0, None)).chain(history.iter().map(|change| (change.revision, seen(change))));
    let ends = history.iter().map(|change| change.revision - 1).chain([u64::MAX]);
    starts
        .zip(ends)
        .any(|((start, held), end)| held == wanted && start <= ceiling && end >= floor)
}

/// The value that a change leaves; `None`: there is none.
#[must_use]
pub(crate) fn seen(change: &Change) -> Option<Seen> {
    matches!(change.what, super::What::Put { .. }).then(|| Seen {
        serial: change.serial(),
        revision: change.revision,
    })
}
