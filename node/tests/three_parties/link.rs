//! A connection at its node: what the task of a connection does, without a socket and without waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use banyan_core::command::{
    Command, Disconnect, Operation, Sender, SessionSubscription, Subscribe, SubscriptionOptions as StoredOptions,
};
use banyan_core::mqtt::connection::{
    Authenticated, Connection, ConnectionSettings, Effect, NewSubscription, ProposeResult, RegisterResult, Registered,
    SubscribeRequest, SubscribeResult,
};
use banyan_core::mqtt::{ReasonCode, encode};
use banyan_core::state::Outcome;
use banyan_core::topic::SubscriptionFilter;
use banyan_node::broker::{Outbox, SubscriptionOptions};
use banyan_node::session::pace::ReplayPace;
use banyan_node::session::{Driver, resume};
use bytes::BytesMut;

use crate::RECEIVE_MAXIMUM;
use crate::cluster::{Cluster, Question, Token, connect};

/// As much as an outbox holds: a few messages, so that sessions fall behind.
const OUTBOX_BYTES_MAX: usize = 600;
const WRITE_BYTES_TARGET: usize = 64 * 1024;
/// Of a connection that ended without a word.
const LOST: Disconnect = Disconnect {
    expiry_s: None,
    publishes_will: true,
};

enum Asked {
    Connect(Box<Authenticated>),
    Subscribe(SubscribeRequest),
    Progress,
}

pub struct Link {
    number: usize,
    node: usize,
    connection: Connection,
    driver: Option<Driver>,
    asked: BTreeMap<u64, Asked>,
    asked_count: u64,
    /// On its way to the node.
    pub to_server: BytesMut,
    arrived: BytesMut,
    /// On its way to the client.
    pub to_client: BytesMut,
    is_over: bool,
}

impl Link {
    pub fn new(number: usize, node: usize) -> Self {
        let settings = Arc::new(ConnectionSettings {
            receive_maximum: RECEIVE_MAXIMUM,
            ..ConnectionSettings::default()
        });
        Self {
            number,
            node,
            connection: Connection::new(settings, number as u64, 0),
            driver: None,
            asked: BTreeMap::new(),
            asked_count: 0,
            to_server: BytesMut::new(),
            arrived: BytesMut::new(),
            to_client: BytesMut::new(),
            is_over: false,
        }
    }

