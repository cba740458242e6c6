//! Round trips of all commands, strictness, and arbitrary bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::feature::FeatureLevel;
use crate::keyspace::MessagePosition;
use crate::keyspace::member::MemberGoal;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::topic::{SubscriptionFilter, TopicFilter, TopicName};

const ID: BatchId = BatchId {
    node_id: 7,
    incarnation: 2,
    sequence: 3,
};

fn metadata() -> Metadata {
    MetadataBuilder::new()
        .content_type("text/plain")
        .user_property("a", "b")
        .build()
        .unwrap()
}

fn put() -> Put {
    Put {
        topic: TopicName::parse("a/b").unwrap(),
        payload: Bytes::from_static(b"21.5"),
        metadata: metadata(),
        publisher: Bytes::from_static(b"probe"),
        timestamp_us: Some(1_490_347_944_893_743),
        expiry_s: Some(60),
        condition: Condition::Revision(9),
        qos: 1,
    }
}

fn commands() -> Vec<Command> {
    let mut commands: Vec<Command> = operations().into_iter().map(Command::from).collect();
    let with = |packet_id, operation: Operation| Command {
        sender: Some(Sender { fence: 9, packet_id }),
        operation,
    };
    commands.push(with(Some(65_535), put().into()));
    commands.push(with(None, put().into()));
    commands.extend(session_operations().into_iter().map(|operation| with(None, operation)));
    commands
}

fn operations() -> Vec<Operation> {
    let Put {
        topic,
        payload,
        metadata,
        publisher,
        ..
    } = put();
    let mut operations = Vec::new();
    for condition in [
        Condition::None,
        Condition::Revision(0),
        Condition::Absent,
        Condition::Present,
    ] {
        operations.push(Operation::Put(Put { condition, ..put() }));
        operations.push(Operation::Put(Put {
            condition,
            timestamp_us: None,
            expiry_s: None,
            qos: 0,
            ..put()
        }));
        operations.push(Operation::Delete(Delete {
            topic: topic.clone(),
            publisher: publisher.clone(),
            timestamp_us: Some(5),
            condition,
            metadata: Metadata::empty(),
            qos: 2,
        }));
    }
    for payload in [payload, Bytes::new()] {
        operations.push(Operation::Event(Event {
            topic: topic.clone(),
            payload,
            metadata: metadata.clone(),
            publisher: publisher.clone(),
            qos: 1,
            expiry_s: Some(0),
        }));
    }
    let filter = TopicFilter::parse("a/+/c/#").unwrap();
    operations.push(Operation::DeleteFilter(DeleteFilter {
        filter,
        limit: 10,
        publisher,
    }));
    let client_id = Bytes::from_static("probe-\u{e9}".as_bytes());
    for (will, clean_start) in [(None, false), (Some(will()), true)] {
        operations.push(Operation::Connect(Connect {
            client_id: client_id.clone(),
            clean_start,
            expiry_s: 3600,
            will,
        }));
    }
    operations.push(Operation::CaughtUp(CaughtUp {
        cursor: MessagePosition::end_of(7),
        fences: vec![1, u64::MAX],
    }));
    operations.push(Operation::Kick(Kick { client_id }));
    operations
}

fn will() -> Will {
    Will {
        topic: TopicName::parse("a/gone").unwrap(),
        payload: Bytes::from_static(b"x"),
        metadata: metadata(),
        qos: 2,
        retain: true,
        delay_s: 5,
        expiry_s: Some(0),
    }
}

fn subscription(filter: &str, replay: Option<ReplayFrom>) -> SessionSubscription {
    SessionSubscription {
        filter: SubscriptionFilter::parse(filter).unwrap(),
        options: SubscriptionOptions {
            qos: 1,
            no_local: false,
            retain_as_published: true,
        },
        latest: replay.is_none(),
        subscription_id: replay.is_some().then_some(268_435_455),
        replay,
    }
}

