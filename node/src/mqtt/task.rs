//! The task of one connection.
//!
//! It owns the socket and the state machine. Each turn it moves what may be sent into the write buffer, then waits for
//! whatever comes first: bytes, room in the socket, outcomes, an answered SUBSCRIBE, new deliveries, a deadline. Everything
//! that became ready goes out with one write.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use banyan_core::mqtt::codec;
use banyan_core::mqtt::connection::deliver::DeliverResult;
use banyan_core::mqtt::connection::effect::{
    Authenticated, Effect, ProposeResult, RegisterResult, Registered, SubscribeRequest, SubscribeResult,
    UnsubscribeResult,
};
use banyan_core::mqtt::connection::{Connection, NewSubscription, Token};
use banyan_core::mqtt::reason::ReasonCode;
use banyan_core::state::StateView;
use banyan_core::topic::{SubscriptionFilter, TopicFilter};
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::MqttSettings;
use super::replay::{Progress, Replay};
use crate::broker::{Item, Outbox, SubscriptionOptions};
use crate::net::BoxStream;
use crate::service::{Completion, Consistency, ProposeError, ReadError, Reply, Service};
use crate::simulation;

/// The write buffer takes no further message once it holds this many bytes.
const WRITE_BYTES_TARGET: usize = 64 * 1024;
/// The client is read no further while it leaves this many bytes unread itself.
const WRITE_BYTES_MAX: usize = 4 * WRITE_BYTES_TARGET;
/// SUBSCRIBEs whose retained messages have yet to be sent: the client is read no further meanwhile.
const REPLAYS_MAX: usize = 8;
/// Room made for one read from the socket.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take to read the last bytes before its connection is cut.
const LINGER: Duration = Duration::from_secs(2);
/// How long writes under way may still be acknowledged when the node stops.
const DRAIN: Duration = Duration::from_secs(2);

type Subscribing = BoxFuture<'static, (SubscribeRequest, Result<(), ReadError>)>;

/// Serves one connection until it ends.
///
/// # Errors
/// The socket failed. A connection that was closed in order is no error.
pub async fn run(
    stream: BoxStream,
    service: Service,
    settings: MqttSettings,
    stop: CancellationToken,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let (outcome_sender, outcomes) = mpsc::unbounded_channel();
    let connection = Connection::new(Arc::clone(&settings.connection), service.random(), 0);
    let mut task = Task {
        writer,
        connection,
        service,
        settings,
        start: Instant::now(),
        outbox: None,
        read: BytesMut::with_capacity(READ_BYTES),
        write: BytesMut::with_capacity(READ_BYTES),
        effects: Vec::new(),
        outcome_sender,
        subscribing: FuturesUnordered::new(),
        replays: BTreeMap::new(),
        replay_count: 0,
        replaying: None,
        yielded: false,
        closing: false,
    };
    let result = task.serve(reader, outcomes, stop).await;
    if let Some(outbox) = task.outbox.take() {
        let filters = task.connection.subscriptions().map(|(filter, _)| filter.filter());
        task.service.broker().disconnect(&outbox, filters);
    }
    result
}

struct Task {
    writer: WriteHalf<BoxStream>,
    connection: Connection,
    service: Service,
    settings: MqttSettings,
    start: Instant,
    /// Registered with the broker, from CONNACK on.
    outbox: Option<Arc<Outbox>>,
    read: BytesMut,
    write: BytesMut,
    effects: Vec<Effect>,
    outcome_sender: mpsc::UnboundedSender<(u64, Reply)>,
    subscribing: FuturesUnordered<Subscribing>,
    /// Replays whose place in the outbox has not come yet.
    replays: BTreeMap<u64, Replay>,
    replay_count: u64,
    /// The replay that is being sent; the outbox waits.
    replaying: Option<Replay>,
    /// A replay has more to read, once others have run.
    yielded: bool,
    closing: bool,
}

