//! The promise of a subscription: the retained messages are those of one moment R, complete; then every later change comes,
//! in order, none missing, none twice, none older. Checked against every write that the cluster acknowledged, while writers
//! write through all nodes without a pause and subscribers subscribe again and again.
//!
//! | variable | meaning | short form |
//! |---|---|---|
//! | `BANYAN_ROUNDS` | SUBSCRIBEs of each subscriber | 12 |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use banyan_core::topic::{TopicFilter, TopicName};

use crate::common::client::{ANSWER_TIMEOUT, Client, ConnectOptions, SubscribeOptions, number_property};
use crate::common::number_from_environment;
use crate::common::publisher::Publisher;
use crate::common::wait;
use crate::support::{ClientExt, Node, number, payload_of, state, topic_of};

/// Topics that are written: `tree/A/B`.
const BRANCHES: u64 = 6;
const LEAVES: u64 = 8;
/// Writes of one writer on their way.
const WINDOW: usize = 8;
/// How long a writer rests before it looks at its acknowledgements.
const WRITER_PAUSE: Duration = Duration::from_millis(20);
/// Longest time without any acknowledged write: rounds take as long as the writes that they wait for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ten times what the slowest readers have been seen to need.
const WRITES_A_ROUND_MAX: u64 = 4_000;
/// Where a subscriber has seen everything: written after the writers have stopped.
const FENCE: &str = "tree/fence";

/// One change, as its writer was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    topic: String,
    /// Empty: a deletion.
    payload: String,
}

/// All changes by revision.
type History = BTreeMap<u64, Change>;

/// A source of numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// Writes and deletes until `stop`; gives what was acknowledged.
fn write(client: Client, writer: u64, stop: &AtomicBool, acknowledged: &AtomicU64) -> History {
    let mut history = History::new();
    let mut publisher = Publisher::new(client, WINDOW);
    let mut numbers = Numbers(writer);
    let mut serial = 0_u64;
    loop {
        while publisher.has_room() && !stop.load(Ordering::Relaxed) {
            let topic = format!("tree/{}/{}", numbers.below(BRANCHES), numbers.below(LEAVES));
            let payload = match numbers.below(4) {
                0 => String::new(),
                _ => format!("{writer}-{serial}"),
            };
            serial += 1;
            publisher.publish(state(&topic, &payload), Change { topic, payload });
        }
        if publisher.in_flight() == 0 {
            return history;
        }
        // Slower than the slowest subscriber, however fast the machine: their rounds end only where they catch up.
        wait::let_run(WRITER_PAUSE);
        for (change, ack) in publisher.acknowledged(ANSWER_TIMEOUT).expect("PUBACK") {
            assert!(!ack.reason.is_failure());
            acknowledged.fetch_add(1, Ordering::Relaxed);
            // A deletion of what is not there has none.
            if let Some(revision) = number_property(&ack.user_properties, "revision") {
                assert!(history.insert(revision, change).is_none());
            }
        }
    }
}

/// One message that a subscriber got.
#[derive(Debug)]
enum Got {
    /// SUBACK for the filter of this index: R.
    Subscribed { filter: usize, revision: u64 },
    /// A retained message, of the SUBSCRIBE with this identifier.
    Retained { id: u32, revision: u64, change: Change },
    /// The end of the retained messages of the SUBSCRIBE with this identifier.
    Marker { id: u32 },
    /// A change as it happened, and the identifiers it came with.
    Live {
        ids: Vec<u32>,
        revision: u64,
        change: Change,
    },
}

/// How a subscriber goes about it.
#[derive(Debug, Clone, Copy)]
struct Manner {
    filters: &'static [&'static str],
    receive_maximum: Option<u16>,
    /// Reads one message, then lets the writers write this many changes.
    writes_a_message: u64,
    /// Stays connected and subscribes to the same filters again, instead of connecting anew.
    stays: bool,
}

const QUICK: Manner = Manner {
    filters: &["tree/#"],
    receive_maximum: None,
    writes_a_message: 0,
    stays: false,
};

/// What one connection saw, in order.
type Record = Vec<Got>;

struct Subscriber<'a> {
    node: &'a Node,
    name: String,
    manner: Manner,
    acknowledged: &'a AtomicU64,
    stop: &'a AtomicBool,
    /// Subscribers that will not subscribe again.
    settled: &'a AtomicUsize,
}

