//! Random logs of sessions on three states: one that never makes a checkpoint, one that makes them at any moment, and one
//! that is opened anew after each entry.
//!
//! Asserted after each entry:
//!
//! - All three say the same of it, and have the same rows, sessions, positions and digest; the digest is that of the rows.
//! - Interest, groups, and who is connected or due follow from the rows.
//! - The connections in force are those that a plain model knows of, with their fences. What others send is
//!   [`Outcome::Fenced`]; an entry of nothing else changes nothing.
//! - After something came too late, nothing more is taken from its connection than its end.
//! - A session is resumed exactly if the client wants it and it has not ended, on log time.
//! - A packet identifier of QoS 2 is a duplicate, or known when it is released, exactly if it was taken and not released.
//! - A will is published once at most, never while its connection is in force or after a clean leave-taking. One that is
//!   neither published, waiting nor taken back had a delay, and its client resumed the session.
//! - A message of a shared subscription is one session's at most, and what is in flight and can be read stays so: only a
//!   message that was superseded before it was put in flight may be gone.
//! - After an unbounded `EndDue` nothing is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::command::{
    BatchId, CaughtUp, Command, Connect, Delete, Disconnect, Event, Item, Kick, Operation, Progress, Put, Release,
    Sender, Sent, Subscribe, Unsubscribe, Will,
};
use crate::keyspace::session::NEVER_EXPIRES;
use crate::limits::TIMESTAMP_AHEAD_MAX_US;
use crate::metadata::Metadata;
use crate::store::{MemoryStore, Store};
use crate::topic::SubscriptionFilter;
use model::Model;
use steps::{Order, Step, step};

mod model;
mod steps;

const CLIENTS: [&str; 3] = ["x", "y", "z"];
const NODES: [u64; 2] = [NODE, NODE + 1];
const PACKET_IDS: std::ops::Range<u16> = 1..6;
const NO_LIMIT: u32 = u32::MAX;

struct Run {
    plain: State,
    frozen: (State, MemoryStore, Option<FrozenState>),
    reopened: (State, MemoryStore),
    model: Model,
    wills: usize,
}

impl Run {
    fn new() -> Self {
        let stores = [(); 3].map(|()| MemoryStore::new());
        let [plain, frozen, reopened] = stores.each_ref().map(open);
        let [_, frozen_store, reopened_store] = stores;
        Self {
            plain,
            frozen: (frozen, frozen_store, None),
            reopened: (reopened, reopened_store),
            model: Model::default(),
            wills: 0,
        }
    }

    /// Begins a checkpoint of the second state, or ends it.
    fn checkpoint_half(&mut self) {
        let (state, store, frozen) = &mut self.frozen;
        match frozen.take() {
            None => *frozen = Some(state.freeze()),
            Some(frozen) => {
                store.write(frozen.to_batch()).unwrap();
                state.thaw();
            }
        }
    }

    fn item(&mut self, step: &Step) -> (Item, Vec<Command>) {
        match step {
            Step::Batch { node, late, orders } => {
                let commands: Vec<Command> = orders.iter().map(|order| self.command(order)).collect();
                let node_id = NODES[*node];
                let row = self.plain.origins[&node_id];
                let id = BatchId {
                    node_id,
                    incarnation: row.incarnation,
                    sequence: row.next_sequence,
                };
                let deadline_us = if *late { 0 } else { u64::MAX };
                (Item::Batch(command_batch(id, deadline_us, &commands)), commands)
            }
            Step::Open { node, nonce } => {
                let (node_id, nonce) = (NODES[*node], *nonce);
                (Item::OpenOrigin { node_id, nonce }, Vec::new())
            }
            Step::LoseNode {
                node,
                fences_back,
                limit,
            } => {
                let item = Item::LoseNode {
                    node_id: NODES[*node],
                    through_fence: self.plain.fence().saturating_sub(*fences_back),
                    limit: *limit,
                };
                (item, Vec::new())
            }
            Step::Housekeeping(item) => (item.clone(), Vec::new()),
        }
    }

    fn command(&mut self, order: &Order) -> Command {
        let client_id = |client: &usize| Bytes::from(CLIENTS[*client]);
        let end = |revisions_back: u64| MessagePosition::end_of(self.plain.revision().saturating_sub(revisions_back));
        match order {
            Order::Connect {
                client,
                clean_start,
                expiry_s,
                will,
            } => {
                self.wills += 1;
                let payload = Bytes::from(format!("will {}", self.wills));
                let connect = Connect {
                    client_id: client_id(client),
                    clean_start: *clean_start,
                    expiry_s: *expiry_s,
                    will: will.clone().map(|will| Will { payload, ..will }),
                };
                Operation::from(connect).into()
            }
            Order::Send {
                client,
                connections_back,
                packet_id,
                operation,
            } => Command {
                sender: Some(Sender {
                    fence: self.model.sender(*client, *connections_back),
                    packet_id: *packet_id,
                }),
                operation: operation.clone(),
            },
            Order::Progress {
                client,
                connections_back,
                revisions_back,
                done,
                received,
                sent,
                settles,
            } => {
                let progress = Progress {
                    cursor: Some(end(*revisions_back)),
                    done: done.iter().copied().collect(),
                    received: received.iter().copied().collect(),
                    ..self.on_their_way(*client, *sent, *settles)
                };
                Command::of(self.model.sender(*client, *connections_back), progress)
            }
            Order::Write(operation) => operation.clone().into(),
            Order::CaughtUp { revisions_back } => {
                let fences = self.model.fences.iter().flatten().copied().collect();
                let cursor = end(*revisions_back);
                Operation::from(CaughtUp { cursor, fences }).into()
            }
            Order::Kick { client } => {
                let client_id = client_id(client);
                Operation::from(Kick { client_id }).into()
            }
        }
    }

