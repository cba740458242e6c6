//! The retained messages after a SUBSCRIBE: those of one moment R, complete, streamed by the client's credit.
//!
//! A replay reads its view a chunk at a time, so it holds a constant amount of memory however much there is to send. While
//! it runs, what happens after R waits in the outbox. A view that was not read for its lease is given up, since it keeps
//! what it shows from being reclaimed; the replay then starts again at a newer R and says so (`reset=on`).

use std::time::Duration;

use banyan_core::command::ReplayFrom;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::deliver::DeliverResult;
use banyan_core::mqtt::connection::effect::SubscribeRequest;
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::StateView;
use banyan_core::store::StoreError;
use banyan_core::topic::{SubscriptionFilter, TopicFilter};
use bytes::BytesMut;
use tokio::time::Instant;

use crate::broker::send_marker;
use crate::session::rows::Rows;

/// Chunks read before others must be let run.
const CHUNKS_MAX: usize = 16;

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything is sent.
    Done,
    /// The client or the write buffer takes no more for now.
    Blocked,
    /// The view was given up, since nothing was sent for too long: subscribe again and start over.
    Expired,
    /// Much was read and little found: let others run, then go on.
    Yield,
}

/// The retained messages of one SUBSCRIBE.
pub struct Replay {
    request: SubscribeRequest,
    /// R.
    revision: u64,
    /// `None` once its lease has ended.
    view: Option<StateView>,
    lease: Duration,
    /// When it was made, or a row was last sent.
    moved_at: Instant,
    /// Whether the client is told that this is everything anew.
    reset: bool,
    /// Which subscription of the request is being sent.
    index: usize,
    rows: Option<Rows>,
}

impl Replay {
    /// Everything `request` asks for, as `view` shows it. Shared subscriptions replay nothing (§4.8.2).
    pub fn new(mut request: SubscribeRequest, view: StateView, lease: Duration) -> Self {
        let is_plain = |filter: &SubscriptionFilter| matches!(filter, SubscriptionFilter::Plain(_));
        request.subscriptions.retain(|new| is_plain(&new.filter));
        let reset = request
            .since
            .is_some_and(|since| since < view.compacted_revision || since > view.revision);
        Self {
            request,
            revision: view.revision,
            view: Some(view),
            lease,
            moved_at: Instant::now(),
            reset,
            index: 0,
            rows: None,
        }
    }

    /// When the lease of the view ends, unless a row is sent before.
    pub fn lease_end(&self) -> Option<Instant> {
        self.view.as_ref().map(|_| self.moved_at + self.lease)
    }

    /// Gives the view up if its lease has ended.
    pub fn end_lease(&mut self, now: Instant) {
        if self.lease_end().is_some_and(|end| end <= now) {
            self.view = None;
            self.rows = None;
        }
    }

    /// Starts over with a newer view, after [`Progress::Expired`].
    pub fn restarted(self, view: StateView) -> Self {
        Self {
            reset: true,
            ..Self::new(self.request, view, self.lease)
        }
    }

    /// Sends nothing further for `filters`.
    pub fn unsubscribe(&mut self, filters: &[TopicFilter]) {
        let current = self.request.subscriptions.get(self.index).map(|new| new.index);
        self.request
            .subscriptions
            .retain(|new| !filters.contains(new.filter.filter()));
        let subscriptions = &self.request.subscriptions;
        self.index = subscriptions
            .iter()
            .position(|new| Some(new.index) >= current)
            .unwrap_or(subscriptions.len());
        if subscriptions.get(self.index).map(|new| new.index) != current {
            self.rows = None;
        }
    }

    /// Sends what the client takes, until `out` holds `bytes_target`.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn pump(
        &mut self,
        connection: &mut Connection,
        log_time_us: impl Fn() -> u64,
        out: &mut BytesMut,
        bytes_target: usize,
    ) -> Result<Progress, StoreError> {
        if self.view.is_none() {
            // Only once the client takes something: a view for one that is stuck would only be held for nothing.
            let takes = out.len() < bytes_target && connection.can_deliver(QoS::AtLeastOnce);
            return Ok(if takes { Progress::Expired } else { Progress::Blocked });
        }
        let tells_reset = self.tells_reset(connection);
        let mut chunks = 0;
        while let Some(new) = self.request.subscriptions.get(self.index) {
            if !new.sends_retained() {
                self.index += 1;
                continue;
            }
            let Some(message) = self.rows.as_ref().and_then(Rows::front) else {
                if chunks == CHUNKS_MAX {
                    return Ok(Progress::Yield);
                }
                chunks += 1;
                if !self.read_chunk()? {
                    self.index += 1;
                    self.rows = None;
                }
                continue;
            };
            let qos = message.qos().min(new.subscription.options.qos);
            if out.len() >= bytes_target || !connection.can_deliver(qos) {
                return Ok(Progress::Blocked);
            }
            let is_own = new.subscription.options.no_local && message.publisher() == connection.client_id();
            let subscription_ids: &[u32] = new.subscription.subscription_id.as_slice();
            let outgoing = message.outgoing(qos, true, subscription_ids, &log_time_us);
            // Neither what the client published itself [MQTT-3.8.3-3] nor what has expired [MQTT-3.3.2-5].
            if let Some(mut outgoing) = outgoing.filter(|_| !is_own) {
                outgoing.templates = None;
                if tells_reset {
                    outgoing.user_properties = &[("reset", "on")];
                }
                if connection.deliver(&outgoing, out) == DeliverResult::WindowFull {
                    return Ok(Progress::Blocked);
                }
            }
            self.rows.as_mut().and_then(Rows::pop);
            self.moved_at = Instant::now();
        }
        if self.request.marker {
            let first = self.request.subscriptions.first();
            let subscription_id = first.and_then(|new| new.subscription.subscription_id);
            let tells_reset = self.tells_reset(connection);
            send_marker(self.revision, subscription_id, tells_reset, |marker| {
                // Too large for a client that takes less than its own marker: counted by the connection.
                let _ = connection.deliver(marker, out);
            });
        }
        Ok(Progress::Done)
    }

    /// Reads rows of the current subscription; `false` if there are no more.
    fn read_chunk(&mut self) -> Result<bool, StoreError> {
        let (Some(new), Some(view)) = (self.request.subscriptions.get(self.index), &self.view) else {
            return Ok(false);
        };
        let from = match self.request.since.filter(|_| !self.reset) {
            Some(since) => ReplayFrom::Changes {
                after: MessagePosition::end_of(since),
            },
            None => ReplayFrom::Topics { after: None },
        };
        let rows = self
            .rows
            .get_or_insert_with(|| Rows::new(view, new.filter.filter().clone(), &from));
        rows.read_chunk(view)
    }

    /// Whether the client is to hear of a reset: it has asked for what can be reset, or for annotations.
    fn tells_reset(&self, connection: &Connection) -> bool {
        self.reset && (self.request.since.is_some() || self.request.marker || connection.annotates())
    }
}
