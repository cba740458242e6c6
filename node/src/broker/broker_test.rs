//! Where retained messages have their place among live ones.

use banyan_core::command::{
    BatchBuilder, BatchId, Command, Condition, EntryBuilder, Item as EntryItem, Operation, Put,
};
use banyan_core::metadata::Metadata;
use banyan_core::state::{AppliedId, State};
use banyan_core::store::MemoryStore;
use banyan_core::topic::TopicName;

use banyan_core::mqtt::packet::QoS;
use bytes::Bytes;

use super::*;

const NODE: u64 = 1;

/// A state to which topic `t` is written again and again, one change an entry.
struct Writer {
    state: State,
    index: u64,
}

impl Writer {
    fn new() -> Self {
        let state = State::open(Arc::new(MemoryStore::new())).unwrap();
        let mut writer = Self { state, index: 0 };
        writer.apply(&EntryItem::OpenOrigin {
            node_id: NODE,
            nonce: 1,
        });
        writer
    }

    fn apply(&mut self, item: &EntryItem) -> Option<Arc<ChangeBatch>> {
        let mut entry = EntryBuilder::new();
        entry.push_item(item);
        let id = AppliedId {
            term: 1,
            node_id: NODE,
            index: self.index,
        };
        self.index += 1;
        let changes = self.state.apply(id, &entry.finish(1_000)).unwrap().changes;
        let batch = ChangeBatch {
            log_time_us: 1_000,
            changes,
        };
        (!batch.changes.is_empty()).then(|| Arc::new(batch))
    }

    fn write(&mut self) -> Arc<ChangeBatch> {
        self.write_to("t")
    }

    /// Writes a topic of its own, so that the message stays where it can be read.
    fn write_anew(&mut self) -> Arc<ChangeBatch> {
        let topic = format!("new/{}", self.index);
        self.write_to(&topic)
    }

    fn write_to(&mut self, topic: &str) -> Arc<ChangeBatch> {
        let mut batch = BatchBuilder::new();
        batch.push(&Command::from(Operation::Put(Put {
            topic: TopicName::parse(topic).unwrap(),
            payload: Bytes::copy_from_slice(self.state.revision().to_string().as_bytes()),
            metadata: Metadata::empty(),
            publisher: Bytes::from_static(b"writer"),
            timestamp_us: None,
            expiry_s: None,
            condition: Condition::None,
            qos: 1,
        })));
        let id = BatchId {
            node_id: NODE,
            incarnation: 1,
            sequence: self.index,
        };
        self.apply(&EntryItem::Batch(batch.finish(id, u64::MAX))).unwrap()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Live(u64),
    Replay(u64),
}

fn drain(outbox: &Outbox) -> Vec<Got> {
    let items = std::iter::from_fn(|| outbox.pop(|_| true));
    let got = items.map(|item| match item {
        Item::Message(delivery) => Got::Live(delivery.message.revision().unwrap()),
        Item::Replay(replay) => Got::Replay(replay),
    });
    got.collect()
}

fn subscribe(broker: &Broker, outbox: &Arc<Outbox>, replay: u64, filter: &str, state: &mut State) -> u64 {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        subscription_id: None,
        latest: false,
    };
    let filter = TopicFilter::parse(filter).unwrap();
    let view = broker.subscribe(outbox, replay, [(&filter, options)], || state.view());
    view.revision
}

fn outbox(broker: &Broker) -> Arc<Outbox> {
    let outbox = Outbox::new(1, Bytes::from_static(b"subscriber"), 1 << 20);
    broker.attach(&outbox, [], []);
    outbox
}

const OPTIONS: SubscriptionOptions = SubscriptionOptions {
    qos: QoS::AtLeastOnce,
    no_local: false,
    retain_as_published: false,
    subscription_id: None,
    latest: false,
};

/// A persistent session that has had everything through revision `cursor`, subscribed to `#` from the beginning.
fn persistent(broker: &Broker, cursor: u64, bytes_max: usize) -> Arc<Outbox> {
    let client_id = Bytes::from_static(b"persistent");
    let outbox = Outbox::persistent(2, client_id, bytes_max, Arc::clone(broker.backlog()));
    outbox.skip_through(MessagePosition::end_of(cursor));
    let filter = TopicFilter::parse("#").unwrap();
    broker.attach(&outbox, [(&filter, OPTIONS, 0)], []);
    outbox
}

/// Fills who is behind until there is nothing to do.
fn feed(broker: &Broker, writer: &mut Writer) {
    let view = writer.state.view();
    let mut turns = Turns::default();
    while broker.feed_lagging(&mut turns, || view.clone()).unwrap() {}
}

fn live(revisions: impl IntoIterator<Item = u64>) -> Vec<Got> {
    revisions.into_iter().map(Got::Live).collect()
}

#[test]
fn a_session_begins_where_its_cursor_stands_and_goes_live_without_gap_or_double() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let mut batches: Vec<_> = (0..5).map(|_| writer.write_anew()).collect();
    let outbox = persistent(&broker, 2, 1 << 20);
    broker.dispatch_batches(&batches[..3]); // the dispatcher is behind what the session will read
    assert_eq!(drain(&outbox), []);
    feed(&broker, &mut writer);
    assert!(!outbox.is_behind());
    batches.push(writer.write_anew());
    broker.dispatch_batches(&batches[3..]);
    assert_eq!(drain(&outbox), live(3..=6));
}

