//! Round trips of every command, strictness, and arbitrary bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::metadata::{Metadata, MetadataBuilder};
use crate::topic::{TopicFilter, TopicName};

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
    operations
}

fn batch_of(operations: &[Operation]) -> Bytes {
    let mut builder = BatchBuilder::new();
    operations.iter().for_each(|operation| builder.push(operation));
    builder.finish(ID, 99)
}

fn decoded(batch: &Bytes) -> Result<Vec<Operation>, DecodeError> {
    Batch::parse(batch.clone())?.operations().collect()
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
fn operations_come_back_as_they_went() {
    let bytes = batch_of(&operations());
    let batch = Batch::parse(bytes.clone()).unwrap();
    assert_eq!(
        (batch.id(), batch.deadline_us(), batch.count()),
        (ID, 99, operations().len())
    );
    assert_eq!(batch.validate(), Ok(()));
    assert_eq!(decoded(&bytes), Ok(operations()));
}

#[test]
fn operations_are_slices_of_the_batch() {
    let bytes = batch_of(&[Operation::Put(put())]);
    let Operation::Put(put) = decoded(&bytes).unwrap().remove(0) else {
        panic!("a put went in")
    };
    assert!(bytes.as_ptr_range().contains(&put.payload.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&put.topic.as_bytes().as_ptr()));
}

#[test]
fn items_come_back_as_they_went() {
    let batch = batch_of(&operations());
    let items = [
        Item::OpenOrigin { node_id: 7, nonce: 8 },
        Item::Batch(batch.clone()),
        Item::Expire { limit: 3 },
        Item::Compact { limit: 4 },
    ];
    let mut builder = EntryBuilder::new();
    assert!(builder.is_empty());
    items.iter().for_each(|item| builder.push_item(item));
    builder.push_batch(batch.clone());
    let entry = Entry::parse(builder.finish(123)).unwrap();
    assert_eq!(entry.time_us(), 123);
    let found: Vec<_> = entry.items().collect::<Result<_, _>>().unwrap();
    assert_eq!(found[..4], items);
    assert_eq!(found[4..], [Item::Batch(batch)]);
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let bytes = batch_of(&operations());
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
    assert_eq!(decoded(&raw_batch(&[9])), Err(DecodeError::Kind(9)));
    assert_eq!(
        decoded(&raw_batch(&[1, 0b0100_0000])),
        Err(DecodeError::Flags(0b0100_0000))
    );
    // QoS 3; a delete with an expiry; an event with a timestamp, with a condition.
    for body in [[1, 0b0011_0000], [2, 0b10], [4, 0b01], [4, 0b1000]] {
        assert_eq!(decoded(&raw_batch(&body)), Err(DecodeError::Flags(body[1])));
    }
    let mut entry = EntryBuilder::new().finish(0).to_vec();
    entry.extend_from_slice(&[5, 0, 0, 0, 0]);
    let items: Vec<_> = Entry::parse(Bytes::from(entry)).unwrap().items().collect();
    assert_eq!(items, [Err(DecodeError::Kind(5))]);
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
        let mut bytes = batch_of(&operations()).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let bytes = Bytes::from(bytes);
        if let Ok(operations) = decoded(&bytes) {
            let batch = Batch::parse(bytes.clone()).unwrap();
            let mut builder = BatchBuilder::new();
            operations.iter().for_each(|operation| builder.push(operation));
            prop_assert_eq!(builder.finish(batch.id(), batch.deadline_us()), bytes);
        }
    }
}
