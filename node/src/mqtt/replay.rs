//! The retained messages after a SUBSCRIBE: those of one moment R, complete, streamed by the client's credit.
//!
//! A replay reads its view a chunk at a time, so it holds a constant amount of memory however much there is to send. While
//! it runs, what happens after R waits in the outbox. A view that was not read for its lease is given up, since it keeps
//! what it shows from being reclaimed; the replay then starts again at a newer R and says so (`reset=on`).

use std::collections::VecDeque;
use std::time::Duration;

use banyan_core::keyspace::{Scan, Selection};
use banyan_core::metadata::Metadata;
use banyan_core::mqtt::connection::Connection;
use banyan_core::mqtt::connection::deliver::{DeliverResult, OutgoingMessage};
use banyan_core::mqtt::connection::effect::SubscribeRequest;
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::StateView;
use banyan_core::store::{Direction, StoreError};
use banyan_core::topic::{TopicFilter, TopicName};
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::broker::Message;

/// Rows read at a time.
const CHUNK_ROWS: usize = 64;
/// Bytes read at a time, roughly.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks read before others must be let run.
const CHUNKS_MAX: usize = 16;
/// Where the marker is published.
const MARKER_TOPIC: &str = "$SYS/marker";

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
    source: Option<Source>,
    rows: VecDeque<Message>,
}

/// Where the rows of one subscription come from.
enum Source {
    Scan(Box<Scan>),
    /// Changes after a revision and ordinal.
    Changes(u64, u32),
}

impl Replay {
    /// Everything `request` asks for, as `view` shows it.
    pub fn new(request: SubscribeRequest, view: StateView, lease: Duration) -> Self {
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
            source: None,
            rows: VecDeque::new(),
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
            self.source = None;
            self.rows.clear();
        }
    }

    /// The request again, after [`Progress::Expired`].
    pub fn into_request(self) -> SubscribeRequest {
        self.request
    }

    /// Starts over with a newer view.
    pub fn restarted(request: SubscribeRequest, view: StateView, lease: Duration) -> Self {
        Self {
            reset: true,
            ..Self::new(request, view, lease)
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
            self.source = None;
            self.rows.clear();
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
            let Some(message) = self.rows.front() else {
                if chunks == CHUNKS_MAX {
                    return Ok(Progress::Yield);
                }
                chunks += 1;
                if !self.read_chunk()? {
                    self.index += 1;
                    self.source = None;
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
                match connection.deliver(&outgoing, out) {
                    DeliverResult::WindowFull => return Ok(Progress::Blocked),
                    DeliverResult::Sent { .. }
                    | DeliverResult::TooLarge
                    | DeliverResult::NotReserved
                    | DeliverResult::NotConnected => {}
                }
            }
            self.rows.pop_front();
            self.moved_at = Instant::now();
        }
        if self.request.marker {
            self.send_marker(connection, out);
        }
        Ok(Progress::Done)
    }

    /// Reads rows of the current subscription; `false` if there are no more.
    fn read_chunk(&mut self) -> Result<bool, StoreError> {
        let (Some(new), Some(view)) = (self.request.subscriptions.get(self.index), &self.view) else {
            return Ok(false);
        };
        let since = self.request.since.filter(|_| !self.reset);
        let source = self.source.get_or_insert_with(|| match since {
            Some(since) => Source::Changes(since, u32::MAX),
            None => Source::Scan(Box::new(
                view.scan(Selection::Filter(new.filter.filter().clone()), Direction::Ascending),
            )),
        });
        let log_time_us = view.log_time_us;
        match source {
            Source::Scan(scan) => {
                let mut found = Vec::with_capacity(CHUNK_ROWS);
                let more = scan.next_chunk(CHUNK_ROWS, CHUNK_BYTES, &mut found)?;
                let messages = found
                    .iter()
                    .map(|(topic, record)| Message::of_record(topic, record, log_time_us));
                self.rows.extend(messages);
                Ok(more || !self.rows.is_empty())
            }
            Source::Changes(revision, ordinal) => {
                let changes = view.changes_after(*revision, *ordinal, CHUNK_ROWS)?;
                let Some(last) = changes.last() else {
                    return Ok(false);
                };
                (*revision, *ordinal) = (last.revision, last.ordinal);
                for change in changes
                    .iter()
                    .filter(|change| new.filter.filter().matches(&change.topic))
                {
                    self.rows.push_back(match &change.record {
                        Some(record) => Message::of_record(&change.topic, record, log_time_us),
                        None => {
                            let timestamp_us = change.tombstone.as_ref().map_or(0, |tombstone| tombstone.timestamp_us);
                            Message::of_tombstone(&change.topic, change.revision, timestamp_us)
                        }
                    });
                }
                Ok(true)
            }
        }
    }

    /// Whether the client is to hear of a reset: it has asked for what can be reset, or for annotations.
    fn tells_reset(&self, connection: &Connection) -> bool {
        self.reset && (self.request.since.is_some() || self.request.marker || connection.annotates())
    }

    fn send_marker(&self, connection: &mut Connection, out: &mut BytesMut) {
        let Ok(topic) = TopicName::parse(MARKER_TOPIC) else {
            return;
        };
        let revision = self.revision.to_string();
        let user_properties = [("revision", revision.as_str()), ("reset", "on")];
        let subscription_id = self
            .request
            .subscriptions
            .first()
            .and_then(|new| new.subscription.subscription_id);
        let marker = OutgoingMessage {
            topic: &topic,
            payload: &Bytes::new(),
            metadata: &Metadata::default(),
            qos: QoS::AtMostOnce,
            retain: false,
            subscription_ids: subscription_id.as_slice(),
            message_expiry_s: None,
            annotations: None,
            user_properties: &user_properties[..if self.tells_reset(connection) { 2 } else { 1 }],
            templates: None,
        };
        // Too large for a client that takes less than its own marker: counted by the connection.
        let _ = connection.deliver(&marker, out);
    }
}
