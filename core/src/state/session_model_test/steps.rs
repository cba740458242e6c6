//! Random logs.

use super::*;

/// An entry with one item.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Batch {
        node: usize,
        late: bool,
        orders: Vec<Order>,
    },
    Open {
        node: usize,
        nonce: u64,
    },
    /// Fences given this long ago, and all before.
    LoseNode {
        node: usize,
        fences_back: u64,
        limit: u32,
    },
    Housekeeping(Item),
}

/// A command, as far as it can be told before it is known what the state is.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Connect {
        client: usize,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
    },
    /// By the connection made last, or one before.
    Send {
        client: usize,
        connections_back: usize,
        packet_id: Option<u16>,
        operation: Operation,
    },
    Progress {
        client: usize,
        connections_back: usize,
        revisions_back: u64,
        done: BTreeSet<u16>,
        received: BTreeSet<u16>,
        sent: usize,
        settles: bool,
    },
    Write(Operation),
    CaughtUp {
        revisions_back: u64,
    },
    Kick {
        client: usize,
    },
}

fn write() -> impl Strategy<Value = Operation> {
    let topic = prop::sample::select(vec!["a", "a/b", "b"]).prop_map(topic);
    let ahead = START_US + 10 * TIMESTAMP_AHEAD_MAX_US;
    let fields = (topic, 0_u8..3, prop::option::weighted(0.2, 0_u32..3), 0_u8..12);
    fields.prop_map(move |(topic, qos, expiry_s, kind)| match kind {
        0..5 => Operation::Put(Put {
            topic,
            qos,
            expiry_s,
            timestamp_us: (kind == 4).then_some(ahead),
            ..put("x", "x")
        }),
        5 | 6 => Operation::Delete(Delete {
            topic,
            qos,
            ..delete("x")
        }),
        7 => delete_filter("#", 2),
        _ => Operation::Event(Event {
            topic,
            payload: Bytes::from_static(b"event"),
            metadata: Metadata::empty(),
            publisher: Bytes::from_static(b"writer"),
            qos,
            expiry_s,
        }),
    })
}

fn filter() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["#", "a/#", "a", "b", "$share/g/#", "$share/g/a", "$share/h/#"])
}

fn sent() -> impl Strategy<Value = Operation> {
    let disconnect = (prop::option::of(expiry()), any::<bool>()).prop_map(|(expiry_s, publishes_will)| {
        Operation::Disconnect(Disconnect {
            expiry_s,
            publishes_will,
        })
    });
    let subscribe = (prop::collection::vec((filter(), 0_u8..3, any::<bool>()), 1..3)).prop_map(|all| {
        let subscriptions = all.into_iter().map(|(filter, qos, latest)| {
            let mut subscription = subscribe(filter, qos).subscriptions.remove(0);
            subscription.latest = latest && !filter.starts_with('$');
            subscription
        });
        Operation::Subscribe(Subscribe {
            subscriptions: subscriptions.collect(),
        })
    });
    let unsubscribe = filter().prop_map(|filter| {
        Operation::Unsubscribe(Unsubscribe {
            filters: vec![SubscriptionFilter::parse(filter).unwrap()],
        })
    });
    let release = PACKET_IDS.prop_map(|packet_id| Operation::Release(Release { packet_id }));
    prop_oneof![3 => disconnect, 6 => subscribe, 1 => unsubscribe, 3 => release, 8 => write()]
}

fn expiry() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 1, 4, NEVER_EXPIRES])
}

fn will() -> impl Strategy<Value = Will> {
    let fields = (0_u32..4, any::<bool>(), 0_u8..3);
    fields.prop_map(|(delay_s, retain, qos)| Will {
        topic: topic("a/b"),
        payload: Bytes::new(),
        metadata: Metadata::empty(),
        qos,
        retain,
        delay_s,
        expiry_s: None,
    })
}

fn order() -> impl Strategy<Value = Order> {
    let client = || 0..CLIENTS.len();
    let back = || prop_oneof![9 => Just(0_usize), 1 => Just(1)];
    let connect = (
        client(),
        prop::bool::weighted(0.3),
        expiry(),
        prop::option::weighted(0.6, will()),
    );
    let connect = connect.prop_map(|(client, clean_start, expiry_s, will)| Order::Connect {
        client,
        clean_start,
        expiry_s,
        will,
    });
    let send = (client(), back(), prop::option::of(PACKET_IDS), sent());
    let send = send.prop_map(|(client, connections_back, packet_id, operation)| {
        let is_write = matches!(
            operation,
            Operation::Put(_) | Operation::Delete(_) | Operation::Event(_)
        );
        Order::Send {
            client,
            connections_back,
            packet_id: packet_id.filter(|_| is_write),
            operation,
        }
    });
    let ids = || prop::collection::btree_set(PACKET_IDS, 0..3);
    let progress = (client(), back(), 0_u64..12, ids(), ids(), 0_usize..3, any::<bool>());
    let progress = progress.prop_map(
        |(client, connections_back, revisions_back, done, received, sent, settles)| Order::Progress {
            client,
            connections_back,
            revisions_back,
            done,
            received,
            sent,
            settles,
        },
    );
    prop_oneof![
        4 => connect,
        8 => send,
        4 => progress,
        6 => write().prop_map(Order::Write),
        1 => (0_u64..6).prop_map(|revisions_back| Order::CaughtUp { revisions_back }),
        1 => client().prop_map(|client| Order::Kick { client }),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES.len();
    let limit = || prop_oneof![Just(1_u32), Just(NO_LIMIT)];
    let batch = (node(), prop::bool::weighted(0.05), prop::collection::vec(order(), 1..4));
    let trim = (limit(), prop_oneof![Just(0_u64), Just(300), Just(u64::MAX)]);
    let housekeeping = prop_oneof![
        3 => limit().prop_map(|limit| Item::EndDue { limit }),
        1 => limit().prop_map(|limit| Item::Expire { limit }),
        1 => limit().prop_map(|limit| Item::Assign { limit }),
        1 => trim.prop_map(|(limit, keep_bytes)| Item::Trim { limit, keep_bytes, keep_us: 20_000_000 }),
    ];
    let lose = (node(), 0_u64..3, limit()).prop_map(|(node, fences_back, limit)| Step::LoseNode {
        node,
        fences_back,
        limit,
    });
    prop_oneof![
        16 => batch.prop_map(|(node, late, orders)| Step::Batch { node, late, orders }),
        1 => (node(), 1_u64..4).prop_map(|(node, nonce)| Step::Open { node, nonce }),
        1 => lose,
        4 => housekeeping.prop_map(Step::Housekeeping),
    ]
}
