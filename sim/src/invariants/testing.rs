//! Runs made by hand.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::history::{
    Answer, Call, CommittedLog, Condition, Consistency, Delivery, DurableLog, FinalState, Finished, History, Invariant,
    LogIdSeen, MembershipSeen, NodeObservation, Observation, Operation, RunSettings, Seen, Subscription, Time,
    Transport, Violation,
};
use crate::model::Replay;
use crate::model::testing::{LogBuilder, serial};
use banyan_core::state::TombstoneBounds;

/// A log id of leader 1.
pub(super) fn id(term: u64, index: u64) -> LogIdSeen {
    LogIdSeen { term, leader: 1, index }
}

/// A follower of leader 1 in `term` that has applied, committed and logged up to `index`.
pub(super) fn node(node: u64, term: u64, index: u64) -> NodeObservation {
    let at = Some(id(term, index));
    NodeObservation {
        at: 0,
        node,
        life: 0,
        term,
        vote_for: Some(1),
        leader: Some(1),
        is_leader: false,
        last_log: id(term, index),
        committed: at,
        applied: at,
        snapshot: None,
        purged: None,
        revision: index,
        digest: u128::from(index),
        topics_digest: Some(u128::from(index)),
        membership: None,
        gauges: BTreeMap::new(),
    }
}

/// As [`node`], the leader itself.
pub(super) fn leader(number: u64, term: u64, index: u64) -> NodeObservation {
    NodeObservation {
        vote_for: Some(number),
        leader: Some(number),
        is_leader: true,
        ..node(number, term, index)
    }
}

/// What a node has on disk from `first` on.
pub(super) fn disk(node: u64, term: u64, indexes: std::ops::RangeInclusive<u64>) -> DurableLog {
    DurableLog {
        node,
        purged: None,
        entries: indexes.map(|index| id(term, index)).collect(),
    }
}

pub(super) const VOTERS: &[u64] = &[1, 2, 3];

/// What [`VOTERS`] begin with.
pub(super) static MEMBERSHIPS: LazyLock<[MembershipSeen; 1]> =
    LazyLock::new(|| [MembershipSeen::initial(VOTERS.iter().copied())]);

/// The membership at `index`, of two sets of voters where `next` is not empty.
pub(super) fn membership(index: u64, voters: &[u64], next: &[u64]) -> MembershipSeen {
    let sets = [voters, next].into_iter().filter(|set| !set.is_empty());
    MembershipSeen {
        index,
        voters: sets.map(|set| set.iter().copied().collect()).collect(),
        ..MembershipSeen::default()
    }
}

/// One moment.
pub(super) fn moment<'a>(at: Time, nodes: &'a [NodeObservation], disks: &'a [DurableLog]) -> Observation<'a> {
    Observation {
        at,
        nodes,
        disks,
        snapshots: &[],
        memberships: &*MEMBERSHIPS,
    }
}

/// Whether `invariant` accepts these moments, one after the other.
pub(super) fn observe(invariant: &mut dyn Invariant, moments: &[Vec<NodeObservation>]) -> Result<(), Violation> {
    (0..).zip(moments).try_for_each(|(at, nodes)| {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| NodeObservation { at, ..node.clone() })
            .collect();
        invariant.observe(&moment(at, &nodes, &[]))
    })
}

/// A run: its log, what clients did, and what nodes hold at the end.
pub(super) struct Run {
    pub(super) log: LogBuilder,
    pub(super) history: History,
    pub(super) nodes: Vec<FinalState>,
    pub(super) settings: RunSettings,
    pub(super) at: Time,
}

impl Run {
    pub(super) fn new() -> Self {
        Self {
            log: LogBuilder::new(),
            history: History::default(),
            nodes: Vec::new(),
            settings: RunSettings {
                voters: VOTERS.to_vec(),
                core: VOTERS.to_vec(),
                healed_at: None,
                disks_healed_at: None,
                tombstone_bounds: TombstoneBounds::default(),
                election_timeout_us: 1_000_000,
                client_timeout_us: 5_000_000,
                black_box: false,
            },
            at: 1_000_000_000,
        }
    }

    /// Adds an operation of client 1 and node 1 that took from `from` to `to`.
    pub(super) fn operation(&mut self, call: Call, from: Time, to: Time, answer: Answer) -> &mut Operation {
        let transport = match call.is_read() {
            true => Transport::Http,
            false => Transport::Mqtt,
        };
        self.history.operations.push(Operation {
            client: 1,
            node: 1,
            transport,
            call,
            invoked_at: from,
            returned_at: Some(to),
            answer: Some(answer),
        });
        self.history.operations.last_mut().unwrap()
    }

