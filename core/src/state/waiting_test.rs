//! What waits, against a list of everything that ever happened.
//!
//! Random writes, deletes and events; sessions that come, read a piece, hold messages, and go; trims, checkpoints and
//! restarts. Whatever a session reads must be, piece by piece, what the list says it has not had.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::interest::Wants;
use super::testing::*;
use super::*;
use crate::command::{Delete, Event, Item, Operation, Put};
use crate::topic::{TopicFilter, TopicName};

const TOPICS: [&str; 5] = ["a", "a/b", "a/c", "b", "c/d"];
const FILTERS: [&str; 6] = ["#", "a/#", "a/+", "b", "+", "+/d"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Put {
        topic: usize,
        qos: u8,
        expiry_s: Option<u32>,
    },
    Delete {
        topic: usize,
        qos: u8,
    },
    DeleteFilter {
        filter: usize,
    },
    Event {
        topic: usize,
        qos: u8,
    },
    /// Log time passes, and what is due expires.
    Expire,
    Compact,
    Join {
        filter: usize,
        latest: bool,
    },
    Leave {
        session: usize,
    },
    Read {
        session: usize,
        rows_max: usize,
        bytes_max: usize,
        /// Which of the messages read it holds.
        holds: usize,
    },
    Release {
        held: usize,
    },
    Trim {
        limit: u32,
        keep_bytes: Option<u64>,
        keep_us: Option<u64>,
    },
    Checkpoint,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = || 0..TOPICS.len();
    let step = prop_oneof![
        10 => (topic(), 0..3_u8, prop::option::weighted(0.2, 0..3_u32))
            .prop_map(|(topic, qos, expiry_s)| Step::Put { topic, qos, expiry_s }),
        4 => (topic(), 0..3_u8).prop_map(|(topic, qos)| Step::Delete { topic, qos }),
        1 => (0..FILTERS.len()).prop_map(|filter| Step::DeleteFilter { filter }),
        4 => (topic(), 0..3_u8).prop_map(|(topic, qos)| Step::Event { topic, qos }),
        2 => Just(Step::Expire),
        1 => Just(Step::Compact),
        3 => (0..FILTERS.len(), any::<bool>()).prop_map(|(filter, latest)| Step::Join { filter, latest }),
        1 => (0..4_usize).prop_map(|session| Step::Leave { session }),
        8 => (0..4_usize, 0..6_usize, prop_oneof![Just(usize::MAX), 0..300_usize], 0..8_usize)
            .prop_map(|(session, rows_max, bytes_max, holds)| Step::Read { session, rows_max, bytes_max, holds }),
        2 => (0..8_usize).prop_map(|held| Step::Release { held }),
        4 => (0..6_u32, prop::option::weighted(0.2, 0..600_u64), prop::option::weighted(0.1, 0..3_000_000_u64))
            .prop_map(|(limit, keep_bytes, keep_us)| Step::Trim { limit, keep_bytes, keep_us }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

/// A persistent session with one subscription of QoS 2.
#[derive(Debug)]
struct Session {
    filter: TopicFilter,
    wants: Wants,
    cursor: MessagePosition,
}

/// Everything that happened, and who has had what.
#[derive(Debug, Default)]
struct Model {
    history: BTreeMap<MessagePosition, Change>,
    sessions: Vec<Session>,
    held: Vec<MessagePosition>,
}

fn expires_at_us(change: &Change) -> Option<u64> {
    match &change.kind {
        ChangeKind::Put { record, .. } => record.expires_at_us(),
        ChangeKind::Delete(_) | ChangeKind::Event { .. } => None,
    }
}

const fn is_event(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Event { .. })
}

impl Model {
    fn is_latest(&self, view: &StateView, change: &Change) -> bool {
        let topic = &change.topic;
        let is_forgotten = view.get(topic).unwrap().is_none() && view.tombstone(topic).unwrap().is_none();
        is_event(change)
            || (is_forgotten && matches!(change.kind, ChangeKind::Delete(_)))
            || !self
                .history
                .range(change.position().next().unwrap()..)
                .any(|(_, later)| later.topic == change.topic && !is_event(later))
    }

    /// Messages of QoS 1 and 2 that the session waits for, up to `through`.
    fn expected(&self, view: &StateView, session: &Session, through: MessagePosition) -> Vec<Change> {
        self.history
            .range(session.cursor.next().unwrap()..)
            .take_while(|(position, _)| **position <= through)
            .map(|(_, change)| change)
            .filter(|change| session.filter.matches(&change.topic) && change.qos() > 0)
            .filter(|change| session.wants == Wants::Every || self.is_latest(view, change))
            .filter(|change| expires_at_us(change).is_none_or(|time| time > view.log_time_us))
            .cloned()
            .collect()
    }
}

struct World {
    h: Harness,
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut h = Harness::new();
        h.state.tombstone_bounds = super::compact::TombstoneBounds {
            age_us: 1_000_000,
            revisions: 3,
        };
        Self {
            h,
            model: Model::default(),
        }
    }

    fn run(&mut self, operation: Operation) {
        let (_, changes) = self.h.run_changes(operation);
        self.record(changes);
    }

    fn record(&mut self, changes: Vec<Change>) {
        let changes = changes.into_iter().map(|change| (change.position(), change));
        self.model.history.extend(changes);
    }

    /// A session reads a piece: exactly what it has not had, in order.
    fn read(&mut self, at: usize, rows_max: usize, bytes_max: usize, holds: usize) {
        let view = self.h.state.view();
        let session = &self.model.sessions[at];
        let waiting = view.waiting_after(session.cursor, rows_max, bytes_max).unwrap();
        let through = waiting.next.unwrap_or(MessagePosition::end_of(view.revision));
        assert!(through > session.cursor || waiting.next.is_none());
        assert!(waiting.rows.len() <= rows_max.max(1));
        for row in &waiting.rows {
            assert_eq!(row.is_latest, self.model.is_latest(&view, &row.change), "{row:?}");
        }
        let found: Vec<Change> = waiting
            .rows
            .into_iter()
            .filter(|row| session.filter.matches(&row.change.topic) && row.change.qos() > 0)
            .filter(|row| session.wants == Wants::Every || row.is_latest)
            .map(|row| row.change)
            .filter(|change| expires_at_us(change).is_none_or(|time| time > view.log_time_us))
            .collect();
        let expected = self.model.expected(&view, session, through);
        let dropped = view.dropped_through;
        let kept = |changes: &[Change]| -> Vec<Change> {
            changes
                .iter()
                .filter(|change| change.position() > dropped)
                .cloned()
                .collect()
        };
        assert_eq!(kept(&found), kept(&expected));
        assert!(
            found.iter().all(|change| expected.contains(change)),
            "{found:?} of {expected:?}"
        );
        self.model.held.extend(found.get(holds).map(Change::position));
        if let Some(change) = found.get(holds) {
            self.h.state.hold(change.position());
        }
        self.move_cursor(at, through);
    }

    fn move_cursor(&mut self, at: usize, to: MessagePosition) {
        let session = &mut self.model.sessions[at];
        self.h.state.interest.cursors.remove(session.cursor);
        // What was trimmed before is not looked for again.
        session.cursor = session.cursor.max(to);
        self.h.state.interest.cursors.add(session.cursor);
    }

    fn reopen(&mut self) {
        self.h.checkpoint();
        let bounds = self.h.state.tombstone_bounds;
        let mut state = open(&self.h.store);
        state.tombstone_bounds = bounds;
        for session in &self.model.sessions {
            state.interest.subscribe(&session.filter, session.wants);
            state.interest.cursors.add(session.cursor);
        }
        self.model.held.iter().for_each(|position| state.hold(*position));
        assert_eq!(state.position, self.h.state.position);
        assert_eq!(state.low_water(), self.h.state.low_water());
        self.h.state = state;
    }

    fn step(&mut self, step: Step) {
        let topic = |at: usize| TopicName::parse(TOPICS[at]).unwrap();
        match step {
            Step::Put {
                topic: at,
                qos,
                expiry_s,
            } => {
                let payload = self.model.history.len().to_string();
                self.run(
                    Put {
                        qos,
                        expiry_s,
                        ..put(TOPICS[at], &payload)
                    }
                    .into(),
                );
            }
            Step::Delete { topic: at, qos } => self.run(
                Delete {
                    qos,
                    ..delete(TOPICS[at])
                }
                .into(),
            ),
            Step::DeleteFilter { filter } => self.run(delete_filter(FILTERS[filter], 3)),
            Step::Event { topic: at, qos } => {
                let Operation::Event(event) = event(TOPICS[at]) else {
                    unreachable!()
                };
                let event = Event {
                    topic: topic(at),
                    qos,
                    ..event
                };
                self.run(Operation::Event(event));
            }
            Step::Expire => {
                self.h.now_us += 700_000;
                let applied = self.h.items(&[Item::Expire { limit: 2 }]);
                self.record(applied.changes);
            }
            Step::Compact => drop(self.h.items(&[Item::Compact { limit: 2 }])),
            Step::Join { filter, latest } => {
                if self.model.sessions.len() < 4 {
                    let session = Session {
                        filter: TopicFilter::parse(FILTERS[filter]).unwrap(),
                        wants: if latest { Wants::Latest } else { Wants::Every },
                        cursor: MessagePosition::end_of(self.h.state.revision()),
                    };
                    self.h.state.interest.subscribe(&session.filter, session.wants);
                    self.h.state.interest.cursors.add(session.cursor);
                    self.model.sessions.push(session);
                }
            }
            Step::Leave { session } => {
                if session < self.model.sessions.len() {
                    let session = self.model.sessions.swap_remove(session);
                    self.h.state.interest.unsubscribe(&session.filter, session.wants);
                    self.h.state.interest.cursors.remove(session.cursor);
                }
            }
            Step::Read {
                session,
                rows_max,
                bytes_max,
                holds,
            } => {
                if session < self.model.sessions.len() {
                    self.read(session, rows_max, bytes_max, holds);
                }
            }
            Step::Release { held } => {
                if held < self.model.held.len() {
                    let position = self.model.held.swap_remove(held);
                    self.h.state.release(position).unwrap();
                }
            }
            Step::Trim {
                limit,
                keep_bytes,
                keep_us,
            } => {
                let retention = Retention {
                    keep_bytes: keep_bytes.unwrap_or(u64::MAX),
                    keep_us: keep_us.unwrap_or(u64::MAX),
                };
                let due = self.h.state.trim_due(retention).unwrap();
                let before = self.h.state.position;
                self.h.state.trim(limit, retention).unwrap();
                assert!(due || self.h.state.position == before || limit > 16);
                if keep_bytes.or(keep_us).is_none() {
                    assert_eq!(self.h.state.dropped_through(), before.dropped_through);
                }
            }
            Step::Checkpoint => self.h.checkpoint(),
            Step::Reopen => self.reopen(),
        }
        verify(&mut self.h.state);
        let view = self.h.state.view();
        for position in &self.model.held {
            assert_eq!(
                view.message_at(*position).unwrap().as_ref(),
                self.model.history.get(position)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_session_reads_what_it_has_not_had(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // Everybody reads to the end; then nothing is left but what is held.
        for at in 0..world.model.sessions.len() {
            world.read(at, usize::MAX, usize::MAX, usize::MAX);
        }
        let forever = Retention { keep_bytes: u64::MAX, keep_us: u64::MAX };
        world.h.state.trim(u32::MAX, forever).unwrap();
        verify(&mut world.h.state);
        for position in std::mem::take(&mut world.model.held) {
            world.h.state.release(position).unwrap();
        }
        prop_assert_eq!(world.h.state.message_count(), 0);
        verify(&mut world.h.state);
    }
}