/// Operations that need a sender.
fn session_operations() -> Vec<Operation> {
    let filter = |text| SubscriptionFilter::parse(text).unwrap();
    let position = MessagePosition {
        revision: 3,
        ordinal: 4,
    };
    let topics = |after: Option<&str>| {
        let after = after.map(|text| TopicName::parse(text).unwrap());
        Some(ReplayFrom::Topics { after })
    };
    vec![
        Operation::Disconnect(Disconnect {
            expiry_s: None,
            publishes_will: true,
        }),
        Operation::Disconnect(Disconnect {
            expiry_s: Some(u32::MAX),
            publishes_will: false,
        }),
        Operation::Subscribe(Subscribe {
            subscriptions: vec![
                subscription("a/+", None),
                subscription("$share/g/a/#", topics(None)),
                subscription("b/#", topics(Some("b/c"))),
                subscription("c", Some(ReplayFrom::Changes { after: position })),
            ],
        }),
        Operation::Unsubscribe(Unsubscribe {
            filters: vec![filter("a/+"), filter("$share/g/a/#")],
        }),
        Operation::Release(Release { packet_id: 1 }),
        Operation::Progress(Progress::default()),
        Operation::Progress(Progress {
            cursor: Some(position),
            done: vec![1, 65_535],
            received: vec![2],
            settled: vec![position],
            sent: vec![
                Sent {
                    position,
                    packet_id: 7,
                    qos: 2,
                    shared: true,
                },
                Sent {
                    position,
                    packet_id: 8,
                    qos: 1,
                    shared: false,
                },
            ],
            replayed: vec![(filter("b/#"), topics(Some("b/d"))), (filter("c"), None)],
        }),
    ]
}

fn batch_of(commands: &[Command]) -> Bytes {
    let mut builder = BatchBuilder::new();
    commands.iter().for_each(|command| builder.push(command));
    builder.finish(ID, 99)
}

fn decoded(batch: &Bytes) -> Result<Vec<Command>, DecodeError> {
    Batch::parse(batch.clone())?.commands().collect()
}