    /// Whether the node has closed it, or given it up.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        let is_idle = self.asked.is_empty() && !self.connection.has_pending_writes();
        self.is_over
            || self.is_unknown()
            || (is_idle && self.to_server.is_empty() && self.arrived.is_empty() && self.to_client.is_empty())
    }

    /// Whether the node has never heard who is there: it waits for the rest of CONNECT, for as long as it may take.
    pub fn is_unknown(&self) -> bool {
        !self.is_over && self.driver.is_none() && self.asked.is_empty() && !self.connection.is_connected()
    }

    pub fn arrive(&mut self, bytes: usize) {
        let bytes = self.to_server.split_to(bytes.min(self.to_server.len()));
        self.arrived.extend_from_slice(&bytes);
    }

    /// The node sees that the client is gone.
    pub fn lost(&mut self, cluster: &mut Cluster) {
        if !self.is_over {
            self.is_over = true;
            self.leave(LOST, cluster);
        }
    }

    /// One turn of the task.
    pub fn turn(&mut self, cluster: &mut Cluster) {
        if self.is_over {
            return;
        }
        let close = self.driver.as_ref().and_then(|driver| driver.outbox().close_reason());
        if let Some(reason) = close {
            self.call(cluster, |connection, out| connection.on_shutdown(reason, "", out));
        }
        self.take_bytes(cluster);
        if let Some(driver) = self.driver.as_mut().filter(|_| !self.is_over) {
            let (connection, out) = (&mut self.connection, &mut self.to_client);
            let step =
                cluster.nodes[self.node].with_driver(|node| driver.pump(connection, node, out, WRITE_BYTES_TARGET));
            if let Some(progress) = step.unwrap().propose {
                self.ask(cluster, Operation::Progress(progress), Asked::Progress);
            }
        }
    }

    fn take_bytes(&mut self, cluster: &mut Cluster) {
        let mut arrived = std::mem::take(&mut self.arrived);
        while !self.is_over {
            let before = arrived.len();
            self.call(cluster, |connection, out| connection.on_bytes(&mut arrived, 0, out));
            if arrived.len() == before {
                break;
            }
        }
        self.arrived = arrived;
    }

    /// Calls the connection and carries out what it wants.
    fn call(&mut self, cluster: &mut Cluster, act: impl FnOnce(&mut Connection, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        act(&mut self.connection, &mut effects);
        for effect in effects {
            assert!(!self.is_over, "{effect:?} after Close");
            self.carry_out(effect, cluster);
        }
    }

    fn carry_out(&mut self, effect: Effect, cluster: &mut Cluster) {
        match effect {
            Effect::Send(packet) => encode(&packet, self.connection.version(), &mut self.to_client),
            Effect::Authenticated(authenticated) => {
                let Authenticated {
                    client_id,
                    clean_start,
                    session_expiry_s,
                    ..
                } = &*authenticated;
                let operation = connect(client_id.clone(), *clean_start, *session_expiry_s).into();
                self.ask(cluster, operation, Asked::Connect(authenticated));
            }
            Effect::Propose { token, command } => {
                let question = self.question(Token::Outcome(token));
                cluster.nodes[self.node].propose(Some(question), command);
            }
            Effect::PublishEvent(event) => cluster.publish_event(&event),
            Effect::Subscribe(request) => {
                let subscriptions = request.subscriptions.iter().map(stored).collect();
                let operation = Operation::Subscribe(Subscribe { subscriptions });
                self.ask(cluster, operation, Asked::Subscribe(request));
            }
            Effect::Unsubscribe { .. } => panic!("nobody unsubscribes"),
            Effect::Acknowledged { packet_id, kind } => {
                if let Some(driver) = &mut self.driver {
                    driver.acknowledge(packet_id, kind);
                }
            }
            Effect::Close(disconnect) => {
                self.leave(disconnect, cluster);
                self.is_over = true;
            }
        }
    }

    fn question(&self, token: Token) -> Question {
        Question {
            link: self.number,
            token,
        }
    }

    /// Asks for `operation` in the name of this connection.
    fn ask(&mut self, cluster: &mut Cluster, operation: Operation, asked: Asked) {
        let fence = self.driver.as_ref().map(|driver| driver.outbox().id());
        let command = Command {
            sender: fence.map(|fence| Sender { fence, packet_id: None }),
            operation,
        };
        let question = self.question(Token::Answer(self.asked_count));
        self.asked.insert(self.asked_count, asked);
        self.asked_count += 1;
        cluster.nodes[self.node].propose(Some(question), command);
    }

    /// What became of something that was proposed.
    pub fn answered(&mut self, token: Token, outcome: Outcome, cluster: &mut Cluster) {
        let number = match token {
            Token::Outcome(_) if self.is_over => return,
            Token::Outcome(token) => {
                let result = ProposeResult::Outcome(outcome);
                return self.call(cluster, |connection, out| connection.on_outcome(token, result, out));
            }
            Token::Answer(number) => number,
        };
        let asked = self.asked.remove(&number).expect("answered once");
        match (asked, outcome) {
            (Asked::Connect(authenticated), Outcome::Connected { fence, session_present }) => {
                self.connected(&authenticated, fence, session_present, cluster);
            }
            (Asked::Connect(_) | Asked::Subscribe(_) | Asked::Progress, _) if self.is_over => {}
            (Asked::Connect(_), other) => {
                let result = RegisterResult::Unavailable(format!("{other:?}"));
                self.call(cluster, |connection, out| connection.on_registered(result, 0, out));
            }
            (_, Outcome::Fenced) => self.end(ReasonCode::SessionTakenOver, cluster),
            (_, Outcome::TooLate) => self.end(ReasonCode::ServerBusy, cluster),
            (Asked::Progress, _) => {
                let mut effects = Vec::new();
                if let Some(driver) = &mut self.driver {
                    let (connection, out) = (&mut self.connection, &mut self.to_client);
                    cluster.nodes[self.node].with_driver(|node| driver.committed(connection, node, &mut effects, out));
                }
                effects.into_iter().for_each(|effect| self.carry_out(effect, cluster));
            }
            (Asked::Subscribe(request), _) => self.subscribed(&request, cluster),
        }
    }

    fn end(&mut self, reason: ReasonCode, cluster: &mut Cluster) {
        self.call(cluster, |connection, out| connection.on_shutdown(reason, "", out));
    }

    /// The state has accepted the connection as `fence`.
    fn connected(&mut self, authenticated: &Authenticated, fence: u64, session_present: bool, cluster: &mut Cluster) {
        let node = &mut cluster.nodes[self.node];
        let end = |disconnect| Command::of(fence, Operation::Disconnect(disconnect));
        if self.is_over {
            // Nobody waits for it any more.
            return node.propose(None, end(LOST));
        }
        let client_id = authenticated.client_id.clone();
        let outbox = Outbox::persistent(
            fence,
            client_id.clone(),
            OUTBOX_BYTES_MAX,
            Arc::clone(node.broker.backlog()),
        );
        let view = node.registry.register(&outbox, || node.view());
        let session = view.session(&client_id);
        let result = match session.filter(|session| resume::is_of(session, fence)) {
            Some(session) => {
                resume::begin_assigned(&session, &outbox, &view, &BTreeSet::new()).unwrap();
                self.driver = Some(resume::resume(
                    &session,
                    &outbox,
                    &node.broker,
                    std::time::Duration::MAX,
                    ReplayPace::new(0),
                ));
                RegisterResult::Registered(Registered {
                    fence,
                    replicated: true,
                    resumed: session_present.then(|| resume::resumed(&session)),
                })
            }
            None => {
                node.broker.disconnect(fence);
                node.propose(None, end(LOST));
                RegisterResult::Unavailable("the client has connected again".to_owned())
            }
        };
        self.call(cluster, |connection, out| connection.on_registered(result, 0, out));
    }

    fn subscribed(&mut self, request: &SubscribeRequest, cluster: &mut Cluster) {
        let Some(driver) = &mut self.driver else { return };
        let node = &cluster.nodes[self.node];
        let replay = driver.next_replay();
        let filters = request.subscriptions.iter().map(|new| {
            let options = SubscriptionOptions {
                qos: new.subscription.options.qos,
                no_local: false,
                retain_as_published: false,
                subscription_id: None,
                latest: false,
            };
            (new.filter.filter(), options)
        });
        let view = node.broker.subscribe(driver.outbox(), replay, filters, || node.view());
        let result = SubscribeResult::Subscribed {
            revision: view.revision,
        };
        self.call(cluster, |connection, out| {
            connection.on_subscribed(request.token, result, out);
        });
    }

    /// The connection ends, by `disconnect`: the state will hear of it, after the last acknowledgements.
    fn leave(&mut self, disconnect: Disconnect, cluster: &mut Cluster) {
        if let Some(progress) = self.driver.as_mut().and_then(Driver::last_words) {
            self.ask(cluster, Operation::Progress(progress), Asked::Progress);
        }
        if let Some(driver) = self.driver.take() {
            let fence = driver.outbox().id();
            let node = &mut cluster.nodes[self.node];
            node.broker.disconnect(fence);
            node.propose(None, Command::of(fence, Operation::Disconnect(disconnect)));
        }
    }
}

/// A subscription as the cluster keeps it. None here replays anything.
fn stored(new: &NewSubscription) -> SessionSubscription {
    assert!(matches!(new.filter, SubscriptionFilter::Plain(_)) && !new.sends_retained());
    SessionSubscription {
        filter: new.filter.clone(),
        options: StoredOptions {
            qos: new.subscription.options.qos as u8,
            no_local: false,
            retain_as_published: false,
        },
        latest: false,
        subscription_id: None,
        replay: None,
    }
}
