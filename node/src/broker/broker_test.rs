//! Where retained messages have their place among live ones.

use banyan_core::command::{
    BatchBuilder, BatchId, Command, Condition, EntryBuilder, Item as EntryItem, Operation, Put,
};
use banyan_core::metadata::Metadata;
use banyan_core::state::{AppliedId, State};
use banyan_core::store::MemoryStore;
use banyan_core::topic::TopicName;

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
        let mut batch = BatchBuilder::new();
        batch.push(&Command::from(Operation::Put(Put {
            topic: TopicName::parse("t").unwrap(),
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
    };
    let filter = TopicFilter::parse(filter).unwrap();
    let view = broker.subscribe(outbox, replay, [(&filter, options)], || state.view());
    view.revision
}

fn outbox(broker: &Broker) -> Arc<Outbox> {
    Outbox::new(broker.next_connection_id(), Bytes::from_static(b"subscriber"), 1 << 20)
}

#[test]
fn a_view_ahead_of_the_dispatcher_comes_before_every_later_change() {
    let mut writer = Writer::new();
    let broker = Broker::new(0);
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
    let broker = Broker::new(0);
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
    let broker = Broker::new(0);
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
    let broker = Broker::new(0);
    let outbox = outbox(&broker);
    broker.dispatch_batches(&[writer.write()]);
    subscribe(&broker, &outbox, 1, "t", &mut writer.state);
    broker.dispatch_batches(&[writer.write()]);
    assert_eq!(drain(&outbox), [Got::Replay(1), Got::Live(2)]);
}