impl Subscriber<'_> {
    /// Subscribes `rounds` times, then reads on to the fence.
    fn run(self, rounds: usize) -> Vec<Record> {
        let rounds_a_connection = if self.manner.stays { rounds } else { 1 };
        let connections = rounds / rounds_a_connection;
        (0..connections)
            .map(|at| self.connection(rounds_a_connection, at + 1 == connections))
            .collect()
    }

    fn connection(&self, rounds: usize, last: bool) -> Record {
        let mut options = ConnectOptions::v5(&self.name).annotated();
        options.connect.receive_maximum = self.manner.receive_maximum;
        let mut client = self.node.connect(&options);
        let mut record = Record::new();
        let mut next_id = 0_u32;
        for _ in 0..rounds {
            for (at, filter) in self.manner.filters.iter().enumerate() {
                next_id += 1;
                let mut options = SubscribeOptions::new(filter).property("marker", "on");
                options.subscribe.subscription_id = Some(next_id);
                self.subscribe(&mut client, &options, at, &mut record);
                self.read_until_marker(&mut client, next_id, &mut record);
            }
            // A while of changes alone.
            let seen = self.acknowledged.load(Ordering::Relaxed);
            while self.acknowledged.load(Ordering::Relaxed) < seen + 100 && !self.stop.load(Ordering::Relaxed) {
                self.read(&mut client, &mut record);
            }
        }
        if last {
            self.settled.fetch_add(1, Ordering::Relaxed);
        }
        while last && !matches!(record.last(), Some(Got::Live { change, .. }) if change.topic == FENCE) {
            self.read(&mut client, &mut record);
        }
        record
    }

    /// Sends SUBSCRIBE and reads up to its SUBACK.
    fn subscribe(&self, client: &mut Client, options: &SubscribeOptions, filter: usize, record: &mut Record) {
        let packet_id = client.next_packet_id();
        let packet = crate::support::subscribe_packet(options, packet_id);
        client.send(&packet).expect("sent");
        loop {
            match client.receive(ANSWER_TIMEOUT).expect("a packet") {
                banyan_core::mqtt::packet::Packet::SubAck(suback) => {
                    assert_eq!(suback.packet_id, packet_id);
                    assert!(!suback.reasons[0].is_failure(), "{suback:?}");
                    let revision = number_property(&suback.user_properties, "revision").expect("R");
                    record.push(Got::Subscribed { filter, revision });
                    return;
                }
                packet => {
                    client.put_back(packet);
                    self.read(client, record);
                }
            }
        }
    }

    fn read_until_marker(&self, client: &mut Client, id: u32, record: &mut Record) {
        while !matches!(record.last(), Some(Got::Marker { id: marked }) if *marked == id) {
            self.read(client, record);
        }
    }

    /// Reads one message, slowly if that is the manner.
    fn read(&self, client: &mut Client, record: &mut Record) {
        let publish = client.next_message(ANSWER_TIMEOUT);
        let publish = publish.unwrap_or_else(|error| panic!("{} after {} messages: {error}", self.name, record.len()));
        let (topic, payload) = (topic_of(&publish), payload_of(&publish));
        assert_eq!(publish.metadata.user_property("reset"), None);
        if topic == "$SYS/marker" {
            record.push(Got::Marker {
                id: publish.subscription_ids[0],
            });
            return;
        }
        let revision = number(&publish, "revision");
        let change = Change { topic, payload };
        record.push(if publish.retain {
            assert_eq!(publish.subscription_ids.len(), 1);
            Got::Retained {
                id: publish.subscription_ids[0],
                revision,
                change,
            }
        } else {
            Got::Live {
                ids: publish.subscription_ids,
                revision,
                change,
            }
        });
        let wanted = self.acknowledged.load(Ordering::Relaxed) + self.manner.writes_a_message;
        let end = Instant::now() + ANSWER_TIMEOUT;
        while self.acknowledged.load(Ordering::Relaxed) < wanted && !self.stop.load(Ordering::Relaxed) {
            assert!(Instant::now() < end, "the writers do not go on");
            std::thread::yield_now();
        }
    }
}

/// The topics that a filter selects.
fn selects(filter: &str, topic: &str) -> bool {
    let filter = TopicFilter::parse(filter).expect("a filter");
    filter.matches(&TopicName::parse(topic).expect("a topic"))
}

