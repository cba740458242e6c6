//! The connections of this node, by fence, and what the replicated state says about them.
//!
//! A connection is live from the entry of its `Connect` on until another entry ends it: its own `Disconnect`, a `Connect` of the
//! same client anywhere, a kick, or the loss of its node. The registry closes what such an entry has ended, and sees to it that
//! the state hears of every connection that ended here: a `Disconnect` is proposed again until its outcome is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::command::{Command, Disconnect, Operation, Sender};
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::state::{Assigned, CloseReason, Closed, StateView};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::broker::{Broker, Delivery, Message, Outbox, qos_of};
use crate::origin::{Completion, Origin, Reply};

/// Disconnects under way at a time: as many as a batch or two take.
const UNDER_WAY_MAX: usize = 2_048;
/// How long a disconnect whose outcome is not known waits before it is proposed again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Takes a view of the state as applied here.
pub type TakeView = Arc<dyn Fn() -> StateView + Send + Sync>;

/// The connections of this node; cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    node_id: u64,
    broker: Arc<Broker>,
    departures: Mutex<Departures>,
    arrived: Notify,
    /// How many departures the state has yet to hear of.
    owed: watch::Sender<usize>,
}

/// Connections that ended here, and those of which it is not known whether they ever began.
#[derive(Default)]
struct Departures {
    /// To be proposed, by fence.
    waiting: BTreeMap<u64, Disconnect>,
    /// Proposed, no outcome yet.
    under_way: BTreeMap<u64, Disconnect>,
    /// Clients whose `Connect` is under way, and how many times.
    connecting: BTreeMap<Bytes, usize>,
    /// Clients whose `Connect` nobody waits for any more, and the log time after which it cannot be applied.
    strays: BTreeMap<Bytes, u64>,
}

impl Departures {
    fn owed(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }
}

/// A `Connect` under way. Dropped before it is [resolved](Connecting::resolve), the registry ends what it may begin.
pub struct Connecting {
    registry: Registry,
    client_id: Bytes,
    applied_before_us: u64,
    resolved: bool,
}

impl Connecting {
    /// Its outcome is known.
    pub fn resolve(mut self) {
        self.resolved = true;
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let mut departures = self.registry.0.departures.lock();
        if let Some(count) = departures.connecting.get_mut(&self.client_id) {
            *count -= 1;
            if *count == 0 {
                departures.connecting.remove(&self.client_id);
            }
        }
        if !self.resolved {
            departures.strays.insert(self.client_id.clone(), self.applied_before_us);
        }
    }
}

impl Registry {
    /// The registry of `node_id`, whose connections are `broker`'s.
    #[must_use]
    pub fn new(node_id: u64, broker: Arc<Broker>) -> Self {
        Self(Arc::new(Inner {
            node_id,
            broker,
            departures: Mutex::default(),
            arrived: Notify::new(),
            owed: watch::Sender::new(0),
        }))
    }

    /// Begins to propose what is to be proposed.
    pub fn start(&self, origin: Origin, take_view: TakeView) {
        tokio::spawn(self.clone().run(origin, take_view));
    }

    /// Takes up a connection that the state has accepted. What ends it from now on closes its outbox, and so does what has
    /// ended it already, as `view` shows, which must be taken after the call.
    pub fn register(&self, outbox: &Arc<Outbox>, take_view: impl FnOnce() -> StateView) -> StateView {
        self.0.broker.register(outbox);
        let view = take_view();
        close_unless_live(outbox, &view);
        view
    }

    /// A connection has ended: forgets it, and lets the state know.
    pub fn depart(&self, fence: u64, disconnect: Disconnect) {
        self.0.broker.disconnect(fence);
        self.0.departures.lock().waiting.insert(fence, disconnect);
        self.changed();
    }

    /// A `Connect` of `client_id` is about to be proposed, which cannot be applied after log time `applied_before_us`.
    #[must_use]
    pub fn connecting(&self, client_id: Bytes, applied_before_us: u64) -> Connecting {
        *self
            .0
            .departures
            .lock()
            .connecting
            .entry(client_id.clone())
            .or_default() += 1;
        Connecting {
            registry: self.clone(),
            client_id,
            applied_before_us,
            resolved: false,
        }
    }

    /// Waits until the state knows of all connections that have ended.
    pub async fn settled(&self) {
        let _ = self.0.owed.subscribe().wait_for(|owed| *owed == 0).await;
    }