    /// Messages that a node would send to the client now: shared ones, and then others that wait.
    fn on_their_way(&mut self, client: usize, count: usize, settles: bool) -> Progress {
        let view = self.plain.view();
        let mut progress = Progress {
            cursor: None,
            done: Vec::new(),
            received: Vec::new(),
            settled: Vec::new(),
            sent: Vec::new(),
            replayed: Vec::new(),
        };
        let Some(session) = view.session(CLIENTS[client].as_bytes()) else {
            return progress;
        };
        let used: BTreeSet<u16> = session.in_flight.iter().map(|message| message.packet_id).collect();
        let mut free = PACKET_IDS.filter(|id| !used.contains(id));
        for ((position, _), qos) in session.assigned.iter().take(count) {
            match free.next().filter(|_| !settles) {
                Some(packet_id) => progress.sent.push(Sent {
                    position: *position,
                    packet_id,
                    qos: *qos,
                    shared: true,
                }),
                None => progress.settled.push(*position),
            }
        }
        let waiting = view.waiting_after(session.cursor, 20, usize::MAX).unwrap();
        let mine = waiting
            .rows
            .iter()
            .filter(|row| row.change.qos() > 0 && is_for(&session, &row.change));
        for (row, packet_id) in mine.take(count).zip(free) {
            progress.sent.push(Sent {
                position: row.change.position(),
                packet_id,
                qos: row.change.qos(),
                shared: false,
            });
        }
        progress
    }

    fn step(&mut self, time_us: u64, step: &Step) {
        let (item, commands) = self.item(step);
        let entry = entry(time_us, std::slice::from_ref(&item));
        let id = next_id(&self.plain);
        let before = (rows(&mut self.plain), self.plain.revision());
        let applied = self.plain.apply(id, &entry).unwrap();
        assert_eq!(self.frozen.0.apply(id, &entry).unwrap(), applied);
        assert_eq!(self.reopened.0.apply(id, &entry).unwrap(), applied);
        self.model.now_us = self.plain.log_time_us();
        self.model.closed(&applied.closed);
        for batch in &applied.batches {
            let Disposition::Taken(outcomes) = &batch.disposition else {
                panic!("{batch:?}")
            };
            for (command, outcome) in commands.iter().zip(outcomes) {
                self.model.heard(command, batch.id.node_id, *outcome);
            }
            let nothing = |outcome: &Outcome| matches!(outcome, Outcome::Fenced | Outcome::TooLate);
            if outcomes.iter().all(nothing) {
                assert_eq!(self.plain.revision(), before.1);
                assert!(applied.changes.is_empty() && applied.assigned.is_empty());
            }
            if outcomes.iter().all(|outcome| *outcome == Outcome::Fenced) {
                assert_eq!(rows(&mut self.plain), before.0);
                assert!(applied.closed.is_empty());
            }
        }
        // Wills may be published in the batch that they came with.
        self.model.published(&applied.changes);
        if matches!(step, Step::Housekeeping(Item::EndDue { limit: NO_LIMIT })) {
            assert!(self.plain.next_due_us().is_none_or(|due_us| due_us > self.model.now_us));
        }
        self.check();
    }

    fn check(&mut self) {
        let (reopened, store) = &mut self.reopened;
        checkpoint(reopened, store);
        *reopened = open(store);
        verify(&mut self.plain);
        verify_interest(&mut self.plain);
        let expected = rows(&mut self.plain);
        for state in [&mut self.frozen.0, reopened] {
            assert_eq!(state.position, self.plain.position);
            assert_eq!(rows(state), expected);
            assert_eq!(state.sessions.contents(), self.plain.sessions.contents());
            assert_eq!(format!("{:?}", state.interest), format!("{:?}", self.plain.interest));
        }
        let view = self.plain.view();
        self.model.check(&view);
    }
}

/// Whether a session waits for a change with a subscription of its own.
fn is_for(session: &Arc<Session>, change: &Change) -> bool {
    session
        .subscriptions
        .values()
        .any(|row| match &row.subscription.filter {
            SubscriptionFilter::Plain(filter) => {
                row.subscription.options.qos > 0 && row.since < change.revision && filter.matches(&change.topic)
            }
            SubscriptionFilter::Shared(_) => false,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// See the head of this file.
    #[test]
    fn sessions_are_the_same_however_often_a_state_is_opened(
        steps in prop::collection::vec((0_u64..1_500_000, prop::bool::weighted(0.3), step()), 1..50),
    ) {
        let mut run = Run::new();
        let mut time_us = START_US;
        for node in 0..NODES.len() {
            run.step(time_us, &Step::Open { node, nonce: 1 });
        }
        for (delta_us, halves_checkpoint, step) in steps {
            time_us += delta_us;
            if halves_checkpoint {
                run.checkpoint_half();
            }
            run.step(time_us, &step);
        }
        verify_image(&mut run.plain, 1);
        // All go, and after a while every will has had its turn.
        for node in 0..NODES.len() {
            let limit = NO_LIMIT;
            run.step(time_us, &Step::LoseNode { node, fences_back: 0, limit });
        }
        run.step(time_us + 10_000_000, &Step::Housekeeping(Item::EndDue { limit: NO_LIMIT }));
        let sessions = run.plain.view().sessions_after(None, usize::MAX);
        prop_assert!(sessions.iter().all(|session| !session.has_will && session.expiry_s == NEVER_EXPIRES));
    }
}