impl Task {
    async fn serve(
        &mut self,
        mut reader: ReadHalf<BoxStream>,
        mut outcomes: mpsc::UnboundedReceiver<(u64, Reply)>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let mut answered = Vec::new();
        let mut draining: Option<Instant> = None;
        loop {
            if !self.closing {
                self.check_close(draining);
                if draining.is_none() {
                    // What was left unread while the client had enough to take.
                    self.take_bytes();
                }
                self.pump()?;
            }
            if self.closing {
                return self.finish(reader).await;
            }
            let wants_read = self.wants_read() && draining.is_none();
            let outbox = self.outbox.clone();
            let wait_outbox = async {
                match outbox {
                    Some(outbox) => outbox.wait().await,
                    None => std::future::pending().await,
                }
            };
            let deadline = self.deadline(draining);
            let wait_deadline = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            self.read.reserve(READ_BYTES);
            tokio::select! {
                count = reader.read_buf(&mut self.read), if wants_read => {
                    if count? == 0 {
                        return Ok(());
                    }
                }
                written = self.writer.write_buf(&mut self.write), if !self.write.is_empty() => {
                    if written? == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                _ = outcomes.recv_many(&mut answered, 1024) => {
                    if let Some(late) = simulation::late_answer() {
                        tokio::time::sleep(late).await;
                    }
                    for (token, reply) in answered.drain(..) {
                        self.connection.on_outcome(token, propose_result(reply), &mut self.effects);
                    }
                    self.take_bytes();
                }
                () = tokio::task::yield_now(), if self.yielded => {}
                Some((request, fresh)) = self.subscribing.next(), if !self.subscribing.is_empty() => {
                    self.subscribe(request, fresh);
                    self.take_bytes();
                }
                () = wait_outbox => {}
                () = wait_deadline => {
                    let now = Instant::now();
                    self.replays.values_mut().chain(&mut self.replaying).for_each(|replay| replay.end_lease(now));
                    let now_ms = self.now_ms();
                    self.connection.on_tick(now_ms, &mut self.effects);
                    self.carry_out();
                }
                () = stop.cancelled(), if draining.is_none() => draining = Some(Instant::now() + DRAIN),
            }
        }
    }

    /// Whether to take more from the client: not while it does not take what it is sent.
    fn wants_read(&self) -> bool {
        self.connection.wants_read()
            && self.write.len() < WRITE_BYTES_MAX
            && self.replays.len() + self.subscribing.len() < REPLAYS_MAX
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn deadline(&self, draining: Option<Instant>) -> Option<Instant> {
        let timer = self
            .connection
            .deadline_ms()
            .map(|ms| self.start + Duration::from_millis(ms));
        let leases = self
            .replays
            .values()
            .chain(&self.replaying)
            .filter_map(Replay::lease_end);
        [timer, draining].into_iter().flatten().chain(leases).min()
    }

    /// Ends the connection if the broker or the node asks for it.
    fn check_close(&mut self, draining: Option<Instant>) {
        let asked = self.outbox.as_ref().and_then(|outbox| outbox.close_reason());
        let drained = draining.is_some_and(|until| !self.connection.has_pending_writes() || Instant::now() >= until);
        let (reason, text) = match asked {
            Some(ReasonCode::QuotaExceeded) => (
                ReasonCode::QuotaExceeded,
                "changes could not be kept for the client; subscribe again",
            ),
            Some(reason) => (reason, ""),
            None if drained => (
                ReasonCode::ServerShuttingDown,
                "the node is stopping; connect to another",
            ),
            None => return,
        };
        self.connection.on_shutdown(reason, text, &mut self.effects);
        self.carry_out();
    }

    /// Lets the connection handle what was read, as far as it wants to.
    fn take_bytes(&mut self) {
        loop {
            let now_ms = self.now_ms();
            let before = self.read.len();
            if self.wants_read() && before > 0 {
                self.connection.on_bytes(&mut self.read, now_ms, &mut self.effects);
            }
            if self.effects.is_empty() {
                return;
            }
            self.carry_out();
            if self.closing || self.read.len() == before {
                return;
            }
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(packet) => codec::encode(&packet, self.connection.version(), &mut self.write),
                Effect::Authenticated(authenticated) => self.register(&authenticated),
                Effect::Propose { token, command } => {
                    let completion = Completion::channel(self.outcome_sender.clone(), token);
                    // Without its sender, since the cluster knows of no connection yet.
                    self.service.propose(command.operation, completion);
                }
                Effect::PublishEvent(event) => self.service.publish_event(event),
                Effect::Subscribe(request) => self.ask_to_subscribe(request),
                Effect::Unsubscribe { token, filters } => self.unsubscribe(token, &filters),
                Effect::Acknowledged { .. } => {}
                Effect::Close(_) => self.closing = true,
            }
        }
        // Handling an effect may have caused others; keep the allocation of whichever list is used on.
        if self.effects.is_empty() {
            self.effects = effects;
        } else {
            self.carry_out();
        }
    }

    fn register(&mut self, authenticated: &Authenticated) {
        let result = match self.service.is_ready() {
            Err(reason) => RegisterResult::Unavailable(reason),
            Ok(()) if authenticated.will.is_some() => RegisterResult::Refused(
                ReasonCode::ImplementationSpecificError,
                "wills are not supported yet; connect without one".to_owned(),
            ),
            Ok(()) => {
                let broker = self.service.broker();
                let id = broker.next_connection_id();
                let client_id = authenticated.client_id.clone();
                let outbox = Outbox::new(id, client_id, self.settings.outbox_bytes_max);
                broker.register(&outbox);
                self.outbox = Some(outbox);
                RegisterResult::Registered(Registered::default())
            }
        };
        let now_ms = self.now_ms();
        self.connection.on_registered(result, now_ms, &mut self.effects);
    }

    fn unsubscribe(&mut self, token: Token, filters: &[SubscriptionFilter]) {
        let filters: Vec<TopicFilter> = filters.iter().map(|filter| filter.filter().clone()).collect();
        if let Some(outbox) = &self.outbox {
            self.service.broker().unsubscribe(outbox, &filters);
        }
        self.replays
            .values_mut()
            .chain(&mut self.replaying)
            .for_each(|replay| replay.unsubscribe(&filters));
        let result = UnsubscribeResult::Unsubscribed;
        self.connection.on_unsubscribed(token, result, &mut self.effects);
    }

    fn ask_to_subscribe(&mut self, request: SubscribeRequest) {
        let service = self.service.clone();
        let consistency = match request.consistency_local {
            true => Consistency::Local,
            false => Consistency::Linearizable,
        };
        self.subscribing.push(Box::pin(async move {
            let fresh = service.read(consistency).await.map(drop);
            (request, fresh)
        }));
    }

    /// The moment R is now: this node has applied everything that was acknowledged before the SUBSCRIBE came.
    fn subscribe(&mut self, request: SubscribeRequest, fresh: Result<(), ReadError>) {
        if let Err(error) = fresh {
            let result = SubscribeResult::Unavailable(error.to_string());
            self.connection.on_subscribed(request.token, result, &mut self.effects);
            return;
        }
        if request.since.is_none() {
            // What is subscribed again is replayed once, with its new options; unless the new subscription replays nothing.
            let replayed_anew = request.subscriptions.iter().filter(|new| new.sends_retained());
            let filters: Vec<_> = replayed_anew.map(|new| new.filter.filter().clone()).collect();
            self.replays
                .values_mut()
                .chain(&mut self.replaying)
                .for_each(|replay| replay.unsubscribe(&filters));
        }
        let (replay, view) = self.take_view(&request.subscriptions);
        let result = SubscribeResult::Subscribed {
            revision: view.revision,
        };
        self.connection.on_subscribed(request.token, result, &mut self.effects);
        self.carry_out();
        self.replays
            .insert(replay, Replay::new(request, view, self.settings.view_lease));
    }

    /// Registers `subscriptions` and takes the view from which retained messages are sent.
    fn take_view(&mut self, subscriptions: &[NewSubscription]) -> (u64, StateView) {
        self.replay_count += 1;
        let replay = self.replay_count;
        let Some(outbox) = &self.outbox else {
            return (replay, self.service.local_view());
        };
        let filters = subscriptions.iter().map(|new| {
            let options = new.subscription.options;
            let options = SubscriptionOptions {
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                subscription_id: new.subscription.subscription_id,
            };
            (new.filter.filter(), options)
        });
        let view = self
            .service
            .broker()
            .subscribe(outbox, replay, filters, || self.service.local_view());
        (replay, view)
    }

    /// Moves what may be sent now into the write buffer.
    fn pump(&mut self) -> io::Result<()> {
        self.yielded = false;
        loop {
            if let Some(replay) = &mut self.replaying {
                let now_us = || self.service.log_time_us();
                let progress = replay.pump(&mut self.connection, now_us, &mut self.write, WRITE_BYTES_TARGET);
                match progress.map_err(|error| io::Error::other(error.to_string()))? {
                    Progress::Blocked => return Ok(()),
                    Progress::Yield => {
                        self.yielded = true;
                        return Ok(());
                    }
                    Progress::Done => self.replaying = None,
                    Progress::Expired => {
                        let request = self.replaying.take().map(Replay::into_request);
                        if let Some(request) = request {
                            // The subscriptions are in place, maybe with newer options.
                            let (replay, view) = self.take_view(&[]);
                            self.replays
                                .insert(replay, Replay::restarted(request, view, self.settings.view_lease));
                        }
                    }
                }
            }
            let Some(outbox) = &self.outbox else {
                return Ok(());
            };
            if self.write.len() >= WRITE_BYTES_TARGET {
                return Ok(());
            }
            match outbox.pop(|delivery| self.connection.can_deliver(delivery.qos)) {
                None => return Ok(()),
                Some(Item::Replay(replay)) => self.replaying = self.replays.remove(&replay),
                Some(Item::Message(delivery)) => {
                    let now_us = || self.service.log_time_us();
                    let message = &delivery.message;
                    let Some(outgoing) =
                        message.outgoing(delivery.qos, delivery.retain, &delivery.subscription_ids, now_us)
                    else {
                        continue;
                    };
                    let result = self.connection.deliver(&outgoing, &mut self.write);
                    debug_assert_ne!(
                        result,
                        DeliverResult::WindowFull,
                        "taken although it could not be delivered"
                    );
                }
            }
        }
    }

    /// Sends what is left and closes, so that the client can read the last packet before the connection ends.
    async fn finish(&mut self, mut reader: ReadHalf<BoxStream>) -> io::Result<()> {
        let farewell = async {
            self.writer.write_all_buf(&mut self.write).await?;
            self.writer.shutdown().await?;
            // Closing with unread bytes would reset the connection and take the farewell with it.
            let mut ignored = [0; 4096];
            while reader.read(&mut ignored).await? > 0 {}
            Ok(())
        };
        tokio::time::timeout(LINGER, farewell).await.unwrap_or(Ok(()))
    }
}

fn propose_result(reply: Reply) -> ProposeResult {
    match reply {
        Ok(outcome) => ProposeResult::Outcome(outcome),
        Err(ProposeError::Unavailable(reason)) => ProposeResult::Unavailable(reason),
        Err(ProposeError::Unknown(reason)) => ProposeResult::Unknown(reason),
    }
}
