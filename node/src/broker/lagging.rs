//! Filling the outboxes of those that are behind from what is stored.
//!
//! One scan serves all: it reads a chunk from where the connection stands that has waited longest, and hands it to everyone
//! who stands within it. Connections that stand close meet, and go on together. Who has no room drops out until it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use banyan_core::command::Event;
use banyan_core::keyspace::MessagePosition;
use banyan_core::metadata::Metadata;
use banyan_core::mqtt::packet::QoS;
use banyan_core::state::{StateView, Waiting};
use banyan_core::store::StoreError;
use banyan_core::topic::TopicName;
use bytes::Bytes;

use super::index::{Index, Shares};
use super::{Broker, ConnectionId, Delivery, Message, Outbox};

/// Messages read at a time.
const CHUNK_ROWS: usize = 256;
/// Bytes read at a time, roughly.
const CHUNK_BYTES: usize = 256 * 1024;

/// A connection that can be filled: how it came last, where it stands, who it is.
type Turn = (u64, MessagePosition, ConnectionId);

/// When each connection that is behind was last served, for turns.
#[derive(Debug, Default)]
pub struct Turns {
    served: std::collections::BTreeMap<ConnectionId, u64>,
    count: u64,
}

impl Broker {
    /// Reads one chunk for those that are behind and have room. Returns whether there may be more to do at once.
    ///
    /// # Errors
    /// The state could not be read.
    pub fn feed_lagging(&self, turns: &mut Turns, take_view: impl Fn() -> StateView) -> Result<bool, StoreError> {
        let Some(after) = self.next_turn(turns) else {
            return Ok(false);
        };
        let view = take_view();
        let waiting = view.waiting_after(after, CHUNK_ROWS, CHUNK_BYTES)?;
        let mut index = self.index.lock();
        self.tell_gaps(&index, &view);
        let end = feed(&index, after, &waiting, &view);
        turns.served(&index, after, end);
        if waiting.next.is_none() {
            self.join(&mut index, end, &take_view())?;
        }
        Ok(true)
    }

    fn next_turn(&self, turns: &Turns) -> Option<MessagePosition> {
        let index = self.index.lock();
        let wanting = index.lagging().filter_map(|outbox| {
            let after = outbox.wanted_after()?;
            let served = turns.served.get(&outbox.id()).copied().unwrap_or(0);
            Some((served, after, outbox.id()))
        });
        wanting.min().map(|(_, after, _): Turn| after)
    }

    /// Hands those who stand at `end` the little that has come since, and leaves the rest to the dispatcher. If it is not
    /// little, another turn will do.
    fn join(&self, index: &mut Index, end: MessagePosition, view: &StateView) -> Result<(), StoreError> {
        let waiting = view.waiting_after(end, CHUNK_ROWS, CHUNK_BYTES)?;
        if waiting.next.is_some() {
            return Ok(());
        }
        let end = feed(index, end, &waiting, view);
        let ready: Vec<Arc<Outbox>> = index
            .lagging()
            .filter(|outbox| outbox.stands_at(end))
            .cloned()
            .collect();
        for outbox in ready {
            outbox.go_live(view.revision);
            index.set_behind(outbox.id(), false);
        }
        Ok(())
    }

    /// Tells those who stand before what is kept at all, and moves them there.
    fn tell_gaps(&self, index: &Index, view: &StateView) {
        for outbox in index.lagging() {
            let Some(after) = outbox.wanted_after() else {
                continue;
            };
            let through = view.dropped_through;
            if after < through && index.reaches_back_to(outbox.id(), through.revision) {
                outbox.skip_through(through);
                outbox.push_notice(gap_notice(outbox.client_id(), after, through, view.log_time_us));
                self.gaps.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Turns {
    /// Those who stood from `after` to `end` have had their turn; who is not behind any more needs none.
    fn served(&mut self, index: &Index, after: MessagePosition, end: MessagePosition) {
        self.count += 1;
        let mut served = std::collections::BTreeMap::new();
        for outbox in index.lagging() {
            let former = self.served.get(&outbox.id()).copied();
            let had_turn = outbox.stands_between(after, end);
            if let Some(at) = if had_turn { Some(self.count) } else { former } {
                served.insert(outbox.id(), at);
            }
        }
        self.served = served;
    }
}

/// Puts what is `waiting` behind `after` into the outboxes that stand within; returns where it ends.
fn feed(index: &Index, after: MessagePosition, waiting: &Waiting, view: &StateView) -> MessagePosition {
    let end = waiting
        .next
        .unwrap_or(MessagePosition::end_of(view.revision))
        .max(after);
    let mut shares = Shares::new();
    for row in &waiting.rows {
        index.match_behind(
            Message::of_change(&row.change, view.log_time_us),
            row.is_latest,
            &mut shares,
        );
    }
    for outbox in index.lagging() {
        if !outbox.stands_between(after, end) {
            continue;
        }
        let deliveries = shares
            .remove(&outbox.id())
            .map_or_else(Vec::new, |(_, deliveries)| deliveries);
        outbox.push_backlog(deliveries, end);
    }
    end
}

/// What a session gets in place of messages that were dropped before it had them.
fn gap_notice(client_id: &Bytes, from: MessagePosition, through: MessagePosition, log_time_us: u64) -> Delivery {
    let name = format!("$SYS/gap/{}", String::from_utf8_lossy(client_id));
    // A client identifier that makes no topic name (wildcards, too long) is left out of it.
    let topic = TopicName::parse(&name).unwrap_or_else(|_| TopicName::parse("$SYS/gap").expect("a topic name"));
    let payload = format!(r#"{{"from":{},"through":{}}}"#, from.revision, through.revision);
    let event = Event {
        topic,
        payload: Bytes::from(payload),
        metadata: Metadata::default(),
        publisher: Bytes::new(),
        qos: 0,
        expiry_s: None,
    };
    Delivery {
        message: Arc::new(Message::of_event(event, log_time_us)),
        qos: QoS::AtMostOnce,
        retain: false,
        subscription_ids: Vec::new(),
        shared: false,
    }
}