    /// Whether the state knows of all connections that have ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        *self.0.owed.borrow() == 0
    }

    /// Closes what an entry has ended.
    pub fn on_closed(&self, closed: &Closed) {
        if closed.node_id == self.0.node_id
            && let Some(outbox) = self.0.broker.connection(closed.fence)
        {
            outbox.close(code_of(closed.reason));
        }
    }

    /// Hands a shared message to the member that the entry at `log_index` has chosen.
    pub fn on_assigned(&self, assigned: &Assigned, log_index: u64, log_time_us: u64) {
        if assigned.node_id != self.0.node_id {
            return;
        }
        // A connection that is not known here yet will find the message in the state.
        if let Some(outbox) = self.0.broker.connection(assigned.fence) {
            let message = Message::of_change(&assigned.change, log_time_us);
            let ids = assigned.subscription_id.into_iter().collect();
            let delivery = shared_delivery(message, assigned.qos, assigned.retain_as_published, ids);
            outbox.push_assigned(delivery, log_index);
        }
    }

    /// The state was replaced: nobody was told what ended meanwhile.
    pub fn on_installed(&self, view: &StateView) {
        for outbox in self.0.broker.connections() {
            close_unless_live(&outbox, view);
        }
    }

    fn changed(&self) {
        let owed = self.0.departures.lock().owed();
        self.0
            .owed
            .send_if_modified(|former| std::mem::replace(former, owed) != owed);
        self.0.arrived.notify_one();
    }

    async fn run(self, origin: Origin, take_view: TakeView) {
        let (sender, mut outcomes) = mpsc::unbounded_channel();
        let mut retry = tokio::time::interval(RETRY_DELAY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.0.arrived.notified() => {}
                Some((fence, reply)) = outcomes.recv() => {
                    let mut departures = self.0.departures.lock();
                    let disconnect = departures.under_way.remove(&fence);
                    if let (Err(_), Some(disconnect)) = (&reply, disconnect) {
                        failed.insert(fence, disconnect);
                    }
                }
                _ = retry.tick() => {
                    self.0.departures.lock().waiting.append(&mut failed);
                    self.find_strays(&take_view);
                }
            }
            self.propose(&origin, &sender);
            let owed = self.0.departures.lock().owed() + failed.len();
            self.0
                .owed
                .send_if_modified(|former| std::mem::replace(former, owed) != owed);
        }
    }

    fn propose(&self, origin: &Origin, sender: &mpsc::UnboundedSender<(u64, Reply)>) {
        let mut departures = self.0.departures.lock();
        while departures.under_way.len() < UNDER_WAY_MAX {
            let Some((fence, disconnect)) = departures.waiting.pop_first() else {
                return;
            };
            let command = Command {
                sender: Some(Sender { fence, packet_id: None }),
                operation: Operation::Disconnect(disconnect),
            };
            departures.under_way.insert(fence, disconnect);
            origin.propose(command, Completion::channel(sender.clone(), fence));
        }
    }

    /// Ends what a `Connect` has begun that nobody waited for.
    fn find_strays(&self, take_view: &TakeView) {
        let mut departures = self.0.departures.lock();
        let Departures {
            waiting,
            connecting,
            strays,
            ..
        } = &mut *departures;
        if strays.is_empty() {
            return;
        }
        let view = take_view();
        strays.retain(|client_id, applied_before_us| {
            if connecting.contains_key(client_id) {
                // The same client is here again: whatever its connection will be, it is not known yet.
                return true;
            }
            let session = view.session(client_id);
            let connection = session.and_then(|session| session.connection);
            let stray = connection.filter(|connection| {
                connection.node_id == self.0.node_id && self.0.broker.connection(connection.fence).is_none()
            });
            let lost = Disconnect {
                expiry_s: None,
                publishes_will: true,
            };
            waiting.extend(stray.map(|connection| (connection.fence, lost)));
            stray.is_none() && view.log_time_us <= *applied_before_us
        });
    }
}

/// Closes a connection that the state has ended.
fn close_unless_live(outbox: &Outbox, view: &StateView) {
    let session = view.session(outbox.client_id());
    let live = session.and_then(|session| session.connection.map(|connection| connection.fence));
    if live != Some(outbox.id()) {
        outbox.close(match live {
            Some(_) => ReasonCode::SessionTakenOver,
            None => ReasonCode::UseAnotherServer,
        });
    }
}

/// DISCONNECT of a connection that the cluster has ended. One whose node was given up for lost should look for another.
fn code_of(reason: CloseReason) -> ReasonCode {
    match reason {
        CloseReason::TakenOver => ReasonCode::SessionTakenOver,
        CloseReason::Kicked => ReasonCode::AdministrativeAction,
        CloseReason::NodeLost => ReasonCode::UseAnotherServer,
        CloseReason::TooLate => ReasonCode::ServerBusy,
    }
}

/// A message for the member of a shared subscription that was chosen for it.
pub(super) fn shared_delivery(
    message: Message,
    qos: u8,
    retain_as_published: bool,
    subscription_ids: Vec<u32>,
) -> Delivery {
    Delivery {
        qos: qos_of(qos),
        retain: retain_as_published && message.retain(),
        message: Arc::new(message.detach()),
        subscription_ids,
        shared: true,
    }
}