/// What a subscriber of `filter` must find at `revision`.
fn tree_at<'h>(history: &'h History, filter: &str, revision: u64) -> BTreeMap<&'h str, (u64, &'h Change)> {
    let mut tree = BTreeMap::new();
    for (at, change) in history.range(..=revision) {
        if change.payload.is_empty() {
            tree.remove(change.topic.as_str());
        } else if selects(filter, &change.topic) {
            tree.insert(change.topic.as_str(), (*at, change));
        }
    }
    tree
}

/// Checks one connection's record against the history.
fn check(history: &History, manner: Manner, record: &Record) {
    // R of the first SUBSCRIBE to each filter: what is later must have come live.
    let mut since: BTreeMap<usize, u64> = BTreeMap::new();
    // R and filter of each SUBSCRIBE, and which retained messages it brought. Identifiers count from 1.
    let mut subscribed: Vec<(usize, u64)> = Vec::new();
    let mut retained: BTreeMap<u32, BTreeMap<&str, (u64, &Change)>> = BTreeMap::new();
    let mut marked: BTreeSet<u32> = BTreeSet::new();
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut live: Vec<(u64, &Change)> = Vec::new();
    for got in record {
        match got {
            Got::Subscribed { filter, revision } => {
                since.entry(*filter).or_insert(*revision);
                subscribed.push((*filter, *revision));
            }
            Got::Retained { id, revision, change } => {
                assert!(!marked.contains(id), "{change:?} behind the marker");
                let newest = newest.entry(&change.topic).or_default();
                assert!(*newest <= *revision, "{change:?} at {revision} after {newest}");
                *newest = *revision;
                let twice = retained
                    .entry(*id)
                    .or_default()
                    .insert(&change.topic, (*revision, change));
                assert!(twice.is_none(), "{change:?} twice");
            }
            Got::Marker { id } => {
                assert!(marked.insert(*id));
                let (filter, revision) = subscribed[*id as usize - 1];
                let expected = tree_at(history, manner.filters[filter], revision);
                let found = retained.remove(id).unwrap_or_default();
                assert_eq!(found, expected, "{} at {revision}", manner.filters[filter]);
            }
            Got::Live { ids, revision, change } => {
                let newest = newest.entry(&change.topic).or_default();
                assert!(*newest < *revision, "{change:?} at {revision} after {newest}");
                *newest = *revision;
                let mut filters: Vec<&str> = ids
                    .iter()
                    .map(|id| manner.filters[subscribed[*id as usize - 1].0])
                    .collect();
                filters.sort_unstable();
                filters.dedup();
                assert_eq!(filters.len(), ids.len(), "{change:?} with {ids:?}");
                assert!(filters.iter().all(|filter| selects(filter, &change.topic)));
                live.push((*revision, change));
            }
        }
    }
    let Some((last, _)) = live.last() else {
        return;
    };
    let expected = history.range(..=last).filter(|(revision, change)| {
        since
            .iter()
            .any(|(filter, since)| *revision > since && selects(manner.filters[*filter], &change.topic))
    });
    let expected: Vec<_> = expected.map(|(revision, change)| (*revision, change)).collect();
    assert_eq!(live.len(), expected.len(), "{:?}", first_difference(&live, &expected));
    assert_eq!(first_difference(&live, &expected), None);
}

