//! Random logs of sessions on three states: one that never makes a checkpoint, one that makes them at any moment, and one
//! that is opened anew after each entry.
//!
//! Asserted after each entry:
//!
//! - All three say the same of it, and have the same rows, sessions, positions and digest; the digest is that of the rows.
//! - Interest, groups, and who is connected or due follow from the rows.
//! - The connections in force are those that a plain model knows of, with their fences. What others send is
//!   [`Outcome::Fenced`]; an entry of nothing else changes nothing.
//! - A session is resumed exactly if the client wants it and it has not ended, on log time.
//! - A packet identifier of QoS 2 is a duplicate, or known when it is released, exactly if it was taken and not released.
//! - A will is published once at most, never while its connection is in force or after a clean leave-taking. One that is
//!   neither published, waiting nor taken back had a delay, and its client resumed the session.
//! - A message of a shared subscription is one session's at most, and a message in flight can be read.
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

const CLIENTS: [&str; 3] = ["x", "y", "z"];
const NODES: [u64; 2] = [NODE, NODE + 1];
const PACKET_IDS: std::ops::Range<u16> = 1..6;
const NO_LIMIT: u32 = u32::MAX;

// ---------------------------------------------------------------------------------------------------------------------
// Random logs

/// An entry with one item.
#[derive(Debug, Clone)]
enum Step {
    Batch {
        node: usize,
        late: bool,
        orders: Vec<Order>,
    },
    Open {
        node: usize,
        nonce: u64,
    },
    /// Fences given this long ago, and all before.
    LoseNode {
        node: usize,
        fences_back: u64,
        limit: u32,
    },
    Housekeeping(Item),
}

/// A command, as far as it can be told before it is known what the state is.
#[derive(Debug, Clone)]
enum Order {
    Connect {
        client: usize,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
    },
    /// By the connection made last, or one before.
    Send {
        client: usize,
        connections_back: usize,
        packet_id: Option<u16>,
        operation: Operation,
    },
    Progress {
        client: usize,
        connections_back: usize,
        revisions_back: u64,
        done: BTreeSet<u16>,
        received: BTreeSet<u16>,
        sent: usize,
        settles: bool,
    },
    Write(Operation),
    CaughtUp {
        revisions_back: u64,
    },
    Kick {
        client: usize,
    },
}

fn write() -> impl Strategy<Value = Operation> {
    let topic = prop::sample::select(vec!["a", "a/b", "b"]).prop_map(topic);
    let ahead = START_US + 10 * TIMESTAMP_AHEAD_MAX_US;
    let fields = (topic, 0_u8..3, prop::option::weighted(0.2, 0_u32..3), 0_u8..12);
    fields.prop_map(move |(topic, qos, expiry_s, kind)| match kind {
        0..5 => Operation::Put(Put {
            topic,
            qos,
            expiry_s,
            timestamp_us: (kind == 4).then_some(ahead),
            ..put("x", "x")
        }),
        5 | 6 => Operation::Delete(Delete {
            topic,
            qos,
            ..delete("x")
        }),
        7 => delete_filter("#", 2),
        _ => Operation::Event(Event {
            topic,
            payload: Bytes::from_static(b"event"),
            metadata: Metadata::empty(),
            publisher: Bytes::from_static(b"writer"),
            qos,
            expiry_s,
        }),
    })
}

fn filter() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["#", "a/#", "a", "b", "$share/g/#", "$share/g/a", "$share/h/#"])
}