#[test]
fn a_session_that_reads_too_slowly_falls_behind_and_misses_nothing() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = persistent(&broker, 0, 2_000);
    feed(&broker, &mut writer);
    let batches: Vec<_> = (0..100).map(|_| writer.write_anew()).collect();
    broker.dispatch_batches(&batches);
    assert!(outbox.is_behind());
    assert_eq!(broker.fallen_behind_count(), 1);
    assert_eq!(outbox.close_reason(), None);
    let mut got = Vec::new();
    for _ in 0..100 {
        got.append(&mut drain(&outbox));
        feed(&broker, &mut writer);
    }
    assert!(!outbox.is_behind(), "it is at the end");
    assert_eq!(got, live(1..=100));
}

#[test]
fn a_replay_has_its_place_among_what_is_stored() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let mut batches: Vec<_> = (0..3).map(|_| writer.write_anew()).collect();
    let outbox = persistent(&broker, 1, 1 << 20);
    let filter = TopicFilter::parse("t").unwrap();
    let view = broker.subscribe(&outbox, 7, [(&filter, OPTIONS)], || writer.state.view());
    assert_eq!(view.revision, 3);
    batches.push(writer.write_anew());
    broker.dispatch_batches(&batches);
    feed(&broker, &mut writer);
    assert_eq!(
        drain(&outbox),
        [Got::Live(2), Got::Live(3), Got::Replay(7), Got::Live(4)]
    );
}

#[test]
fn skipped_changes_close_clean_sessions_and_are_read_for_persistent_ones() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let clean = outbox(&broker);
    let outbox = persistent(&broker, 0, 1 << 20);
    let batches = [writer.write_anew(), writer.write_anew()];
    feed(&broker, &mut writer);
    broker.dispatch_batches(&batches);
    let _skipped = [writer.write_anew(), writer.write_anew()];
    broker.skip_through(4);
    assert_eq!(clean.close_reason(), Some(ReasonCode::QuotaExceeded));
    feed(&broker, &mut writer);
    broker.dispatch_batches(&[writer.write_anew()]);
    assert_eq!(drain(&outbox), live(1..=5));
}

#[test]
fn the_state_is_told_of_what_is_settled_only() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = persistent(&broker, 0, 1 << 20);
    feed(&broker, &mut writer);
    outbox.settle();
    broker.dispatch_batches(&[writer.write_anew()]);
    assert!(broker.idle_sessions().1.is_empty(), "a message waits");
    drain(&outbox);
    assert!(broker.idle_sessions().1.is_empty(), "it may not be in flight yet");
    outbox.settle();
    let (revision, idle) = broker.idle_sessions();
    assert_eq!((revision, idle.len()), (1, 1));
    outbox.set_told(revision);
    assert!(broker.idle_sessions().1.is_empty());
}

#[test]
fn a_view_ahead_of_the_dispatcher_comes_before_every_later_change() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = outbox(&broker);
    let mut batches = vec![writer.write(), writer.write()];
    assert_eq!(subscribe(&broker, &outbox, 7, "t", &mut writer.state), 2);
    batches.extend([writer.write(), writer.write()]);
    broker.dispatch_batches(&batches); // all in one go, as a dispatcher that was behind does
    assert_eq!(drain(&outbox), [Got::Replay(7), Got::Live(3), Got::Live(4)]);
}

#[test]
fn a_view_ahead_of_the_dispatcher_comes_behind_what_an_earlier_subscription_brings() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = outbox(&broker);
    subscribe(&broker, &outbox, 1, "t", &mut writer.state);
    let mut batches = vec![writer.write(), writer.write()];
    subscribe(&broker, &outbox, 2, "+", &mut writer.state);
    batches.push(writer.write());
    broker.dispatch_batches(&batches);
    let expected = [Got::Replay(1), Got::Live(1), Got::Live(2), Got::Replay(2), Got::Live(3)];
    assert_eq!(drain(&outbox), expected);
}

/// Otherwise a deletion among them would be in no view and in no delivery.
#[test]
fn a_filter_subscribed_again_still_brings_what_its_view_is_ahead_by() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = outbox(&broker);
    subscribe(&broker, &outbox, 1, "t", &mut writer.state);
    let mut batches = vec![writer.write(), writer.write()];
    subscribe(&broker, &outbox, 2, "t", &mut writer.state);
    batches.push(writer.write());
    broker.dispatch_batches(&batches);
    let expected = [Got::Replay(1), Got::Live(1), Got::Live(2), Got::Replay(2), Got::Live(3)];
    assert_eq!(drain(&outbox), expected);
}

#[test]
fn a_view_that_is_dispatched_already_has_its_place_at_once() {
    let mut writer = Writer::new();
    let broker = Broker::new();
    let outbox = outbox(&broker);
    broker.dispatch_batches(&[writer.write()]);
    subscribe(&broker, &outbox, 1, "t", &mut writer.state);
    broker.dispatch_batches(&[writer.write()]);
    assert_eq!(drain(&outbox), [Got::Replay(1), Got::Live(2)]);
}