/// A batch of one operation whose body is `body`.
fn raw_batch(body: &[u8]) -> Bytes {
    let mut bytes = batch_of(&[]).to_vec();
    bytes[33..37].copy_from_slice(&1_u32.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    Bytes::from(bytes)
}

#[test]
fn commands_come_back_as_they_went() {
    let bytes = batch_of(&commands());
    let batch = Batch::parse(bytes.clone()).unwrap();
    assert_eq!(
        (batch.id(), batch.deadline_us(), batch.count()),
        (ID, 99, commands().len())
    );
    assert_eq!(batch.validate(), Ok(FeatureLevel::FIRST));
    assert_eq!(decoded(&bytes), Ok(commands()));
}

#[test]
fn commands_are_slices_of_the_batch() {
    let bytes = batch_of(&[Operation::Put(put()).into()]);
    let Operation::Put(put) = decoded(&bytes).unwrap().remove(0).operation else {
        panic!("a put went in")
    };
    assert!(bytes.as_ptr_range().contains(&put.payload.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&put.topic.as_bytes().as_ptr()));
}

#[test]
fn items_come_back_as_they_went() {
    let batch = batch_of(&commands());
    let items = [
        Item::OpenOrigin { node_id: 7, nonce: 8 },
        Item::Batch(batch.clone()),
        Item::Expire { limit: 3 },
        Item::Compact { limit: 4 },
        Item::EndDue { limit: 5 },
        Item::LoseNode {
            node_id: 7,
            through_fence: 8,
            limit: 9,
        },
        Item::Trim {
            limit: 10,
            keep_bytes: 11,
            keep_us: 12,
        },
        Item::Assign { limit: 13 },
        Item::RaiseLevel(FeatureLevel::KNOWN),
        Item::MemberChange(MemberChange::IssueToken {
            token: [14; 32],
            lifetime_us: 15,
            voter: true,
            replaces: Some(16),
        }),
        Item::MemberChange(MemberChange::Enter {
            token: [14; 32],
            node_id: 17,
            nonce: 18,
            address: Bytes::from_static(b"node17.example.org:7400"),
        }),
        Item::MemberChange(MemberChange::SetGoal {
            node_id: 19,
            goal: MemberGoal::Leaves,
        }),
        Item::MemberChange(MemberChange::Replace { old: 20, new: 21 }),
        Item::MemberChange(MemberChange::Forget { node_id: 22 }),
    ];
    let mut builder = EntryBuilder::new();
    assert!(builder.is_empty());
    items.iter().for_each(|item| builder.push_item(item));
    builder.push_batch(batch.clone());
    let entry = Entry::parse(builder.finish(123)).unwrap();
    assert_eq!(entry.time_us(), 123);
    let found: Vec<_> = entry.items().collect::<Result<_, _>>().unwrap();
    assert_eq!(found[..items.len()], items);
    assert_eq!(found[items.len()..], [Item::Batch(batch)]);
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let bytes = batch_of(&commands());
    for length in 0..bytes.len() {
        assert!(decoded(&bytes.slice(..length)).is_err(), "cut to {length}");
    }
    let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
    assert_eq!(decoded(&longer), Err(DecodeError::TrailingBytes));
}

#[test]
fn what_a_later_version_may_say_is_refused() {
    let mut newer = batch_of(&[]).to_vec();
    newer[0] = 2;
    assert_eq!(Batch::parse(Bytes::from(newer)), Err(DecodeError::Version(2)));
    assert_eq!(decoded(&raw_batch(&[13])), Err(DecodeError::Kind(13)));
    assert_eq!(
        decoded(&raw_batch(&[1, 0b0100_0000])),
        Err(DecodeError::Flags(0b0100_0000))
    );
    // QoS 3; a delete with an expiry; an event with a timestamp, with a condition.
    for body in [[1, 0b0011_0000], [2, 0b10], [4, 0b01], [4, 0b1000]] {
        assert_eq!(decoded(&raw_batch(&body)), Err(DecodeError::Flags(body[1])));
    }
    let mut entry = EntryBuilder::new().finish(0).to_vec();
    entry.extend_from_slice(&[9, 0, 0, 0, 0]);
    let items: Vec<_> = Entry::parse(Bytes::from(entry)).unwrap().items().collect();
    assert_eq!(items, [Err(DecodeError::Kind(9))]);
}

#[test]
fn an_operation_is_checked_where_it_is_read() {
    let put = |topic: &[u8], publisher: &[u8], payload: &[u8]| {
        let mut body = vec![1, 0];
        wire::put_field(&mut body, topic);
        wire::put_field(&mut body, publisher);
        wire::put_field(&mut body, &[]);
        body.extend_from_slice(payload);
        decoded(&raw_batch(&body)).map(drop)
    };
    assert_eq!(put(b"a", b"p", b"x"), Ok(()));
    assert!(matches!(put(b"a/#", b"p", b"x"), Err(DecodeError::Topic(_))));
    assert_eq!(put(b"a", b"\xff", b"x"), Err(DecodeError::Publisher));
    assert_eq!(put(b"a", b"p", b""), Err(DecodeError::EmptyPayload));
}

#[test]
fn an_operation_has_the_sender_that_it_needs() {
    let sent = |packet_id: u8, body: &[u8]| {
        let prefix = [0x20, 0, 0, 0, 0, 0, 0, 0, 1, 0, packet_id];
        decoded(&raw_batch(&[&prefix, body].concat())).map(drop)
    };
    let encoded = |operation: &Operation| {
        let mut body = Vec::new();
        operation.encode(&mut body);
        body
    };
    for operation in session_operations() {
        let body = encoded(&operation);
        assert_eq!(sent(0, &body), Ok(()));
        assert_eq!(sent(1, &body), Err(DecodeError::Sender), "no identifier of a message");
        assert_eq!(decoded(&raw_batch(&body)), Err(DecodeError::Sender));
    }
    for operation in operations() {
        let body = encoded(&operation);
        let expected = match operation {
            Operation::Connect(_) | Operation::CaughtUp(_) | Operation::Kick(_) => (false, false),
            Operation::DeleteFilter(_) => (true, false),
            _ => (true, true),
        };
        assert_eq!((sent(0, &body).is_ok(), sent(1, &body).is_ok()), expected);
    }
    let nobody = [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = encoded(&put().into());
    assert_eq!(
        decoded(&raw_batch(&[&nobody[..], &body].concat())),
        Err(DecodeError::Sender)
    );
}

#[test]
fn session_operations_are_checked_where_they_are_read() {
    let connect = |client_id: &[u8]| {
        let mut body = vec![5, 0, 0, 0, 0, 0];
        wire::put_field(&mut body, client_id);
        decoded(&raw_batch(&body)).map(drop)
    };
    assert_eq!(connect(&[b'a'; 256]), Ok(()));
    for client_id in [&b""[..], b"a\0b", b"\xff", &[b'a'; 257]] {
        assert_eq!(connect(client_id), Err(DecodeError::ClientId));
    }
    let sent = |body: &[u8]| {
        let prefix = [0x20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        decoded(&raw_batch(&[&prefix, body].concat())).map(drop)
    };
    assert_eq!(sent(&[9, 0, 0]), Err(DecodeError::PacketId));
    let subscribe = |flags: u8, filter: &[u8], id: &[u8]| {
        let mut body = vec![7, 0, 1, flags];
        wire::put_field(&mut body, filter);
        body.extend_from_slice(id);
        sent(&body)
    };
    assert_eq!(subscribe(0b0000_0110, b"a", b""), Ok(()));
    assert_eq!(subscribe(0b0000_0011, b"a", b""), Err(DecodeError::Flags(3)), "QoS 3");
    let no_local = subscribe(0b0000_0100, b"$share/g/a", b"");
    assert_eq!(no_local, Err(DecodeError::Flags(4)), "MQTT-3.8.3-4");
    for id in [0, 0x1000_0000_u32] {
        let outcome = subscribe(0b0010_0000, b"a", &id.to_be_bytes());
        assert_eq!(outcome, Err(DecodeError::Flags(0b0010_0000)), "{id}");
    }
    let mut many = vec![11];
    wire::put_position(&mut many, MessagePosition::default());
    wire::put_count(&mut many, 1001);
    many.resize(many.len() + 1001 * 8, 1);
    assert_eq!(decoded(&raw_batch(&many)), Err(DecodeError::TooManyFences(1001)));
}

#[test]
fn a_batch_is_bounded() {
    let mut bytes = batch_of(&[]).to_vec();
    bytes[33..37].copy_from_slice(&257_u32.to_be_bytes());
    assert_eq!(
        Batch::parse(Bytes::from(bytes)),
        Err(DecodeError::TooManyOperations(257))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = decoded(&bytes);
        let _ = decoded(&raw_batch(&bytes));
        if let Ok(entry) = Entry::parse(bytes) {
            let _ = entry.items().count();
        }
    }

    /// What is accepted after damage encodes to the very bytes that were read: one value has one encoding.
    #[test]
    fn a_flipped_byte_gives_an_error_or_another_value(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = batch_of(&commands()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        if let Ok(commands) = decoded(&bytes) {
            let batch = Batch::parse(bytes.clone()).unwrap();
            let mut builder = BatchBuilder::new();
            commands.iter().for_each(|command| builder.push(command));
            prop_assert_eq!(builder.finish(batch.id(), batch.deadline_us()), bytes);
        }
    }
}
