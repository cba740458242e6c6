//! The promises, one file each, and the [`Checker`] that holds them against a run.
//!
//! A check accepts everything that the design allows and says in one sentence what it does not. Its tests are histories made
//! by hand, good and bad. Numbers are those of the reliability goals; five checks without a number are ours.
//!
//! | id | promise | looks at |
//! |---|---|---|
//! | I-1 | one leader in force at a time | every moment, the log |
//! | I-2 | committed logs agree | every moment |
//! | I-3 | a later leader has everything committed earlier | every moment |
//! | I-4 | what is committed stays | every moment, the log |
//! | I-5 | committed means durable on a quorum | disks |
//! | I-6 | a node's own indexes are in order and do not go back | every moment |
//! | I-7 | equal applied index, equal state, and that of the log | every moment, the log |
//! | I-8 | kept digest = scanned digest = digest of the model | the end |
//! | I-9 | a snapshot holds exactly the state of its index | snapshots |
//! | I-10 | nothing is seen before it is durable on a quorum | disks, history |
//! | I-11 | linearizability | history |
//! | I-12 | no acknowledged write is lost | history, the end |
//! | I-13 | no phantom | history |
//! | I-14 | a request is applied at most once | history |
//! | I-15 | `at_least` reads what it says | history |
//! | I-16 | every list and local read shows a state that was | history |
//! | I-17 | newest timestamp wins | the log, the end |
//! | I-18 | apply is a pure function of the log | the log, the end |
//! | I-19 | a deleted topic stays deleted | history, the end |
//! | I-20 | a session has everything in the end | history |
//! | I-21 | QoS 2 is once on both hops | history |
//! | I-22 | a publisher's writes of a topic keep their order | history |
//! | I-23 | a session has no gap, whatever node it resumes at | history |
//! | I-24 | a session is there exactly if CONNACK says so | history |
//! | I-25 | one connection of a session has the say | history |
//! | I-26 | a will is published once, if it is due | history, the end |
//! | I-27 | a shared message comes to one member | history |
//! | I-28 | a subscriber sees one moment, then everything after it in order | history |
//! | I-42 | the vote is on disk before entries of its term | every moment |
//! | I-45 | damage is refused, never taken for a shorter log | every moment, disks |
//! | I-46 | a failed sync ends the process | every moment |
//! | I-60 | there is a leader soon after healing | every moment |
//! | I-61 | requests are answered after healing | history |
//! | I-62 | nodes converge | the end |
//! | I-63 | a node behind the purged log catches up | every moment, the end |
//! | I-64 | nothing grows without bound | every moment |
//! | I-65 | a set of seeds has seen what it was to see | [`coverage`] |
//! | membership | nodes at the same place of the log count with the same members | every moment |
//! | goals | members become what they are to be after healing | the end of the [run](crate::run) |
//! | refused | what was refused did not happen | history |
//! | protocol | nodes keep to MQTT | history |

pub mod coverage;
mod divergence;

#[cfg(test)]
mod checker_test;
mod i01_election_safety;
mod i02_log_matching;
mod i03_leader_completeness;
mod i04_committed_stays;
mod i05_durable_on_quorum;
mod i06_order_of_indexes;
mod i07_equal_state;
mod i08_digests;
mod i09_snapshots;
mod i10_visible_is_durable;
mod i11_linearizable;
mod i12_nothing_lost;
mod i13_no_phantom;
mod i14_at_most_once;
mod i15_at_least;
mod i16_states_that_were;
mod i17_newest_wins;
mod i18_pure_apply;
mod i19_deleted_stays;
mod i20_sessions_have_all;
mod i21_exactly_once;
mod i22_publisher_order;
mod i23_no_gap;
mod i24_session_present;
mod i25_one_connection;
mod i26_wills;
mod i27_shared;
mod i28_subscriptions;
mod i42_vote_before_entries;
mod i45_nothing_shorter;
mod i46_errors_end;
mod i60_leader_after_healing;
mod i61_requests_answered;
mod i62_convergence;
mod i63_catch_up;
mod i64_bounded;
mod membership;
mod protocol;
mod quorum;
mod refused;
mod sessions;
#[cfg(test)]
mod testing;

use crate::history::{CommittedLog, Finished, Invariant, Observation, Violation};
use crate::model::{Replay, ReplayError};