    /// Adds a subscription at `R = revision`, granted at time 10.
    pub(super) fn subscription(&mut self, filter: &str, revision: u64) -> &mut Subscription {
        self.history.subscriptions.push(Subscription {
            granted: Some((10, revision)),
            ..Subscription::new(1, 1, filter, 5)
        });
        self.history.subscriptions.last_mut().unwrap()
    }

    /// Adds what nodes 1 to 3 hold at the end, as the model has it.
    pub(super) fn converge(&mut self) {
        let replay = Replay::bounded(&self.log.log, self.settings.tombstone_bounds).unwrap();
        let index = replay.last_index().unwrap();
        let revision = replay.last_revision();
        let digest = replay.topics_digest_at_index(index).unwrap();
        let topics = replay.topics_at(revision, "#");
        self.nodes = VOTERS
            .iter()
            .map(|&node| FinalState {
                node,
                applied: Some(id(self.log.term, index)),
                revision,
                digest,
                topics_digest: Some(digest),
                scanned_digest: Some(digest),
                topics: Some(
                    topics
                        .iter()
                        .map(|(topic, seen)| ((*topic).to_owned(), *seen))
                        .collect(),
                ),
            })
            .collect();
    }

    /// Whether `invariant` accepts it.
    pub(super) fn finish(&self, invariant: &mut dyn Invariant) -> Result<(), Violation> {
        let replay = Replay::bounded(&self.log.log, self.settings.tombstone_bounds).unwrap();
        let finished = Finished::new(self.at, &self.history, &self.log.log, &self.nodes, &self.settings);
        invariant.finish(&Finished {
            replay: Some(&replay),
            ..finished
        })
    }

    /// As [`finish`](Self::finish), without a log.
    pub(super) fn finish_without_log(&self, invariant: &mut dyn Invariant) -> Result<(), Violation> {
        let log = CommittedLog::new();
        invariant.finish(&Finished::new(
            self.at,
            &self.history,
            &log,
            &self.nodes,
            &self.settings,
        ))
    }
}

pub(super) fn put_call(topic: &str, counter: u32) -> Call {
    Call::Put {
        topic: topic.to_owned(),
        serial: serial(counter),
        timestamp_us: None,
        condition: Condition::None,
        expiry_s: None,
    }
}

pub(super) fn event_call(topic: &str, counter: u32) -> Call {
    Call::Event {
        topic: topic.to_owned(),
        serial: serial(counter),
    }
}

pub(super) fn delete_call(topic: &str) -> Call {
    Call::Delete {
        topic: topic.to_owned(),
        timestamp_us: None,
        condition: Condition::None,
    }
}

pub(super) fn get_call(topic: &str, consistency: Consistency) -> Call {
    Call::Get {
        topic: topic.to_owned(),
        consistency,
    }
}

pub(super) fn list_call(filter: &str, consistency: Consistency) -> Call {
    Call::List {
        filter: filter.to_owned(),
        consistency,
    }
}

pub(super) fn written(revision: u64) -> Answer {
    Answer::Written {
        revision,
        superseded_by: None,
    }
}

pub(super) fn seen(counter: u32, revision: u64) -> Seen {
    Seen {
        serial: Some(serial(counter)),
        revision,
    }
}

pub(super) fn value(counter: u32, revision: u64) -> Answer {
    Answer::Value(Some(seen(counter, revision)))
}

pub(super) fn unknown() -> Answer {
    Answer::Unknown("lost".to_owned())
}

pub(super) fn refused() -> Answer {
    Answer::Refused("503".to_owned())
}

/// A delivered state; `counter` 0 is a deletion.
pub(super) fn delivery(at: Time, topic: &str, counter: u32, revision: u64) -> Delivery {
    Delivery {
        at,
        topic: topic.to_owned(),
        serial: (counter > 0).then(|| serial(counter)),
        revision: Some(revision),
        retain: true,
    }
}

/// A delivered event.
pub(super) fn delivered_event(at: Time, topic: &str, counter: u32) -> Delivery {
    Delivery {
        revision: None,
        retain: false,
        ..delivery(at, topic, counter, 0)
    }
}
