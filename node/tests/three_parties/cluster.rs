//! Two nodes and their log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use banyan_core::command::{BatchBuilder, BatchId, Command, Connect, EntryBuilder, Event, Item};
use banyan_core::state::{AppliedId, Disposition, Outcome, Session, State, StateView};
use banyan_core::store::MemoryStore;
use banyan_node::broker::{Broker, Turns};
use banyan_node::changes::{ChangeBatch, ChangeRing};
use banyan_node::session::Registry;
use banyan_node::session::driver::Node as DriverNode;
use bytes::Bytes;

const START_US: u64 = 1_000_000_000;
const ENTRY_US: u64 = 1_000;
const INCARNATION: u64 = 1;

/// Who is to be told what became of a command.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// A connection, by number.
    pub link: usize,
    /// What it knows the question by.
    pub token: Token,
}

/// Names a question of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// What became of a packet of the client.
    Outcome(u64),
    /// Everything else.
    Answer(u64),
}

pub struct Node {
    pub broker: Arc<Broker>,
    pub registry: Registry,
    state: RefCell<State>,
    turns: Turns,
    /// Entries applied.
    applied: u64,
    /// Of the last batch.
    sequence: u64,
    /// What was proposed and is in no batch.
    waiting: Vec<(Option<Question>, Command)>,
    /// Who asked for the commands of a batch.
    asked: BTreeMap<u64, Vec<Option<Question>>>,
    /// Applied, and not handed to the dispatcher.
    changes: Vec<ChangeBatch>,
    ring: Arc<ChangeRing>,
}

impl Node {
    fn new(node_id: u64) -> Self {
        let broker = Arc::new(Broker::new());
        let ring = Arc::new(ChangeRing::new(usize::MAX));
        tokio::spawn(Arc::clone(&broker).dispatch(Arc::clone(&ring)));
        Self {
            registry: Registry::new(node_id, Arc::clone(&broker)),
            broker,
            state: RefCell::new(State::open(Arc::new(MemoryStore::new())).unwrap()),
            turns: Turns::default(),
            applied: 0,
            sequence: 0,
            waiting: Vec::new(),
            asked: BTreeMap::new(),
            changes: Vec::new(),
            ring,
        }
    }

    pub fn view(&self) -> StateView {
        self.state.borrow_mut().view()
    }

    pub fn propose(&mut self, question: Option<Question>, command: Command) {
        self.waiting.push((question, command));
    }

    /// Calls `call` with what a driver needs of the node.
    pub fn with_driver<T>(&self, call: impl FnOnce(&DriverNode<'_>) -> T) -> T {
        call(&DriverNode {
            broker: &self.broker,
            log_time_us: &|| self.state.borrow().log_time_us(),
            take_view: &|| self.view(),
        })
    }
}

pub struct Cluster {
    log: Vec<Bytes>,
    pub nodes: [Node; 2],
}

impl Cluster {
    pub fn new() -> Self {
        let mut cluster = Self {
            log: Vec::new(),
            nodes: [1, 2].map(Node::new),
        };
        for node_id in [1, 2] {
            cluster.append(|entry| entry.push_item(&Item::OpenOrigin { node_id, nonce: 1 }));
        }
        cluster
    }

    fn append(&mut self, fill: impl FnOnce(&mut EntryBuilder)) {
        let mut entry = EntryBuilder::new();
        fill(&mut entry);
        self.log.push(entry.finish(START_US + ENTRY_US * self.log.len() as u64));
    }

    /// What was proposed at `node` comes into the log, in time or not.
    pub fn commit(&mut self, node: usize, late: bool) {
        let from = &mut self.nodes[node];
        if from.waiting.is_empty() {
            return;
        }
        let mut batch = BatchBuilder::new();
        let mut asked = Vec::new();
        for (question, command) in std::mem::take(&mut from.waiting) {
            batch.push(&command);
            asked.push(question);
        }
        from.sequence += 1;
        from.asked.insert(from.sequence, asked);
        let id = BatchId {
            node_id: node as u64 + 1,
            incarnation: INCARNATION,
            sequence: from.sequence,
        };
        let batch = batch.finish(id, if late { 0 } else { u64::MAX });
        self.append(|entry| entry.push_batch(batch));
    }

    /// Lets go of the messages that no session waits for.
    pub fn trim(&mut self) {
        self.append(|entry| {
            entry.push_item(&Item::Trim {
                limit: 1_000,
                keep_bytes: u64::MAX,
                keep_us: u64::MAX,
            });
        });
    }

    /// `node` applies the next entry, if there is one. Returns the answers.
    pub fn apply(&mut self, node: usize) -> Vec<(Question, Outcome)> {
        let node_id = node as u64 + 1;
        let node = &mut self.nodes[node];
        let Some(entry) = self.log.get(node.applied as usize) else {
            return Vec::new();
        };
        let id = AppliedId {
            term: 1,
            node_id: 1,
            index: node.applied,
        };
        let mut state = node.state.borrow_mut();
        let applied = state.apply(id, entry).unwrap();
        let log_time_us = state.log_time_us();
        drop(state);
        node.applied += 1;
        // In the order of a node: readers first, ends before outcomes.
        if !applied.changes.is_empty() {
            node.changes.push(ChangeBatch {
                log_time_us,
                changes: applied.changes,
            });
        }
        applied.closed.iter().for_each(|closed| node.registry.on_closed(closed));
        let mut answers = Vec::new();
        for batch in applied.batches.into_iter().filter(|batch| batch.id.node_id == node_id) {
            let Disposition::Taken(outcomes) = batch.disposition else {
                panic!("{batch:?}")
            };
            let asked = node.asked.remove(&batch.id.sequence).expect("sent once");
            let answered = asked.into_iter().zip(outcomes);
            answers.extend(answered.filter_map(|(question, outcome)| Some((question?, outcome))));
        }
        answers
    }

    /// Hands what `node` has applied to those who are live there.
    pub async fn dispatch(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        for batch in node.changes.drain(..) {
            node.ring.push(batch);
        }
        // The dispatcher is the only task: it has its turns.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    /// Hands what is stored at `node` to those who are behind there.
    pub fn feed(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let state = &node.state;
        let more = node.broker.feed_lagging(&mut node.turns, || state.borrow_mut().view());
        more.unwrap();
    }

    /// An event of QoS 0 reaches every node.
    pub fn publish_event(&self, event: &Event) {
        for node in &self.nodes {
            node.broker
                .dispatch_event(event.clone(), node.state.borrow().log_time_us());
        }
    }

    pub fn has_applied_all(&self, node: usize) -> bool {
        self.nodes[node].applied as usize == self.log.len()
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        let is_idle = |node: &Node| node.waiting.is_empty() && node.asked.is_empty() && node.changes.is_empty();
        self.nodes.iter().all(is_idle) && (0..2).all(|node| self.has_applied_all(node))
    }

    pub fn session(&self, client_id: &str) -> Arc<Session> {
        self.nodes[0]
            .view()
            .session(client_id.as_bytes())
            .expect("it never expires")
    }
}

/// A CONNECT as it comes to the log.
pub fn connect(client_id: Bytes, clean_start: bool, expiry_s: u32) -> Connect {
    Connect {
        client_id,
        clean_start,
        expiry_s,
        will: None,
    }
}