fn sent() -> impl Strategy<Value = Operation> {
    let disconnect = (prop::option::of(expiry()), any::<bool>()).prop_map(|(expiry_s, publishes_will)| {
        Operation::Disconnect(Disconnect {
            expiry_s,
            publishes_will,
        })
    });
    let subscribe = (prop::collection::vec((filter(), 0_u8..3, any::<bool>()), 1..3)).prop_map(|all| {
        let subscriptions = all.into_iter().map(|(filter, qos, latest)| {
            let mut subscription = subscribe(filter, qos).subscriptions.remove(0);
            subscription.latest = latest && !filter.starts_with('$');
            subscription
        });
        Operation::Subscribe(Subscribe {
            subscriptions: subscriptions.collect(),
        })
    });
    let unsubscribe = filter().prop_map(|filter| {
        Operation::Unsubscribe(Unsubscribe {
            filters: vec![SubscriptionFilter::parse(filter).unwrap()],
        })
    });
    let release = PACKET_IDS.prop_map(|packet_id| Operation::Release(Release { packet_id }));
    prop_oneof![3 => disconnect, 6 => subscribe, 1 => unsubscribe, 3 => release, 8 => write()]
}

fn expiry() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 4, NEVER_EXPIRES])
}

fn will() -> impl Strategy<Value = Will> {
    let fields = (0_u32..4, any::<bool>(), 0_u8..3);
    fields.prop_map(|(delay_s, retain, qos)| Will {
        topic: topic("a/b"),
        payload: Bytes::new(),
        metadata: Metadata::empty(),
        qos,
        retain,
        delay_s,
        expiry_s: None,
    })
}

