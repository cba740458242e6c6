//! Order of arrival.

use super::*;

/// A write (with payload and metadata) or delete of one topic at a timestamp.
type Arrival = (u64, Option<(Bytes, Metadata)>);

fn arrival() -> impl Strategy<Value = Arrival> {
    (1_u64..4, prop::option::weighted(0.7, (payload(), metadata())))
}

fn operation_of((timestamp_us, value): &Arrival) -> Operation {
    let timestamp_us = Some(*timestamp_us);
    match value.clone() {
        Some((payload, metadata)) => Put {
            payload,
            metadata,
            timestamp_us,
            ..put("t", "x")
        }
        .into(),
        None => Delete {
            timestamp_us,
            ..delete("t")
        }
        .into(),
    }
}

/// What topic `t` has, and the digest of the state as it would be if revisions were all 0.
fn result_of(arrivals: &[&Arrival]) -> (Arrival, u128) {
    let mut state = open(&MemoryStore::new());
    let mut items = vec![Item::OpenOrigin {
        node_id: NODE,
        nonce: 1,
    }];
    let operations: Vec<_> = arrivals.iter().map(|arrival| operation_of(arrival)).collect();
    items.push(Item::Batch(batch(
        BatchId {
            node_id: NODE,
            incarnation: 1,
            sequence: 1,
        },
        u64::MAX,
        &operations,
    )));
    state.apply(next_id(&state), &entry(START_US, &items)).unwrap();
    let view = state.view();
    let mut sum = 0;
    let winner = if let Some(record) = view.get(&topic("t")).unwrap() {
        let (timestamp_us, metadata, payload) = (record.timestamp_us(), record.metadata(), record.payload());
        let expires_at_us = record.expires_at_us();
        let fields = RecordFields {
            revision: 0,
            ordinal: 0,
            created_revision: 0,
            timestamp_us,
            expires_at_us,
            qos: record.qos(),
            publisher: record.publisher().as_bytes(),
            metadata: &metadata,
            payload: &payload,
        };
        sum.replace_row(b"value", None, Some(fields.encode().as_bytes()));
        (timestamp_us, Some((payload, metadata)))
    } else {
        let tombstone = view.tombstone(&topic("t")).unwrap().expect("something arrived");
        let timeless = Tombstone {
            revision: 0,
            ordinal: 0,
            ..tombstone
        };
        sum.replace_row(b"tombstone", None, Some(&timeless.encode()));
        (tombstone.timestamp_us, None)
    };
    assert_eq!(view.topic_count + view.tombstone_count, 1);
    (winner, sum)
}

/// Calls `check` with every order of `items` (Heap's algorithm).
fn permutations<T>(items: &mut [T], length: usize, check: &mut impl FnMut(&[T])) {
    if length <= 1 {
        return check(items);
    }
    for i in 0..length {
        permutations(items, length - 1, check);
        items.swap(if length.is_multiple_of(2) { i } else { 0 }, length - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// I-17: whatever the order of arrival, the same write or delete stands, and all else is the same.
    #[test]
    fn every_order_of_arrival_ends_alike(arrivals in prop::collection::vec(arrival(), 1..=6)) {
        // (timestamp, value over delete, payload, metadata): `None` is less than any `Some`.
        let greatest = arrivals.iter().max().unwrap().clone();
        let expected = result_of(&arrivals.iter().collect::<Vec<_>>());
        assert_eq!(expected.0, greatest);
        let mut order: Vec<_> = arrivals.iter().collect();
        let count = order.len();
        permutations(&mut order, count, &mut |order| assert_eq!(result_of(order), expected));
    }
}
