//! The retained messages that a persistent session has yet to be sent.
//!
//! How far a replay has come is in the replicated state, and goes on wherever the session is resumed. Whatever view it reads, it
//! sends what was there at its *moment*: a value written later comes with the messages behind the replay.

use std::time::Duration;

use banyan_core::command::ReplayFrom;
use banyan_core::keyspace::MessagePosition;
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::StateView;
use banyan_core::store::StoreError;
use banyan_core::topic::{SubscriptionFilter, TopicFilter};
use bytes::Bytes;
use tokio::time::Instant;

use super::rows::Rows;
use crate::broker::Message;

/// Chunks read before others must be let run.
const CHUNKS_MAX: usize = 16;

/// One subscription whose retained messages are to be sent.
#[derive(Debug, Clone)]
pub struct RetainedFilter {
    /// The filter.
    pub filter: TopicFilter,
    /// Most QoS of a delivery.
    pub qos: QoS,
    /// Not what the client published itself.
    pub no_local: bool,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// What has been sent.
    pub from: ReplayFrom,
}

/// The retained messages of one SUBSCRIBE, or of one subscription that a session brings with it.
pub struct Retained {
    /// Those that are not finished, the one being sent first.
    filters: Vec<RetainedFilter>,
    /// Nothing later is sent.
    moment: MessagePosition,
    view: Option<StateView>,
    lease: Duration,
    /// When the view was last read.
    read_at: Instant,
    rows: Option<Rows>,
    /// Whether the client is told that this is everything anew.
    pub reset: bool,
    /// Whether a marker follows.
    pub marker: Option<Marker>,
}

/// What is sent behind the last retained message.
#[derive(Debug, Clone, Copy)]
pub struct Marker {
    /// The moment.
    pub revision: u64,
    /// Subscription Identifier of the SUBSCRIBE.
    pub subscription_id: Option<u32>,
}

/// What comes next.
pub enum Next<'a> {
    /// A message: it is there until [`Retained::take`] is called.
    Message(&'a Message, &'a RetainedFilter),
    /// All of this subscription is sent.
    Finished(SubscriptionFilter),
    /// Much was read and little found: let others run.
    Yield,
    /// All is sent.
    Done,
}

impl Retained {
    /// What `filters` have yet to send of `moment`. A view of it is held no longer than `lease` without use.
    #[must_use]
    pub fn new(
        filters: Vec<RetainedFilter>,
        moment: MessagePosition,
        view: Option<StateView>,
        lease: Duration,
    ) -> Self {
        Self {
            filters,
            moment,
            view,
            lease,
            read_at: Instant::now(),
            rows: None,
            reset: false,
            marker: None,
        }
    }

    /// Its moment: what is later comes behind it.
    #[must_use]
    pub fn moment(&self) -> MessagePosition {
        self.moment
    }

    /// When the lease of the view ends, unless it is read before.
    #[must_use]
    pub fn lease_end(&self) -> Option<Instant> {
        self.view.as_ref().map(|_| self.read_at + self.lease)
    }

    /// Gives the view up if its lease has ended. The next one shows the rest of the moment too.
    pub fn end_lease(&mut self, now: Instant) {
        if self.lease_end().is_some_and(|end| end <= now) {
            self.view = None;
            self.rows = None;
        }
    }

    /// Sends nothing further for `filter`.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) {
        let first = self.filters.first().is_some_and(|first| first.filter == *filter);
        self.filters.retain(|pending| pending.filter != *filter);
        if first {
            self.rows = None;
        }
    }

    /// What is to be sent next to `client_id`; `take_view` is asked if a view is needed.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn next(&mut self, client_id: &Bytes, take_view: &dyn Fn() -> StateView) -> Result<Next<'_>, StoreError> {
        let Some(filter) = self.filters.first_mut() else {
            return Ok(Next::Done);
        };
        let view = self.view.get_or_insert_with(take_view);
        let rows = self.rows.get_or_insert_with(|| {
            let is_kept = match filter.from {
                ReplayFrom::Topics { .. } => true,
                ReplayFrom::Changes { after } => after.revision >= view.compacted_revision,
            };
            if !is_kept {
                // Deletions behind it may be forgotten.
                filter.from = ReplayFrom::Topics { after: None };
                self.reset = true;
            }
            Rows::new(view, filter.filter.clone(), &filter.from)
        });
        self.read_at = Instant::now();
        for _ in 0..CHUNKS_MAX {
            while let Some(message) = rows.front() {
                let is_later = message.position().is_none_or(|position| position > self.moment);
                let is_own = filter.no_local && message.publisher() == client_id; // [MQTT-3.8.3-3]
                if !is_later && !is_own {
                    break;
                }
                filter.from = rows.behind(message);
                rows.pop();
            }
            if rows.front().is_some() {
                break;
            }
            if !rows.read_chunk(view)? {
                let finished = SubscriptionFilter::Plain(filter.filter.clone());
                self.rows = None;
                self.filters.remove(0);
                return Ok(Next::Finished(finished));
            }
        }
        match (self.rows.as_ref().and_then(Rows::front), self.filters.first()) {
            (Some(message), Some(filter)) => Ok(Next::Message(message, filter)),
            _ => Ok(Next::Yield),
        }
    }

    /// Takes the message that [`next`](Self::next) has given: where its subscription goes on, for the state to know.
    pub fn take(&mut self) -> Option<(Message, SubscriptionFilter, ReplayFrom)> {
        let rows = self.rows.as_mut()?;
        let message = rows.pop()?;
        let filter = self.filters.first_mut()?;
        filter.from = rows.behind(&message);
        Some((
            message,
            SubscriptionFilter::Plain(filter.filter.clone()),
            filter.from.clone(),
        ))
    }
}