fn order() -> impl Strategy<Value = Order> {
    let client = || 0..CLIENTS.len();
    let back = || prop_oneof![9 => Just(0_usize), 1 => Just(1)];
    let connect = (
        client(),
        prop::bool::weighted(0.3),
        expiry(),
        prop::option::weighted(0.6, will()),
    );
    let connect = connect.prop_map(|(client, clean_start, expiry_s, will)| Order::Connect {
        client,
        clean_start,
        expiry_s,
        will,
    });
    let send = (client(), back(), prop::option::of(PACKET_IDS), sent());
    let send = send.prop_map(|(client, connections_back, packet_id, operation)| {
        let is_write = matches!(
            operation,
            Operation::Put(_) | Operation::Delete(_) | Operation::Event(_)
        );
        Order::Send {
            client,
            connections_back,
            packet_id: packet_id.filter(|_| is_write),
            operation,
        }
    });
    let ids = || prop::collection::btree_set(PACKET_IDS, 0..3);
    let progress = (client(), back(), 0_u64..12, ids(), ids(), 0_usize..3, any::<bool>());
    let progress = progress.prop_map(
        |(client, connections_back, revisions_back, done, received, sent, settles)| Order::Progress {
            client,
            connections_back,
            revisions_back,
            done,
            received,
            sent,
            settles,
        },
    );
    prop_oneof![
        4 => connect,
        8 => send,
        4 => progress,
        6 => write().prop_map(Order::Write),
        1 => (0_u64..6).prop_map(|revisions_back| Order::CaughtUp { revisions_back }),
        1 => client().prop_map(|client| Order::Kick { client }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES.len();
    let limit = || prop_oneof![Just(1_u32), Just(NO_LIMIT)];
    let batch = (node(), prop::bool::weighted(0.05), prop::collection::vec(order(), 1..4));
    let trim = (limit(), prop_oneof![Just(0_u64), Just(300), Just(u64::MAX)]);
    let housekeeping = prop_oneof![
        3 => limit().prop_map(|limit| Item::EndDue { limit }),
        1 => limit().prop_map(|limit| Item::Expire { limit }),
        1 => limit().prop_map(|limit| Item::Assign { limit }),
        1 => trim.prop_map(|(limit, keep_bytes)| Item::Trim { limit, keep_bytes, keep_us: 20_000_000 }),
    ];
    let lose = (node(), 0_u64..3, limit()).prop_map(|(node, fences_back, limit)| Step::LoseNode {
        node,
        fences_back,
        limit,
    });
    prop_oneof![
        16 => batch.prop_map(|(node, late, orders)| Step::Batch { node, late, orders }),
        1 => (node(), 1_u64..4).prop_map(|(node, nonce)| Step::Open { node, nonce }),
        1 => lose,
        4 => housekeeping.prop_map(Step::Housekeeping),
    ]
}

// ---------------------------------------------------------------------------------------------------------------------
// A plain model

/// What is known of a session without looking.
#[derive(Debug, Clone)]
struct Known {
    expiry_s: u32,
    /// Fence and node.
    connection: Option<(u64, u64)>,
    disconnected_at_us: u64,
    inbound: BTreeSet<u16>,
}

/// What has become of a will.
#[derive(Debug, Default)]
struct WillStory {
    client: usize,
    fence: u64,
    delay_s: u32,
    published: bool,
    withdrawn: bool,
    resumed: bool,
}

#[derive(Default)]
struct Model {
    now_us: u64,
    sessions: BTreeMap<usize, Known>,
    /// Of each client, all that there have been.
    fences: [Vec<u64>; CLIENTS.len()],
    /// By payload.
    wills: BTreeMap<Bytes, WillStory>,
}

impl Model {
    fn sender(&self, client: usize, connections_back: usize) -> u64 {
        let fences = self.fences[client].iter().rev();
        // One that was never given, if there are not as many.
        fences.copied().nth(connections_back).unwrap_or(u64::MAX)
    }

    fn is_in_force(&self, fence: u64) -> Option<usize> {
        let mut sessions = self.sessions.iter();
        let is_it = |known: &Known| known.connection.is_some_and(|(other, _)| other == fence);
        sessions.find(|(_, known)| is_it(known)).map(|(client, _)| *client)
    }

    fn disconnect(&mut self, client: usize, expiry_s: Option<u32>) {
        let known = self.sessions.get_mut(&client).unwrap();
        if let Some(expiry_s) = expiry_s.filter(|_| known.expiry_s > 0) {
            known.expiry_s = expiry_s;
        }
        (known.connection, known.disconnected_at_us) = (None, self.now_us);
        if known.expiry_s == 0 {
            self.sessions.remove(&client);
        }
    }

    fn connected(&mut self, client: usize, connect: &Connect, node_id: u64, outcome: Outcome) {
        let Outcome::Connected { fence, session_present } = outcome else {
            panic!("{outcome:?}")
        };
        let newest = self.fences.iter().flatten().max().copied().unwrap_or(0);
        assert!(fence > newest, "{fence} after {newest}");
        self.fences[client].push(fence);
        let resumable = self.sessions.get(&client).cloned().filter(|known| {
            let ends_us = known.disconnected_at_us + u64::from(known.expiry_s) * 1_000_000;
            let lasts = known.connection.is_some() || known.expiry_s == NEVER_EXPIRES || ends_us > self.now_us;
            !connect.clean_start && known.expiry_s > 0 && lasts
        });
        assert_eq!(session_present, resumable.is_some());
        if resumable.is_some() {
            let stories = self.wills.values_mut().filter(|story| story.client == client);
            stories.for_each(|story| story.resumed = true);
        }
        let known = Known {
            expiry_s: connect.expiry_s,
            connection: Some((fence, node_id)),
            disconnected_at_us: 0,
            inbound: resumable.map(|known| known.inbound).unwrap_or_default(),
        };
        self.sessions.insert(client, known);
        if let Some(will) = &connect.will {
            let story = WillStory {
                client,
                fence,
                delay_s: will.delay_s,
                ..WillStory::default()
            };
            self.wills.insert(will.payload.clone(), story);
        }
    }

    /// Takes note of a command and its outcome.
    fn heard(&mut self, command: &Command, node_id: u64, outcome: Outcome) {
        let client_at = |client_id: &[u8]| CLIENTS.iter().position(|id| id.as_bytes() == client_id).unwrap();
        if outcome == Outcome::TooLate {
            return;
        }
        let Some(Sender { fence, packet_id }) = command.sender else {
            match &command.operation {
                Operation::Connect(connect) => {
                    self.connected(client_at(&connect.client_id), connect, node_id, outcome);
                }
                Operation::Kick(kick) if outcome == Outcome::SessionChanged => {
                    self.sessions.remove(&client_at(&kick.client_id));
                }
                _ => {}
            }
            return;
        };
        let client = self.is_in_force(fence);
        assert_eq!(client.is_none(), outcome == Outcome::Fenced, "{command:?}");
        let Some(client) = client else { return };
        let inbound = &mut self.sessions.get_mut(&client).unwrap().inbound;
        match (&command.operation, packet_id) {
            (Operation::Disconnect(disconnect), _) => {
                let stories = self.wills.values_mut().filter(|story| story.fence == fence);
                stories.for_each(|story| story.withdrawn |= !disconnect.publishes_will);
                self.disconnect(client, disconnect.expiry_s);
            }
            (Operation::Release(release), _) => {
                let known = inbound.remove(&release.packet_id);
                assert_eq!(outcome, Outcome::Released { known });
            }
            (_, Some(packet_id)) => {
                assert_eq!(outcome == Outcome::Duplicate, inbound.contains(&packet_id));
                if !matches!(outcome, Outcome::TimestampAhead { .. }) {
                    inbound.insert(packet_id);
                }
            }
            _ => {}
        }
    }

    /// Takes note of connections that nobody asked to end.
    fn closed(&mut self, closed: &[Closed]) {
        for closed in closed.iter().filter(|closed| closed.reason == CloseReason::NodeLost) {
            let client = self.is_in_force(closed.fence).expect("it was in force");
            assert_eq!(self.sessions[&client].connection, Some((closed.fence, closed.node_id)));
            self.disconnect(client, None);
        }
    }

    fn published(&mut self, changes: &[Change]) {
        for change in changes {
            let payload = match &change.kind {
                ChangeKind::Put { record, .. } => record.payload(),
                ChangeKind::Event { event, .. } => event.payload.clone(),
                ChangeKind::Delete { .. } => continue,
            };
            if let Some(story) = self.wills.get_mut(&payload) {
                assert!(!story.published, "published twice: {story:?}");
                story.published = true;
            }
        }
    }

    fn check(&self, view: &StateView) {
        let sessions = view.sessions_after(None, usize::MAX);
        let in_force = sessions.iter().filter_map(|session| {
            let LiveConnection { fence, node_id, .. } = session.connection?;
            Some((session.client_id.clone(), (fence, node_id)))
        });
        let known = self.sessions.iter();
        let known = known.filter_map(|(client, known)| Some((Bytes::from(CLIENTS[*client]), known.connection?)));
        assert_eq!(in_force.collect::<Vec<_>>(), known.collect::<Vec<_>>());
        for story in self.wills.values() {
            assert!(!(story.published && story.withdrawn), "{story:?}");
            let is_latest = self.fences[story.client].last() == Some(&story.fence);
            let session = view.session(CLIENTS[story.client].as_bytes());
            let waits = is_latest && session.is_some_and(|session| session.has_will);
            assert!(!waits || !(story.published || story.withdrawn), "{story:?}");
            let is_forgotten = !story.published && !story.withdrawn && !waits;
            assert!(!is_forgotten || (story.delay_s > 0 && story.resumed), "{story:?}");
        }
        let mut shared = BTreeSet::new();
        for session in &sessions {
            let in_flight = session.in_flight.iter();
            let in_flight = in_flight.filter_map(|message| Some((message.position, message.shared.clone()?)));
            for message in session.assigned.keys().cloned().chain(in_flight) {
                assert!(shared.insert(message.clone()), "twice on its way: {message:?}");
            }
            let ids: BTreeSet<u16> = session.in_flight.iter().map(|message| message.packet_id).collect();
            assert_eq!(ids.len(), session.in_flight.len());
            for message in session.in_flight.iter().filter(|message| !message.received) {
                assert!(view.message_at(message.position).unwrap().is_some(), "{message:?}");
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Three states

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
            if outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Fenced | Outcome::TooLate))
            {
                assert_eq!((rows(&mut self.plain), self.plain.revision()), before);
                assert!(applied.changes.is_empty() && applied.closed.is_empty() && applied.assigned.is_empty());
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