type Difference<'a> = (usize, Option<&'a (u64, &'a Change)>, Option<&'a (u64, &'a Change)>);

fn first_difference<'a>(found: &'a [(u64, &'a Change)], expected: &'a [(u64, &'a Change)]) -> Option<Difference<'a>> {
    (0..found.len().max(expected.len()))
        .map(|at| (at, found.get(at), expected.get(at)))
        .find(|(_, found, expected)| found != expected)
}

/// Runs a subscriber of each manner at each node under load and checks what they got.
fn keep_the_promise(manners: &[Manner]) {
    let rounds = number_from_environment("BANYAN_ROUNDS", 12);
    // Slow subscribers are let fall behind here; what happens beyond the bound is tested elsewhere.
    let nodes = Node::cluster_with::<3>(|settings| settings.outbound_bytes_max = 256 << 20);
    let (stop, acknowledged, settled) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
    let mut history = History::new();
    let mut records = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..)
            .zip(&nodes)
            .map(|(writer, node)| {
                let client = node.annotated(&format!("writer-{writer}"));
                let (stop, acknowledged) = (&stop, &acknowledged);
                scope.spawn(move || write(client, writer, stop, acknowledged))
            })
            .collect();
        // Whatever fails must not leave the writers running.
        let stops = StopOnDrop(&stop);
        let subscribers: Vec<_> = manners
            .iter()
            .zip(nodes.iter().cycle())
            .enumerate()
            .map(|(at, (manner, node))| {
                let subscriber = Subscriber {
                    node,
                    name: format!("subscriber-{at}"),
                    manner: *manner,
                    acknowledged: &acknowledged,
                    stop: &stop,
                    settled: &settled,
                };
                scope.spawn(move || subscriber.run(rounds))
            })
            .collect();
        // The writers do not pause before everybody has subscribed for the last time.
        let are_done = || {
            let failed = subscribers.iter().any(std::thread::ScopedJoinHandle::is_finished);
            failed || settled.load(Ordering::Relaxed) == manners.len()
        };
        while !are_done() {
            let before = acknowledged.load(Ordering::Relaxed);
            assert!(before < WRITES_A_ROUND_MAX * rounds as u64, "the rounds do not end");
            wait::until("acknowledged write", PATIENCE, || {
                (are_done() || acknowledged.load(Ordering::Relaxed) > before).then_some(())
            });
        }
        drop(stops);
        for writer in writers {
            history.append(&mut writer.join().expect("a writer"));
        }
        let ack = nodes[0].annotated("fence").write(FENCE, "end");
        let revision = number_property(&ack.user_properties, "revision").expect("a revision");
        let (topic, payload) = (FENCE.to_owned(), "end".to_owned());
        history.insert(revision, Change { topic, payload });
        for subscriber in subscribers {
            records.push(subscriber.join().expect("a subscriber"));
        }
    });
    let mut messages = 0;
    for (manner, records) in manners.iter().zip(&records) {
        for record in records {
            check(&history, *manner, record);
            messages += record.len();
        }
    }
    // The end: what the changes make is what every node holds.
    let last = *history.keys().next_back().expect("changes");
    for node in &nodes {
        let mut reader = node.annotated("reader");
        reader.subscribed(&SubscribeOptions::new("tree/#").property("marker", "on"));
        let expected = tree_at(&history, "tree/#", last);
        for (topic, (revision, change)) in &expected {
            let publish = reader.expect(topic, &change.payload);
            assert_eq!(number(&publish, "revision"), *revision);
        }
        assert_eq!(topic_of(&reader.next()), "$SYS/marker");
    }
    println!("{} changes, {messages} messages checked", history.len());
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// New connections, one subscription each, at every node.
#[test]
fn connecting_again_and_again() {
    let deep = Manner {
        filters: &["tree/+/3", "tree/fence"],
        ..QUICK
    };
    keep_the_promise(&[QUICK, QUICK, deep]);
}

/// The same filter on the same connection: each SUBSCRIBE replaces the one before, and nothing is lost between them, above
/// all no deletion.
#[test]
fn subscribing_again_on_one_connection() {
    let stays = Manner { stays: true, ..QUICK };
    keep_the_promise(&[stays; 3]);
}

/// Overlapping subscriptions: each gets its own retained messages at its own R, changes come once.
#[test]
fn overlapping_subscriptions() {
    let nested = Manner {
        filters: &["tree/#", "tree/+/3"],
        ..QUICK
    };
    let crossing = Manner {
        filters: &["tree/1/+", "tree/+/2", "tree/fence"],
        stays: true,
        ..QUICK
    };
    let widening = Manner {
        filters: &["tree/+/3", "tree/#"],
        stays: true,
        ..QUICK
    };
    keep_the_promise(&[nested, crossing, widening]);
}

/// Receive Maximum 1, and a reader that lets the writers get further and further ahead.
#[test]
fn small_windows_and_slow_readers() {
    let one = Manner {
        receive_maximum: Some(1),
        ..QUICK
    };
    let one_overlapping = Manner {
        filters: &["tree/+/3", "tree/#"],
        receive_maximum: Some(1),
        stays: true,
        ..QUICK
    };
    let slow = Manner {
        receive_maximum: Some(3),
        writes_a_message: 3,
        ..QUICK
    };
    keep_the_promise(&[one, one_overlapping, slow]);
}
