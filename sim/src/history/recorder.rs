//! Where clients write what they did and saw.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Answer, Delivery, Operation, Serial, Subscription, Time};

/// Tells the time of the run.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// Everything the clients of a run did and saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// In the order in which they were sent.
    pub operations: Vec<Operation>,
    /// In the order in which they were asked for.
    pub subscriptions: Vec<Subscription>,
    /// What a client saw a node do against the protocol that it speaks.
    pub protocol_errors: Vec<ProtocolError>,
    /// What clients with a session received, with QoS 2 once for each time by its rules, in the order of arrival.
    pub receipts: Vec<Receipt>,
    /// By client with a session: the revision that the first SUBACK named.
    pub moments: BTreeMap<u32, u64>,
    /// By client with a session: its last message, which was acknowledged when nothing failed any more.
    pub last_messages: BTreeMap<u32, Serial>,
    /// Clients with a session that have received the last messages of all.
    pub drained: Vec<u32>,
    /// Connections that asked for a session, or brought a will, and were accepted.
    pub connections: Vec<Connection>,
    /// What connections left behind as their wills: topic and payload.
    pub wills: Vec<(String, Serial)>,
    /// Connections that a node closed because another one came with the same identifier.
    pub takeovers: u64,
}

/// A connection as its client knows it. Its will tells it from every other, here and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// When CONNACK came.
    pub at: Time,
    /// The client.
    pub client: u32,
    /// The node.
    pub node: u64,
    /// The payload of its will.
    pub will: Serial,
    /// Whether CONNACK told that there was a session.
    pub session_present: bool,
}

/// A message that a client with a session took for a new one, or with QoS 1 perhaps for an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// When.
    pub at: Time,
    /// The client.
    pub client: u32,
    /// The node that sent it.
    pub node: u64,
    /// The will of the connection over which it came.
    pub connection: Serial,
    /// What stood in the payload.
    pub serial: Option<Serial>,
    /// With which QoS it came.
    pub qos: u8,
    /// Whether the node said that it may have come before.
    pub dup: bool,
    /// Whether it came by the shared subscription.
    pub shared: bool,
    /// The client had another connection already, and did not take it.
    pub is_late: bool,
}

/// A node did something against the protocol that it speaks with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    /// When.
    pub at: Time,
    /// The client.
    pub client: u32,
    /// The node.
    pub node: u64,
    /// The promise that it breaks.
    pub invariant: &'static str,
    /// What, as part of a sentence.
    pub what: String,
}

impl ProtocolError {
    /// The promise of those that have no other.
    pub const ID: &'static str = "protocol";
}

/// Number of an operation in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub usize);

/// Number of a subscription in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubId(pub usize);

/// A history that is being written. Clones write the same one.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client is about to send a request.
    #[must_use]
    pub fn begin(&self, operation: Operation) -> OpId {
        let mut history = self.lock();
        history.operations.push(operation);
        OpId(history.operations.len() - 1)
    }

    /// The answer is there, or the client has given up.
    ///
    /// # Panics
    /// If the operation is of another history, or was finished before.
    pub fn finish(&self, id: OpId, at: Time, answer: Answer) {
        let mut history = self.lock();
        let operation = &mut history.operations[id.0];
        assert!(operation.answer.is_none(), "operation {id:?} is answered twice");
        operation.returned_at = Some(at);
        operation.answer = Some(answer);
    }

    /// A client is about to send SUBSCRIBE.
    #[must_use]
    pub fn subscribe(&self, subscription: Subscription) -> SubId {
        let mut history = self.lock();
        history.subscriptions.push(subscription);
        SubId(history.subscriptions.len() - 1)
    }

    /// SUBACK is there: the retained messages are those of `revision`.
    ///
    /// # Panics
    /// As [`deliver`](Self::deliver).
    pub fn granted(&self, id: SubId, at: Time, revision: u64) {
        self.lock().subscriptions[id.0].granted = Some((at, revision));
    }

    /// A message has arrived.
    ///
    /// # Panics
    /// If the subscription is of another history.
    pub fn deliver(&self, id: SubId, delivery: Delivery) {
        self.lock().subscriptions[id.0].deliveries.push(delivery);
    }

    /// The retained messages begin anew.
    ///
    /// # Panics
    /// As [`deliver`](Self::deliver).
    pub fn reset(&self, id: SubId, revision: Option<u64>) {
        let subscription = &mut self.lock().subscriptions[id.0];
        let delivered = subscription.deliveries.len();
        subscription.resets.push((delivered, revision));
    }

    /// The retained messages of `revision` are complete.
    ///
    /// # Panics
    /// As [`deliver`](Self::deliver).
    pub fn marker(&self, id: SubId, revision: u64) {
        let subscription = &mut self.lock().subscriptions[id.0];
        subscription.marker = Some((subscription.deliveries.len(), revision));
    }

    /// The subscription is about to end because the run is over, and everything has arrived.
    ///
    /// # Panics
    /// As [`deliver`](Self::deliver).
    pub fn alive_at_end(&self, id: SubId) {
        self.lock().subscriptions[id.0].alive_at_end = true;
    }

    /// A node did something against the protocol.
    pub fn protocol_error(&self, error: ProtocolError) {
        self.lock().protocol_errors.push(error);
    }

    /// A client with a session has received a message.
    pub fn receive(&self, receipt: Receipt) {
        self.lock().receipts.push(receipt);
    }

    /// A client with a session is subscribed from this revision on.
    pub fn subscribed(&self, client: u32, revision: u64) {
        self.lock().moments.entry(client).or_insert(revision);
    }

    /// A client with a session has sent its last message, and it was acknowledged.
    pub fn last_message(&self, client: u32, serial: Serial) {
        self.lock().last_messages.insert(client, serial);
    }

    /// A client is about to connect with this will.
    pub fn will(&self, topic: &str, serial: Serial) {
        self.lock().wills.push((topic.to_owned(), serial));
    }

    /// CONNACK has come.
    pub fn connected(&self, connection: Connection) {
        self.lock().connections.push(connection);
    }

    /// A client with a session has everything.
    pub fn drained(&self, client: u32) {
        self.lock().drained.push(client);
    }

    /// A connection was closed because another one came with the same identifier.
    pub fn taken_over(&self) {
        self.lock().takeovers += 1;
    }

    /// The connection of a subscription has ended.
    ///
    /// # Panics
    /// As [`deliver`](Self::deliver).
    pub fn end(&self, id: SubId, at: Time) {
        let subscription = &mut self.lock().subscriptions[id.0];
        subscription.ended_at.get_or_insert(at);
    }

    /// Looks at the history so far, in place. `look` must not use the recorder.
    pub fn with<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.lock())
    }

    /// A copy of the history so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        // A client that panics fails the run anyway; what was recorded until then is still true.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