pub(crate) use i26_wills::SETTLED_US;
pub(crate) use i46_errors_end::SYNC_ERRORS;

/// All promises, held against one run.
pub struct Checker {
    invariants: Vec<Box<dyn Invariant>>,
}

impl Checker {
    /// Everything, in the order in which violations are reported: what is narrow before what follows from it.
    #[must_use]
    pub fn new() -> Self {
        let invariants: Vec<Box<dyn Invariant>> = vec![
            Box::<i01_election_safety::ElectionSafety>::default(),
            Box::<i06_order_of_indexes::OrderOfIndexes>::default(),
            Box::<i02_log_matching::LogMatching>::default(),
            Box::<i04_committed_stays::CommittedStays>::default(),
            Box::<membership::SameMembers>::default(),
            Box::<i03_leader_completeness::LeaderCompleteness>::default(),
            Box::new(i42_vote_before_entries::VoteBeforeEntries),
            Box::<i45_nothing_shorter::NothingShorter>::default(),
            Box::<i46_errors_end::ErrorsEnd>::default(),
            Box::<i05_durable_on_quorum::DurableOnQuorum>::default(),
            Box::new(protocol::Protocol),
            Box::<refused::Refused>::default(),
            Box::<i14_at_most_once::AtMostOnce>::default(),
            Box::new(i26_wills::Wills),
            Box::new(i21_exactly_once::ExactlyOnce),
            Box::new(i25_one_connection::OneConnection),
            Box::new(i19_deleted_stays::DeletedStays),
            Box::<i07_equal_state::EqualState>::default(),
            Box::new(i12_nothing_lost::NothingLost),
            Box::new(i17_newest_wins::NewestWins),
            Box::new(i13_no_phantom::NoPhantom),
            Box::<i10_visible_is_durable::VisibleIsDurable>::default(),
            Box::new(i11_linearizable::Linearizable),
            Box::new(i15_at_least::AtLeast),
            Box::new(i16_states_that_were::StatesThatWere),
            Box::new(i24_session_present::SessionPresent),
            Box::new(i23_no_gap::NoGap),
            Box::new(i27_shared::Shared),
            Box::new(i20_sessions_have_all::SessionsHaveAll),
            Box::new(i22_publisher_order::PublisherOrder),
            Box::new(i28_subscriptions::Subscriptions),
            Box::<i09_snapshots::Snapshots>::default(),
            Box::new(i08_digests::Digests),
            Box::new(i18_pure_apply::PureApply),
            Box::<i60_leader_after_healing::LeaderAfterHealing>::default(),
            Box::new(i61_requests_answered::RequestsAnswered),
            Box::new(i62_convergence::Convergence),
            Box::<i63_catch_up::CatchUp>::default(),
            Box::<i64_bounded::Bounded>::default(),
        ];
        Self { invariants }
    }

    /// Looks at one moment. Moments come in order.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn observe(&mut self, observation: &Observation<'_>) -> Result<(), Violation> {
        self.invariants
            .iter_mut()
            .try_for_each(|invariant| invariant.observe(observation))
    }

    /// Looks at the whole run, with its committed log replayed through the model. Where an entry was purged by all before it was
    /// read, there is nothing to replay, and what nodes and clients saw is held against each other only.
    ///
    /// # Errors
    /// Every promise that is broken, in the order of [`new`](Self::new); at least one.
    pub fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Vec<Violation>> {
        let replay = match Replay::bounded(finished.committed, finished.settings.tombstone_bounds) {
            Ok(replay) => Some(replay),
            Err(ReplayError::Missing(_)) => None,
            Err(error) => return Err(vec![not_replayable(finished, &error)]),
        };
        let unread = CommittedLog::new();
        let finished = Finished {
            committed: if replay.is_some() { finished.committed } else { &unread },
            replay: replay.as_ref().filter(|_| !finished.committed.is_empty()),
            ..*finished
        };
        let invariants = self.invariants.iter_mut();
        let violations: Vec<_> = invariants
            .filter_map(|invariant| invariant.finish(&finished).err())
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// The ids of all promises.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.invariants.iter().map(|invariant| invariant.id())
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

fn not_replayable(finished: &Finished<'_>, error: &ReplayError) -> Violation {
    Violation {
        invariant: "I-4",
        at: finished.at,
        message: format!("the committed log cannot be replayed: {error}"),
    }
}
